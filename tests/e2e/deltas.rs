//! One entry of a long list changes: what travels is that entry, whoever was restarted.

use serde_json::{Value, json};
use support::wait::{PATIENCE, eventually};
use support::{Stack, among_others};

/// Entries that are there before anything changes.
const ENTRIES: usize = 20_000;

fn entry(n: usize) -> String {
    format!("10.{}.{}.{}", n / 62_500, n / 250 % 250, n % 250)
}

fn list(entries: impl IntoIterator<Item = usize>) -> Value {
    let entries: Vec<String> = entries.into_iter().map(entry).collect();
    json!({"set": {"active": "true", "bl": entries}})
}

/// `deltas` and `delta_fallbacks` of syncd's status, once it answers.
fn counts(stack: &Stack) -> (u64, u64) {
    let status = eventually(PATIENCE, "syncd's status", || stack.syncd.status()).0;
    let count = |name: &str| status[name].as_u64().expect("a number");
    (count("deltas"), count("delta_fallbacks"))
}

#[test]
fn one_changed_entry_arrives_as_a_delta_across_restarts() {
    let _turn = among_others();
    let mut stack = Stack::start(2);
    let status = |stack: &Stack, n: usize| stack.visit("/").from(&entry(n)).status();
    stack.change("set_dyn_bl", list(0..ENTRIES));
    assert_eq!((status(&stack, 7), status(&stack, ENTRIES)), (403, 200));
    // The list itself was more than the bundle before it.
    let (before, fallbacks) = counts(&stack);
    let expect = |stack: &Stack, deltas: u64, fallbacks: u64| {
        assert_eq!(counts(stack), (deltas, fallbacks), "{}", stack.syncd.log());
    };

    stack.change("set_dyn_bl", json!({"del": entry(7)}));
    assert_eq!((status(&stack, 7), status(&stack, 8)), (200, 403));
    expect(&stack, before + 1, fallbacks);
    // Also where the whole list is given anew, with the new entry in front.
    stack.change("set_dyn_bl", list((0..=ENTRIES).rev()));
    assert_eq!((status(&stack, 7), status(&stack, ENTRIES)), (403, 403));
    expect(&stack, before + 2, fallbacks);

    stack.api.kill();
    stack.api.run();
    stack.change("set_dyn_erl", json!({"add": {"ip": "198.51.100.5", "active": true}}));
    assert_eq!(stack.visit("/").from("198.51.100.5").status(), 403);
    expect(&stack, before + 3, fallbacks);

    // What happened while syncd was away is one delta.
    stack.syncd.kill();
    stack.api.call("set_dyn_bl", json!({"del": entry(1)}));
    stack.api.call("set_dyn_settings", json!({"set": {"nwaf_ip_wl": entry(3)}}));
    stack.api.call("set_dyn_bl", json!({"del": [entry(2), entry(4)]}));
    stack.syncd.run();
    stack.in_step();
    let seen: Vec<u16> = (0..6).map(|n| status(&stack, n)).collect();
    assert_eq!(seen, [403, 200, 200, 200, 200, 403]);
    expect(&stack, 1, 0);

    // The kept bundle is not what it was: the digest tells, and the whole bundle comes.
    let kept = stack.snapshot.join("bundle.json");
    let text = std::fs::read_to_string(&kept).expect("the kept bundle");
    let changed = text.replacen(&format!("\"{}\"", entry(9)), "\"192.0.2.1\"", 1);
    assert_ne!(text, changed);
    std::fs::write(&kept, changed).expect("the kept bundle is changed");
    stack.change("set_dyn_bl", json!({"del": entry(5)}));
    assert_eq!((status(&stack, 5), status(&stack, 9)), (200, 403));
    assert_eq!(stack.visit("/").from("192.0.2.1").status(), 200);
    expect(&stack, 1, 1);
    assert!(stack.syncd.log().contains("a delta cannot be used"), "{}", stack.syncd.log());
    stack.change("set_dyn_bl", json!({"del": entry(6)}));
    assert_eq!(status(&stack, 6), 200);
    expect(&stack, 2, 1);
}
