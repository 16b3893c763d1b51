//! `nwaf_limit` from the API's call to the ban and to its end.

use serde_json::json;
use support::{Site, Stack, among_others};

#[test]
fn a_limit_set_through_the_api_bans_on_every_worker_until_it_is_taken_back() {
    let _turn = among_others();
    let stack = Stack::with(Site {
        workers: 4,
        server: "add_header X-Block-Type $nwaf_block_type always;".into(),
        ..Site::default()
    });
    // "/attack"
    stack.change("set_dyn_erl", json!({"add": {"url": "L2F0dGFjaw==", "active": true}}));
    let limit = json!({"set": {"nwaf_limit": "rate=5r/m block_time=600", "active": "true"}});
    stack.change("set_dyn_settings", limit);
    let attacker = "198.51.100.7";
    let block_type = |target: &str| {
        let answer = stack.visit(target).from(attacker).send();
        answer.header("x-block-type").map(str::to_owned)
    };
    for nth in 1..=8 {
        let expected = if nth <= 5 { "5" } else { "6" };
        assert_eq!(block_type("/attack").as_deref(), Some(expected), "request {nth}");
    }
    // New connections land on any worker; all of them know.
    for _ in 0..20 {
        assert_eq!(block_type("/").as_deref(), Some("6"));
    }
    assert_eq!(stack.visit("/").from("198.51.100.8").status(), 200);
    // A white list lets the address in within a second, as does the end of the limit.
    let white = json!({"set": {"nwaf_ip_wl": attacker, "active": "true"}});
    stack.change("set_dyn_settings", white);
    assert_eq!(stack.visit("/").from(attacker).status(), 200);
    stack.change("set_dyn_settings", json!({"del": "nwaf_ip_wl"}));
    assert_eq!(stack.visit("/").from(attacker).status(), 403, "the ban still runs");
    stack.change("set_dyn_settings", json!({"del": "nwaf_limit"}));
    assert_eq!(stack.visit("/").from(attacker).status(), 200);
}
