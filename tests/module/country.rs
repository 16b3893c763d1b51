//! `nwaf_geoip2` and `$nwaf_cc`: countries are known, change at run time, and their
//! file never stands in the way.

use std::path::PathBuf;

use policy::{Policy, RuleText};
use support::folder::set_mode;
use support::node::{Node, rule};
use support::wait::{PATIENCE, eventually};
use support::{Load, Mmdb, Response, Site, among_others};

const SWISS: &str = "198.51.100.7";
const GERMAN: &str = "203.0.113.9";
const AMERICAN: &str = "2001:db8::7";

/// Rule 1: "CH". Rule 2: neither "CH" nor "US", to "/x".
fn policy() -> Policy {
    let text = RuleText::default();
    let not_these = Some("!Q0g=&!VVM=".to_owned());
    Policy {
        rules: vec![
            rule(1, RuleText { country: Some("Q0g=".into()), ..text.clone() }),
            rule(2, RuleText { country: not_these, url: Some("L3g=".into()), ..text }),
        ],
        ..Policy::default()
    }
}

fn database() -> Mmdb {
    Mmdb::of(&[
        ("198.51.100.0/24", "CH"),
        ("203.0.113.0/24", "de"),
        ("2001:db8::/32", "US"),
        ("10.0.0.0/8", "CH"),
    ])
}

/// Everybody is in one country.
fn all_in(code: &str) -> Mmdb {
    Mmdb::of(&[("0.0.0.0/1", code), ("128.0.0.0/1", code), ("2000::/3", code)])
}

/// An nginx that is told of a database, which is not there yet; it does not run yet.
fn prepared(workers: u32) -> (Node, PathBuf) {
    let mut node = Node::prepare(Site { workers, ..Site::default() });
    let file = node.folder.path().join("countries.mmdb");
    node.nginx.configure(|site| {
        site.http = format!("nwaf on; nwaf_geoip2 {};", file.display());
        site.server = "add_header X-CC $nwaf_cc always;".into();
    });
    node.publish(&policy());
    (node, file)
}

/// The same with the database, running.
fn started(workers: u32) -> (Node, PathBuf) {
    let (mut node, file) = prepared(workers);
    database().publish(&file);
    node.nginx.run();
    node.in_step();
    (node, file)
}

fn seen(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-cc"))
}

/// Asks until a client is seen like that by every worker, as far as many requests tell.
fn comes_to_be(node: &Node, client: &str, wanted: (u16, Option<&str>)) {
    eventually(PATIENCE, &format!("{client} as {wanted:?}"), || {
        (0..16).all(|_| seen(&node.visit("/").from(client).send()) == wanted).then_some(())
    });
}

#[test]
fn a_rule_by_country_blocks_and_the_country_is_told() {
    let _turn = among_others();
    let (node, file) = started(1);
    for (client, target, wanted) in [
        (SWISS, "/", (403, Some("CH"))),
        ("::ffff:198.51.100.7", "/", (403, Some("CH"))),
        (GERMAN, "/", (200, Some("DE"))),
        (GERMAN, "/x", (403, Some("DE"))),
        (AMERICAN, "/x", (200, Some("US"))),
        // Unknown, and private: "all but these" does not mean them.
        ("192.0.2.1", "/x", (200, None)),
        ("10.0.0.1", "/", (200, None)),
        ("10.0.0.1", "/x", (200, None)),
        ("2001:db9::1", "/x", (200, None)),
    ] {
        let answer = node.visit(target).from(client).send();
        assert_eq!(seen(&answer), wanted, "{client} asks for {target}");
    }
    assert!(!node.nginx.logged("blocked by rule ID 1 in zone COUNTRY").is_empty());
    assert_eq!(node.nginx.logged("country database \"Test-Country\" of 2025-11-22T").len(), 1);
    let countries = &node.nginx.status()["countries"];
    assert_eq!(countries["file"], file.display().to_string());
    assert_eq!((&countries["type"], &countries["ranges"]), (&"Test-Country".into(), &4.into()));
    assert_eq!(countries["built"], "2025-11-22T14:00:00.000Z");
    assert!(countries["last_refusal"].is_null());
}

#[test]
fn the_variable_needs_no_rule_and_no_judgement() {
    let _turn = among_others();
    let (mut node, _) = started(1);
    node.nginx.configure(|site| {
        site.server = "add_header X-CC $nwaf_cc always;
             location / { return 200 ok; }
             location /off { nwaf off; return 200 ok; }
             location /map { if ($nwaf_cc = CH) { return 418; } return 200 ok; }"
            .into();
    });
    node.nginx.reload();
    node.change(&Policy::default());
    let ask = |target: &str, client: &str| node.visit(target).from(client).send();
    assert_eq!(seen(&ask("/", SWISS)), (200, Some("CH")));
    assert_eq!(seen(&ask("/off", GERMAN)), (200, Some("DE")));
    assert_eq!(seen(&ask("/map", SWISS)), (418, Some("CH")));
    assert_eq!(seen(&ask("/map", GERMAN)), (200, Some("DE")));

    // Without the directive nothing is known.
    node.nginx.configure(|site| site.http = "nwaf on;".into());
    node.nginx.reload();
    node.change(&policy());
    assert_eq!(seen(&node.visit("/").from(SWISS).send()), (200, None));
    assert!(node.nginx.status()["countries"].is_null());
}

