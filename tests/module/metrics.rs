//! `nwaf_metrics` and what the status counts: the same numbers for Prometheus and for
//! people.

use std::collections::BTreeSet;

use policy::{Policy, RuleText};
use serde_json::{Value, json};
use support::node::{Node, blocking, rule, settings};
use support::wait::{PATIENCE, eventually};
use support::{Metrics, Mmdb, Site, among_others, artifacts};

/// Rule 1 blocks "/attack" and counts for the limit, rule 2 observes "/watched".
fn policy() -> Policy {
    let url = |url: &str| RuleText { url: Some(url.into()), ..RuleText::default() };
    Policy {
        rules: vec![
            rule(1, url("L2F0dGFjaw==")),
            rule(2, RuleText { lm: true, ..url("L3dhdGNoZWQ=") }),
        ],
        settings: settings(&[
            ("nwaf_limit", "rate=1r/m block_time=600"),
            ("nwaf_host_wl", "white.test"),
        ]),
        ..blocking(&["198.51.100.7", "2001:db8::/32"])
    }
}

fn site() -> Site {
    let http = "nwaf on; nwaf_ip_lm 192.0.2.1; nwaf_host_wl other.test;";
    Site { workers: 2, http: http.into(), ..Site::default() }
}

/// Requests of every kind: 8 judged.
fn visit(node: &Node) {
    let visit = |target: &str, client: &str| node.visit(target).from(client);
    for (visit, status) in [
        (visit("/", "203.0.113.1"), 200),
        (visit("/", "203.0.113.1").host("white.test"), 200),
        (visit("/watched", "203.0.113.1"), 200),
        (visit("/", "198.51.100.7"), 403),
        (visit("/", "2001:db8::1"), 403),
        (visit("/attack", "203.0.113.2"), 403),
        // More than one: banned.
        (visit("/attack", "203.0.113.2"), 403),
        (visit("/", "203.0.113.2"), 403),
    ] {
        assert_eq!(visit.status(), status, "{visit:?}");
    }
}

fn blocked(metrics: &Metrics, number: &str, reason: &str) -> Option<f64> {
    metrics.get("nwaf_module_blocked_total", &[("block_type", number), ("reason", reason)])
}

/// The metric without labels.
fn number(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.get(&format!("nwaf_module_{name}"), &[])
}

