//! Settings in nginx's own configuration: what they mean, what replaces them, what is
//! refused.

use std::fmt::Write as _;
use std::time::Instant;

use policy::{Ban, BanKind, HostPattern, Key, Policy, RuleText};
use serde_json::json;
use support::node::{Node, blocking, rule, settings};
use support::{Site, among_others};

/// On the block list of every policy here, like all its neighbours.
const CLIENT: &str = "198.51.100.7";

fn site(local: &str) -> Site {
    Site {
        workers: 2,
        http: format!("nwaf on; {local}"),
        server: "add_header X-Action $nwaf_action always;
                 add_header X-Block-Type $nwaf_block_type always;"
            .into(),
        ..Site::default()
    }
}

fn policy(pairs: &[(&str, &str)]) -> Policy {
    Policy { settings: settings(pairs), ..blocking(&["198.51.100.0/24"]) }
}

fn action(node: &Node, client: &str, host: &str) -> String {
    let answer = node.visit("/").from(client).host(host).send();
    answer.header("x-action").unwrap_or_else(|| panic!("no verdict in {answer:?}")).to_owned()
}

fn tested(node: &mut Node, local: &str) -> (bool, String) {
    node.nginx.configure(|site| site.http = format!("nwaf on; {local}"));
    let output = node.nginx.test();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn values_are_those_of_the_api_and_lines_add_up() {
    let _turn = among_others();
    let local = "
        nwaf_ip_wl 198.51.100.1, 198.51.100.2;
        nwaf_ip_wl 198.51.100.3;
        nwaf_ip_wl domain=a.test 198.51.100.4,
                   domain=.b.test 198.51.100.16/30;
        nwaf_ip_lm '198.51.100.32-198.51.100.35, 2001:db8::/32';
        nwaf_host_wl white.test, *.white.org;
        nwaf_host_lm .passive.test;
        nwaf_host_lm PASSIVE.org:8080;
        nwaf_limit rate=5r/m block_time=600 domain=example.com;
        nwaf_limit block_time=300 rate=10r/s, domain=*.example.com rate=1r/s block_time=0;
        nwaf_body_exclude *;
        nwaf_rmq_host_exclude \"\";";
    let node = Node::start(&policy(&[]), site(local));
    for (client, host, expected) in [
        ("198.51.100.1", "x.test", "bypass"),
        ("198.51.100.2", "x.test", "bypass"),
        ("198.51.100.3", "x.test", "bypass"),
        ("198.51.100.4", "a.test", "bypass"),
        ("198.51.100.4", "b.test", "block"),
        ("198.51.100.18", "c.b.test", "bypass"),
        ("198.51.100.20", "c.b.test", "block"),
        ("198.51.100.33", "x.test", "observe"),
        (CLIENT, "x.test", "block"),
        (CLIENT, "White.test", "bypass"),
        (CLIENT, "white.org", "block"),
        (CLIENT, "a.white.org", "bypass"),
        (CLIENT, "a.passive.test", "observe"),
        (CLIENT, "passive.org", "observe"),
        ("203.0.113.9", "x.test", "pass"),
    ] {
        assert_eq!(action(&node, client, host), expected, "{client} {host}");
    }
    let status = node.nginx.status();
    let given = [
        "nwaf_limit",
        "nwaf_ip_wl",
        "nwaf_ip_lm",
        "nwaf_host_wl",
        "nwaf_host_lm",
        "nwaf_rmq_host_exclude",
        "nwaf_body_exclude",
    ];
    assert_eq!(status["local"], json!({"in_force": given, "replaced": []}), "{status}");
}

#[test]
fn a_key_of_the_policy_replaces_the_local_value_without_a_reload() {
    let _turn = among_others();
    let local = "nwaf_ip_wl 198.51.100.1; nwaf_host_lm passive.test;";
    let mut node = Node::start(&policy(&[]), site(local));
    let workers = node.nginx.workers();
    let seen = |node: &Node| {
        [("198.51.100.1", "x.test"), ("198.51.100.2", "x.test"), (CLIENT, "passive.test")]
            .map(|(client, host)| action(node, client, host))
    };
    assert_eq!(seen(&node), ["bypass", "block", "observe"]);
    // Another value, an empty one, and other keys beside it.
    node.change(&policy(&[("nwaf_ip_wl", "198.51.100.2")]));
    assert_eq!(seen(&node), ["block", "bypass", "observe"]);
    let status = node.nginx.status();
    let expected = json!({"in_force": ["nwaf_host_lm"], "replaced": ["nwaf_ip_wl"]});
    assert_eq!(status["local"], expected, "{status}");
    node.change(&policy(&[("nwaf_ip_wl", "")]));
    assert_eq!(seen(&node), ["block", "block", "observe"]);
    node.change(&policy(&[("nwaf_ip_wl", ""), ("nwaf_host_lm", "")]));
    assert_eq!(seen(&node), ["block", "block", "block"]);
    node.change(&policy(&[("nwaf_host_lm", ""), ("nwaf_mla_host_lm", "*")]));
    assert_eq!(seen(&node), ["bypass", "block", "block"]);
    node.change(&policy(&[]));
    assert_eq!(seen(&node), ["bypass", "block", "observe"]);
    assert_eq!(node.nginx.workers(), workers, "nothing was reloaded");
    let told = "in force: nwaf_host_lm; replaced by the policy: nwaf_ip_wl";
    assert_eq!(node.nginx.logged(told).len(), workers.len(), "{}", node.nginx.error_log());

    // A reload brings other local values, and takes them away.
    node.nginx.configure(|site| site.http = "nwaf on; nwaf_ip_wl 198.51.100.2;".into());
    node.nginx.reload();
    assert_eq!(seen(&node), ["block", "bypass", "block"]);
    node.nginx.configure(|site| site.http = "nwaf on;".into());
    node.nginx.reload();
    assert_eq!(seen(&node), ["block", "block", "block"]);
    let status = node.nginx.status();
    assert_eq!(status["local"], json!({"in_force": [], "replaced": []}), "{status}");
}

#[test]
fn without_a_policy_local_lists_hold_and_nwaf_on_error_decides_about_the_rest() {
    let _turn = among_others();
    let lists = "nwaf_ip_wl 198.51.100.1; nwaf_host_wl white.test;
                 nwaf_ip_lm 198.51.100.2; nwaf_host_lm passive.test;";
    let mut node = Node::prepare(site(&format!("nwaf_on_error block; {lists}")));
    node.nginx.run();
    let seen = |node: &Node, client: &str, host: &str| {
        let answer = node.visit("/").from(client).host(host).send();
        (answer.status, answer.header("x-action").unwrap_or_default().to_owned())
    };
    for (client, host, status, action) in [
        ("198.51.100.1", "x.test", 200, "bypass"),
        (CLIENT, "white.test", 200, "bypass"),
        ("198.51.100.2", "x.test", 200, "pass"),
        (CLIENT, "passive.test", 200, "pass"),
        (CLIENT, "x.test", 403, "block"),
    ] {
        assert_eq!(seen(&node, client, host), (status, action.into()), "{client} {host}");
    }
    // Of a request that names two hosts, the stricter answer holds.
    let two = node.visit("http://white.test/").from(CLIENT).host("x.test");
    assert_eq!(two.status(), 403);
    assert_eq!(node.visit("http://white.test/").host("passive.test").status(), 200);
    // With a policy everything is as always.
    node.publish(&blocking(&["198.51.100.0/24"]));
    node.in_step();
    assert_eq!(seen(&node, "203.0.113.1", "x.test"), (200, "pass".into()));
    assert_eq!(seen(&node, CLIENT, "passive.test"), (200, "observe".into()));
}

#[test]
fn bodies_and_verdicts_of_detectors_follow_local_lists() {
    let _turn = among_others();
    let local = "nwaf_body_exclude up.test/files; nwaf_put_body_exclude put.test;
                 nwaf_bf_detect_host_lm brute.test; nwaf_ddos_detect_host_lm *;
                 nwaf_ai_extra_host_wl ai.test; nwaf_ai_extra_host_lm ailm.test;";
    // "evil"
    let text = RuleText { body: Some("ZXZpbA==".into()), ..RuleText::default() };
    let policy = |pairs: &[(&str, &str)]| Policy {
        rules: vec![rule(1, text.clone())],
        settings: settings(pairs),
        ..Policy::default()
    };
    let mut node = Node::start(&policy(&[]), site(local));
    let sent = |node: &Node, method: &str, host: &str, target: &str| {
        node.visit(target).method(method).host(host).body("evil").status()
    };
    assert_eq!(sent(&node, "POST", "up.test", "/files"), 200);
    assert_eq!(sent(&node, "POST", "up.test", "/%66iles/"), 403);
    assert_eq!(sent(&node, "POST", "put.test", "/"), 403);
    assert_eq!(sent(&node, "PUT", "put.test", "/"), 200);
    assert_eq!(sent(&node, "PUT", "x.test", "/"), 403);
    node.change(&policy(&[("nwaf_put_body_exclude", "")]));
    assert_eq!(sent(&node, "PUT", "put.test", "/"), 403);
    assert_eq!(sent(&node, "POST", "up.test", "/files"), 200);

    let ban = |address: &str, kind| Ban {
        range: address.parse().expect("an address"),
        domain: HostPattern::Any,
        kind,
        rule: 0,
        until: u64::MAX,
    };
    node.ban(&[
        ban("192.0.2.1", BanKind::BruteForce),
        ban("192.0.2.2", BanKind::Ddos),
        ban("192.0.2.3", BanKind::LaterAnalysis),
    ]);
    for (client, host, expected) in [
        ("192.0.2.1", "x.test", "block"),
        ("192.0.2.1", "brute.test", "observe"),
        ("192.0.2.2", "x.test", "observe"),
        ("192.0.2.3", "x.test", "block"),
        ("192.0.2.3", "ai.test", "pass"),
        ("192.0.2.3", "ailm.test", "observe"),
    ] {
        assert_eq!(action(&node, client, host), expected, "{client} {host}");
    }
}

#[test]
fn a_local_limit_bans_until_the_policy_has_one() {
    let _turn = among_others();
    let local =
        "nwaf_limit rate=2r/m block_time=600; nwaf_limit domain=free.test rate=2r/m block_time=0;";
    // "attack"; hits of the block list do not count.
    let text = RuleText { args: Some("YXR0YWNr".into()), ..RuleText::default() };
    let policy = |pairs: &[(&str, &str)]| Policy {
        rules: vec![rule(1, text.clone())],
        settings: settings(pairs),
        ..Policy::default()
    };
    let mut node = Node::start(&policy(&[]), site(local));
    let types = |node: &Node, client: &str, host: &str| {
        [(); 4].map(|()| {
            let answer = node.visit("/?attack").from(client).host(host).send();
            answer.header("x-block-type").unwrap_or_default().to_owned()
        })
    };
    assert_eq!(types(&node, "198.51.100.1", "x.test"), ["5", "5", "6", "6"]);
    assert_eq!(types(&node, "198.51.100.2", "free.test"), ["5", "5", "5", "5"]);
    node.change(&policy(&[("nwaf_limit", "")]));
    assert_eq!(types(&node, "198.51.100.3", "x.test"), ["5", "5", "5", "5"]);
    assert_eq!(types(&node, "198.51.100.1", "x.test"), ["5", "5", "5", "5"]);
    node.change(&policy(&[("nwaf_limit", "rate=1r/m block_time=600")]));
    assert_eq!(types(&node, "198.51.100.4", "x.test"), ["5", "6", "6", "6"]);
    node.change(&policy(&[]));
    assert_eq!(types(&node, "198.51.100.5", "x.test"), ["5", "5", "6", "6"]);
}

#[test]
fn bad_values_are_refused_with_directive_value_reason_file_and_line() {
    let _turn = among_others();
    let mut node = Node::prepare(site(""));
    node.publish(&policy(&[]));
    for key in Key::ALL {
        let (bad, reason) = match key {
            Key::Limit => ("rate=5 block_time=1", "does not end in r/m or r/s"),
            Key::IpWl | Key::IpLm => ("192.0.2.1, 192.0.2.0/33", "prefix length"),
            Key::BodyExclude => ("example.com", "no path after the host"),
            _ => ("good.test, a..b", "empty label"),
        };
        let (accepted, said) = tested(&mut node, &format!("{key} {bad};"));
        assert!(!accepted, "{key} {bad} was accepted");
        let start = format!("[emerg] {key}: value \"");
        assert!(said.contains(&start) && said.contains(reason), "{key} {bad}: {said}");
        assert!(said.contains("nginx.conf:"), "{key} {bad}: no file and line in {said}");
        let (accepted, said) = tested(&mut node, &format!("{key};"));
        assert!(!accepted && said.contains("invalid number of arguments"), "{key}: {said}");
    }
    let long = format!("nwaf_host_wl {};", "x".repeat(300));
    for (local, words) in [
        ("nwaf_ip_wl 192.0.2.1 192.0.2.2;", &["nwaf_ip_wl", "192.0.2.1 192.0.2.2", "comma"][..]),
        ("nwaf_ip_wl 192.0.2.1,, 192.0.2.2;", &["nwaf_ip_wl", "no address"]),
        (
            "nwaf_limit rate=1r/s block_time=1; nwaf_limit rate=2r/s block_time=1;",
            &["nwaf_limit", "rate=2r/s", "another entry already"],
        ),
        ("nwaf_ip_wl a, b, c;", &["value \"a\"", "2 more values of this directive"]),
        ("nwaf_url_wl *;", &["unknown directive"]),
        (&long, &["nwaf_host_wl", "253 bytes", "xxx..."]),
        ("nwaf_host_wl \"a\\nb\";", &["nwaf_host_wl", "\"a\\nb\""]),
    ] {
        let (accepted, said) = tested(&mut node, local);
        assert!(!accepted, "{local} was accepted");
        for word in words {
            assert!(said.contains(word), "{local}: {word:?} is not in {said}");
        }
    }
    let (accepted, said) = tested(&mut node, "");
    assert!(accepted, "{said}");
    node.nginx.configure(|site| site.server = "nwaf_host_wl a.test;".into());
    let output = node.nginx.test();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("not allowed here"), "{said}");
    node.nginx.configure(|site| site.server.clear());

    // What is not UTF-8 is not a path that somebody meant.
    let include = node.folder.path().join("latin1.conf");
    std::fs::write(&include, b"nwaf_body_exclude a.test/f\xfcr;\n").unwrap();
    let (accepted, said) = tested(&mut node, &format!("include {};", include.display()));
    assert!(!accepted && said.contains("not UTF-8") && said.contains("latin1.conf:1"), "{said}");
}