#[test]
fn another_file_is_noticed_without_a_reload() {
    let _turn = among_others();
    let (node, file) = started(2);
    let (workers, generations) = (node.nginx.workers(), node.nginx.generations());
    assert_eq!(seen(&node.visit("/").from(GERMAN).send()), (200, Some("DE")));
    all_in("CH").publish(&file);
    comes_to_be(&node, GERMAN, (403, Some("CH")));
    // As careless people do: over the file itself.
    std::fs::write(&file, all_in("FR").bytes()).expect("is written");
    comes_to_be(&node, SWISS, (200, Some("FR")));
    assert_eq!((node.nginx.workers(), node.nginx.generations()), (workers, generations));
    assert!(node.nginx.logged("[warn]").is_empty());
}

#[test]
fn a_broken_or_missing_file_keeps_what_was_known() {
    let _turn = among_others();
    let (mut node, file) = started(2);
    let refused = |node: &Node, text: &str| {
        eventually(PATIENCE, text, || {
            let why = node.nginx.status()["countries"]["last_refusal"].as_str()?.to_owned();
            why.contains(text).then_some(())
        });
    };
    let bytes = database().bytes();
    let broken = "not a whole MaxMind database";
    std::fs::write(&file, &bytes[..bytes.len() - 100]).expect("is written");
    refused(&node, broken);
    comes_to_be(&node, SWISS, (403, Some("CH")));
    // Both have looked at it before it goes.
    eventually(PATIENCE, "the other worker", || {
        (node.nginx.status()["total"]["refusals"].as_u64() >= Some(2)).then_some(())
    });
    std::fs::remove_file(&file).expect("is removed");
    refused(&node, "does not exist");
    comes_to_be(&node, SWISS, (403, Some("CH")));
    // One worker tells for all.
    eventually(PATIENCE, "both warnings", || {
        let of = |text: &str| node.nginx.logged(text).len();
        (of(broken) == 1 && of("does not exist; the one before it stays") == 1).then_some(())
    });
    // A reload has only the file, and works without.
    node.nginx.reload();
    comes_to_be(&node, SWISS, (200, None));
    database().publish(&file);
    comes_to_be(&node, SWISS, (403, Some("CH")));
    assert!(node.nginx.status()["countries"]["last_refusal"].is_null());
    assert!(node.nginx.status()["total"]["refusals"].as_u64() >= Some(2));
}

#[test]
fn a_start_without_the_file_waits_for_it() {
    let _turn = among_others();
    let (mut node, file) = prepared(1);
    node.nginx.run();
    node.in_step();
    assert_eq!(seen(&node.visit("/").from(SWISS).send()), (200, None));
    let told = node.nginx.logged("does not exist; every country is unknown");
    assert!(told.len() == 1 && told[0].contains("[warn]"), "{told:?}");
    database().publish(&file);
    comes_to_be(&node, SWISS, (403, Some("CH")));
}

#[test]
fn the_first_request_after_a_reload_or_start_knows_its_country() {
    let _turn = among_others();
    let (mut node, _) = started(1);
    for _ in 0..3 {
        node.nginx.reload();
        assert_eq!(seen(&node.visit("/").from(SWISS).send()), (403, Some("CH")));
        node.nginx.restart();
        assert_eq!(seen(&node.visit("/").from(SWISS).send()), (403, Some("CH")));
    }
}

#[test]
fn files_that_change_under_load_harm_nobody() {
    let _turn = among_others();
    let (node, file) = started(2);
    let workers = node.nginx.workers();
    let visits = [node.visit("/").from(GERMAN), node.visit("/x").from(AMERICAN)];
    let load = Load::start(node.nginx.address(), 2, &visits);
    let bytes = database().bytes();
    for round in 0..6 {
        // Truncated while it is in use: nothing may be left mapped.
        std::fs::write(&file, &bytes[..bytes.len() * round / 6]).expect("is written");
        load.await_more(100);
        database().publish(&file);
        load.await_more(100);
    }
    load.stop().assert_only(&[200]);
    assert_eq!(node.nginx.workers(), workers);
    comes_to_be(&node, SWISS, (403, Some("CH")));
}

#[test]
fn nginx_t_refuses_only_what_can_never_be_right() {
    let _turn = among_others();
    let (mut node, file) = prepared(1);
    let tested = |node: &Node| {
        let output = node.nginx.test();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (accepted, said) = tested(&node);
    assert!(accepted && said.contains("[warn] nwaf_geoip2"), "{said}");
    assert!(said.contains("does not exist yet") && said.contains("nginx.conf:"), "{said}");
    std::fs::write(&file, b"<html>").expect("is written");
    let (accepted, said) = tested(&node);
    assert!(accepted && said.contains("not a whole MaxMind database"), "{said}");
    database().publish(&file);
    let (accepted, said) = tested(&node);
    assert!(accepted && !said.contains("[warn]"), "{said}");
    set_mode(&file, 0o666);
    let (accepted, said) = tested(&node);
    assert!(accepted && said.contains("writable by everybody (mode 0666)"), "{said}");

    let line = format!("nwaf_geoip2 {};", file.display());
    for (http, server, words) in [
        ("nwaf_geoip2 countries.mmdb;", "", ["nwaf_geoip2: value \"countries.mmdb\"", "absolute"]),
        ("nwaf_geoip2 \"\";", "", ["nwaf_geoip2", "absolute"]),
        ("nwaf_geoip2;", "", ["nwaf_geoip2", "invalid number of arguments"]),
        (&line.repeat(2), "", ["nwaf_geoip2", "duplicate"]),
        ("", &line, ["nwaf_geoip2", "not allowed here"]),
    ] {
        node.nginx.configure(|site| (site.http, site.server) = (http.into(), server.into()));
        let (accepted, said) = tested(&node);
        assert!(!accepted && words.iter().all(|word| said.contains(word)), "{http}: {said}");
    }
}
