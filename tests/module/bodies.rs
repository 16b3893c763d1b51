//! Bodies of requests: what is judged of them, and that what passes arrives whole.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule, settings};
use support::wait::{PATIENCE, eventually};
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
fn however_a_body_arrives_it_is_judged_and_passed_on_whole() {
    let _turn = among_others();
    for settings in [
        "",
        "client_body_buffer_size 1k;",
        "client_body_in_file_only clean;",
        "client_body_in_single_buffer on;",
        "proxy_request_buffering off; proxy_http_version 1.1;",
        "proxy_request_buffering off; proxy_http_version 1.1; client_body_buffer_size 1k;",
    ] {
        let front = Front::with("nwaf on;", &format!("{settings} location / {{ PASS }}"), "");
        for (filler, evil_at) in [(0, 0), (300, 0), (300, 297), (5_000, 4_990), (60_000, 59_000)] {
            for evil in [false, true] {
                let mut body = noise(filler);
                body.splice(evil_at..evil_at, *if evil { b"evil=1" } else { b"evil=2" });
                let middle = evil_at + 3;
                let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
                let plain = head("POST", "/", &length);
                let in_chunks =
                    head("POST", "/", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
                let at_once = [&plain[..], &body].concat();
                let fine = [&in_chunks[..], &chunked(&body, 5)].concat();
                let coarse = chunked(&body, 4_000);
                let ways: [&[&[u8]]; 5] = [
                    &[&at_once],
                    &[&plain, &body[..middle], &body[middle..]],
                    &[&at_once[..plain.len() + middle], &body[middle..]],
                    &[&fine],
                    &[&in_chunks, &coarse[..coarse.len() / 2], &coarse[coarse.len() / 2..]],
                ];
                for (number, way) in ways.iter().enumerate() {
                    let before = front.upstream.seen().len();
                    let (bodies, whole) = (front.upstream.bodies(), front.upstream.whole_bodies());
                    let said = front.say(way);
                    let what = format!("{settings:?}, {filler} bytes, way {number}, evil {evil}");
                    let status = if evil { "HTTP/1.1 403 " } else { "HTTP/1.1 200 " };
                    assert!(said.starts_with(status), "{what}: {said:?}");
                    let now = front.upstream.bodies();
                    if !evil {
                        assert!(now.last() == Some(&body), "{what}: the site got another body");
                    } else if settings.contains("buffering off") {
                        // The head may have gone ahead, and pieces of a stream have.
                        let empty = now[bodies.len()..].iter().all(Vec::is_empty);
                        assert!(number >= 3 || empty, "{what}");
                        assert_eq!(front.upstream.whole_bodies().len(), whole.len(), "{what}");
                    } else {
                        assert_eq!(front.upstream.seen().len(), before, "{what}");
                    }
                }
            }
        }
    }
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
}

#[test]
fn nobody_waits_for_a_body_that_cannot_decide() {
    let _turn = among_others();
    let front = Front::new();
    let expecting = "Content-Length: 6\r\nExpect: 100-continue\r\nConnection: close\r\n";
    // Refused by its address: nginx does not even ask for the body.
    let listed = String::from_utf8(head("POST", "/", expecting)).expect("text");
    let listed = listed.replace("192.0.2.1", LISTED);
    let mut stream = front.connect();
    stream.write_all(listed.as_bytes()).expect("is sent");
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer before the body");
    assert_eq!(&start, b"HTTP/1.1 403");
    // Asked for, then judged.
    for (body, status) in [(b"evil=1", "HTTP/1.1 403"), (b"evil=2", "HTTP/1.1 200")] {
        let mut stream = front.connect();
        stream.write_all(&head("POST", "/", expecting)).expect("is sent");
        let mut start = [0; 25];
        stream.read_exact(&mut start).expect("nginx asks for the body");
        assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body).expect("is sent");
        assert!(heard(stream).starts_with(status));
    }
}

#[test]
fn slow_and_vanished_senders_hold_up_nobody() {
    let _turn = among_others();
    for buffering in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let mut front = Front::with("nwaf on;", &format!("{buffering} location / {{ PASS }}"), "");
        let workers = front.node.nginx.workers();
        let start = head("POST", "/", "Content-Length: 5006\r\nConnection: close\r\n");
        let body = noise(5_000);
        let mut slow: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = front.connect();
                stream.write_all(&start).expect("is sent");
                stream.write_all(&body[..2_500]).expect("is sent");
                stream
            })
            .collect();
        front.settle();
        assert_eq!(front.node.visit("/").method("POST").body("a=1").status(), 200);
        // Some go away, half-closed or not; the policy changes under the others.
        for stream in slow.drain(..5) {
            drop(stream);
        }
        for stream in slow.drain(..5) {
            stream.shutdown(Shutdown::Write).expect("is closed");
            assert!(!heard(stream).starts_with("HTTP/1.1 200"));
        }
        front.node.change(&policy());
        for (number, mut stream) in slow.into_iter().enumerate() {
            let (end, status) =
                if number % 2 == 0 { (b"evil=1", "403") } else { (b"evil=2", "200") };
            stream.write_all(&body[2_500..]).expect("is sent");
            stream.write_all(end).expect("is sent");
            assert!(heard(stream).starts_with(&format!("HTTP/1.1 {status}")));
        }
        assert_eq!(front.node.nginx.workers(), workers, "a worker died");
        eventually(PATIENCE, "the requests of those who left are over", || {
            let open = front.upstream.bodies().iter().filter(|body| body.len() == 5_006).count();
            (open == 5).then_some(())
        });
    }
}

