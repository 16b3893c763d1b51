//! Ways around a firewall inside nginx: every one of them must end at a 403.

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule};
use support::{Site, among_others};

const LISTED: &str = "198.51.100.7";

fn policy() -> Policy {
    Policy {
        // "/secret"
        rules: vec![rule(1, RuleText { url: Some("L3NlY3JldA==".into()), ..RuleText::default() })],
        ..blocking(&[LISTED])
    }
}

fn node(server: &str) -> Node {
    Node::start(&policy(), Site { server: server.into(), ..Site::default() })
}

/// The pass through `proxy_pass` that every location of these tests ends in.
const PASS: &str = "proxy_pass http://echo; proxy_set_header Host $http_host;";

#[test]
fn satisfy_any_is_no_way_around() {
    let _turn = among_others();
    let node = node(&format!("location / {{ satisfy any; allow all; {PASS} }}"));
    assert_eq!(node.visit("/").status(), 200);
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    assert_eq!(node.visit("/secret").status(), 403);
}

#[test]
fn answers_of_the_rewrite_phase_are_judged_before() {
    let _turn = among_others();
    let node = node(
        "location /return { return 200 ok; } \
         location /if { if ($arg_a) { return 200 if; } return 200 else; } \
         location /redirect { return 302 /; } \
         location /moved { rewrite ^ http://elsewhere.test/ permanent; } \
         location /set { set $x 1; rewrite ^ /return last; }",
    );
    for (target, status) in [
        ("/return", 200),
        ("/if?a=1", 200),
        ("/if", 200),
        ("/redirect", 302),
        ("/moved", 301),
        ("/set", 200),
    ] {
        assert_eq!(node.visit(target).status(), status, "{target}");
        assert_eq!(node.visit(target).from(LISTED).status(), 403, "{target}");
    }
}

#[test]
fn internal_redirects_are_judged_once_and_for_what_was_sent() {
    let _turn = among_others();
    let node = node(&format!(
        "location / {{ try_files /nothing @last; }} location @last {{ {PASS} }} \
         location /rewritten {{ rewrite ^ /inner last; }} location /inner {{ {PASS} }} \
         location /secret-alias {{ rewrite ^ /inner last; }} \
         location /to-secret {{ rewrite ^ /secret last; }} \
         location /index/ {{ index /inner; }} \
         location /error {{ error_page 404 = /inner; return 404; }}"
    ));
    for target in ["/", "/rewritten", "/index/", "/error"] {
        assert_eq!(node.visit(target).status(), 200, "{target}");
        assert_eq!(node.visit(target).from(LISTED).status(), 403, "{target}");
    }
    // Hidden behind an alias or not: the client sent it.
    assert_eq!(node.visit("/secret-alias").status(), 403);
    // Not sent by the client: the site's own business.
    assert_eq!(node.visit("/to-secret").status(), 200);
    let status = node.nginx.status();
    assert_eq!(status["total"]["requests"], 10, "each request is judged once: {status}");
}

#[test]
fn a_place_without_protection_may_not_lead_into_one_with() {
    let _turn = among_others();
    let node = node(&format!(
        "location / {{ {PASS} }} \
         location /open {{ nwaf off; {PASS} }} \
         location /door {{ nwaf off; rewrite ^ /inner last; }} \
         location /window {{ nwaf passive; rewrite ^ /inner last; }} \
         location /inner {{ {PASS} }}"
    ));
    assert_eq!(node.visit("/open").from(LISTED).status(), 200);
    assert_eq!(node.visit("/door").from(LISTED).status(), 403);
    assert_eq!(node.visit("/window").from(LISTED).status(), 403);
    assert_eq!(node.visit("/door").status(), 200);
}

#[test]
fn an_address_that_is_known_late_is_judged_late() {
    let _turn = among_others();
    let server = format!(
        "location / {{ {PASS} }} \
         location /late {{ set_real_ip_from 127.0.0.0/8; real_ip_header X-Client; {PASS} }} \
         location /late-any {{ set_real_ip_from 127.0.0.0/8; real_ip_header X-Client; \
             satisfy any; allow all; {PASS} }}"
    );
    let node = Node::start(&policy(), Site { server, realip: false, ..Site::default() });
    for target in ["/late", "/late-any"] {
        assert_eq!(node.visit(target).header("X-Client", "198.51.100.8").status(), 200);
        assert_eq!(node.visit(target).header("X-Client", LISTED).status(), 403, "{target}");
    }
    // Nobody asked nginx to believe this header here.
    assert_eq!(node.visit("/").header("X-Client", LISTED).status(), 200);
}

#[test]
fn subrequests_are_not_judged_and_do_not_hide_the_main_request() {
    let _turn = among_others();
    let node = node(&format!(
        "location / {{ auth_request /auth; {PASS} }} \
         location = /auth {{ internal; return 204; }} \
         location /both {{ add_after_body /after; {PASS} }} \
         location = /after {{ {PASS} }}"
    ));
    assert_eq!(node.visit("/").status(), 200);
    assert_eq!(node.visit("/both").status(), 200);
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    let status = node.nginx.status();
    assert_eq!(status["total"]["requests"], 3, "{status}");
}

#[test]
fn strange_requests_do_not_slip_through() {
    let _turn = among_others();
    let node = node("");
    for target in [
        "/secret",
        "//secret",
        "/%2e/secret",
        "/%73%65%63%72%65%74",
        "/a/../secret",
        "/secret%00",
        "/secret#part",
        "http://site.test/secret",
    ] {
        let status = node.visit(target).status();
        assert!(matches!(status, 400 | 403), "{target}: {status}");
    }
    // HTTP/1.0 without a Host.
    let raw = format!("GET / HTTP/1.0\r\nX-Forwarded-For: {LISTED}\r\n\r\n");
    let answer = support::Client::new(node.nginx.address()).send(raw.as_bytes()).unwrap();
    assert_eq!(answer.status, 403);
}

#[test]
fn http2_is_judged_like_http1() {
    let _turn = among_others();
    let site = Site { listen: "http2".into(), ..Site::default() };
    let mut node = Node::prepare(site);
    node.publish(&policy());
    node.nginx.run();
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-m", "20"])
            .arg("--http2-prior-knowledge")
            .args(arguments)
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let at = |target: &str| format!("http://{}{target}", node.nginx.address());
    let listed = format!("X-Forwarded-For: {LISTED}");
    assert_eq!(curl(&[&at("/")]), "2 200");
    assert_eq!(curl(&[&at("/secret")]), "2 403");
    assert_eq!(curl(&["-H", &listed, &at("/")]), "2 403");
    // nginx answers before the body has come and resets the stream; this curl may
    // then lose the answer, with any 403 of nginx. What counts: it was blocked.
    assert_ne!(curl(&["-H", &listed, "-d", "a=1", &at("/")]), "2 200");
    let blocked = node.nginx.logged("blocked by rule ID 0 in zone IP");
    assert!(blocked.iter().any(|line| line.contains("POST / HTTP/2.0")), "{blocked:?}");
}
