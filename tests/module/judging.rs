//! What a request is judged by, and what the operator sees of it.

use policy::{Policy, RuleText};
use support::node::{Node, blocking, rule, settings};
use support::{Site, among_others};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// One rule for each part of a request.
fn policy() -> Policy {
    Policy {
        rules: vec![
            rule(11, RuleText { ip: text("192.0.2.0/24"), ..RuleText::default() }),
            // "bad.test"
            rule(12, RuleText { domain: text("YmFkLnRlc3Q="), ..RuleText::default() }),
            // "/secret"
            rule(13, RuleText { url: text("L3NlY3JldA=="), ..RuleText::default() }),
            // "?page=3"
            rule(14, RuleText { args: text("P3BhZ2U9Mw=="), ..RuleText::default() }),
            // "evilbot"
            rule(15, RuleText { ua: text("ZXZpbGJvdA=="), ..RuleText::default() }),
            // "stolen"
            rule(16, RuleText { cookie: text("c3RvbGVu"), ..RuleText::default() }),
            // "spam.test"
            rule(17, RuleText { referer: text("c3BhbS50ZXN0"), ..RuleText::default() }),
            // "x-probe": present
            rule(
                18,
                RuleText { other_headers: vec!["eC1wcm9iZQ==:".into()], ..RuleText::default() },
            ),
            // "/watched", observed
            rule(19, RuleText { url: text("L3dhdGNoZWQ="), lm: true, ..RuleText::default() }),
        ],
        settings: settings(&[("nwaf_ip_wl", "203.0.113.1"), ("nwaf_host_lm", "observed.test")]),
        ..blocking(&["198.51.100.7", "2001:db8::/32", "domain=one.test 198.51.100.8"])
    }
}

/// The variables, as headers of every answer.
const VARIABLES: &str = "\
    add_header X-Action $nwaf_action always; add_header X-Type $nwaf_block_type always; \
    add_header X-Rule $nwaf_rule always; add_header X-Generation $nwaf_generation always; \
    add_header X-Id $request_id always;";

fn site() -> Site {
    Site { server: VARIABLES.into(), ..Site::default() }
}

#[test]
fn every_part_of_a_request_can_decide() {
    let _turn = among_others();
    let node = Node::start(&policy(), site());
    let visit = |target: &str| node.visit(target);
    let cases = [
        (visit("/"), 200, "pass", "0", None),
        (visit("/").from("198.51.100.7"), 403, "block", "8", None),
        (visit("/").from("2001:db8::1"), 403, "block", "8", None),
        (visit("/").from("::ffff:198.51.100.7"), 403, "block", "8", None),
        (visit("/").from("198.51.100.8"), 200, "pass", "0", None),
        (visit("/").from("198.51.100.8").host("one.test"), 403, "block", "8", None),
        (visit("/").from("192.0.2.200"), 403, "block", "5", Some("11")),
        (visit("/").host("BAD.test:8080"), 403, "block", "5", Some("12")),
        (visit("/").host("good.test"), 200, "pass", "0", None),
        (visit("/a/secret/b"), 403, "block", "5", Some("13")),
        (visit("/a/%73ecret/b"), 403, "block", "5", Some("13")),
        (visit("/a/./se/../secret"), 403, "block", "5", Some("13")),
        (visit("/list?page=3"), 403, "block", "5", Some("14")),
        (visit("/list?page=4"), 200, "pass", "0", None),
        (visit("/").header("User-Agent", "an evilbot/1"), 403, "block", "5", Some("15")),
        (visit("/").header("Cookie", "a=stolen"), 403, "block", "5", Some("16")),
        (visit("/").header("Referer", "http://spam.test/"), 403, "block", "5", Some("17")),
        (visit("/").header("X-Probe", "1"), 403, "block", "5", Some("18")),
        (visit("/").header("x-PROBE", ""), 403, "block", "5", Some("18")),
        (visit("/watched"), 200, "observe", "0", Some("19")),
        (visit("/secret").host("observed.test"), 200, "observe", "0", Some("13")),
        (visit("/secret").from("203.0.113.1"), 200, "bypass", "0", None),
        (visit("/secret").method("POST").body("a=1"), 403, "block", "5", Some("13")),
    ];
    for (visit, status, action, block_type, rule) in cases {
        let answer = visit.send();
        let seen = (answer.status, answer.header("x-action"), answer.header("x-generation"));
        assert_eq!(seen, (status, Some(action), Some("1")), "{visit:?}");
        if action == "block" || action == "pass" {
            assert_eq!(answer.header("x-type"), Some(block_type), "{visit:?}");
        }
        if action == "block" {
            assert_eq!(answer.header("x-rule"), rule, "{visit:?}");
        }
        // A request that was let through has reached the site.
        assert_eq!(answer.text().contains("body_bytes"), status == 200, "{visit:?}");
    }
}

