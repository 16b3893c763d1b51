//! Ways around a firewall inside nginx: every one of them must end at a 403.

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule, settings};
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
fn the_address_of_a_balancer_does_not_decide() {
    let _turn = among_others();
    let late = "set_real_ip_from 127.0.0.0/8; real_ip_header X-Client;";
    let server = format!(
        "location / {{ {PASS} }} \
         location /late {{ {late} {PASS} }} \
         location /answer {{ {late} return 200 ok; }} \
         location /if {{ {late} if ($arg_a) {{ return 200 $remote_addr; }} {PASS} }} \
         location /door {{ {late} rewrite ^ /late last; }} \
         location /out {{ {late} rewrite ^ / last; }} \
         location /index/ {{ {late} index /late; }}"
    );
    let policy = Policy { settings: settings(&[("nwaf_ip_wl", "203.0.113.1")]), ..policy() };
    let policy = Policy { block_list: blocking(&[LISTED, "127.0.0.0/8"]).block_list, ..policy };
    let node = Node::start(&policy, Site { server, realip: false, ..Site::default() });
    for target in ["/late", "/answer", "/if", "/if?a=1", "/door", "/index/"] {
        let from = |client: &str| node.visit(target).header("X-Client", client).status();
        assert_eq!(from("198.51.100.8"), 200, "{target}");
        assert_eq!(from(LISTED), 403, "{target}");
    }
    for target in ["/late/secret", "/answer/secret", "/if/secret?a=1"] {
        let from = |client: &str| node.visit(target).header("X-Client", client).status();
        assert_eq!(from("198.51.100.8"), 403, "{target}");
        assert_eq!(from("203.0.113.1"), 200, "{target} from a white-listed client");
    }
    let status = node.nginx.status();
    assert_eq!(status["total"]["requests"], 18, "{status}");
    // Looking ahead changes nothing for nginx: the rewrite phase sees the balancer.
    let early = node.visit("/if?a=1").header("X-Client", "198.51.100.8").send();
    assert!(early.text().starts_with("127."), "{}", early.text());
    // Where nobody believes the header, the balancer is the client.
    assert_eq!(node.visit("/").header("X-Client", "198.51.100.8").status(), 403);
    assert_eq!(node.visit("/out").header("X-Client", "198.51.100.8").status(), 403);
    assert_eq!(node.visit("/late").status(), 403, "a balancer that names nobody");
}

#[test]
fn a_cookie_in_pieces_is_one_cookie() {
    let _turn = among_others();
    let policy = Policy {
        rules: vec![
            // "a=1; b=2"
            rule(1, RuleText { cookie: Some("YT0xOyBiPTI=".into()), ..RuleText::default() }),
            // "c=3"
            rule(2, RuleText { cookie: Some("Yz0z".into()), ..RuleText::default() }),
        ],
        ..Policy::default()
    };
    let node = Node::start(&policy, Site::default());
    let visit = |cookies: &[&str]| {
        cookies
            .iter()
            .fold(node.visit("/"), |visit, cookie| visit.header("Cookie", cookie))
            .status()
    };
    for (cookies, status) in [
        (&["a=1; b=2"][..], 403),
        (&["a=1", "b=2"], 403),
        (&["x=0", "a=1", "b=2", "y=0"], 403),
        (&["a=1", "x=0", "b=2"], 200),
        (&["b=2", "a=1"], 200),
        (&["a=1"], 200),
        (&["x=0", "c=3"], 403),
        // The buffer of the request before is not looked into.
        (&["x=0", "y=0"], 200),
    ] {
        assert_eq!(visit(cookies), status, "{cookies:?}");
    }
}

#[test]
fn a_subrequest_of_an_unprotected_request_is_judged_where_it_lands() {
    let _turn = among_others();
    let node = node(&format!(
        "location /asks {{ nwaf off; auth_request /check; {PASS} }} \
         location = /check {{ internal; return 204; }} \
         location /twice {{ nwaf off; add_before_body /part; add_after_body /part; \
             default_type text/html; return 200 whole; }} \
         location = /part {{ internal; default_type text/html; error_page 403 /sorry; \
             return 200 served; }} \
         location = /sorry {{ internal; default_type text/html; return 200 sorry; }} \
         location /watched {{ nwaf off; auth_request /watch; {PASS} }} \
         location = /watch {{ internal; nwaf passive; return 204; }} \
         location /none {{ nwaf off; auth_request /open; {PASS} }} \
         location = /open {{ internal; nwaf off; return 204; }}"
    ));
    assert_eq!(node.visit("/asks").status(), 200);
    assert_eq!(node.visit("/asks").from(LISTED).status(), 403);
    assert_eq!(node.visit("/asks/secret").status(), 403, "by what the client sent");
    assert_eq!(node.visit("/none").from(LISTED).status(), 200);
    assert_eq!(node.visit("/watched").from(LISTED).status(), 200);
    assert_eq!(node.nginx.logged("blocked by").len(), 2);
    assert_eq!(node.visit("/twice").send().text(), "servedwholeserved");
    let refused = node.visit("/twice").from(LISTED).send().text();
    assert_eq!(refused, "sorrywholesorry", "every part is refused, the page itself is open");
    assert_eq!(node.nginx.logged("blocked by").len(), 3, "one line a request");
    let status = node.nginx.status();
    let total = &status["total"];
    assert_eq!((&total["requests"], &total["blocked"]), (&6.into(), &3.into()), "{status}");
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
