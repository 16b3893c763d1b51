//! Generations, forced changes, and the record of who did what.

use serde_json::json;

use super::support::{ADMIN, Api};

#[tokio::test]
async fn every_change_moves_the_generation_by_one_and_no_change_by_none() {
    let api = Api::start().await;
    let first = api.revision().await;
    assert_eq!(first.generation, 1);
    let steps = [
        ("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com", "nwaf_host_lm": "b.com"}"#),
        ("set_dyn_bl", r#""set": {"bl": ["1.1.1.1", "2.2.2.2"]}"#),
        ("set_dyn_erl", r#""add": {"ip": "1.1.1.1", "url": "YQ=="}"#),
        ("set_dyn_erl", r#""upd": {"id": 1, "url": "Yg=="}"#),
        ("set_dyn_bl", r#""del": "1.1.1.1""#),
        ("set_dyn_settings", r#""del": ["nwaf_host_wl", "nwaf_host_lm"]"#),
    ];
    for (moved, (call, rest)) in (2u64..).zip(steps) {
        let answer = api.write(call, rest).await;
        assert_eq!(
            (&answer["generation"], &answer["session"]),
            (&json!(moved), &json!(first.session))
        );
        assert_eq!(api.revision().await.generation, moved);
    }
    for (call, rest) in [
        ("set_dyn_settings", r#""del": "nwaf_host_wl""#),
        ("set_dyn_bl", r#""set": {"bl": ["2.2.2.2", "2.2.2.2"]}"#),
        ("set_dyn_erl", r#""upd": {"id": 1, "url": "Yg=="}"#),
        ("set_dyn_erl", r#""upd": {"id": "1"}"#),
    ] {
        assert_eq!(api.write(call, rest).await["generation"], 7, "{rest}");
    }
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    assert_eq!(log["events"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn the_action_log_says_who_when_before_and_after() {
    let api = Api::start().await;
    api.write("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com"}"#).await;
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    api.write("set_dyn_erl", r#""del": {"id": 1}"#).await;
    for path in ["/nw-api/get_event_log", "/nw/ml/mgmt/get_event_log"] {
        let answer = api.form(path, &format!("token={ADMIN}")).await;
        assert!(answer.text.starts_with(r#"{"status": "success""#), "{}", answer.text);
        let log = answer.value();
        let events = log["events"].as_array().unwrap();
        assert_eq!(events.len(), 3);
        assert_eq!(events[0]["after"], json!(null));
        assert_eq!(events[0]["before"]["ip"], "1.1.1.1");
        assert_eq!(events[1]["before"], json!(null));
        assert_eq!(events[2]["after"], json!({"nwaf_host_wl": {"value": "a.com", "active": true}}));
        assert_eq!(events[2]["generation"], 2);
        for event in events {
            assert_eq!((&event["key"], &event["address"]), (&json!("anna"), &json!("127.0.0.1")));
            assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        }
    }
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    let second = log["events"][1]["id"].as_i64().unwrap();
    let older = api.get(&format!("/nw-api/get_event_log?before={second}"), ADMIN).await.value();
    assert_eq!(older["events"].as_array().unwrap().len(), 1);
    let body = format!(r#"{{"key": "{ADMIN}", "before": {second}}}"#);
    let older = api.json("/nw-api/get_event_log", &body).await;
    assert_eq!(older.value()["events"].as_array().unwrap().len(), 1);
    api.get("/nw-api/get_event_log?before=x", ADMIN).await.refused(400, "invalid_field");
}

#[tokio::test]
async fn long_lists_are_logged_by_their_difference() {
    let api = Api::start().await;
    let list = |from: u32, to: u32| {
        let entries: Vec<String> =
            (from..to).map(|n| format!("\"10.{}.{}.1\"", n / 256, n % 256)).collect();
        format!(r#""set": {{"bl": [{}]}}"#, entries.join(","))
    };
    api.write("set_dyn_bl", &list(0, 1_500)).await;
    api.write("set_dyn_bl", &list(2, 1_501)).await;
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    let event = &log["events"][0];
    assert_eq!(event["before"]["entries"], 1_500);
    assert_eq!(event["before"]["only_here"], json!(["10.0.0.1", "10.0.1.1"]));
    assert_eq!(event["after"]["only_here"], json!(["10.5.220.1"]));
}

#[tokio::test]
async fn what_blocks_everybody_needs_force_and_other_changes_do_not() {
    let api = Api::start().await;
    let all = r#""set": {"bl": ["0.0.0.0/1", "128.0.0.0/1"]}"#;
    api.try_write("set_dyn_bl", all).await.refused(422, "needs_force");
    assert_eq!(api.bundle().await.forced_at, 0);
    api.write("set_dyn_bl", &format!(r#""force": true, {all}"#)).await;
    assert_eq!(api.bundle().await.forced_at, 2);
    // The danger is in force and wanted; what has nothing to do with it needs no force.
    api.write("set_dyn_erl", r#""add": {"url": "YQ=="}"#).await;
    // Force that was not needed does not disarm the nodes.
    api.write("set_dyn_erl", r#""force": "true", "add": {"url": "Yg=="}"#).await;
    assert_eq!(api.bundle().await.forced_at, 2);
    // Another danger than the one in force needs it.
    let all_v6 = r#""set": {"bl": ["::/0"]}"#;
    api.try_write("set_dyn_bl", all_v6).await.refused(422, "needs_force");
    let both = r#""set": {"bl": ["0.0.0.0/1", "128.0.0.0/1", "::/0"]}"#;
    api.try_write("set_dyn_bl", both).await.refused(422, "needs_force");
    let rule = r#""add": {"ip": "0.0.0.0/0"}"#;
    api.try_write("set_dyn_erl", rule).await.refused(422, "needs_force");
    // Away from the danger no force is needed, and back to it is a new one.
    api.write("set_dyn_bl", r#""del": "128.0.0.0/1""#).await;
    assert_eq!(api.bundle().await.forced_at, 2);
    api.try_write("set_dyn_bl", all).await.refused(422, "needs_force");
    // An inactive list blocks nobody.
    api.write("set_dyn_bl", r#""set": {"bl": ["0.0.0.0/0"], "active": false}"#).await;
    api.try_write("set_dyn_bl", r#""set": {"active": true}"#).await.refused(422, "needs_force");
}

#[tokio::test]
async fn the_first_force_of_a_history_makes_nodes_follow_it() {
    let api = Api::start().await;
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 0);
    api.write("set_dyn_erl", r#""force": true, "add": {"ip": "2.2.2.2"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 3);
    api.write("set_dyn_erl", r#""force": true, "add": {"ip": "3.3.3.3"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 3);
}

#[tokio::test]
async fn emptying_settings_counts_as_meant() {
    let api = Api::start().await;
    let list = (1..=20).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(", ");
    api.write("set_dyn_settings", &format!(r#""set": {{"nwaf_ip_wl": "{list}"}}"#)).await;
    api.write("set_dyn_settings", r#""set": {"nwaf_ip_wl": "10.0.0.1, 10.0.0.2"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 0);
    api.write("set_dyn_settings", r#""del": "nwaf_ip_wl""#).await;
    assert_eq!(api.bundle().await.forced_at, 4);
}

#[tokio::test]
async fn removing_nearly_everything_counts_as_meant() {
    let api = Api::start().await;
    let twenty: Vec<String> = (1..=20).map(|n| format!("10.0.0.{n}")).collect();
    api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{}"}}"#, twenty.join(","))).await;
    api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{}"}}"#, twenty[..2].join(","))).await;
    assert_eq!(api.bundle().await.forced_at, 0, "exactly 90 % is not more than 90 %");
    api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{}"}}"#, twenty.join(","))).await;
    api.write("set_dyn_bl", r#""set": {"bl": "10.0.0.1"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 5);
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    assert_eq!(api.bundle().await.forced_at, 5);
    api.write("set_dyn_erl", r#""upd": {"id": 1, "active": false}"#).await;
    assert_eq!(api.bundle().await.forced_at, 7);
}

#[tokio::test]
async fn extended_answers_have_author_and_times() {
    let api = Api::start().await;
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    for call in ["get_dyn_erl", "get_dyn_bl"] {
        let text = api.get(&format!("/nw-api/{call}?extended=yes"), ADMIN).await.text;
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["author"], "anna", "{call}");
        for time in ["created", "updated"] {
            assert!(line[time].as_str().unwrap().ends_with('Z'), "{call}: {line}");
        }
        assert!(text.ends_with("{'status': 'success'}\n"));
        assert!(!api.get(&format!("/nw-api/{call}"), ADMIN).await.text.contains("author"));
        let body = format!(r#"{{"key": "{ADMIN}", "extended": true}}"#);
        assert_eq!(api.json(&format!("/nw-api/{call}"), &body).await.text, text);
    }
    let erl = api.get("/nw-api/v2/get_dyn_erl?extended=yes", ADMIN).await.value();
    assert_eq!(erl["erl"][0]["author"], "anna");
}