#[test]
fn a_block_is_logged_once_in_the_promised_form() {
    let _turn = among_others();
    let node = Node::start(&policy(), site());
    let by_rule = node.visit("/secret?a=1").send();
    let by_list = node.visit("/").from("198.51.100.7").send();
    let observed = node.visit("/watched").send();
    let id = |answer: &support::Response| answer.header("x-id").expect("a request id").to_owned();

    for (answer, end) in [(&by_rule, "rule ID 13 in zone URL"), (&by_list, "rule ID 0 in zone IP")]
    {
        let expected = format!("nwaf: the request {} blocked by {end}", id(answer));
        let lines = node.nginx.logged(&id(answer));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&expected) && lines[0].contains("[error]"), "{lines:?}");
        assert!(
            lines[0].contains("client: ") && lines[0].contains("request: \"GET /"),
            "{lines:?}"
        );
    }
    let lines = node.nginx.logged(&id(&observed));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("rule ID 19 in zone URL") && lines[0].contains("[warn]"),
        "{lines:?}"
    );
}

#[test]
fn passive_records_and_never_blocks() {
    let _turn = among_others();
    let node = Node::start(&policy(), Site { http: "nwaf passive;".into(), ..site() });
    for visit in [node.visit("/secret"), node.visit("/").from("198.51.100.7")] {
        let answer = visit.send();
        assert_eq!((answer.status, answer.header("x-action")), (200, Some("observe")));
        assert_eq!(node.nginx.logged(answer.header("x-id").unwrap()).len(), 1);
    }
    let status = node.nginx.status();
    assert_eq!(status["total"]["observed"], 2, "{status}");
    assert_eq!(status["total"]["blocked"], 0, "{status}");
}

#[test]
fn off_does_nothing() {
    let _turn = among_others();
    // Nothing is on, so nothing follows the snapshot either.
    let mut node = Node::prepare(Site { http: "nwaf off;".into(), ..site() });
    node.publish(&policy());
    node.nginx.run();
    let answer = node.visit("/secret").from("198.51.100.7").send();
    assert_eq!((answer.status, answer.header("x-action")), (200, Some("pass")));
}

#[test]
fn the_status_of_a_block_is_the_operators_choice() {
    let _turn = among_others();
    let server = "location / { return 200 ok; } \
        location /451 { nwaf_block_status 451; } \
        location /closed { nwaf_block_status 444; } \
        location /page { error_page 403 =429 /sorry; } \
        location = /sorry { internal; return 200 'go away'; } \
        location /named { error_page 403 @named; } \
        location @named { return 200 'named'; }";
    let node = Node::start(&policy(), Site { server: server.into(), ..Site::default() });
    let listed = |target: &str| node.visit(target).from("198.51.100.7");
    assert_eq!(listed("/").status(), 403);
    assert_eq!(listed("/451").status(), 451);
    assert!(support::Client::new(node.nginx.address()).send(&listed("/closed").bytes()).is_err());
    let page = listed("/page").send();
    assert_eq!((page.status, page.text().as_str()), (429, "go away"));
    assert_eq!(listed("/named").send().text(), "named");
    // One judgement and one line a request, error page or not.
    let status = node.nginx.status();
    assert_eq!(status["total"]["blocked"], 5, "{status}");
    assert_eq!(node.nginx.logged("blocked by rule ID 0 in zone IP").len(), 5);
}

#[test]
fn the_status_page_counts() {
    let _turn = among_others();
    let node = Node::start(&policy(), Site { workers: 2, ..site() });
    for _ in 0..10 {
        node.visit("/").status();
        node.visit("/secret").status();
        node.visit("/watched").status();
        node.visit("/").from("203.0.113.1").status();
    }
    let status = node.nginx.status();
    let total = &status["total"];
    for (name, expected) in [("requests", 40), ("blocked", 10), ("observed", 10), ("bypassed", 10)]
    {
        assert_eq!(total[name], expected, "{name} in {status}");
    }
    assert_eq!((total["errors"].as_u64(), total["refusals"].as_u64()), (Some(0), Some(0)));
    let snapshot = &status["snapshot"];
    assert_eq!(snapshot["session"], support::node::SESSION, "{status}");
    assert_eq!((&snapshot["generation"], &snapshot["rules"]), (&1.into(), &9.into()), "{status}");
    let pids: std::collections::BTreeSet<u32> = status["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| u32::try_from(worker["pid"].as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(pids, node.nginx.workers(), "{status}");
}
