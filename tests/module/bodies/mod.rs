//! Bodies of requests: what is judged of them, and that what passes arrives whole.

mod arrival;
mod connections;
mod contents;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule, settings};
use support::wait::PATIENCE;
use support::{Recorder, Site, among_others};

const LISTED: &str = "198.51.100.7";

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn policy() -> Policy {
    Policy {
        rules: vec![
            // "evil=1"
            rule(1, RuleText { body: text("ZXZpbD0x"), ..RuleText::default() }),
            // "/secret"
            rule(2, RuleText { url: text("L3NlY3JldA=="), ..RuleText::default() }),
            // "watch=1", observed
            rule(3, RuleText { body: text("d2F0Y2g9MQ=="), lm: true, ..RuleText::default() }),
            // "/seen", observed
            rule(4, RuleText { url: text("L3NlZW4="), lm: true, ..RuleText::default() }),
            // "' or"
            rule(5, RuleText { body: text("JyBvcg=="), ..RuleText::default() }),
        ],
        settings: settings(&[
            ("nwaf_body_exclude", "site.test/upload"),
            ("nwaf_put_body_exclude", "put.test"),
            ("nwaf_host_wl", "white.test"),
            ("nwaf_host_lm", "watched.test"),
        ]),
        ..blocking(&[LISTED])
    }
}

const VARIABLES: &str = "\
    add_header X-Action $nwaf_action always; add_header X-Type $nwaf_block_type always; \
    add_header X-Rule $nwaf_rule always; add_header X-Id $request_id always;";

/// nginx in front of a recorder; `locations` may name the recorder by `PASS`.
struct Front {
    node: Node,
    upstream: Recorder,
}

impl Front {
    fn with(http: &str, locations: &str, listen: &str) -> Self {
        let upstream = Recorder::start();
        let pass = format!("proxy_pass http://{};", upstream.address());
        let site = Site {
            http: http.into(),
            listen: listen.into(),
            server: format!("{VARIABLES} {}", locations.replace("PASS", &pass)),
            ..Site::default()
        };
        Self { node: Node::start(&policy(), site), upstream }
    }

    fn new() -> Self {
        Self::with("nwaf on;", "location / { PASS }", "")
    }

    /// Sends pieces one after the other, each after nginx has seen the one before,
    /// and returns everything that comes back.
    fn say(&self, pieces: &[&[u8]]) -> String {
        let mut stream = self.connect();
        for piece in pieces {
            // nginx may have answered and closed already.
            if stream.write_all(piece).is_err() {
                break;
            }
            self.settle();
        }
        heard(stream)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.node.nginx.address()).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream
    }

    /// One worker takes events in turn: once it has answered this, it has seen what
    /// was sent before.
    fn settle(&self) {
        assert_eq!(self.node.visit("/secret").status(), 403);
    }
}

/// Everything a server says until it closes.
fn heard(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

fn head(method: &str, target: &str, rest: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: site.test\r\nX-Forwarded-For: 192.0.2.1\r\n{rest}\r\n"
    )
    .into_bytes()
}

