//! Signature exclusions: the vendor's text, the bundle, deltas, the action log.

use wire::v1::read_exclusions;
use wire::v2::{Bundle, Delta};

use super::support::{ADMIN, Api, NODE, READ};

const SAMPLE: &str = r#""add": {"rl_id": "50001", "domain": "example.com", "mz": "URL", "extension": "$URL_X:/test"}"#;

async fn list(api: &Api, query: &str) -> String {
    let answer = api.form(&format!("/nw-api/get_dyn_wl{query}"), &format!("key={ADMIN}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

#[tokio::test]
async fn an_exclusion_is_added_changed_and_removed() {
    let api = Api::start().await;
    // A bundle that is smaller than the difference travels whole.
    let entries: Vec<String> = (0..99).map(|n| format!("192.0.2.{n}")).collect();
    api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{}"}}"#, entries.join(","))).await;
    let first = api.bundle().await;
    let added = api.write("set_dyn_wl", SAMPLE).await;
    assert_eq!((&added["id"], &added["generation"]), (&1.into(), &3.into()));
    assert_eq!(
        list(&api, "").await,
        "id: 1 active: True rule: wl:50001 domain=example.com \"Z:URL|$URL_X:/test\"\n\
         {'status': 'success'}\n"
    );
    api.write("set_dyn_wl", r#""upd": {"rid": "1", "pattern": "ABC", "comment": "noisy"}"#).await;
    let extended = list(&api, "?extended=yes").await;
    assert!(extended.contains(r#" pattern="ABC" comment="noisy" author="anna" created="#));
    let bundle = api.bundle().await;
    assert_eq!(bundle.content.exclusions[0].pattern, "ABC");
    assert_eq!(bundle.to_policy().unwrap().exclusions.len(), 1);

    // Asked again: nothing moves.
    let again = api.write("set_dyn_wl", r#""upd": {"id": 1, "pattern": "ABC"}"#).await;
    assert_eq!((&again["id"], &again["generation"]), (&1.into(), &4.into()));

    // A node that has the first bundle gets the difference alone.
    let since = format!("{}.{}", first.revision.session, first.revision.generation);
    let answer = api.get(&format!("/nw-api/v2/delta?since={since}"), NODE).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let delta: Delta = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(delta.apply(first).unwrap(), bundle);

    // What does not act is no part of the bundle, but of the list.
    api.write("set_dyn_wl", r#""upd": {"rid": 1, "active": "false"}"#).await;
    assert_eq!(api.bundle().await.content.exclusions, []);
    let [(1, text)] = &read_exclusions(&list(&api, "").await).unwrap()[..] else { panic!() };
    assert!(!text.active);
    api.write("set_dyn_wl", r#""del": {"rid": "1"}"#).await;
    assert_eq!(list(&api, "").await, "{'status': 'success'}\n");
    // No id is given twice.
    assert_eq!(api.write("set_dyn_wl", SAMPLE).await["id"], 2);
    let log = api.get("/nw-api/get_event_log", READ).await.value();
    let events = log["events"].as_array().unwrap();
    assert_eq!((&events[1]["call"], &events[1]["after"]), (&"set_dyn_wl".into(), &().into()));
    assert_eq!(events[1]["before"]["pattern"], "ABC");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let api = Api::start().await;
    api.write("set_dyn_wl", SAMPLE).await;
    api.write(
        "set_dyn_wl",
        r#""add": {"rl_id": "*", "domain": "ZXhhbXBsZS5jb20=", "mz": "args|url", "active": false}"#,
    )
    .await;
    let (before, text) = (api.bundle().await, list(&api, "?extended=yes").await);
    let api = api.restart().await;
    assert_eq!(api.bundle().await, before);
    assert_eq!(list(&api, "?extended=yes").await, text);
    assert!(text.contains("id: 2 active: False rule: wl:* domain=example.com \"Z:URL|ARGS\""));
    assert_eq!(api.write("set_dyn_wl", SAMPLE).await["id"], 3);
    let sealed = Bundle::seal(before.revision, before.forced_at, before.content.clone()).digest;
    assert_eq!(sealed, before.digest);
}

#[tokio::test]
async fn v2_is_json() {
    let api = Api::start().await;
    let answer =
        api.json("/nw-api/v2/set_dyn_wl", &format!(r#"{{"key": "{ADMIN}", {SAMPLE}}}"#)).await;
    assert!(answer.text.starts_with(r#"{"status": "success", "id": 1,"#), "{}", answer.text);
    let listed = api.json("/nw-api/v2/get_dyn_wl", &format!(r#"{{"key": "{NODE}"}}"#)).await;
    let expected = serde_json::json!({"wl": [{
        "id": 1, "active": true, "rl_id": "50001", "domain": "example.com", "mz": "URL",
        "extension": "$URL_X:/test", "pattern": "", "comment": "",
    }]});
    assert_eq!(listed.value(), expected);
    let extended = api.get("/nw-api/v2/get_dyn_wl?extended=yes", READ).await.value();
    assert_eq!(extended["wl"][0]["author"], "anna");
}

#[tokio::test]
async fn refusals_name_field_and_reason_and_change_nothing() {
    let api = Api::start().await;
    api.write("set_dyn_wl", SAMPLE).await;
    let before = api.revision().await;
    for (body, status, field) in [
        (r#""add": {"domain": "example.com"}"#, 422, "rl_id"),
        (r#""add": {"rl_id": "x"}"#, 422, "rl_id"),
        (r#""add": {"rl_id": "1", "domain": "a..b"}"#, 422, "domain"),
        (r#""add": {"rl_id": "1", "mz": "PATH"}"#, 422, "mz"),
        (r#""add": {"rl_id": "1", "extension": "$URL_X:("}"#, 422, "extension[0]"),
        (r#""add": {"rl_id": "1", "extension": "$URL_X:(a{100}){200}"}"#, 422, "extension[0]"),
        (r#""add": {"rl_id": "1", "zone": "URL"}"#, 400, "add.zone"),
        (r#""upd": {"rid": "50001", "pattern": "ABC"}"#, 404, "upd.rid"),
        (r#""upd": {"rid": 1, "rl_id": ""}"#, 422, "rl_id"),
        (r#""del": {"rid": 9}"#, 404, "del.rid"),
    ] {
        let answer = api.try_write("set_dyn_wl", body).await;
        let error = answer.error();
        assert_eq!(
            (answer.status.as_u16(), error.errors[0].field.as_str()),
            (status, field),
            "{body}"
        );
    }
    assert_eq!(api.revision().await, before);
    let node = format!(r#"{{"key": "{NODE}", {SAMPLE}}}"#);
    assert_eq!(api.json("/nw-api/set_dyn_wl", &node).await.status, 403);
}
