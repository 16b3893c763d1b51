//! Which host a request is for: nginx and the site behind it may disagree, and
//! neither opinion may be a way around.

use policy::{Policy, RuleText};
use support::node::{Node, rule, settings};
use support::{Client, Site, among_others, net};

fn policy() -> Policy {
    Policy {
        rules: vec![
            // "victim.test"
            rule(1, RuleText { domain: Some("dmljdGltLnRlc3Q=".into()), ..RuleText::default() }),
            // "/secret"
            rule(2, RuleText { url: Some("L3NlY3JldA==".into()), ..RuleText::default() }),
        ],
        settings: settings(&[("nwaf_host_wl", "white.test"), ("nwaf_host_lm", "watched.test")]),
        ..Policy::default()
    }
}

#[test]
fn of_two_hosts_the_stricter_verdict_holds() {
    let _turn = among_others();
    let node = Node::start(&policy(), Site::default());
    for (target, host, status) in [
        ("http://other.test/", "other.test", 200),
        ("http://other.test/", "OTHER.test:8080", 200),
        ("http://other.test/", "victim.test", 403),
        ("http://victim.test/", "other.test", 403),
        ("http://other.test/", "Victim.Test.:80", 403),
        ("http://other.test/", "victim.test.:8.0", 403),
        // White-listed or only watched for one host is not for the other.
        ("http://white.test/secret", "white.test", 200),
        ("http://white.test/secret", "other.test", 403),
        ("http://other.test/secret", "white.test", 403),
        ("http://watched.test/secret", "watched.test", 200),
        ("http://watched.test/secret", "other.test", 403),
        ("http://other.test/secret", "watched.test", 403),
    ] {
        assert_eq!(node.visit(target).host(host).status(), status, "{target} for {host}");
    }
    let status = node.nginx.status();
    assert_eq!(status["total"]["requests"], 12, "two hosts, one request: {status}");
    assert_eq!(status["total"]["bypassed"], 1, "{status}");
}

#[test]
fn a_dot_at_the_end_of_a_host_means_nothing() {
    let _turn = among_others();
    let node = Node::start(&policy(), Site::default());
    // nginx cuts the last dot of all, which here is one of the port.
    for host in ["victim.test", "victim.test.", "VICTIM.test.:80", "victim.test.:8.0"] {
        assert_eq!(node.visit("/").host(host).status(), 403, "{host}");
    }
}

#[test]
fn a_request_without_a_host_is_for_the_server_it_reaches() {
    let _turn = among_others();
    let names = ["victim.test", ".victim.test", "~^victim", "_", "\"\"", "white.test"];
    let addresses = names.map(|_| net::free());
    let servers: String = names
        .iter()
        .zip(addresses)
        .map(|(name, address)| {
            format!(
                "server {{ listen {address}; server_name {name}; location / {{ return 200; }} }}"
            )
        })
        .collect();
    let node = Node::start(&policy(), Site { servers, ..Site::default() });
    let ask = |position: usize, request: &str| {
        Client::new(addresses[position]).send(request.as_bytes()).expect("an answer").status
    };
    let plain = [0, 1, 2, 3, 4].map(|position| ask(position, "GET / HTTP/1.0\r\n\r\n"));
    assert_eq!(plain, [403, 403, 200, 200, 200], "{names:?}");
    assert_eq!(ask(4, "GET /secret HTTP/1.0\r\n\r\n"), 403);
    assert_eq!(ask(5, "GET /secret HTTP/1.0\r\n\r\n"), 200, "the server is white-listed");
    assert_eq!(node.nginx.status()["total"]["blocked"], 3);
}
