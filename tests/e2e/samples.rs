//! The specification's `curl` lines on settings, block list and extended rules,
//! as they are printed there, in both URL forms, with their effect on nginx.
//!
//! Two lines of each form lack a comma: they are answered with 400 and the
//! position, and take effect once the comma is put in.

use serde_json::Value;
use support::{Stack, among_others, curl};

/// The lines of one form.
struct Form {
    get_settings: &'static str,
    set_settings: &'static str,
    del_settings: &'static str,
    get_list: &'static str,
    set_list: &'static str,
    del_list: &'static str,
    get_rules: &'static str,
    get_rules_extended: &'static str,
    add_addresses: &'static str,
    add_not_network: &'static str,
    add_header: &'static str,
    add_country: &'static str,
    add_everything: &'static str,
    upd: &'static str,
    del: &'static str,
}

const ENTERPRISE: Form = Form {
    get_settings: r#"curl http://api.example.com:8080/nw-api/get_dyn_settings?format=json --data 'key=%License key%'"#,
    set_settings: r#"curl http://api.example.com:8080/nw-api/set_dyn_settings --header 'Content-type: application/json' --data '{"key": "%License key%", "set": {"nwaf_ip_wl": "127.0.0.1, 127.0.0.2", "nwaf_ai_extra_host_lm": "example.com", "active": "true"}}'"#,
    del_settings: r#"curl http://api.example.com:8080/nw-api/set_dyn_settings --header 'Content-type: application/json' --data '{"key": "%License key%", "del": "nwaf_ip_wl"}'"#,
    get_list: r#"curl http://api.example.com:8080/nw-api/get_dyn_bl --data 'key=%License key%'"#,
    set_list: r#"curl http://api.example.com:8080/nw-api/set_dyn_bl --header 'Content-type: application/json' --data '{"key": "%License key%", "set": {"active": "true", "bl": ["domain=example.com 1.1.1.1", "2.2.2.2", "3.3.3.0/24", "4.4.4.4-5.5.5.5"]}}'"#,
    del_list: r#"curl http://api.example.com:8080/nw-api/set_dyn_bl --header 'Content-type: application/json' --data '{"key": "%License key%", "del": ""}'"#,
    get_rules: r#"curl http://api.example.com:8080/nw-api/get_dyn_erl --data 'key=%License key%'"#,
    get_rules_extended: r#"curl http://api.example.com:8080/nw-api/get_dyn_erl?extended=yes --data 'key=%License key%'"#,
    add_addresses: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "add": {"ip": "1.1.1.1|2.2.2.2", "active": "true"}}'"#,
    add_not_network: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "add": {"ip": "!1.1.1.0/24", "domain": "ZXhhbXBsZS5jb20=" "active": "true"}}'"#,
    add_header: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "add": {"ip": "1.1.1.1", "domain": "ZXhhbXBsZS5jb20=", "other_headers": ["dGVzdC1oZWFkZXI=:YWJj"], "active": "true"}}'"#,
    add_country: "curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{\"key\": \"%License key%\", \"add\": {\"\u{441}ountry\": \"Q0g=|UlU=\", \"domain\": \"ZXhhbXBsZS5jb20=\", \"other_headers\": [\"dGVzdC1oZWFkZXI=:YWJj\"], \"cookie\": \"!dGVzdF9jb29raWU=\", \"referer\": \"!aHR0cDovL2V4YW1wbGUuY29t\" \"active\": \"true\"}}'",
    add_everything: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "add": {"ip": "1.1.1.1", "other_headers": ["VGVzdC1GaWVsZA==:"], "referer": "aHR0cDovL2V4YW1wbGUuY29tLw==", "ua": "TW96aWxsYS81LjA=", "cookie": "dGVzdF9jb29raWU=", "body": "YmM9MyZjYz0x", "args": "P3BhZ2U9Mw==", "url": "aW50ZXJuYWx0ZXN0", "domain": "ZXhhbXBsZS5jb20=", "api": false, "country": "Q0g=|VFc=", "active": true}}'"#,
    upd: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "upd": {"id": "1", "ip": "1.1.1.1", "active": "true"}}'"#,
    del: r#"curl http://api.example.com:8080/nw-api/set_dyn_erl --header 'Content-type: application/json' --data '{"key": "%License key%", "del": {"id": "1"}}'"#,
};