#[test]
fn the_next_request_of_a_connection_is_the_next_request() {
    let _turn = among_others();
    let front = Front::new();
    let next = head("GET", "/next", "Connection: close\r\n");
    for (framing, harmless, evil) in [
        ("Content-Length: 6\r\n", b"evil=2".to_vec(), b"evil=1".to_vec()),
        ("Transfer-Encoding: chunked\r\n", chunked(b"evil=2", 4), chunked(b"evil=1", 4)),
    ] {
        let start = head("POST", "/", framing);
        for split in [start.len(), start.len() + 3] {
            let both = [&start[..], &harmless, &next].concat();
            let said = front.say(&[&both[..split], &both[split..]]);
            assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{said}");
            let before = front.upstream.seen().len();
            let both = [&start[..], &evil, &next].concat();
            let said = front.say(&[&both[..split], &both[split..]]);
            assert!(said.starts_with("HTTP/1.1 403"), "{said}");
            assert!(said.contains("Connection: close"), "{said}");
            assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
            assert_eq!(front.upstream.seen().len(), before, "nothing behind it was served");
        }
    }
    // What is refused before it is complete hides no request in its rest.
    let front = Front::with("nwaf on; nwaf_body_limit 10;", "location / { PASS }", "");
    let start = head("POST", "/", &format!("Content-Length: {}\r\n", 20 + next.len()));
    let said = front.say(&[&[&start[..], b"evil=1 and fourteen"].concat(), b"x", &next]);
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    assert!(said.starts_with("HTTP/1.1 403") && front.upstream.seen().is_empty(), "{said}");
}

#[test]
fn an_unbuffered_body_waits_for_its_verdict() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on; nwaf_body_limit 1000;",
        "location / { PASS proxy_request_buffering off; proxy_http_version 1.1; }",
        "",
    );
    let body = noise(3_000);
    let mut stream = front.connect();
    stream
        .write_all(&head("POST", "/", "Content-Length: 3000\r\nConnection: close\r\n"))
        .expect("is sent");
    stream.write_all(&body[..500]).expect("is sent");
    eventually(PATIENCE, "the head at the site", || {
        (!front.upstream.bodies().is_empty()).then_some(())
    });
    front.settle();
    assert_eq!(front.upstream.bodies(), [b""], "not judged yet");
    stream.write_all(&body[500..1_500]).expect("is sent");
    // Judged: from now on it flows.
    eventually(PATIENCE, "the first part at the site", || {
        (front.upstream.bodies()[0] == body[..1_500]).then_some(())
    });
    stream.write_all(&body[1_500..2_000]).expect("is sent");
    eventually(PATIENCE, "more at the site", || {
        (front.upstream.bodies()[0] == body[..2_000]).then_some(())
    });
    stream.write_all(&body[2_000..]).expect("is sent");
    assert!(heard(stream).starts_with("HTTP/1.1 200"));
    assert!(front.upstream.bodies()[0] == body);
}