/// Bytes without a pattern, in which nothing is found.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(length)
    .collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_body_is_judged_before_the_site_sees_anything() {
    let _turn = among_others();
    let front = Front::new();
    let post = |target: &str, body: &str| front.node.visit(target).method("POST").body(body);
    for (visit, status, action, rule) in [
        (post("/", "a=1&evil=1&b=2"), 403, "block", Some("1")),
        (post("/", "a=1&evi%6C%3d1"), 403, "block", Some("1")),
        (post("/", "evil=2"), 200, "pass", None),
        (post("/", "watch=1"), 200, "observe", Some("3")),
        (post("/", "watch=1&evil=1"), 403, "block", Some("1")),
        (post("/", "evil=1").method("PATCH"), 403, "block", Some("1")),
        (post("/", "evil=1").method("DELETE"), 403, "block", Some("1")),
        (post("/", "evil=1").method("GET"), 403, "block", Some("1")),
        (post("/secret", "evil=1"), 403, "block", Some("2")),
        (post("/", "evil=1").host("white.test"), 200, "bypass", None),
        (post("/", "evil=1").host("watched.test"), 200, "observe", Some("1")),
        (post("/?evil=1", "a=1"), 200, "pass", None),
        (front.node.visit("/?evil=1"), 200, "pass", None),
        // Excluded by path, by host and method, and not excluded.
        (post("/upload", "evil=1"), 200, "pass", None),
        (post("/upload", "evil=1").host("other.test"), 403, "block", Some("1")),
        (post("/upload/x", "evil=1"), 403, "block", Some("1")),
        (post("/", "evil=1").method("PUT").host("put.test"), 200, "pass", None),
        (post("/", "evil=1").method("PUT"), 403, "block", Some("1")),
        (post("/", "evil=1").host("put.test"), 403, "block", Some("1")),
    ] {
        let before = front.upstream.seen().len();
        let answer = visit.send();
        let seen = (answer.status, answer.header("x-action"), answer.header("x-rule"));
        let expected_rule = if action == "bypass" { answer.header("x-rule") } else { rule };
        assert_eq!(seen, (status, Some(action), expected_rule), "{visit:?}");
        let reached = front.upstream.seen().len() - before;
        assert_eq!(reached, usize::from(status == 200), "{visit:?}");
        if rule == Some("1") && status == 403 {
            let id = answer.header("x-id").expect("a request id");
            let lines = front.node.nginx.logged(id);
            let expected = format!("the request {id} blocked by rule ID 1 in zone BODY");
            assert_eq!(
                lines.iter().filter(|line| line.contains(&expected)).count(),
                1,
                "{lines:?}"
            );
            assert_eq!(answer.header("x-type"), Some("5"));
        }
    }
    let status = front.node.nginx.status();
    assert_eq!(status["total"]["requests"], 19, "each request counts once: {status}");
    assert_eq!(status["total"]["blocked"], 11, "{status}");
}

#[test]
fn observed_hits_are_told_once() {
    let _turn = among_others();
    let front = Front::new();
    let answer = front.node.visit("/seen").method("POST").body("watch=1").send();
    assert_eq!((answer.status, answer.header("x-rule")), (200, Some("3")));
    let lines = front.node.nginx.logged(answer.header("x-id").expect("a request id"));
    let about = |rule: &str| lines.iter().filter(|line| line.contains(rule)).count();
    assert_eq!(
        (about("rule ID 3 in zone BODY"), about("rule ID 4 in zone URL")),
        (1, 1),
        "{lines:?}"
    );
    assert_eq!(front.node.nginx.status()["total"]["observed"], 1);
}

#[test]
fn a_long_body_is_judged_by_its_first_part() {
    let _turn = among_others();
    for buffering in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let front = Front::with(
            "nwaf on; nwaf_body_limit 100;",
            &format!(
                "{buffering} client_body_buffer_size 1k; location / {{ PASS }}
                 location /block {{ nwaf_body_overflow block; PASS }}
                 location /more {{ nwaf_body_overflow block; nwaf_body_limit 1m; PASS }}
                 location /passive {{ nwaf passive; nwaf_body_overflow block; PASS }}
                 location /upload {{ nwaf_body_overflow block; PASS }}"
            ),
            "",
        );
        // The place of the text, the length of the whole.
        for (target, at, length, status, block_type) in [
            ("/", 94, 100, 403, "5"),
            ("/", 94, 101, 403, "5"),
            ("/", 95, 101, 200, "0"),
            ("/", 94, 70_000, 403, "5"),
            ("/", 95, 70_000, 200, "0"),
            ("/block", 94, 100, 403, "5"),
            ("/block", 94, 101, 403, "5"),
            ("/block", 95, 101, 403, "11"),
            ("/block", 95, 70_000, 403, "11"),
            ("/more", 69_000, 70_000, 403, "5"),
            ("/passive", 94, 101, 200, "5"),
            ("/passive", 95, 70_000, 200, "0"),
            ("/upload", 94, 70_000, 200, "0"),
        ] {
            let mut body = noise(length);
            body[at..at + 6].copy_from_slice(b"evil=1");
            let answer = front.node.visit(target).method("POST").body(body.clone()).send();
            let what = format!("{buffering:?} {target} {at} {length}");
            let seen = (answer.status, answer.header("x-type"));
            assert_eq!(seen, (status, Some(block_type)), "{what}");
            if status == 200 {
                assert!(front.upstream.bodies().last() == Some(&body), "{what}");
            }
            if block_type == "11" {
                let lines = front.node.nginx.logged(answer.header("x-id").expect("a request id"));
                assert!(
                    lines.iter().any(|l| l.contains("longer than nwaf_body_limit")),
                    "{lines:?}"
                );
            }
        }
        // Exactly the limit, harmless.
        let visit = front.node.visit("/block").method("POST");
        assert_eq!(visit.clone().body(noise(100)).status(), 200);
        assert_eq!(visit.body(noise(101)).status(), 403);
    }
}

