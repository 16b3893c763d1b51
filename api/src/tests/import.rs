//! Files in, files out.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::support::{ADMIN, Answer, Api, LIVE, NODE, READ};
use crate::http::Live;
use crate::key::Digest;
use store::{KeyRow, Scope};

async fn import(api: &Api, target: &str, file: &str) -> Answer {
    import_by(api, ADMIN, target, file, "*/*").await
}

async fn import_by(api: &Api, key: &str, target: &str, file: &str, accept: &str) -> Answer {
    let request = Request::post(format!("/nw-api/v2/import/{target}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    // What curl says of any file.
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.header(header::ACCEPT, accept);
    api.send(request.body(Body::from(file.to_owned())).unwrap()).await
}

async fn export(api: &Api, key: &str, target: &str) -> String {
    let answer = api.get(&format!("/nw-api/v2/export/{target}"), key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

fn counts(answer: &Value, part: &str) -> [u64; 3] {
    ["added", "changed", "removed"].map(|kind| answer["diff"][part][kind].as_u64().unwrap())
}

#[tokio::test]
async fn a_block_list_is_replaced_or_added_to() {
    let api = Api::start().await;
    api.write("set_dyn_bl", r#""set": {"active": false, "bl": ["9.9.9.9", "1.1.1.1"]}"#).await;
    let file = "# theirs\r\n1.1.1.1\r\n\r\ndomain=a.com  2.2.2.2\n1.1.1.1/32\n";
    let merged = import(&api, "bl?mode=merge", file).await.value();
    assert_eq!(
        (merged["status"].as_str(), counts(&merged, "block_list")),
        (Some("success"), [1, 0, 0])
    );
    assert_eq!(export(&api, READ, "bl").await, "9.9.9.9\n1.1.1.1\ndomain=a.com 2.2.2.2\n");
    // What stayed off stays off; a new list acts.
    assert_eq!(
        export(&api, READ, "bl?format=json").await,
        "{\"active\": false, \"bl\": [\"9.9.9.9\",\n\"1.1.1.1\",\n\"domain=a.com 2.2.2.2\"\n]}\n"
    );
    let replaced = import(&api, "bl?mode=replace", file).await.value();
    assert_eq!(counts(&replaced, "block_list"), [0, 0, 1]);
    assert_eq!(api.bundle().await.content.block_list, ["1.1.1.1", "domain=a.com 2.2.2.2"]);
    let same = import(&api, "bl?mode=replace", file).await.value();
    assert_eq!(
        (&same["generation"], counts(&same, "block_list")),
        (&replaced["generation"], [0; 3])
    );

    // Every export can be imported, and so can answers.
    for source in [
        "v2/export/bl",
        "v2/export/bl?format=json",
        "v2/export/bl?format=jsonl",
        "get_dyn_bl",
        "get_dyn_bl?extended=yes",
        "v2/get_dyn_bl",
    ] {
        let file = api.get(&format!("/nw-api/{source}"), READ).await.text;
        let again = import(&api, "bl?mode=replace", &file).await.value();
        assert_eq!(again["generation"], replaced["generation"], "{source}: {again}");
    }
    // Nodes are told what changed, in one step.
    let cleared = import(&api, "bl?mode=replace", "").await.value();
    assert_eq!(cleared["generation"], 5);
}

#[tokio::test]
async fn one_bad_line_refuses_the_file_and_all_are_named() {
    let api = Api::start().await;
    let before = api.bundle().await;
    let file = "1.1.1.1\nx\n# fine\n1.1.1.0/33\n2.2.2.2 3.3.3.3\n";
    let answer = import(&api, "bl?mode=merge", file).await;
    let message = answer.refused(422, "invalid_value");
    assert!(message.starts_with("line 2: ") && message.contains("2 more"), "{message}");
    let lines: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(lines, ["line 2", "line 4", "line 5"]);

    let long = "x\n".repeat(3_000);
    let answer = import(&api, "bl?mode=merge", &long).await;
    assert!(answer.refused(422, "invalid_value").contains("2999 more"));
    assert_eq!(answer.error().errors.len(), 1_000);

    let rules = "{\"ip\": \"1.1.1.1\"}\n{\"ip\": \"1.1.1.x\", \"ua\": \"%\"}\n";
    let answer = import(&api, "erl?mode=merge", rules).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["line 2: ip", "line 2: ua"]);
    let twice = r#"[{"id": 3, "ip": "1.1.1.1"}, {"id": 3, "ip": "2.2.2.2"}, {"active": true}]"#;
    let answer = import(&api, "erl?mode=merge&ids=keep", twice).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["erl[1]: id", "erl[2]"]);
    let answer = import(&api, "settings?mode=merge", r#"{"nwaf_ip_wl": "x"}"#).await;
    assert!(answer.refused(422, "invalid_value").contains("nwaf_ip_wl"));
    import(&api, "bl?mode=replace", "0.0.0.0/0\n").await.refused(422, "needs_force");
    import(&api, "policy?mode=replace", "{\"format\"").await.refused(400, "invalid_json");
    assert_eq!(api.bundle().await, before);
}

#[tokio::test]
async fn what_is_asked_is_asked_plainly() {
    let api = Api::start().await;
    for (target, named) in [
        ("bl", "mode"),
        ("bl?mode=both", "mode"),
        ("bl?mode=merge&mode=merge", "mode"),
        ("bl?mode=merge&format=xml", "format"),
        ("erl?mode=merge&format=text", "format"),
        ("bl?mode=merge&ids=5", "ids"),
        ("bl?mode=merge&what=1", "what"),
        ("bl?mode=merge&validate=x", "validate"),
    ] {
        let message = import(&api, target, "1.1.1.1").await.refused(400, "invalid_field");
        assert!(message.starts_with(named), "{target}: {message}");
    }
    import(&api, "wafs?mode=merge", "1.1.1.1").await.refused(404, "no_such_call");
    api.get("/nw-api/v2/export/wafs", READ).await.refused(404, "no_such_call");
    api.get("/nw-api/v2/export/erl?format=text", READ).await.refused(400, "invalid_field");
    api.get("/nw-api/get_dyn_bl?format=text", READ).await.refused(400, "invalid_field");
    import_by(&api, NODE, "bl?mode=merge", "1.1.1.1", "*/*").await.refused(403, "forbidden");
    api.post("/nw-api/v2/import/bl?mode=merge", "text/plain", "1.1.1.1")
        .await
        .refused(401, "missing_key");
    api.app.set_live(Live { body_limit: 2_000, ..LIVE });
    import(&api, "bl?mode=merge", &"1.1.1.1\n".repeat(1_000)).await.refused(413, "body_too_large");
    api.app.set_live(Live { read_only: true, ..LIVE });
    import(&api, "bl?mode=merge", "1.1.1.1").await.refused(503, "read_only");
    let told = import(&api, "bl?mode=merge&validate=only", "1.1.1.1").await.value();
    assert_eq!(counts(&told, "block_list"), [1, 0, 0]);
    assert_eq!(export(&api, READ, "bl").await, "");
    let tag = "\"1000.1.text\"";
    let request = Request::get("/nw-api/v2/export/bl").header(header::IF_NONE_MATCH, tag);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {READ}"));
    assert_eq!(api.send(request.body(Body::empty()).unwrap()).await.status, 304);
}

#[tokio::test]
async fn rules_keep_their_ids_or_get_new_ones() {
    let api = Api::start().await;
    for ip in ["1.1.1.1", "2.2.2.2", "3.3.3.3"] {
        api.write("set_dyn_erl", &format!(r#""add": {{"ip": "{ip}"}}"#)).await;
    }
    let ids = async || {
        let rules = api.bundle().await.content.rules.into_iter();
        rules.map(|rule| (rule.id, rule.ip.unwrap())).collect::<Vec<_>>()
    };
    // By content: what is there stays what it is, what is new gets a new id.
    let file = r#"[{"id": 9, "ip": "2.2.2.2"}, {"id": 8, "ip": "4.4.4.4"}]"#;
    let done = import(&api, "erl?mode=merge", file).await.value();
    assert_eq!(counts(&done, "rules"), [1, 0, 0]);
    assert_eq!(ids().await[3], (4, "4.4.4.4".into()));
    let again = import(&api, "erl?mode=merge", file).await.value();
    assert_eq!(counts(&again, "rules"), [0; 3]);

    // By id, where it is free.
    let file = r#"[{"id": 1, "ip": "9.9.9.9"}, {"id": 20, "ip": "8.8.8.8"}]"#;
    let done = import(&api, "erl?mode=merge&ids=keep", file).await.value();
    assert_eq!(counts(&done, "rules"), [2, 0, 0]);
    assert_eq!(ids().await[4..], [(20, "8.8.8.8".into()), (21, "9.9.9.9".into())]);

    // Replacing by id is a change of that rule; and what an export says comes back.
    let whole = export(&api, READ, "erl").await;
    let done =
        import(&api, "erl?mode=replace&ids=keep", r#"{"id": 1, "ip": "7.7.7.7"}"#).await.value();
    assert_eq!(counts(&done, "rules"), [0, 1, 5]);
    let done = import(&api, "erl?mode=replace&ids=keep", &whole).await.value();
    assert_eq!(counts(&done, "rules"), [5, 1, 0]);
    assert_eq!(export(&api, READ, "erl").await, whole);
    assert_eq!(ids().await.len(), 6);
    // Ids go on above the highest.
    assert_eq!(api.write("set_dyn_erl", r#""add": {"ip": "5.5.5.5"}"#).await["id"], 22);
    // One object a line, as v1 answers.
    let lines = api.get("/nw-api/get_dyn_erl?extended=yes", READ).await.text;
    let done = import(&api, "erl?mode=replace&ids=keep", &lines).await.value();
    assert_eq!(counts(&done, "rules"), [0; 3]);
}

#[tokio::test]
async fn exclusions_keep_their_ids_or_get_new_ones() {
    let api = Api::start().await;
    for rl_id in [1, 2, 3] {
        api.write("set_dyn_wl", &format!(r#""add": {{"rl_id": {rl_id}}}"#)).await;
    }
    let ids = async || {
        let exclusions = api.bundle().await.content.exclusions.into_iter();
        exclusions.map(|exclusion| (exclusion.id, exclusion.rl_id)).collect::<Vec<_>>()
    };
    // By content, in the spelling that is kept.
    let file = "{\"id\": 9, \"rl_id\": \" 2\"}\n{\"rl_id\": 4, \"mz\": \"ARGS|URL\"}\n";
    let told = import(&api, "wl?mode=merge&validate=only", file).await.value();
    assert_eq!((counts(&told, "exclusions"), ids().await.len()), ([1, 0, 0], 3));
    assert_eq!(told["diff"]["exclusions"]["examples"][0]["after"]["rl_id"], "4");
    let done = import(&api, "wl?mode=merge", file).await.value();
    assert_eq!(counts(&done, "exclusions"), [1, 0, 0]);
    assert_eq!(ids().await[3], (4, "4".into()));
    let again = import(&api, "wl?mode=merge", file).await.value();
    assert_eq!(again["generation"], done["generation"]);

    // By id, where it is free.
    let file = r#"[{"id": 1, "rl_id": 8}, {"id": 20, "rl_id": 9}]"#;
    import(&api, "wl?mode=merge&ids=keep", file).await.value();
    assert_eq!(ids().await[4..], [(20, "9".into()), (21, "8".into())]);

    let whole = export(&api, READ, "wl").await;
    let done = import(&api, "wl?mode=replace&ids=keep", r#"{"id": 1, "rl_id": 7}"#).await.value();
    assert_eq!(counts(&done, "exclusions"), [0, 1, 5]);
    assert_eq!(ids().await, [(1, "7".into())]);
    let done = import(&api, "wl?mode=replace&ids=keep", &whole).await.value();
    assert_eq!(counts(&done, "exclusions"), [5, 1, 0]);
    assert_eq!(export(&api, READ, "wl").await, whole);
    assert_eq!(api.write("set_dyn_wl", r#""add": {"rl_id": 5}"#).await["id"], 22);
    // Every export can be imported, and so can answers.
    for source in [
        "v2/export/wl",
        "v2/export/wl?format=jsonl",
        "get_dyn_wl",
        "get_dyn_wl?extended=yes",
        "v2/get_dyn_wl?extended=yes",
    ] {
        let file = api.get(&format!("/nw-api/{source}"), READ).await.text;
        let same = import(&api, "wl?mode=replace&ids=keep", &file).await.value();
        assert_eq!(same["diff"].get("exclusions"), None, "{source}: {same}");
    }

    let before = api.bundle().await;
    let bad = "{\"rl_id\": 1}\n{\"rl_id\": \"x\"}\n{\"rl_id\": 1, \"mz\": \"WHAT\"}\n";
    let answer = import(&api, "wl?mode=replace", bad).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["line 2: rl_id", "line 3: mz"]);
    let twice = r#"[{"id": 3, "rl_id": 1}, {"id": 3, "rl_id": 2}]"#;
    let answer = import(&api, "wl?mode=merge&ids=keep", twice).await;
    assert!(answer.refused(422, "invalid_value").starts_with("wl[1]: id"));
    let many = "{\"rl_id\": 1}\n".repeat(policy::limits::EXCLUSIONS);
    let answer = import(&api, "wl?mode=merge", &many).await;
    assert!(answer.refused(422, "invalid_value").contains("more than 10000"));
    assert_eq!(api.bundle().await, before);
}

#[tokio::test]
async fn a_whole_policy_goes_into_another_waf_id() {
    let api = Api::start().await;
    api.write("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com", "active": false}"#).await;
    api.write("set_dyn_settings", r#""set": {"nwaf_ip_wl": "1.1.1.1"}"#).await;
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1", "2.2.2.2"]}"#).await;
    api.write("set_dyn_erl", r#""add": {"ip": "3.3.3.3", "active": false}"#).await;
    api.write("set_dyn_erl", r#""add": {"ua": "YQ=="}"#).await;
    api.write("set_dyn_erl", r#""del": {"id": 1}"#).await;
    api.write("set_dyn_wl", r#""add": {"rl_id": "*"}"#).await;
    let exclusion = r#""add": {"rl_id": 7, "domain": "a.com", "mz": "URL|ARGS", "pattern": "\"x",
        "extension": "$URL_X:/t", "comment": "noisy", "active": false}"#;
    api.write("set_dyn_wl", exclusion).await;
    api.write("set_dyn_wl", r#""del": {"rid": 1}"#).await;
    api.write("set_mlc_settings", r#""set": {"active": false, "brute__interval": 7}"#).await;
    let detection = r#""set": {"ddos__enable": true, "ddos__wl_ip": ["1.1.1.1", "2.2.2.0/24"]}"#;
    api.write("set_mlc_settings", detection).await;
    api.write("set_vhosts_list", r#""vhosts_list": "b.com, a.com""#).await;
    let backup = export(&api, READ, "policy").await;
    let told: Value = serde_json::from_str(&backup).unwrap();
    assert_eq!(
        (&told["format"], &told["revision"]["generation"]),
        (&json!("nwaf policy 1"), &json!(13))
    );
    // It says how detection is set, which nodes are not told.
    api.get("/nw-api/v2/export/policy", NODE).await.refused(403, "forbidden");

    let database = api.app.service.store();
    let waf = database.add_waf("second", 2_000).await.unwrap();
    let key = KeyRow {
        name: "other".into(),
        waf,
        scope: Scope::Admin,
        digest: Digest::of_key("second-key-0123456789").into_string(),
        created_ms: 1,
    };
    database.add_key(key, store::Action::default()).await.unwrap();
    let into = "policy?mode=replace&ids=keep";
    let done = import_by(&api, "second-key-0123456789", into, &backup, "*/*").await.value();
    assert_eq!((&done["session"], &done["generation"]), (&json!(2_000), &json!(2)), "{done}");
    // The same text but for its place in history.
    let without_revision = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("\"revision\""));
        lines.map(str::to_owned).collect()
    };
    let copy = export(&api, "second-key-0123456789", "policy").await;
    assert_eq!(without_revision(&copy), without_revision(&backup));
    assert_eq!(copy.lines().count(), without_revision(&copy).len() + 1);
    // Ids go on above those of the copy.
    let add = r#"{"key": "second-key-0123456789", "add": {"rl_id": 9}}"#;
    assert_eq!(api.json("/nw-api/set_dyn_wl", add).await.value()["id"], 3);
    // The first one did not move, and importing its own copy moves nothing.
    let same = import(&api, into, &backup).await.value();
    assert_eq!((&same["generation"], counts(&same, "settings")), (&json!(13), [0; 3]));
    let settings = export(&api, READ, "settings").await;
    let same = import(&api, "settings?mode=replace", &settings).await.value();
    assert_eq!(same["generation"], 13);
    let fewer = import(&api, "settings?mode=replace", r#"{"nwaf_ip_wl": "9.9.9.9"}"#).await.value();
    assert_eq!(counts(&fewer, "settings"), [0, 1, 1]);
    // What a document does not speak of stays; what it speaks of is replaced or added to.
    let part = r#"{"format": "nwaf policy 1", "vhosts": ["a.com", "c.com"],
        "mlc_settings": {"brute__interval": {"value": 9, "active": true}}}"#;
    let told = import(&api, "policy?mode=merge&validate=only", part).await.value();
    assert_eq!(counts(&told, "vhosts"), [1, 0, 0]);
    assert_eq!(counts(&told, "mlc_settings"), [0, 1, 0]);
    let told = import(&api, "policy?mode=replace&validate=only", part).await.value();
    assert_eq!(counts(&told, "vhosts"), [1, 0, 1]);
    assert_eq!(counts(&told, "mlc_settings"), [0, 1, 2]);
    assert_eq!(told["diff"]["vhosts"]["examples"][0]["after"], "c.com");
    assert!(told["diff"].get("exclusions").is_none(), "{told}");
    let bad = r#"{"format": "nwaf policy 1", "vhosts": ["a.com", "*"], "exclusions": [{"mz": "x"}],
        "mlc_settings": {"brute__interval": {"value": 0, "active": true}}}"#;
    let answer = import(&api, "policy?mode=merge", bad).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|error| error.field).collect();
    let expected =
        ["exclusions[0]: rl_id", "exclusions[0]: mz", "mlc_settings.brute__interval", "vhosts[1]"];
    assert_eq!(fields, expected);
    // One line of the log, whatever it was.
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    assert_eq!(log["events"][0]["call"], "import/settings");
    assert_eq!(log["events"][0]["after"]["diff"]["settings"]["removed"], 1);
}

#[tokio::test]
async fn who_wants_to_see_how_far_it_is_gets_lines() {
    let api = Api::start().await;
    let lines = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let kind = "application/x-ndjson";
    let file: String = (0..50_000).map(|n| format!("10.{}.{}.1\n", n / 250, n % 250)).collect();
    let answer = import_by(&api, ADMIN, "bl?mode=replace", &file, kind).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, kind));
    let told = lines(&answer.text);
    let last = told.last().unwrap();
    assert_eq!((&last["http_status"], &last["result"]["status"]), (&json!(200), &json!("success")));
    for line in &told[..told.len() - 1] {
        assert!(line["progress"]["stage"].is_string(), "{line}");
    }
    let answer = import_by(&api, ADMIN, "bl?mode=replace", "x\n", kind).await;
    let told = lines(&answer.text);
    let last = told.last().unwrap();
    assert_eq!(
        (&last["http_status"], &last["result"]["code"]),
        (&json!(422), &json!("invalid_value"))
    );
    assert_eq!(last["result"]["request_id"], answer.header("x-request-id"));
    assert_eq!(export(&api, READ, "bl").await.lines().count(), 50_000);
}