const CLOUD: Form = Form {
    get_settings: r#"curl https://nemesida-security.com/nw/agent/get_dyn_settings?format=json --data 'token=%Identification token%'"#,
    set_settings: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_settings --header 'Content-type: application/json' --data '{"token": "%Identification token%", "set": {"nwaf_ip_wl": "127.0.0.1, 127.0.0.2", "nwaf_ai_extra_host_lm": "example.com", "active": "true"}}'"#,
    del_settings: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_settings --header 'Content-type: application/json' --data '{"token": "%Identification token%", "del": "nwaf_ip_wl"}'"#,
    get_list: r#"curl https://nemesida-security.com/nw/agent/get_dyn_bl --data 'token=%Identification token%'"#,
    set_list: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_bl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "set": {"active": "true", "bl": ["domain=example.com 1.1.1.1", "2.2.2.2", "3.3.3.0/24", "4.4.4.4-5.5.5.5"]}}'"#,
    del_list: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_bl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "del": ""}'"#,
    get_rules: r#"curl https://nemesida-security.com/nw/agent/get_dyn_erl --data 'token=%Identification token%'"#,
    get_rules_extended: r#"curl https://nemesida-security.com/nw/agent/get_dyn_erl?extended=yes --data 'token=%Identification token%'"#,
    add_addresses: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "add": {"ip": "1.1.1.1|2.2.2.2", "active": "true"}}'"#,
    add_not_network: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "add": {"ip": "!1.1.1.0/24", "domain": "ZXhhbXBsZS5jb20=" "active": "true"}}'"#,
    add_header: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "add": {"ip": "1.1.1.1", "domain": "ZXhhbXBsZS5jb20=", "other_headers": ["dGVzdC1oZWFkZXI=:YWJj"], "active": "true"}}'"#,
    add_country: "curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{\"token\": \"%Identification token\", \"add\": {\"\u{441}ountry\": \"Q0g=|UlU=\", \"domain\": \"ZXhhbXBsZS5jb20=\", \"other_headers\": [\"dGVzdC1oZWFkZXI=:YWJj\"], \"cookie\": \"!dGVzdF9jb29raWU=\", \"referer\": \"!aHR0cDovL2V4YW1wbGUuY29t\" \"active\": \"true\"}}'",
    add_everything: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "add": {"ip": "1.1.1.1", "other_headers": ["VGVzdC1GaWVsZA==:"], "referer": "aHR0cDovL2V4YW1wbGUuY29tLw==", "ua": "TW96aWxsYS81LjA=", "cookie": "dGVzdF9jb29raWU=", "body": "YmM9MyZjYz0x", "args": "P3BhZ2U9Mw==", "url": "aW50ZXJuYWx0ZXN0", "domain": "ZXhhbXBsZS5jb20=", "api": false, "country": "Q0g=|VFc=", "active": true}}'"#,
    upd: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "upd": {"id": "1", "ip": "1.1.1.1", "active": "true"}}'"#,
    del: r#"curl https://nemesida-security.com/nw/agent/public/set_dyn_erl --header 'Content-type: application/json' --data '{"token": "%Identification token%", "del": {"id": "1"}}'"#,
};

/// The line that ends every text answer of the first dialect.
const END: &str = "{'status': 'success'}";

#[test]
fn enterprise() {
    let _turn = among_others();
    story(&ENTERPRISE);
}

#[test]
fn cloud() {
    let _turn = among_others();
    story(&CLOUD);
}

fn story(form: &Form) {
    let stack = Stack::start(2);
    rules(&stack, form);
    broken(&stack, form);
    list(&stack, form);
    settings(&stack, form);
}

/// Runs a line, expects success, waits until every worker obeys, returns the body.
fn done(stack: &Stack, line: &str) -> String {
    let outcome = curl(&stack.api, line);
    assert_eq!(outcome.status, 200, "{line}: {}", outcome.body);
    assert!(outcome.body.contains("success"), "{line}: {}", outcome.body);
    stack.in_step();
    outcome.body
}

/// What the site answers to an address that asks for example.com.
fn seen(stack: &Stack, address: &str) -> u16 {
    stack.visit("/").host("example.com").from(address).status()
}

/// The rules in an answer, and that it ends as it must.
fn listed(text: &str) -> Vec<Value> {
    let mut lines: Vec<_> = text.trim_end().lines().collect();
    assert_eq!(lines.pop(), Some(END), "{text}");
    lines.into_iter().map(|line| serde_json::from_str(line).expect("a rule is JSON")).collect()
}

