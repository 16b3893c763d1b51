//! A panic inside the module costs one request its analysis, never a worker.

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule};
use support::{Load, Site, among_others, artifacts};

fn node(on_error: &str) -> Node {
    node_with(on_error, "")
}

fn node_with(on_error: &str, server: &str) -> Node {
    let mut node = Node::prepare(Site {
        module: artifacts::faulty_module(),
        http: format!("nwaf on; nwaf_on_error {on_error};"),
        server: format!("add_header X-Type $nwaf_block_type always; {server}"),
        ..Site::default()
    });
    // "evil"
    let text = RuleText { body: Some("ZXZpbA==".into()), ..RuleText::default() };
    node.publish(&Policy { rules: vec![rule(1, text)], ..blocking(&["198.51.100.7"]) });
    node.nginx.run();
    node.nginx.expect_in_log("X-Nwaf-Fault");
    node.nginx.expect_in_log("nwaf: ");
    node
}

#[test]
fn the_operator_decides_what_becomes_of_the_request() {
    let _turn = among_others();
    let node = node("pass");
    let workers = node.nginx.workers();
    assert_eq!(node.visit("/").header("X-Nwaf-Fault", "panic").status(), 200);
    assert_eq!(node.visit("/").status(), 200);
    assert_eq!(node.visit("/").from("198.51.100.7").status(), 403);
    assert_eq!(node.nginx.workers(), workers, "a worker died");
    let status = node.nginx.status();
    assert_eq!(status["total"]["errors"], 1, "{status}");
    let lines: Vec<_> =
        node.nginx.error_log().lines().filter(|l| l.contains(".rs:")).map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "one line with the place of the panic: {lines:?}");

    let node = self::node("block");
    let answer = node.visit("/").header("X-Nwaf-Fault", "panic").send();
    assert_eq!((answer.status, answer.header("x-type")), (403, Some("11")));
    assert_eq!(node.visit("/").status(), 200);
}

#[test]
fn a_second_panic_does_not_let_the_request_pass() {
    let _turn = among_others();
    for (on_error, status) in [("block", 403), ("pass", 200)] {
        let node = node(on_error);
        assert_eq!(node.visit("/").header("X-Nwaf-Fault", "panic twice").status(), status);
        assert_eq!(node.visit("/").status(), 200);
    }
}

#[test]
fn a_panic_over_a_body_is_a_panic_like_another() {
    let _turn = among_others();
    // In nginx's buffers, or held back by the module: none of it may be lost.
    let held = "proxy_request_buffering off;";
    for (on_error, status, server) in
        [("block", 403, ""), ("pass", 200, ""), ("block", 403, held), ("pass", 200, held)]
    {
        let node = node_with(on_error, server);
        let workers = node.nginx.workers();
        let post = |fault: &str, body: &str| {
            node.visit("/").method("POST").header("X-Nwaf-Fault", fault).body(body).send()
        };
        assert_eq!(post("none", "evil").status, 403);
        assert_eq!(post("none", "good").status, 200);
        let answer = post("body panic", &"evil".repeat(10_000));
        assert_eq!(answer.status, status);
        if status == 200 {
            assert_eq!(answer.json()["body_bytes"], 40_000, "the site got all of it");
        } else {
            assert_eq!(answer.header("x-type"), Some("11"));
        }
        assert_eq!(node.nginx.workers(), workers, "a worker died");
        assert_eq!(node.nginx.status()["total"]["errors"], 1);
    }
}

#[test]
fn panics_under_load_fail_nobody_else() {
    let _turn = among_others();
    let node = node("pass");
    let workers = node.nginx.workers();
    let visits = [
        node.visit("/"),
        node.visit("/").header("X-Nwaf-Fault", "panic"),
        node.visit("/").from("198.51.100.7"),
    ];
    let load = Load::start(node.nginx.address(), 2, &visits);
    load.await_more(300);
    load.stop().assert_only(&[200, 403]);
    assert_eq!(node.nginx.workers(), workers, "a worker died");
}