#[test]
fn a_stream_flows_and_its_end_waits_for_the_verdict() {
    let _turn = among_others();
    let front = Front::with(
        "nwaf on;",
        "location / { PASS proxy_request_buffering off; proxy_http_version 1.1; }",
        "",
    );
    for (first, second, status) in
        [("evil", "=1", "403"), ("evil", "=2", "200"), ("evil=1", "", "403")]
    {
        let before = front.upstream.whole_bodies().len();
        let mut stream = front.connect();
        let start = head("POST", "/", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
        stream.write_all(&start).expect("is sent");
        stream.write_all(format!("{:x}\r\n{first}\r\n", first.len()).as_bytes()).expect("is sent");
        // Whoever waits for an answer to this gets the chance.
        eventually(PATIENCE, "the first piece at the site", || {
            (front.upstream.bodies().last()? == first.as_bytes()).then_some(())
        });
        let second = if second.is_empty() { Vec::new() } else { second.as_bytes().to_vec() };
        stream.write_all(&chunked(&second, 10)).expect("is sent");
        assert!(heard(stream).starts_with(&format!("HTTP/1.1 {status}")));
        let reached = front.upstream.whole_bodies().len() - before;
        assert_eq!(reached, usize::from(status == "200"), "what is refused has no end");
    }
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

#[test]
fn error_pages_get_nothing_of_a_refused_body() {
    let _turn = among_others();
    for buffering in ["", "proxy_request_buffering off; proxy_http_version 1.1;"] {
        let front = Front::with(
            "nwaf on; nwaf_body_limit 1000; proxy_ignore_client_abort on;",
            &format!(
                "{buffering} error_page 403 @page; location / {{ PASS }} \
                 location /static {{ error_page 403 =402 /sorry; PASS }} \
                 location = /sorry {{ internal; return 402 sorry; }} location @page {{ PASS }}"
            ),
            "",
        );
        for framing in ["Content-Length: 9000\r\n", "Transfer-Encoding: chunked\r\n"] {
            let body = [b"evil=1".to_vec(), noise(8_994)].concat();
            let sent = if framing.starts_with('T') { chunked(&body, 2_000) } else { body };
            let start = head("POST", "/", framing);
            let first = [&start[..], &sent[..3_000]].concat();
            let said = front.say(&[&first, &sent[3_000..]]);
            // The page of the upstream, under the status of the refusal.
            assert!(said.starts_with("HTTP/1.1 403"), "{buffering:?} {framing:?}: {said:?}");
            assert!(said.ends_with("\r\n\r\nok"), "{buffering:?} {framing:?}: {said:?}");
            assert_eq!(front.upstream.bodies().last(), Some(&Vec::new()));
            let start = head("POST", "/static", framing);
            let said = front.say(&[&start, &sent]);
            assert!(said.starts_with("HTTP/1.1 402"), "{said}");
        }
        assert_eq!(front.node.nginx.logged("blocked by rule ID 1 in zone BODY").len(), 4);
    }
}

#[test]
fn http2_bodies_are_judged_and_passed_on_whole() {
    let _turn = among_others();
    for settings in [
        "",
        "client_body_buffer_size 1k;",
        "proxy_request_buffering off; proxy_http_version 1.1;",
        "proxy_request_buffering off; proxy_http_version 1.1; http2_body_preread_size 64k;",
    ] {
        let front = Front::with("nwaf on;", &format!("{settings} location / {{ PASS }}"), "http2");
        let file = front.node.folder.path().join("sent");
        let send = |body: &[u8], options: &[&str]| {
            std::fs::write(&file, body).expect("is written");
            let output = std::process::Command::new("curl")
                .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-m", "20"])
                .args(["--http2-prior-knowledge", "-X", "POST", "-H", "Expect:"])
                .args(options)
                .arg(format!("http://{}/", front.node.nginx.address()))
                .stdin(std::fs::File::open(&file).expect("is there"))
                .output()
                .expect("curl runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        // With and without a length.
        for options in [&["--data-binary", "@-"][..], &["-T", "-"]] {
            for (filler, at) in [(0, 0), (5_000, 4_000), (300_000, 100_000), (300_000, 200_000)] {
                let mut body = noise(filler);
                body.splice(at..at, *b"evil=2");
                let what = format!("{settings:?} {options:?} {filler} {at}");
                assert_eq!(send(&body, options), "2 200", "{what}");
                assert!(front.upstream.bodies().last() == Some(&body), "{what}");
                let (bodies, whole) = (front.upstream.bodies(), front.upstream.whole_bodies());
                body[at..at + 6].copy_from_slice(b"evil=1");
                // This curl may lose an answer that comes before all was sent.
                let (answer, blocked) = (send(&body, options), at < 128 << 10);
                assert_eq!(answer != "2 200", blocked, "{what}: {answer}");
                if blocked {
                    let empty = front.upstream.bodies()[bodies.len()..].iter().all(Vec::is_empty);
                    let streams = settings.contains("buffering off") && options[0] == "-T";
                    assert!(empty || streams, "{what}");
                    assert_eq!(front.upstream.whole_bodies().len(), whole.len(), "{what}");
                }
            }
        }
        let blocked = front.node.nginx.logged("blocked by rule ID 1 in zone BODY");
        assert_eq!(blocked.len(), 6, "{blocked:?}");
    }
}

#[test]
fn many_at_once_over_one_worker() {
    let _turn = among_others();
    let front = Front::with("nwaf on;", "client_body_buffer_size 1k; location / { PASS }", "");
    let address = front.node.nginx.address();
    let threads: Vec<_> = (0..8)
        .map(|number: usize| {
            std::thread::spawn(move || {
                for round in 0..30 {
                    let evil = (number + round) % 3 == 0;
                    let mut body = noise(200 * round);
                    body.extend_from_slice(if evil { b"evil=1" } else { b"evil=2" });
                    let status =
                        support::Visit::new(address, "/").method("POST").body(body).status();
                    assert_eq!(status, if evil { 403 } else { 200 });
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every answer is right");
    }
    let status = front.node.nginx.status();
    assert_eq!(status["total"]["blocked"], 80, "{status}");
    assert_eq!(status["total"]["errors"], 0, "{status}");
}
