//! The life of workers: start, reload, restart, sudden death, swaps in between.

use rustix::process::Signal;
use support::node::{Node, blocking};
use support::process::signal_pid;
use support::wait::{PATIENCE, eventually};
use support::{Load, Site, among_others};

const LISTED: &str = "198.51.100.7";

fn site(workers: u32) -> Site {
    Site { workers, ..Site::default() }
}

#[test]
fn the_first_request_after_a_start_is_judged() {
    let _turn = among_others();
    let mut node = Node::start(&blocking(&[LISTED]), site(1));
    for _ in 0..3 {
        node.nginx.restart();
        assert_eq!(node.visit("/").from(LISTED).status(), 403);
    }
}

#[test]
fn a_change_reaches_every_worker_without_a_reload() {
    let _turn = among_others();
    let mut node = Node::start(&blocking(&[]), site(4));
    let workers = node.nginx.workers();
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    node.change(&blocking(&[LISTED]));
    for _ in 0..20 {
        assert_eq!(node.visit("/").from(LISTED).status(), 403);
    }
    node.change(&blocking(&[]));
    for _ in 0..20 {
        assert_eq!(node.visit("/").from(LISTED).status(), 200);
    }
    assert_eq!(node.nginx.workers(), workers);
}

#[test]
fn reloads_and_swaps_under_load_fail_no_request() {
    let _turn = among_others();
    let mut node = Node::start(&blocking(&[LISTED]), site(2));
    let visits = [node.visit("/"), node.visit("/").from(LISTED)];
    let load = Load::start(node.nginx.address(), 2, &visits);
    for round in 0..4 {
        node.publish(&blocking(&[LISTED, "203.0.113.9"]));
        node.nginx.reload();
        node.in_step();
        load.await_more(20);
        assert_eq!(node.visit("/").from(LISTED).status(), 403, "round {round}");
    }
    load.stop().assert_only(&[200, 403]);
    let status = node.nginx.status();
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2), "{status}");
    assert!(status["total"]["blocked"].as_u64() > Some(40), "counts survive a reload: {status}");
}

#[test]
fn a_worker_that_dies_is_replaced_and_its_slot_too() {
    let _turn = among_others();
    let mut node = Node::start(&blocking(&[LISTED]), site(2));
    // nginx itself writes an alert when a worker is killed.
    node.nginx.expect_in_log("exited on signal 9");
    let before = node.nginx.workers();
    let victim = *before.first().expect("a worker");
    signal_pid(victim, Signal::KILL);
    eventually(PATIENCE, "a new worker", || {
        let now = node.nginx.workers();
        (now.len() == 2 && !now.contains(&victim)).then_some(())
    });
    eventually(PATIENCE, "the status of the new worker", || {
        let status = node.nginx.status();
        let workers = status["workers"].as_array()?.clone();
        let alive = workers.iter().all(|w| w["pid"].as_u64() != Some(victim.into()));
        (workers.len() == 2 && alive).then_some(())
    });
    node.change(&blocking(&[LISTED, "203.0.113.9"]));
    assert_eq!(node.visit("/").from("203.0.113.9").status(), 403);
}

/// Generation 1 lists the address, generation 2 is in force and does not.
fn with_history(change: impl FnOnce(&Node)) -> Node {
    let mut node = Node::start(&blocking(&[LISTED]), site(2));
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    change(&node);
    node.nginx.restart();
    node
}

#[test]
fn a_worker_that_starts_beside_a_bad_file_takes_the_one_before() {
    let _turn = among_others();
    type Change = fn(&Node);
    let changes: [(&str, Change); 2] = [
        ("0 bytes", |node| node.replace_current(b"", 0o644)),
        ("does not exist", |node| std::fs::remove_file(node.current()).expect("is removed")),
    ];
    for (why, change) in changes {
        let mut node = with_history(change);
        eventually(PATIENCE, "the one before on every worker", || {
            (node.nginx.generations() == [1; 2]).then_some(())
        });
        assert_eq!(node.visit("/").from(LISTED).status(), 403, "{why}");
        let refusal = node.nginx.status()["snapshot"]["last_refusal"].to_string();
        assert!(refusal.contains(why), "{refusal}");
        let lines = node.nginx.logged("previous.nws (generation 1) is in force instead");
        assert!(lines.len() == 1 && lines[0].contains("[warn]") && lines[0].contains(why));

        let output = node.nginx.test();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("previous.nws (generation 1)"), "{said}");

        // A reload and a killed worker change nothing.
        node.nginx.reload();
        assert_eq!(node.visit("/").from(LISTED).status(), 403, "{why}");
        // The next good one is followed.
        node.change(&blocking(&["203.0.113.9"]));
        assert_eq!(node.visit("/").from(LISTED).status(), 200, "{why}");
        assert!(node.nginx.status()["snapshot"]["last_refusal"].is_null(), "{why}");
    }
    // Without one before it, or with a bad one, the operator decides as ever.
    let node = with_history(|node| {
        node.replace_current(b"", 0o644);
        let previous = node.current().with_file_name("previous.nws");
        std::fs::rename(node.current(), previous).expect("is renamed");
        node.replace_current(b"bad", 0o644);
    });
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    assert_eq!(node.nginx.logged("previous.nws cannot be used either").len(), 1);
}

#[test]
fn a_failed_reload_does_not_confuse_the_workers_that_come_after() {
    let _turn = among_others();
    let ids = "add_header X-Id $request_id always;".to_owned();
    let mut node = Node::start(&blocking(&[LISTED]), Site { server: ids, ..site(1) });
    node.nginx.expect_in_log("exited on signal 9");
    node.nginx.expect_in_log("bind() to 192.0.2.1:1");
    // Other variables, so that they are numbered differently, and a socket nobody can open.
    node.nginx.configure(|site| {
        site.http = "log_format more '$http_a $http_b $http_c $http_d'; nwaf on;".into();
        site.servers = "server { listen 192.0.2.1:1; }".into();
    });
    signal_pid(node.nginx.pid(), Signal::HUP);
    eventually(PATIENCE, "a failed reload", || {
        (!node.nginx.logged("bind() to 192.0.2.1:1").is_empty()).then_some(())
    });
    let victim = *node.nginx.workers().first().expect("a worker");
    signal_pid(victim, Signal::KILL);
    eventually(PATIENCE, "a new worker", || {
        let now = node.nginx.workers();
        (now.len() == 1 && !now.contains(&victim)).then_some(())
    });
    let answer = node.visit("/").from(LISTED).send();
    let id = answer.header("x-id").expect("an id");
    assert_eq!(answer.status, 403);
    assert_eq!(node.nginx.logged(&format!("the request {id} blocked")).len(), 1, "{id}");
}

#[test]
fn without_a_snapshot_the_operator_decides() {
    let _turn = among_others();
    let mut node = Node::prepare(site(1));
    node.nginx.run();
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    // The first snapshot is noticed like any other.
    node.change(&blocking(&[LISTED]));
    assert_eq!(node.visit("/").from(LISTED).status(), 403);

    let mut node = Node::prepare(Site { http: "nwaf on; nwaf_on_error block;".into(), ..site(1) });
    node.nginx.run();
    assert_eq!(node.visit("/").status(), 403);
    node.change(&blocking(&[LISTED]));
    assert_eq!(node.visit("/").status(), 200);
}