fn rules(stack: &Stack, form: &Form) {
    assert!(listed(&done(stack, form.get_rules)).is_empty());
    assert_eq!((seen(stack, "1.1.1.1"), seen(stack, "2.2.2.2")), (200, 200));
    let answer: Value = serde_json::from_str(&done(stack, form.add_addresses)).expect("JSON");
    assert_eq!(answer["id"], 1, "the samples below name rule 1: {answer}");
    assert_eq!((seen(stack, "1.1.1.1"), seen(stack, "2.2.2.2")), (403, 403));
    assert_eq!(seen(stack, "3.3.3.3"), 200);
    let rules = listed(&done(stack, form.get_rules));
    assert_eq!((rules.len(), rules[0]["ip"].as_str()), (1, Some("1.1.1.1|2.2.2.2")));
    assert_eq!(listed(&done(stack, form.get_rules_extended)).len(), 1);

    done(stack, form.upd);
    assert_eq!((seen(stack, "1.1.1.1"), seen(stack, "2.2.2.2")), (403, 200));
    done(stack, form.del);
    assert_eq!((seen(stack, "1.1.1.1"), seen(stack, "2.2.2.2")), (200, 200));

    let visit = stack.visit("/").host("example.com").from("1.1.1.1");
    let with_header = visit.clone().header("test-header", "xabcx");
    assert_eq!(with_header.status(), 200);
    done(stack, form.add_header);
    assert_eq!(with_header.status(), 403);
    assert_eq!(visit.status(), 200);
    assert_eq!(visit.clone().header("test-header", "ab").status(), 200);
    assert_eq!(with_header.host("example.org").status(), 200);

    // Names a country and a body: neither can be had here, so it does not apply.
    done(stack, form.add_everything);
    let rules = listed(&done(stack, form.get_rules));
    let rule = rules.last().expect("the rule that was added");
    assert_eq!(rule["body"], "YmM9MyZjYz0x", "{rule}");
    assert!(rule["other_headers"].to_string().contains("VGVzdC1GaWVsZA==:"), "{rule}");
}

/// The lines that are no JSON, as printed and with their comma.
fn broken(stack: &Stack, form: &Form) {
    for line in [form.add_not_network, form.add_country] {
        let before = stack.api.generation();
        let outcome = curl(&stack.api, line);
        assert_eq!(outcome.status, 400, "{line}: {}", outcome.body);
        let error: Value = serde_json::from_str(&outcome.body).expect("the error is JSON");
        assert_eq!(error["code"], "invalid_json", "{error}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("line 1 column "), "{message}");
        assert_eq!(stack.api.generation(), before, "a refused call changed something");
    }
    let mend = |line: &str| line.replace("\" \"active\"", "\", \"active\"");
    assert_eq!((seen(stack, "9.9.9.9"), seen(stack, "1.1.1.200")), (200, 200));
    done(stack, &mend(form.add_not_network));
    assert_eq!((seen(stack, "9.9.9.9"), seen(stack, "1.1.1.200")), (403, 200));
    assert_eq!(stack.visit("/").host("example.org").from("9.9.9.9").status(), 200);

    // The Cyrillic first letter is understood, and not repeated.
    done(stack, &mend(form.add_country));
    let rules = listed(&done(stack, form.get_rules));
    let rule = rules.last().expect("the rule that was added");
    assert_eq!(rule["country"], "Q0g=|UlU=", "{rule}");
    assert!(!rule.to_string().contains('\u{441}'), "{rule}");
}

fn list(stack: &Stack, form: &Form) {
    let other = |address: &str| stack.visit("/").host("example.org").from(address).status();
    let addresses = ["2.2.2.2", "3.3.3.77", "4.4.4.4", "4.200.1.1", "5.5.5.5"];
    assert_eq!(done(stack, form.get_list).trim_end(), END);
    assert!(addresses.iter().all(|address| other(address) == 200));
    assert_eq!(seen(stack, "1.1.1.1"), 200);
    done(stack, form.set_list);
    assert!(addresses.iter().all(|address| other(address) == 403));
    assert_eq!((seen(stack, "1.1.1.1"), other("1.1.1.1")), (403, 200));
    assert_eq!((other("4.4.4.3"), other("5.5.5.6"), other("3.3.4.0")), (200, 200, 200));
    let text = done(stack, form.get_list);
    let mut lines: Vec<_> = text.trim_end().lines().collect();
    lines.sort_unstable();
    let expected = ["2.2.2.2", "3.3.3.0/24", "4.4.4.4-5.5.5.5", "domain=example.com 1.1.1.1", END];
    assert_eq!(lines, expected);
    done(stack, form.del_list);
    assert!(addresses.iter().all(|address| other(address) == 200));
}

fn settings(stack: &Stack, form: &Form) {
    // "/secret", for everybody
    stack.api.add_rule(serde_json::json!({"url": "L3NlY3JldA==", "active": true}));
    stack.in_step();
    let secret = |address: &str| stack.visit("/secret").from(address).status();
    assert_eq!((secret("127.0.0.1"), secret("127.0.0.2"), secret("127.0.0.3")), (403, 403, 403));
    done(stack, form.set_settings);
    assert_eq!((secret("127.0.0.1"), secret("127.0.0.2"), secret("127.0.0.3")), (200, 200, 403));
    let text = done(stack, form.get_settings);
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["nwaf_ai_extra_host_lm"], "example.com", "{answer}");
    assert!(answer["nwaf_ip_wl"].as_str().is_some_and(|v| v.contains("127.0.0.2")), "{answer}");
    assert!(text.contains(r#""status": "success""#) || text.contains(r#""status":"success""#));
    done(stack, form.del_settings);
    assert_eq!((secret("127.0.0.1"), secret("127.0.0.2")), (403, 403));
}
