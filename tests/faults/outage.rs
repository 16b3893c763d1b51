//! Dead daemons: nginx enforces what it has, and hears of changes once they are back.

use serde_json::json;
use support::wait::{PATIENCE, eventually};
use support::{Load, Stack, among_others};

const FIRST: &str = "198.51.100.5";
const SECOND: &str = "198.51.100.6";

fn assert_enforced(stack: &Stack, when: &str) {
    assert_eq!(stack.visit("/").from(FIRST).status(), 403, "{when}");
    assert_eq!(stack.visit("/").from(SECOND).status(), 200, "{when}");
}

#[test]
fn nginx_goes_on_without_syncd_and_api_across_reload_and_restart() {
    let _turn = among_others();
    let mut stack = Stack::start(2);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": [FIRST]}}));
    let visits = [stack.visit("/").from(FIRST), stack.visit("/").from(SECOND)];
    let load = Load::start(stack.nginx.address(), 1, &visits);
    assert_enforced(&stack, "everything runs");
    stack.syncd.kill();
    assert_enforced(&stack, "syncd is dead");
    stack.api.kill();
    assert_enforced(&stack, "syncd and API are dead");
    stack.nginx.reload();
    assert_enforced(&stack, "after a reload");
    load.await_more(50);
    load.stop().assert_only(&[200, 403]);
    stack.nginx.restart();
    assert_enforced(&stack, "after a restart");

    stack.api.run();
    stack.syncd.run();
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": [FIRST, SECOND]}}));
    assert_eq!(stack.visit("/").from(SECOND).status(), 403, "everything is back");
}

#[test]
fn syncd_survives_an_absent_api() {
    let _turn = among_others();
    let mut stack = Stack::start(1);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": [FIRST]}}));
    stack.api.kill();
    stack.syncd.kill();
    stack.syncd.run();
    eventually(PATIENCE, "syncd's status", || stack.syncd.status());
    stack.nginx.restart();
    assert_enforced(&stack, "the API is dead");
    // A change made while nobody listens arrives once somebody does.
    stack.syncd.kill();
    stack.api.run();
    stack.api.set_block_list(&[FIRST, SECOND]);
    stack.syncd.run();
    stack.in_step();
    assert_eq!(stack.visit("/").from(SECOND).status(), 403);
}

#[test]
fn a_lost_snapshot_is_published_again() {
    let _turn = among_others();
    let mut stack = Stack::start(1);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": [FIRST]}}));
    stack.syncd.kill();
    stack.api.kill();
    let current = stack.snapshot.join(ipc::snapshot::CURRENT);
    std::fs::write(stack.snapshot.join("broken"), b"no snapshot").unwrap();
    std::fs::rename(stack.snapshot.join("broken"), &current).unwrap();
    // Without an API: from the last good bundle on disk.
    stack.syncd.run();
    eventually(PATIENCE, "a readable snapshot", || {
        let owner = rustix::process::geteuid().as_raw();
        ipc::snapshot::Snapshot::open(&current, ipc::snapshot::Trust { owner }).ok()
    });
    stack.nginx.restart();
    assert_enforced(&stack, "from the last good bundle");
}