#[test]
fn large_lists_are_read_and_what_a_policy_leaves_of_them_is_compiled() {
    const ADDRESSES: u32 = 100_000;
    let _turn = among_others();
    let mut node = Node::prepare(site(""));
    // Every second address, so that none can be joined with the next.
    let mut lists = String::from("nwaf_ip_wl\n");
    for nth in 0..ADDRESSES {
        let [_, b, c, d] = (nth * 2).to_be_bytes();
        let end = if nth + 1 == ADDRESSES { ";\n" } else { ",\n" };
        write!(lists, "    10.{b}.{c}.{d}{end}").unwrap();
    }
    for nth in 0..1_000 {
        writeln!(lists, "nwaf_limit domain=h{nth}.test rate=1r/m block_time=1;").unwrap();
    }
    let include = node.folder.path().join("lists.conf");
    std::fs::write(&include, lists).unwrap();
    let line = format!("nwaf on; include {};", include.display());
    node.nginx.configure(|site| site.http = line);
    let begin = Instant::now();
    let output = node.nginx.test();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("nginx -t with {ADDRESSES} addresses took {:?}", begin.elapsed());
    let policy =
        |pairs: &[(&str, &str)]| Policy { settings: settings(pairs), ..blocking(&["10.0.0.0/8"]) };
    node.publish(&policy(&[]));
    node.nginx.run();
    node.in_step();
    for pairs in [&[][..], &[("nwaf_limit", "")], &[]] {
        node.change(&policy(pairs));
        assert_eq!(action(&node, "10.0.0.0", "x.test"), "bypass");
        assert_eq!(action(&node, "10.3.13.62", "x.test"), "bypass");
        assert_eq!(action(&node, "10.3.13.63", "x.test"), "block");
        assert_eq!(action(&node, "10.3.13.64", "x.test"), "block");
    }
}
