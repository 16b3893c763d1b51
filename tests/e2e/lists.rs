//! White lists, passive lists and rules against each other, through the API.

use serde_json::json;
use support::{Stack, among_others};

#[test]
fn white_and_passive_lists_act_and_are_lifted_live() {
    let _turn = among_others();
    let stack = Stack::start(2);
    let set = |name: &str, value: &str| {
        stack.change("set_dyn_settings", json!({"set": {name: value, "active": "true"}}));
    };
    let del = |name: &str| {
        stack.change("set_dyn_settings", json!({ "del": name }));
    };
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": ["198.51.100.0/24"]}}));
    let seen = |address: &str, host: &str| stack.visit("/").host(host).from(address).status();
    assert_eq!(seen("198.51.100.5", "a.test"), 403);

    for name in ["nwaf_ip_wl", "nwaf_ip_lm"] {
        set(name, "domain=a.test 198.51.100.0/28, 203.0.113.0-203.0.113.9");
        assert_eq!(seen("198.51.100.5", "a.test"), 200, "{name}");
        assert_eq!(seen("198.51.100.5", "b.test"), 403, "{name}");
        assert_eq!(seen("198.51.100.99", "a.test"), 403, "{name}");
        del(name);
        assert_eq!(seen("198.51.100.5", "a.test"), 403, "{name}");
    }
    for name in ["nwaf_host_wl", "nwaf_host_lm"] {
        set(name, ".example.com, *.example.org");
        for (host, status) in [
            ("example.com", 200),
            ("WWW.example.com", 200),
            ("a.b.example.com:8080", 200),
            ("example.org", 403),
            ("www.example.org", 200),
            ("notexample.com", 403),
        ] {
            assert_eq!(seen("198.51.100.5", host), status, "{name} {host}");
        }
        del(name);
        assert_eq!(seen("198.51.100.5", "example.com"), 403, "{name}");
    }
}

#[test]
fn a_list_or_rule_that_is_not_active_does_nothing() {
    let _turn = among_others();
    let stack = Stack::start(1);
    let seen = || stack.visit("/").from("198.51.100.5").status();
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": "198.51.100.5"}}));
    assert_eq!(seen(), 403);
    stack.change("set_dyn_bl", json!({"set": {"active": "false", "bl": "198.51.100.5"}}));
    assert_eq!(seen(), 200);
    let id = stack.api.add_rule(json!({"ip": "198.51.100.5", "active": "false"}));
    stack.in_step();
    assert_eq!(seen(), 200);
    stack.change("set_dyn_erl", json!({"upd": {"id": id, "active": true}}));
    assert_eq!(seen(), 403);
    stack.change("set_dyn_erl", json!({"upd": {"id": id, "lm": true}}));
    assert_eq!(seen(), 200);
    assert!(!stack.nginx.logged(&format!("matched rule ID {id} in zone IP, observed")).is_empty());
}

#[test]
fn what_somebody_sends_stands_beside_what_they_sent_encoded() {
    let _turn = among_others();
    let stack = Stack::start(1);
    // "/etc/passwd" in the query
    stack.api.add_rule(json!({"args": "L2V0Yy9wYXNzd2Q=", "active": true}));
    stack.in_step();
    let asked = |target: &str| stack.visit(target).status();
    assert_eq!(asked("/?file=/etc/passwd"), 403);
    assert_eq!(asked("/?file=%2fetc%2fpasswd"), 403);
    assert_eq!(asked("/?file=%2Fetc/%70asswd"), 403);
    assert_eq!(asked("/etc/passwd"), 200);
    assert_eq!(asked("/?file=/etc/hosts"), 200);
}