#[test]
fn no_body_is_looked_at_where_no_rule_asks_for_one() {
    let _turn = among_others();
    let mut front = Front::with(
        "nwaf on; nwaf_body_limit 10; nwaf_body_overflow block;",
        "location / { PASS }",
        "",
    );
    let long = front.node.visit("/").method("POST").body("0123456789a");
    assert_eq!(long.status(), 403);
    front.node.change(&blocking(&[LISTED]));
    assert_eq!(long.status(), 200);
    front.node.change(&policy());
    assert_eq!(long.status(), 403);
    // A new configuration puts the filter in its place once more, and only once.
    front.node.nginx.reload();
    let before = front.node.nginx.logged("longer than nwaf_body_limit").len();
    assert_eq!(long.status(), 403);
    assert_eq!(front.node.nginx.logged("longer than nwaf_body_limit").len(), before + 1);
    front.node.nginx.configure(|site| site.http = "nwaf off;".into());
    front.node.nginx.reload();
    assert_eq!(long.status(), 200);
}

#[test]
fn modes_and_failures() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on;",
        "location / { PASS } location /off { nwaf off; PASS } \
         location /passive { nwaf passive; PASS } \
         location /into-off { rewrite ^ /off last; } location /out-of-off { nwaf off; rewrite ^ / last; } \
         location /451 { nwaf_block_status 451; PASS } location /444 { nwaf_block_status 444; PASS }",
        "",
    );
    let evil = |target: &str| front.node.visit(target).method("POST").body("evil=1");
    assert_eq!(evil("/off").status(), 200);
    let answer = evil("/passive").send();
    assert_eq!((answer.status, answer.header("x-action")), (200, Some("observe")));
    assert_eq!(front.node.nginx.logged("matched rule ID 1 in zone BODY, observed").len(), 1);
    // The place that reads it decides.
    assert_eq!(evil("/into-off").status(), 200);
    assert_eq!(evil("/out-of-off").status(), 403);
    assert_eq!(evil("/451").status(), 451);
    assert!(support::Client::new(front.node.nginx.address()).send(&evil("/444").bytes()).is_err());
}

#[test]
fn every_reader_of_a_body_is_preceded() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on;",
        "location / { PASS } \
         location /try { try_files /nothing @named; } location @named { PASS } \
         location /rewritten { rewrite ^ /inner last; } location /inner { PASS } \
         location /asks { auth_request /auth; PASS } location = /auth { internal; return 204; } \
         location /mirrored { mirror /copy; PASS } location = /copy { internal; PASS } \
         location /nothing-reads { return 200 ok; }",
        "",
    );
    let post = |target: &str, body: &str| front.node.visit(target).method("POST").body(body);
    for target in ["/try", "/rewritten", "/asks", "/mirrored"] {
        let before = front.upstream.seen().len();
        assert_eq!(post(target, "evil=1").status(), 403, "{target}");
        assert_eq!(front.upstream.seen().len(), before, "{target}");
        assert_eq!(post(target, "evil=2").status(), 200, "{target}");
        assert!(front.upstream.bodies().iter().any(|body| body == b"evil=2"), "{target}");
    }
    // A body that nothing reads harms nothing.
    assert_eq!(post("/nothing-reads", "evil=1").status(), 200);
}
