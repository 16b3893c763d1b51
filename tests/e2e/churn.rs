//! Many changes under load: nobody fails, everybody ends in step, memory stays flat.

use serde_json::json;
use support::nginx::resident_kib;
use support::wait::{PATIENCE, eventually};
use support::{Load, Stack, alone};

/// Changes before memory is looked at for the first time.
const WARM_UP: usize = 60;
/// Changes after that.
const CHANGES: usize = 200;
/// By how much memory may grow, in percent.
const GROWTH: u64 = 10;

#[test]
fn two_hundred_changes_under_load_with_four_workers() {
    let _turn = alone();
    let stack = Stack::start(4);
    stack.api.set_block_list(&["203.0.113.1"]);
    stack.in_step();
    let workers = stack.nginx.workers();
    let visits = [
        stack.visit("/").from("198.51.100.1"),
        stack.visit("/shop?item=4").from("198.51.100.2").host("example.com"),
        stack.visit("/").from("203.0.113.1"),
        stack.visit("/form").from("198.51.100.3").method("POST").body("name=value"),
    ];
    let load = Load::start(stack.nginx.address(), 4, &visits);

    for change in 0..WARM_UP {
        make(&stack, change);
    }
    stack.in_step();
    load.await_more(400);
    let before: u64 = workers.iter().map(|pid| resident_kib(*pid)).sum();
    for change in WARM_UP..WARM_UP + CHANGES {
        make(&stack, change);
    }
    let (generation, _) = stack.in_step();
    load.await_more(400);
    // A worker lets go of an old policy with its next request and its next look, so
    // one more or less may be mapped at any moment; what stays is what counts.
    let resident = || workers.iter().map(|pid| resident_kib(*pid)).sum::<u64>();
    let (after, _) = eventually(PATIENCE, "as much memory as before the changes", || {
        let now = resident();
        (now * 100 <= before * (100 + GROWTH)).then_some(now)
    });

    load.stop().assert_only(&[200, 403]);
    assert_eq!(stack.nginx.generations(), vec![generation; 4]);
    assert_eq!(stack.nginx.workers(), workers, "a change reloaded or lost a worker");
    println!("resident memory of 4 workers: {before} KiB, after {CHANGES} changes {after} KiB");
}

/// One change of one of the three kinds; none of them touches what the load sees.
fn make(stack: &Stack, change: usize) {
    let address = format!("192.0.2.{}", change % 250 + 1);
    match change % 4 {
        0 => stack.api.set_block_list(&["203.0.113.1", &address]),
        1 => {
            let value = format!("{address}, 192.0.2.0/28");
            let fields = json!({"set": {"nwaf_ip_lm": value, "active": "true"}});
            stack.api.call("set_dyn_settings", fields);
        }
        2 => {
            // "/never-asked-for"
            let rule = json!({"ip": address, "url": "L25ldmVyLWFza2VkLWZvcg==", "active": true});
            let id = stack.api.add_rule(rule);
            if change % 8 == 6 {
                stack.api.call("set_dyn_erl", json!({"del": {"id": id}}));
            }
        }
        _ => {
            stack.api.call("set_dyn_settings", json!({"del": "nwaf_ip_lm"}));
        }
    }
}
