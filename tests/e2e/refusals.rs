//! Bad input: each refused with its reason, none changes anything.

use serde_json::{Value, json};
use support::api::KEY;
use support::{Stack, among_others};

/// A call, what it says, the status it gets, and words its answer must hold.
type Case = (&'static str, Value, u16, &'static [&'static str]);

fn cases() -> Vec<Case> {
    let settings = |name: &str, value: &str| json!({"set": {name: value, "active": "true"}});
    let list = |entry: &str| json!({"set": {"active": "true", "bl": [entry]}});
    let rule = |name: &str, value: &str| json!({"add": {name: value, "active": "true"}});
    vec![
        (
            "set_dyn_settings",
            settings("nwaf_ip_wl", "1.1.1.0/33"),
            422,
            &["nwaf_ip_wl", "1.1.1.0/33"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_ip_wl", "5.5.5.5-4.4.4.4"),
            422,
            &["nwaf_ip_wl", "5.5.5.5-4.4.4.4"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_ip_lm", "1.1.1.1-2001:db8::1"),
            422,
            &["nwaf_ip_lm", "1.1.1.1-2001:db8::1"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_ip_wl", "1.1.1.256"),
            422,
            &["nwaf_ip_wl", "1.1.1.256"],
        ),
        ("set_dyn_settings", settings("nwaf_ip_wl", "0.0.0.0/0"), 422, &["nwaf_ip_wl", "force"]),
        (
            "set_dyn_settings",
            settings("nwaf_ip_lm", "1.1.1.1, ::/0"),
            422,
            &["nwaf_ip_lm", "force"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_limit", "rate=5r/m block_time=1, rate=6r/m block_time=1"),
            422,
            &["nwaf_limit[1]", "another entry"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_body_exclude", "example.com/a?b"),
            422,
            &["nwaf_body_exclude[0]", "query"],
        ),
        ("set_dyn_settings", settings("nwaf_host_wl", "exa mple.com"), 422, &["nwaf_host_wl"]),
        ("set_dyn_settings", settings("nwaf_host_lm", "a..com"), 422, &["nwaf_host_lm", "a..com"]),
        (
            "set_dyn_settings",
            settings("nwaf_host_lm", "a.*.com"),
            422,
            &["nwaf_host_lm", "a.*.com"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_limit", "rate=5r/h block_time=1"),
            422,
            &["nwaf_limit"],
        ),
        (
            "set_dyn_settings",
            settings("nwaf_ip_white", "1.1.1.1"),
            400,
            &["nwaf_ip_white", "nwaf_ip_wl"],
        ),
        ("set_dyn_settings", json!({"set": {"nwaf_ip_wl": 5}}), 400, &["nwaf_ip_wl"]),
        (
            "set_dyn_settings",
            json!({"set": {"nwaf_ip_wl": "1.1.1.1", "active": "maybe"}}),
            400,
            &["active", "maybe"],
        ),
        ("set_dyn_settings", json!({"set": "nwaf_ip_wl"}), 400, &["set"]),
        ("set_dyn_settings", json!({}), 400, &["set", "del"]),
        (
            "set_dyn_settings",
            json!({"set": {"nwaf_ip_wl": "1.1.1.1"}, "del": "nwaf_ip_wl"}),
            400,
            &["set", "del"],
        ),
        ("set_dyn_settings", json!({"sett": {"nwaf_ip_wl": "1.1.1.1"}}), 400, &["sett"]),
        ("set_dyn_bl", list("1.1.1.0/33"), 422, &["bl", "1.1.1.0/33"]),
        ("set_dyn_bl", list("5.5.5.5-4.4.4.4"), 422, &["bl", "5.5.5.5-4.4.4.4"]),
        ("set_dyn_bl", list("domain=a..b 1.1.1.1"), 422, &["bl", "a..b"]),
        ("set_dyn_bl", list("example.com"), 422, &["bl", "example.com"]),
        ("set_dyn_bl", json!({"set": {"active": "true", "bl": ["1.1.1.1", 5]}}), 400, &["bl"]),
        ("set_dyn_bl", list("0.0.0.0/0"), 422, &["force"]),
        ("set_dyn_bl", json!({"del": "9.9.9.9"}), 404, &["9.9.9.9"]),
        ("set_dyn_erl", rule("url", "no base64!"), 422, &["url", "base64"]),
        ("set_dyn_erl", rule("url", "YQ==&"), 422, &["url"]),
        ("set_dyn_erl", rule("ip", "1.1.1.1|"), 422, &["ip"]),
        ("set_dyn_erl", rule("ip", "1.1.1.1|5.5.5.5-4.4.4.4"), 422, &["ip", "5.5.5.5-4.4.4.4"]),
        // "Switzerland"
        ("set_dyn_erl", rule("country", "U3dpdHplcmxhbmQ="), 422, &["country"]),
        (
            "set_dyn_erl",
            json!({"add": {"other_headers": ["YQ=="], "active": true}}),
            422,
            &["other_headers"],
        ),
        (
            "set_dyn_erl",
            json!({"add": {"other_headers": ["eCB5:YQ=="], "active": true}}),
            422,
            &["other_headers[0]", "spaces"],
        ),
        ("set_dyn_erl", rule("colour", "cmVk"), 400, &["colour", "url"]),
        ("set_dyn_erl", json!({"add": {"cookie": "YQ==", "cookies": "Yg=="}}), 400, &["cookie"]),
        ("set_dyn_erl", json!({"add": {"ip": "0.0.0.0/0"}}), 422, &["force"]),
        ("set_dyn_erl", json!({"upd": {"id": 999, "ip": "1.1.1.1"}}), 404, &["999"]),
        ("set_dyn_erl", json!({"upd": {"ip": "1.1.1.1"}}), 400, &["id"]),
        ("set_dyn_erl", json!({"del": {"id": "x"}}), 400, &["id", "x"]),
    ]
}

#[test]
fn bad_values_are_named_and_change_nothing() {
    let _turn = among_others();
    let stack = Stack::start(1);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": ["198.51.100.5"]}}));
    let generation = stack.api.generation();
    let mut wrong = Vec::new();
    for (call, fields, status, words) in cases() {
        let answer = stack.api.try_call(call, fields.clone());
        let text = answer.text();
        if answer.status != status {
            wrong.push(format!("{call} {fields}: {} instead of {status}: {text}", answer.status));
            continue;
        }
        let error = answer.json();
        if error["status"] != "error" || error["request_id"].as_str().is_none() {
            wrong.push(format!("{call} {fields}: not in the form of an error: {text}"));
        }
        wrong.extend(
            words
                .iter()
                .filter(|word| !text.contains(**word))
                .map(|word| format!("{call} {fields}: {word:?} is not in {text}")),
        );
        if text.contains(KEY) {
            wrong.push(format!("{call} {fields}: the answer repeats the key"));
        }
        if stack.api.generation() != generation {
            wrong.push(format!("{call} {fields}: the generation moved"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(stack.visit("/").from("198.51.100.5").status(), 403);
    assert_eq!(stack.visit("/").from("1.1.1.1").status(), 200);
}

#[test]
fn requests_that_are_no_calls_change_nothing() {
    let _turn = among_others();
    let stack = Stack::start(1);
    stack.change("set_dyn_bl", json!({"set": {"active": "true", "bl": ["198.51.100.5"]}}));
    let generation = stack.api.generation();
    let post = |path: &str, body: &str| stack.api.post(path, "application/json", body);
    let body = |key: &str| format!(r#"{{"key": "{key}", "set": {{"active": "true", "bl": []}}}}"#);

    let answer = post("/nw-api/set_dyn_bl", &body("wrong"));
    assert_eq!(answer.status, 401, "{}", answer.text());
    let answer = post("/nw-api/set_dyn_bl", r#"{"set": {"active": "true", "bl": []}}"#);
    assert_eq!(answer.status, 401, "{}", answer.text());
    let node = stack.api.create_key("another-node", "node");
    let answer = post("/nw-api/set_dyn_bl", &body(&node));
    assert_eq!(answer.status, 403, "{}", answer.text());
    let reader = stack.api.create_key("reader", "read");
    assert_eq!(post("/nw-api/set_dyn_bl", &body(&reader)).status, 403);
    assert_eq!(post("/nw-api/get_dyn_bl", &format!(r#"{{"key": "{reader}"}}"#)).status, 200);
    assert_eq!(post("/nw-api/no_such_call", &body(KEY)).status, 404);
    let put = "PUT /nw-api/set_dyn_bl HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(stack.api.send(put.as_bytes()).status, 405);

    for (body, position) in [
        ("{", "line 1 column 1"),
        ("{\"key\": \"x\",\n \"set\": }", "line 2 column 9"),
        ("not json", "line 1 column 2"),
        ("{\"key\": \"x\"} trailing", "line 1 column 14"),
    ] {
        let answer = post("/nw-api/set_dyn_bl", body);
        let text = answer.text();
        assert_eq!(answer.status, 400, "{body}: {text}");
        assert!(text.contains(position), "{body}: {position} is not in {text}");
    }
    // Announced as larger than anything that is accepted, by a client that asks first.
    let head = "POST /nw-api/set_dyn_bl HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Content-Length: 1099511627776\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(stack.api.send(head.as_bytes()).status, 413);

    assert_eq!(stack.api.generation(), generation);
    assert_eq!(stack.visit("/").from("198.51.100.5").status(), 403);
}
