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
