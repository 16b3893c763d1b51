//! Policies that are nearly always an accident, and histories that run backwards.

use serde_json::json;
use support::wait::{PATIENCE, eventually};
use support::{Stack, among_others};

const LISTED: &str = "198.51.100.5";

#[test]
fn a_policy_that_blocks_everybody_needs_force_and_then_acts() {
    let _turn = among_others();
    let stack = Stack::start(1);
    let everybody = json!({"set": {"active": "true", "bl": ["0.0.0.0/0"]}});
    let answer = stack.api.try_call("set_dyn_bl", everybody.clone());
    assert_eq!((answer.status, answer.json()["code"].as_str()), (422, Some("needs_force")));
    assert_eq!(stack.visit("/").status(), 200);
    let mut forced = everybody;
    forced["force"] = json!(true);
    stack.change("set_dyn_bl", forced);
    assert_eq!(stack.visit("/").status(), 403);
    stack.change("set_dyn_bl", json!({"del": ""}));
    assert_eq!(stack.visit("/").status(), 200);
}

#[test]
fn emptying_a_long_list_on_purpose_is_obeyed() {
    let _turn = among_others();
    let stack = Stack::start(1);
    let entries: Vec<_> = (0..50).map(|n| format!("198.51.100.{n}")).collect();
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": entries}}));
    assert_eq!(stack.visit("/").from(LISTED).status(), 403);
    stack.change("set_dyn_bl", json!({"del": ""}));
    assert_eq!(stack.visit("/").from(LISTED).status(), 200);
}

#[test]
fn an_api_that_went_back_in_time_is_not_followed_until_it_says_so() {
    let _turn = among_others();
    let mut stack = Stack::start(1);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": ["203.0.113.1"]}}));
    let backup = stack.folder.path().join("backup");
    stack.api.kill();
    stack.api.copy_database(stack.api.folder(), &backup);
    stack.api.run();
    for n in 0..5 {
        let list = json!({"set": {"active": "true", "bl": [LISTED, format!("203.0.113.{n}")]}});
        stack.change("set_dyn_bl", list);
    }
    assert_eq!(stack.visit("/").from(LISTED).status(), 403);

    // The old database is back, and nobody told it: lower generation, same session.
    stack.api.kill();
    stack.api.copy_database(&backup, stack.api.folder());
    stack.api.run();
    eventually(PATIENCE, "a refusal by syncd", || {
        let why = stack.syncd.status()?["last_refusal"].to_string();
        why.contains("older").then_some(())
    });
    assert_eq!(stack.visit("/").from(LISTED).status(), 403, "the newer policy stays");

    // A new session is newer than every generation of the old one.
    stack.api.kill();
    stack.api.administrate(&["session", "renew"]);
    stack.api.run();
    eventually(PATIENCE, "the restored policy", || {
        (stack.visit("/").from(LISTED).status() == 200).then_some(())
    });
    assert_eq!(stack.visit("/").from("203.0.113.1").status(), 403);
}
