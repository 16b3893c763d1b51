//! Reads of what changed, writes to what one has seen, writes that happen once, dry runs.

use axum::body::Body;
use axum::http::{HeaderName, Method, Request, header};
use serde_json::json;

use super::support::{ADMIN, Answer, Api, NODE, READ};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Every read that knows conditions, and whether it has an extended form.
const READS: [(&str, bool); 7] = [
    ("get_dyn_settings", true),
    ("get_dyn_bl", true),
    ("get_dyn_erl", true),
    ("v2/get_dyn_settings", true),
    ("v2/get_dyn_bl", true),
    ("v2/get_dyn_erl", true),
    ("v2/bundle", false),
];

async fn ask(api: &Api, method: Method, path: &str, name: HeaderName, value: &str) -> Answer {
    let request = Request::builder().method(method).uri(format!("/nw-api/{path}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
    api.send(request.header(name, value).body(Body::empty()).unwrap()).await
}

async fn write(api: &Api, name: HeaderName, value: &str, call: &str, body: &str) -> Answer {
    let request = Request::post(format!("/nw-api/{call}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
    let request = request.header(header::CONTENT_TYPE, "application/json").header(name, value);
    api.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn what_is_known_is_not_told_again() {
    let api = Api::start().await;
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    for (path, has_forms) in READS {
        let whole = api.get(&format!("/nw-api/{path}"), READ).await;
        let tag = whole.header("etag").to_owned();
        assert_eq!(tag, "\"1000.2\"", "{path}");
        let none = |tag: &str| {
            let tag = tag.to_owned();
            async {
                let tag = tag;
                ask(&api, Method::GET, path, header::IF_NONE_MATCH, &tag).await
            }
        };
        let same = none(&format!("\"x\", W/{tag}")).await;
        assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""), "{path}");
        assert_eq!((same.header("etag"), same.header("x-nw-generation")), (&*tag, "2"));
        assert_eq!(none("\"1000.1\"").await.status, 200, "{path}");
        none("1000.2").await.refused(400, "invalid_field");
        if !has_forms {
            continue;
        }
        assert_eq!(none("*").await.status, 304, "{path}");
        let extended = format!("{path}?extended=yes");
        let long = api.get(&format!("/nw-api/{extended}"), READ).await;
        assert_eq!(long.header("etag"), "\"1000.2.extended\"");
        // Another form is another answer.
        let asked = ask(&api, Method::GET, &extended, header::IF_NONE_MATCH, &tag).await;
        assert_eq!(asked.status, 200, "{extended}");

        // By POST a header cannot say it, a field can.
        let answer = ask(&api, Method::POST, path, header::IF_NONE_MATCH, &tag).await;
        assert!(answer.refused(412, "unchanged").contains("1000.2"));
        let answer = api.form(&format!("/nw-api/{path}"), &format!("key={READ}&rev=1000.2")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("etag"), tag);
        let answer = api.form(&format!("/nw-api/{path}"), &format!("key={READ}&rev=1000.1")).await;
        assert_eq!(answer.status, 200, "{path}");
        let answer = api.form(&format!("/nw-api/{path}"), &format!("key={READ}&rev=x")).await;
        answer.refused(400, "invalid_field");
        ask(&api, Method::GET, path, header::IF_NONE_MATCH, "*").await;
    }
    // A stranger learns nothing.
    let request = Request::get("/nw-api/get_dyn_bl").header(header::IF_NONE_MATCH, "*");
    api.send(request.body(Body::empty()).unwrap()).await.refused(401, "missing_key");
}

#[tokio::test]
async fn a_match_reads_nothing_but_the_revision() {
    let api = Api::start().await;
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    api.tamper("UPDATE rule SET ip = '1.1.1.1/99' WHERE id = 1").await;
    // A new process would fail to understand the policy; it is not asked to.
    let api = api.restart().await;
    let same = ask(&api, Method::GET, "get_dyn_erl", header::IF_NONE_MATCH, "\"1000.2\"").await;
    assert_eq!(same.status, 304);
    api.get("/nw-api/get_dyn_erl", NODE).await.refused(500, "store_corrupt");
}

#[tokio::test]
async fn a_write_is_for_what_its_writer_has_seen() {
    let api = Api::start().await;
    let body = r#"{"set": {"bl": ["1.1.1.1"]}}"#;
    let late = write(&api, header::IF_MATCH, "\"1000.7\"", "set_dyn_bl", body).await;
    assert!(late.refused(412, "changed_since").contains("1000.1"));
    let foreign = write(&api, header::IF_MATCH, "\"abc\"", "set_dyn_bl", body).await;
    foreign.refused(412, "changed_since");
    let bad = write(&api, header::IF_MATCH, "1000.1", "set_dyn_bl", body).await;
    bad.refused(400, "invalid_field");
    assert_eq!(api.revision().await.generation, 1);

    // The tag of any answer will do, of a write as well.
    for tag in ["\"9.9\", \"1000.1.extended\"", "\"1000.2\"", "*"] {
        let entry = format!("2.2.2.{}", tag.len());
        let body = format!(r#"{{"set": {{"bl": ["{entry}"]}}}}"#);
        let done = write(&api, header::IF_MATCH, tag, "v2/set_dyn_bl", &body).await;
        assert_eq!(done.status, 200, "{tag}: {}", done.text);
        assert_eq!(done.header("etag"), format!("\"1000.{}\"", done.header("x-nw-generation")));
    }
}

#[tokio::test]
async fn of_two_writers_with_one_revision_one_wins() {
    let api = std::sync::Arc::new(Api::start().await);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..20 {
        let api = std::sync::Arc::clone(&api);
        writers.spawn(async move {
            let body = format!(r#"{{"add": {{"ip": "1.1.1.{n}"}}}}"#);
            write(&api, header::IF_MATCH, "\"1000.1\"", "set_dyn_erl", &body).await.status.as_u16()
        });
    }
    let mut statuses = writers.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 412), "{statuses:?}");
    assert_eq!(api.revision().await.generation, 2);
}

#[tokio::test]
async fn a_write_with_a_key_happens_once() {
    let api = Api::start().await;
    let body = r#"{"add": {"ip": "1.1.1.1"}}"#;
    let first = write(&api, IDEMPOTENCY_KEY, "k-1", "set_dyn_erl", body).await;
    assert_eq!((first.status.as_u16(), first.value()["id"].as_u64()), (200, Some(1)));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    // Also in another process, after other writes, and where the revision has moved.
    api.write("set_dyn_erl", r#""add": {"ip": "2.2.2.2"}"#).await;
    let api = api.restart().await;
    let again = write(&api, IDEMPOTENCY_KEY, "k-1", "set_dyn_erl", body).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(api.revision().await.generation, 3);

    let other = r#"{"add": {"ip": "3.3.3.3"}}"#;
    let mismatch = write(&api, IDEMPOTENCY_KEY, "k-1", "set_dyn_erl", other).await;
    assert!(mismatch.refused(422, "idempotency_mismatch").contains("k-1"));
    // The same words in another call are another request.
    write(&api, IDEMPOTENCY_KEY, "k-1", "set_dyn_bl", r#"{"del": ""}"#)
        .await
        .refused(422, "idempotency_mismatch");
    for bad in ["", "a b", &"x".repeat(129)] {
        let refused = write(&api, IDEMPOTENCY_KEY, bad, "set_dyn_erl", other).await;
        refused.refused(400, "invalid_field");
    }

    // What was refused was not done, and may be done under the same key.
    let bad = r#"{"add": {"ip": "x"}}"#;
    write(&api, IDEMPOTENCY_KEY, "k-2", "set_dyn_erl", bad).await.refused(422, "invalid_value");
    assert_eq!(write(&api, IDEMPOTENCY_KEY, "k-2", "set_dyn_erl", other).await.status, 200);

    // What changed nothing stays done, though it would change something by now.
    let clear = r#"{"del": ""}"#;
    let nothing = write(&api, IDEMPOTENCY_KEY, "k-3", "set_dyn_bl", clear).await;
    assert_eq!(nothing.value()["generation"], 4);
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    let again = write(&api, IDEMPOTENCY_KEY, "k-3", "set_dyn_bl", clear).await;
    assert_eq!(
        (again.text, again.headers.contains_key("idempotency-replayed")),
        (nothing.text, true)
    );
    assert_eq!(api.bundle().await.content.block_list, ["1.1.1.1"]);
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_time_are_one() {
    let api = std::sync::Arc::new(Api::start().await);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let api = std::sync::Arc::clone(&api);
        writers.spawn(async move {
            let body = r#"{"add": {"ip": "1.1.1.1"}}"#;
            write(&api, IDEMPOTENCY_KEY, "once", "set_dyn_erl", body).await
        });
    }
    let answers = writers.join_all().await;
    let new = answers.iter().filter(|a| !a.headers.contains_key("idempotency-replayed")).count();
    assert_eq!(new, 1);
    assert!(answers.iter().all(|answer| answer.text == answers[0].text && answer.status == 200));
    assert_eq!(api.revision().await.generation, 2);
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let api = Api::start().await;
    api.write("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com", "nwaf_ip_wl": "1.1.1.1"}"#)
        .await;
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1", "2.2.2.2"]}"#).await;
    api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
    let before = api.bundle().await;
    let only = r#", "validate": "only""#;

    let told = api
        .write(
            "set_dyn_settings",
            &format!(r#""set": {{"nwaf_host_wl": "b.com", "nwaf_limit": ""}}{only}"#),
        )
        .await;
    assert_eq!((&told["generation"], &told["next_generation"]), (&json!(4), &json!(5)));
    let settings = &told["diff"]["settings"];
    assert_eq!(
        (&settings["added"], &settings["changed"], &settings["removed"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let changed = &settings["examples"][1];
    assert_eq!(changed["name"], "nwaf_host_wl");
    assert_eq!(changed["before"], json!({"value": "a.com", "active": true}));
    assert_eq!(changed["after"], json!({"value": "b.com", "active": true}));

    let told = api
        .write(
            "set_dyn_bl",
            &format!(r#""set": {{"active": false, "bl": ["2.2.2.2", "3.3.3.3"]}}{only}"#),
        )
        .await;
    let list = &told["diff"]["block_list"];
    assert_eq!((&list["added"], &list["removed"]), (&json!(1), &json!(1)));
    assert_eq!(told["diff"]["block_list_active"], json!({"before": true, "after": false}));

    let told = api.write("v2/set_dyn_erl", &format!(r#""add": {{"ip": "0.0.0.0/0"}}{only}"#)).await;
    assert!(told["needs_force"].as_str().unwrap().contains("rule 2"), "{told}");
    assert_eq!((&told["id"], &told["diff"]["rules"]["added"]), (&json!(2), &json!(1)));
    let told = api.write("set_dyn_erl", &format!(r#""del": {{"id": 1}}{only}"#)).await;
    assert_eq!(told["diff"]["rules"]["examples"][0]["before"]["ip"], "1.1.1.1");

    // Nothing would change.
    let told = api.write("set_dyn_bl", &format!(r#""set": {{"active": true}}{only}"#)).await;
    assert_eq!((&told["next_generation"], &told["needs_force"]), (&json!(4), &json!(null)));
    // What would be refused is refused.
    let bad = format!(r#""set": {{"bl": ["x"]}}{only}"#);
    api.try_write("set_dyn_bl", &bad).await.refused(422, "invalid_value");
    let bad = r#""del": "", "validate": "twice""#;
    api.try_write("set_dyn_bl", bad).await.refused(400, "invalid_field");
    assert_eq!(api.bundle().await, before);
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    assert_eq!(log["events"].as_array().unwrap().len(), 3);

    // A dry run is not the write its key is for.
    let body = format!(r#"{{"add": {{"ip": "3.3.3.3"}}{only}}}"#);
    write(&api, IDEMPOTENCY_KEY, "dry", "set_dyn_erl", &body).await;
    let done =
        write(&api, IDEMPOTENCY_KEY, "dry", "set_dyn_erl", r#"{"add": {"ip": "3.3.3.3"}}"#).await;
    assert_eq!(done.value()["generation"], 5);
}