#[test]
fn everything_is_counted_in_both_forms() {
    let _turn = among_others();
    let mut node = Node::start(&policy(), site());
    visit(&node);
    let metrics = node.nginx.metrics();
    for (name, expected) in [
        ("requests_total", 8),
        ("observed_total", 1),
        ("bypassed_total", 1),
        ("errors_total", 0),
        ("refusals_total", 0),
        ("bans_total", 1),
        ("snapshot_in_force", 1),
        ("snapshot_refused", 0),
        ("snapshot_generation", 1),
        ("snapshot_session", 7),
        ("snapshot_addresses", 2),
        ("snapshot_hosts", 1),
        ("snapshot_rules", 2),
        ("zone_bans", 1),
    ] {
        assert_eq!(number(&metrics, name), Some(f64::from(expected)), "{name}");
    }
    assert_eq!(blocked(&metrics, "5", "extended_rule"), Some(1.0));
    assert_eq!(blocked(&metrics, "6", "limit_ban"), Some(2.0));
    assert_eq!(blocked(&metrics, "8", "block_list"), Some(2.0));
    assert_eq!(metrics.values("nwaf_module_blocked_total").iter().sum::<f64>(), 5.0);
    let age = number(&metrics, "snapshot_age_seconds").expect("an age");
    let created = number(&metrics, "snapshot_created_timestamp_seconds").expect("a time");
    assert!((0.0..600.0).contains(&age) && created > 1.7e9, "{age} {created}");
    let setting = |name| metrics.get("nwaf_module_local_setting_in_force", &[("setting", name)]);
    assert_eq!((setting("nwaf_ip_lm"), setting("nwaf_host_wl")), (Some(1.0), Some(0.0)));
    assert_eq!(setting("nwaf_ip_wl"), None);
    assert_eq!(metrics.get("nwaf_build_info", &[("version", "0.1.0")]), Some(1.0));

    let status = node.nginx.status();
    let by = json!({"4": 0, "5": 1, "6": 2, "7": 0, "8": 2, "9": 0, "10": 0, "11": 0});
    assert_eq!(status["total"]["blocked_by"], by, "{status}");
    let workers = status["workers"].as_array().expect("workers");
    let of_type = |worker: &Value| worker["blocked_by"]["8"].as_u64().expect("a number");
    assert_eq!(workers.iter().map(of_type).sum::<u64>(), 2, "{status}");
    for worker in workers {
        let pid = worker["pid"].to_string();
        for (field, name) in [
            ("generation", "generation"),
            ("requests", "requests_total"),
            ("blocked", "blocked_total"),
            ("errors", "errors_total"),
        ] {
            let name = format!("nwaf_module_worker_{name}");
            let value = metrics.get(&name, &[("worker", &pid)]);
            assert_eq!(value, worker[field].as_f64(), "{name} of {pid}");
        }
    }
    assert!(status["last_error"].is_null(), "{status}");

    // A reload ends workers, and their counts go on.
    node.nginx.reload();
    visit(&node);
    let metrics = node.nginx.metrics();
    assert_eq!(number(&metrics, "requests_total"), Some(16.0));
    assert_eq!(blocked(&metrics, "8", "block_list"), Some(4.0));
    let serving = metrics.get("nwaf_module_workers", &[("state", "serving")]);
    assert_eq!(serving, Some(2.0));
}

#[test]
fn what_is_not_known_has_no_sample_and_errors_are_told() {
    let _turn = among_others();
    let mut node = Node::prepare(Site { http: "nwaf on; nwaf_on_error block;".into(), ..site() });
    node.nginx.run();
    assert_eq!(node.visit("/").status(), 403);
    let metrics = node.nginx.metrics();
    assert_eq!(number(&metrics, "snapshot_in_force"), Some(0.0));
    assert_eq!(blocked(&metrics, "11", "internal_error"), Some(1.0));
    for name in
        ["snapshot_generation", "snapshot_age_seconds", "published_bans", "countries_ranges"]
    {
        assert_eq!(number(&metrics, name), None, "{name}");
    }
    assert!(metrics.values("nwaf_module_worker_generation").is_empty());
    let error = &node.nginx.status()["last_error"];
    let text = error["text"].as_str().expect("a text");
    assert!(text.contains("no snapshot is in force"), "{error}");
    assert!(error["at"].as_str().is_some_and(|at| at.starts_with("20")), "{error}");

    node.publish(&policy());
    node.in_step();
    node.replace_current(b"not a snapshot", 0o644);
    eventually(PATIENCE, "the refusal in every worker", || {
        (number(&node.nginx.metrics(), "refusals_total") == Some(2.0)).then_some(())
    });
    let metrics = node.nginx.metrics();
    assert_eq!(number(&metrics, "snapshot_refused"), Some(1.0));
    assert_eq!(number(&metrics, "snapshot_generation"), Some(1.0));
    let error = node.nginx.status()["last_error"].clone();
    assert!(error["text"].as_str().is_some_and(|text| text.contains("refused")), "{error}");
    assert!(number(&metrics, "last_error_timestamp_seconds").is_some_and(|at| at > 1.7e9));
}

