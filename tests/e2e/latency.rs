//! How long it takes from a call to the last worker.

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Load, Stack, alone, eventually};

/// Changes that are measured.
const CHANGES: usize = 100;
/// How many of them must be in force within [`LIMIT`].
const IN_TIME: usize = 95;
/// The promise.
const LIMIT: Duration = Duration::from_secs(1);
/// When a change counts as lost.
const LOST: Duration = Duration::from_secs(20);

#[test]
fn ninety_five_of_a_hundred_changes_are_in_force_within_a_second() {
    let _turn = alone();
    let stack = Stack::start(4);
    stack.api.set_block_list(&["203.0.113.1"]);
    stack.in_step();
    let workers = stack.nginx.workers();
    let visits = [
        stack.visit("/").from("198.51.100.1"),
        stack.visit("/a?b=c").from("198.51.100.2").header("Cookie", "a=b"),
        stack.visit("/").from("203.0.113.1"),
    ];
    let load = Load::start(stack.nginx.address(), 3, &visits);

    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        let address = format!("192.0.2.{}", change % 200 + 1);
        let visit = stack.visit("/").from(&address);
        assert_eq!(visit.status(), 200, "{address} is not on the list yet");
        let start = Instant::now();
        let answer = stack
            .api
            .call("set_dyn_bl", json!({"set": {"active": "true", "bl": ["203.0.113.1", address]}}));
        let generation = answer.json()["generation"].as_u64().expect("the new generation");
        eventually(LOST, "a change on every worker", || {
            stack.nginx.is_in_step(generation).then_some(())
        });
        times.push(start.elapsed());
        assert_eq!(visit.status(), 403, "every worker runs it, so it must act");
    }

    let tally = load.stop();
    tally.assert_only(&[200, 403]);
    assert_eq!(stack.nginx.workers(), workers, "a change reloaded or lost a worker");
    times.sort_unstable();
    let at = |share: usize| times[share * CHANGES / 100 - 1];
    println!(
        "change to last worker: p50 {:?}, p95 {:?}, longest {:?}, under load of {} requests",
        at(50),
        at(95),
        at(100),
        tally.answers()
    );
    assert!(times[IN_TIME - 1] < LIMIT, "{IN_TIME} of {CHANGES} within {LIMIT:?}: {times:?}");
}
