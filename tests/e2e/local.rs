//! Settings of nginx's configuration and the API's: which of them count, live.

use serde_json::json;
use support::{Site, Stack, among_others};

#[test]
fn the_api_replaces_local_values_and_gives_them_back() {
    let _turn = among_others();
    let stack = Stack::with(Site {
        workers: 2,
        http: "nwaf on; nwaf_ip_wl 198.51.100.1; nwaf_host_lm local.test;".into(),
        ..Site::default()
    });
    let workers = stack.nginx.workers();
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": ["198.51.100.0/24"]}}));
    let set = |value: &str, active: &str| {
        let set = json!({"set": {"nwaf_ip_wl": value, "active": active}});
        stack.change("set_dyn_settings", set);
    };
    // Of the local and the API's address, and of the local host, which the API never names.
    let seen = || {
        let status = |client: &str, host: &str| stack.visit("/").from(client).host(host).status();
        let clients = ["198.51.100.1", "198.51.100.2"].map(|client| status(client, "a.test"));
        (clients, status("198.51.100.9", "local.test"))
    };
    assert_eq!(seen(), ([200, 403], 200));
    set("198.51.100.2", "true");
    assert_eq!(seen(), ([403, 200], 200));
    set("198.51.100.2", "false");
    assert_eq!(seen(), ([200, 403], 200), "what is not active replaces nothing");
    set("", "true");
    assert_eq!(seen(), ([403, 403], 200), "an empty list is a value");
    stack.change("set_dyn_settings", json!({ "del": "nwaf_ip_wl" }));
    assert_eq!(seen(), ([200, 403], 200));
    assert_eq!(stack.nginx.workers(), workers, "nothing was reloaded");

    // The same after a restart of nginx beside a policy that gives the key.
    set("198.51.100.2", "true");
    let mut stack = stack;
    stack.nginx.restart();
    stack.in_step();
    let status = |client: &str| stack.visit("/").from(client).status();
    assert_eq!(["198.51.100.1", "198.51.100.2"].map(status), [403, 200]);
}