#[test]
fn texts_from_elsewhere_are_escaped() {
    let _turn = among_others();
    let mut node = Node::prepare(Site::default());
    let kind = "a \"b\"\\ with\n{c}, and ü";
    let file = node.folder.path().join("countries.mmdb");
    Mmdb::new(kind).put("198.51.100.0/24", "CH").publish(&file);
    node.nginx.configure(|site| {
        site.http = format!("nwaf on; nwaf_geoip2 {};", file.display());
    });
    node.publish(&Policy::default());
    node.nginx.run();
    node.in_step();
    let metrics = node.nginx.metrics();
    assert_eq!(metrics.get("nwaf_module_countries_ranges", &[("type", kind)]), Some(1.0));
    assert_eq!(number(&metrics, "countries_refused"), Some(0.0));
    assert_eq!(node.nginx.status()["countries"]["type"], kind);
}

#[test]
fn only_get_and_head_are_answered() {
    let _turn = among_others();
    let site = Site { http: "nwaf on; charset koi8-r; gzip on;".into(), ..Site::default() };
    let mut node = Node::start(&policy(), site);
    let answer = node.nginx.ask("/nwaf_metrics").send();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(text)));
    let head = node.nginx.ask("/nwaf_metrics").method("HEAD").send();
    assert_eq!((head.status, head.header("content-type")), (200, Some(text)));
    assert!(head.body.is_empty());
    for method in ["POST", "PUT", "DELETE"] {
        let refused = node.nginx.ask("/nwaf_metrics").method(method).body("x").status();
        assert_eq!(refused, 405, "{method}");
        assert_eq!(node.nginx.ask("/nwaf_status").method(method).body("x").status(), 405);
    }
    assert_eq!(
        node.nginx.ask("/nwaf_status").send().header("content-type"),
        Some("application/json")
    );

    for (place, why) in [
        ("nwaf_metrics on;", "invalid number of arguments"),
        ("nwaf_metrics; nwaf_metrics;", "duplicate"),
        ("nwaf_metrics; nwaf_status;", "the page of nwaf_metrics already"),
    ] {
        node.nginx.configure(|site| site.server = format!("location / {{ {place} }}"));
        let output = node.nginx.test();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{place}: {said}");
    }
}

/// The fields of a JSON value, however deep.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            found.insert(format!("{path}/{name}"));
            fields(value, &format!("{path}/{name}"), found);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, path, found)),
        _ => {}
    }
}

#[test]
fn the_document_names_every_field_and_every_metric() {
    let _turn = among_others();
    let mut node = Node::prepare(site());
    let file = node.folder.path().join("countries.mmdb");
    Mmdb::of(&[("198.51.100.0/24", "CH")]).publish(&file);
    node.nginx.configure(|site| {
        site.http = format!("{} nwaf_geoip2 {};", site.http, file.display());
    });
    node.publish(&policy());
    node.nginx.run();
    node.in_step();
    node.ban(&[]);
    // Something to be the last error.
    node.replace_current(b"not a snapshot", 0o644);
    let status = eventually(PATIENCE, "the refusal", || {
        let status = node.nginx.status();
        (!status["last_error"].is_null()).then_some(status)
    });
    let path = artifacts::project().join("docs/status.md");
    let document = std::fs::read_to_string(path).expect("docs/status.md");
    let example = document.split("```json").nth(1).and_then(|rest| rest.split("```").next());
    let example: Value = serde_json::from_str(example.expect("an example")).expect("is JSON");
    let (mut told, mut documented) = (BTreeSet::new(), BTreeSet::new());
    fields(&status.0, "", &mut told);
    fields(&example, "", &mut documented);
    assert_eq!(told, documented);

    let metrics = node.nginx.metrics().0;
    assert!(metrics.len() > 40, "{metrics:?}");
    for (name, family) in metrics {
        // With its labels, in the order of the page.
        let labels = family.samples.first().map(|(labels, _)| labels.keys().cloned().collect());
        let labels: Vec<String> = labels.unwrap_or_default();
        let shown = match labels.as_slice() {
            [] => format!("`{name}`"),
            labels => format!("`{name}{{{}}}`", labels.join(",")),
        };
        assert!(document.contains(&shown), "{shown} is not in docs/status.md");
    }
}
