//! Ways to run nginx: one process, a daemon, many workers, shared ports, logs that move.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::node::{Node, blocking};
use support::process::{children, read, signal_pid};
use support::wait::{PATIENCE, eventually};
use support::{Load, Site, Start, among_others};

use super::{LISTED, judging, node_of, policy};

/// What the workers' table and the files beside it look like from outside.
fn state(node: &Node) -> (Vec<u64>, String, Vec<u8>) {
    let pid = read(&node.nginx.folder().join("nginx.pid"));
    let file = std::fs::read(node.current()).expect("the snapshot in force");
    (node.nginx.generations(), pid, file)
}

#[test]
fn one_process_without_a_master_follows_and_judges() {
    let _turn = among_others();
    let site = Site { start: Start::Single, ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    assert!(children(node.nginx.pid()).is_empty(), "it is one process");
    assert_eq!(judging(&node, 1, || node.visit("/").from(LISTED).status()), 403);
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    node.change(&blocking(&[LISTED]));
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    assert_eq!(node.nginx.generations().len(), 1);
    node.nginx.restart();
    assert_eq!(node.visit("/").status(), 200);
}

#[test]
fn a_daemon_runs_reloads_and_stops() {
    let _turn = among_others();
    let site = Site { start: Start::Daemon, workers: 2, ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    node.nginx.reload();
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
    let master = node.nginx.pid();
    node.nginx.stop();
    assert_eq!(node.nginx.logged(&format!(" {master}#{master}: exit")).len(), 1);
}

#[test]
fn commands_beside_a_running_nginx_leave_it_alone() {
    let _turn = among_others();
    let site = Site { workers: 2, ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    node.change(&policy());
    let before = (state(&node), node.nginx.workers());
    let log = node.nginx.folder().join("test.log").display().to_string();
    for (arguments, succeeds) in [
        (&["-t"][..], true),
        (&["-T"], true),
        (&["-V"], true),
        (&["-v"], true),
        (&["-h"], true),
        (&["-s", "nothing"], false),
        (&["-t", "-g", "nwaf sometimes;"], false),
    ] {
        let output = node.nginx.command(&[&["-e", &log], arguments].concat());
        assert_eq!(output.status.success(), succeeds, "{arguments:?}: {output:?}");
        let after = (state(&node), node.nginx.workers());
        assert_eq!(after, before, "{arguments:?}");
        assert_eq!(judging(&node, 1, || node.visit("/").from(LISTED).status()), 403);
    }
    // `-s` reads the configuration in a process of its own, and only sends a signal.
    let output = node.nginx.command(&["-e", &log, "-s", "reopen"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((state(&node), node.nginx.workers()), before);
    let output = node.nginx.command(&["-e", &log, "-s", "reload"]);
    assert!(output.status.success(), "{output:?}");
    eventually(PATIENCE, "the reload", || {
        (node.nginx.workers().is_disjoint(&before.1) && node.nginx.is_ready()).then_some(())
    });
    node.in_step();
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
}

#[test]
fn shared_ports_and_another_number_of_workers() {
    let _turn = among_others();
    let site = Site { workers: 4, listen: "reuseport".into(), ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    let visits = [node.visit("/").from("192.0.2.1"), node.visit("/").from(LISTED)];
    for workers in [1, 6, 2] {
        judging(&node, 40, || {
            for _ in 0..20 {
                assert_eq!(visits[0].status(), 200);
                assert_eq!(visits[1].status(), 403);
            }
        });
        node.nginx.configure(|site| site.workers = workers);
        node.nginx.reload();
        node.in_step();
        let status = node.nginx.status();
        let slots = status["workers"].as_array().expect("workers");
        assert_eq!(slots.len(), workers as usize, "{status}");
        node.change(&policy());
    }
}

#[test]
fn logs_that_move_are_followed_by_the_thread_too() {
    let _turn = among_others();
    let mut node = node_of("location / { PASS }", Site::default());
    let (log, moved) =
        (node.nginx.folder().join("error.log"), node.nginx.folder().join("error.log.1"));
    for round in 2..6 {
        std::fs::rename(&log, &moved).expect("the log moves");
        signal_pid(node.nginx.pid(), Signal::USR1);
        eventually(PATIENCE, "a new log", || log.exists().then_some(()));
        // Workers are told after the master has opened the file; requests show when.
        eventually(PATIENCE, "a worker that writes to the new log", || {
            node.visit("/secret").status();
            (!node.nginx.logged("blocked by rule ID 1").is_empty()).then_some(())
        });
        node.change(&policy());
        let line = format!("generation {round} of session");
        eventually(PATIENCE, "the thread's line in the new log", || {
            (node.nginx.logged(&line).len() == 1).then_some(())
        });
        assert!(!read(&moved).contains(&line), "not in the log that moved");
        std::fs::remove_file(&moved).expect("the old log goes");
    }
}

#[test]
fn logs_reopened_all_the_time_lose_and_misplace_nothing() {
    let _turn = among_others();
    let site = Site { workers: 2, ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    let (log, moved) =
        (node.nginx.folder().join("error.log"), node.nginx.folder().join("error.log.1"));
    let load = Load::start(node.nginx.address(), 2, &[node.visit("/"), node.visit("/secret")]);
    let (mut all, mut round) = (String::new(), 1);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        std::fs::rename(&log, &moved).expect("the log moves");
        signal_pid(node.nginx.pid(), Signal::USR1);
        round += 1;
        node.change(&policy());
        eventually(PATIENCE, "the line of every worker", || {
            let line = format!("generation {round} of session");
            let lines = |file| read(file).matches(&line).count();
            (lines(&log) + lines(&moved) == 2).then_some(())
        });
        eventually(PATIENCE, "a new log", || log.exists().then_some(()));
        all.push_str(&read(&moved));
    }
    load.stop().assert_only(&[200, 403]);
    all.push_str(&node.nginx.error_log());
    for line in all.lines() {
        // A line that was cut or mixed with another does not begin with a date.
        assert!(line.len() > 20 && line.as_bytes()[4] == b'/', "{line:?}");
    }
}

#[test]
fn a_worker_that_may_not_finish_takes_nothing_with_it() {
    use std::io::Write as _;
    let _turn = among_others();
    let site = Site { main: "worker_shutdown_timeout 1s;".into(), ..Site::default() };
    let mut node = node_of("location / { PASS }", site);
    // A request whose body never comes keeps the old worker until its time is up.
    let visit = node.visit("/").method("POST").header("Content-Length", "1000");
    let mut waiting = super::connect(&node.nginx);
    waiting.write_all(&visit.bytes()).expect("is sent");
    waiting.write_all(b"x").expect("is sent");
    assert_eq!(node.visit("/").status(), 200);
    let old = node.nginx.workers();
    signal_pid(node.nginx.pid(), Signal::HUP);
    eventually(PATIENCE, "the new worker beside the old one", || {
        (node.nginx.workers().difference(&old).count() == 1).then_some(())
    });
    // The old one is still there; both are told apart, and only the new one serves.
    assert_eq!(node.visit("/").from(LISTED).status(), 403);
    eventually(PATIENCE, "the end of the old worker", || {
        (node.nginx.workers().is_disjoint(&old) && node.nginx.is_ready()).then_some(())
    });
    assert_eq!(super::heard(waiting), "", "its connection was closed");
    eventually(PATIENCE, "its slot is free", || {
        (node.nginx.status()["workers"].as_array()?.len() == 1).then_some(())
    });
    node.change(&blocking(&[]));
    assert_eq!(node.visit("/").from(LISTED).status(), 200);
}
