//! Settings of behavioural analysis, the list of virtual hosts, trainings, models.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use wire::v1::{read_mlc, read_models, read_training, read_vhosts};

use super::support::{ADMIN, Answer, Api, MLC, NODE, READ};

async fn form(api: &Api, call: &str, fields: &str) -> Answer {
    api.form(&format!("/nw/ml/mgmt/{call}"), &format!("token={ADMIN}&{fields}")).await
}

async fn training(api: &Api, vhost: &str) -> Value {
    let answer = form(api, "get_training_uri", &format!("vhost={vhost}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains(r#""status": "success""#));
    read_training(&answer.text).unwrap();
    answer.value()["training"][0].clone()
}

async fn report(api: &Api, key: &str, vhost: &str, progress: u8) -> Answer {
    let body = json!({"vhost": vhost, "progress": progress, "samples": 1_000});
    let request = Request::post("/nw-api/v2/training/report")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(Body::from(body.to_string()));
    api.send(request.unwrap()).await
}

async fn put(api: &Api, key: &str, vhost: &str, bytes: &[u8]) -> Answer {
    let request = Request::put(format!("/nw-api/v2/models/{vhost}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .body(Body::from(bytes.to_vec()));
    api.send(request.unwrap()).await
}

#[tokio::test]
async fn settings_are_kept_by_kind_and_shown_as_native_json() {
    let api = Api::start().await;
    api.write(
        "set_mlc_settings",
        r#""set": {"main__ai_extra": "false", "brute__interval": "11", "brute__mav_val": 20,
            "brute__brute_detect": ["example.com/a1", "example.com/b1"],
            "ddos__wl_ip": "127.0.0.1 192.168.1.0/24", "active": "true"}"#,
    )
    .await;
    let answer = api.form("/nw-api/get_mlc_settings?format=json", &format!("key={ADMIN}")).await;
    assert_eq!(
        answer.text,
        r#"{"status": "success", "active": true, "main__ai_extra": false, "ddos__wl_ip": ["127.0.0.1", "192.168.1.0/24"], "brute__interval": 11, "brute__max_val": 20, "brute__brute_detect": ["example.com/a1", "example.com/b1"]}"#
    );
    assert_eq!(read_mlc(&answer.text).unwrap().len(), 5);
    api.write("set_mlc_settings", r#""set": {"ddos__interval": 60, "active": false}"#).await;
    api.write("set_mlc_settings", r#""del": "brute_detect, mav_val""#).await;
    let v2 = api.get("/nw-api/v2/get_mlc_settings?extended=yes", MLC).await.value();
    assert_eq!(v2["settings"]["ddos__interval"]["active"], false);
    assert_eq!(v2["settings"]["brute__interval"]["provenance"]["author"], "anna");
    let effective = &v2["effective"];
    assert_eq!(effective.as_object().unwrap().len(), 15);
    assert_eq!(
        (&effective["ddos__interval"], &effective["brute__interval"]),
        (&10.into(), &11.into())
    );
    assert_eq!(
        (&effective["brute__max_val"], &effective["brute__brute_detect"]),
        (&15.into(), &json!([]))
    );

    let before = (api.revision().await, v2);
    for (body, status, field) in [
        (r#""set": {"brute__interval": 0}"#, 422, "brute__interval"),
        (r#""set": {"brute__brute_detect": ["a.com/x", "b.com"]}"#, 422, "brute__brute_detect[1]"),
        (r#""set": {"ddos__wl_ip": "1.1.1.1 x", "main__ai_extra": "true"}"#, 422, "ddos__wl_ip[1]"),
        (r#""set": {"brute_interval": 5}"#, 400, "set.brute_interval"),
        (r#""del": "interval""#, 422, "del"),
        (r#""del": "nwaf_limit""#, 422, "del"),
    ] {
        let answer = api.try_write("set_mlc_settings", body).await;
        let error = answer.error();
        assert_eq!(
            (answer.status.as_u16(), error.errors[0].field.as_str()),
            (status, field),
            "{body}"
        );
    }
    // A long list is logged by its beginning.
    let hosts: Vec<String> = (0..2_000).map(|n| format!("host-{n}.example.com")).collect();
    let long = json!({"brute__wl_host": hosts});
    api.write("set_mlc_settings", &format!(r#""set": {long}"#)).await;
    let log = api.get("/nw-api/get_event_log", READ).await;
    assert!(log.text.len() < 50_000, "{}", log.text.len());
    let logged = &log.value()["events"][0]["after"]["brute__wl_host"];
    assert!(logged["value_begins"].as_str().unwrap().starts_with(r#"["host-0.example.com""#));
    api.write("set_mlc_settings", r#""del": "wl_host""#).await;
    let before = (api.revision().await, before.1);
    let why = api.try_write("set_mlc_settings", r#""del": "interval""#).await.error().message;
    assert!(why.contains("ddos__interval or brute__interval"), "{why}");
    let printed = format!(r#"{{"key": "{ADMIN}", set": {{"main__ai_extra": "false"}}}}"#);
    let error = api.json("/nw-api/set_mlc_settings", &printed).await.error();
    assert_eq!(error.code, "invalid_json");
    assert!(error.message.contains("line 1 column"), "{}", error.message);
    let api = api.restart().await;
    let v2 = api.get("/nw-api/v2/get_mlc_settings?extended=yes", MLC).await.value();
    assert_eq!((api.revision().await, v2), before);
    // Settings of detection are no business of nodes, nor part of their bundle.
    assert_eq!(api.get("/nw-api/get_mlc_settings", NODE).await.status, 403);
}

#[tokio::test]
async fn virtual_hosts_are_a_list() {
    let api = Api::start().await;
    let list = async || {
        let answer = api.form("/nw-api/get_vhosts_list", &format!("key={ADMIN}")).await;
        read_vhosts(&answer.text).unwrap()
    };
    assert_eq!(list().await, [""; 0]);
    api.write("set_vhosts_list", r#""vhosts_list": "Example.com, example.org:8080, example.com""#)
        .await;
    assert_eq!(list().await, ["example.com", "example.org"]);
    api.write("set_vhosts_list", r#""vhosts_list": ["*.example.com", "a.b"]"#).await;
    assert_eq!(list().await, ["*.example.com", "a.b"]);
    let v2 = api.get("/nw-api/v2/get_vhosts_list", NODE).await.value();
    assert_eq!(v2, json!({"vhosts": ["*.example.com", "a.b"]}));
    for (bad, status) in [(r#""a..b""#, 422), (r#"["a.com", "*"]"#, 422), ("5", 400)] {
        let answer = api.try_write("set_vhosts_list", &format!(r#""vhosts_list": {bad}"#)).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(list().await, ["*.example.com", "a.b"]);
    api.write("set_vhosts_list", r#""vhosts_list": """#).await;
    assert_eq!(list().await, [""; 0]);
}

#[tokio::test]
async fn a_training_runs_its_course() {
    let api = Api::start().await;
    let refused = form(&api, "set_training_uri", "vhosts=example.com&duration=4").await;
    assert_eq!((refused.status.as_u16(), refused.error().code.as_str()), (409, "not_listed"));
    assert!(refused.error().message.contains("set_vhosts_list"), "{}", refused.text);
    assert_eq!(form(&api, "get_training_uri", "vhost=example.com").await.status, 404);
    api.write("set_vhosts_list", r#""vhosts_list": "example.com, a.example.com, example.org""#)
        .await;
    let idle = training(&api, "example.com").await;
    assert_eq!(
        idle,
        json!({"vhost": "example.com", "state": "idle", "duration": 4, "progress": 0, "samples": 0})
    );

    // A pattern names every listed host it covers.
    let answer = form(&api, "set_training_uri", "vhosts=.example.com&duration=7&complete=no").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let running = training(&api, "a.example.com").await;
    assert_eq!((&running["state"], &running["duration"]), (&"training".into(), &7.into()));
    assert!(running["started"].is_string() && running["ends"].is_string());
    assert_eq!(training(&api, "example.org").await["state"], "idle");
    let before = api.revision().await;
    // What runs is not begun anew, and reports move no generation.
    form(&api, "set_training_uri", "vhosts=.example.com&complete=no").await;
    let kept = report(&api, MLC, "example.com", 40).await;
    assert_eq!(kept.value()["training"]["progress"], 40, "{}", kept.text);
    assert_eq!(api.revision().await, before);
    assert_eq!(training(&api, "example.com").await["samples"], 1_000);

    for (answer, status, code) in [
        (report(&api, MLC, "example.com", 39).await, 409, "contradicts"),
        (report(&api, MLC, "example.com", 101).await, 422, "invalid_value"),
        (report(&api, MLC, "example.org", 1).await, 409, "contradicts"),
        (report(&api, MLC, "other.org", 1).await, 409, "not_listed"),
        (report(&api, NODE, "example.com", 50).await, 403, "forbidden"),
        (
            form(&api, "set_training_uri", "vhost=example.com&duration=366").await,
            422,
            "invalid_value",
        ),
        (
            form(&api, "set_training_uri", "vhost=example.com&complete=maybe").await,
            400,
            "invalid_field",
        ),
        (form(&api, "set_training_uri", "vhost=example.com").await, 400, "invalid_field"),
        (form(&api, "set_training_uri", "vhost=other.org&complete=no").await, 409, "not_listed"),
    ] {
        assert_eq!((answer.status.as_u16(), answer.error().code.as_str()), (status, code));
    }
    assert_eq!(
        report(&api, MLC, "example.com", 100).await.value()["training"]["state"],
        "complete"
    );
    form(&api, "set_training_uri", "vhost=*&complete=yes").await;
    assert_eq!(training(&api, "example.com").await["state"], "complete");
    assert_eq!(training(&api, "a.example.com").await["state"], "stopped");
    let api = api.restart().await;
    assert_eq!(training(&api, "a.example.com").await["state"], "stopped");
    form(&api, "set_training_uri", "vhost=example.com&complete=no").await;
    assert_eq!(training(&api, "example.com").await["progress"], 0);

    // Who is taken off the list has no training any more.
    api.write("set_vhosts_list", r#""vhosts_list": "example.org""#).await;
    assert_eq!(form(&api, "get_training_uri", "vhost=example.com").await.status, 404);
    assert_eq!(report(&api, MLC, "example.com", 50).await.status, 409);
    api.write("set_vhosts_list", r#""vhosts_list": "example.com""#).await;
    assert_eq!(training(&api, "example.com").await["state"], "idle");
    let log = api.form("/nw/ml/mgmt/get_event_log", &format!("token={ADMIN}")).await.value();
    let orders = log["events"].as_array().unwrap().iter();
    let orders: Vec<_> = orders.filter(|e| e["call"] == "set_training_uri").collect();
    assert_eq!(orders.len(), 3, "{orders:?}");
    assert_eq!(orders[0]["before"]["example.com"]["state"], "complete");
    assert_eq!(orders[0]["after"]["example.com"]["state"], "training");
}

#[tokio::test]
async fn models_are_stored_copied_and_removed() {
    let api = Api::start().await;
    let models = async || {
        let answer = form(&api, "get_models_list_uri", "").await;
        read_models(&answer.text).unwrap()
    };
    assert_eq!(models().await, []);
    let bytes = b"\x00\xffmodel".as_slice();
    let stored = put(&api, MLC, "Example.com", bytes).await;
    assert_eq!(stored.status, 200, "{}", stored.text);
    let [model] = &models().await[..] else { panic!() };
    assert_eq!((model.vhost.as_str(), model.size, model.author.as_str()), ("example.com", 7, "m1"));
    assert_eq!(model.version, api.revision().await.generation);
    let sha = model.sha256.clone();

    let get = async |vhost: &str, tag: Option<&str>| {
        let mut request = Request::get(format!("/nw-api/v2/models/{vhost}"))
            .header(header::AUTHORIZATION, format!("Bearer {NODE}"));
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        api.bytes(request.body(Body::empty()).unwrap()).await
    };
    let (status, headers, body) = get("example.com", None).await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, bytes));
    assert_eq!(headers["etag"], format!("\"{sha}\""));
    assert_eq!(headers["x-nw-model-version"], model.version.to_string());
    for tag in [format!("\"{sha}\""), format!("\"x\", W/\"{sha}\""), "*".to_owned()] {
        let (status, headers, body) = get("example.com", Some(&tag)).await;
        assert_eq!((status.as_u16(), body.len()), (304, 0), "{tag}");
        assert_eq!(headers["etag"], format!("\"{sha}\""));
    }
    assert_eq!(get("example.com", Some("\"other\"")).await.0, 200);
    assert_eq!(get("none.com", None).await.0, 404);
    assert_eq!(get("a..b", None).await.0, 422);

    // The same model again is no change; a copy is a model of its own.
    let before = api.revision().await;
    put(&api, MLC, "example.com", bytes).await;
    assert_eq!(api.revision().await, before);
    assert_eq!(form(&api, "rep_models_uri", "src=example.com&dst=example.ru").await.status, 200);
    assert_eq!(get("example.ru", None).await.2, bytes);
    assert_eq!(models().await.len(), 2);
    for (answer, status) in [
        (form(&api, "rep_models_uri", "src=none.com&dst=example.ru").await, 404),
        (form(&api, "rep_models_uri", "src=example.com&dst=*").await, 422),
        (form(&api, "rep_models_uri", "src=example.com").await, 400),
        (form(&api, "del_models_uri", "vhost=none.com").await, 404),
        (put(&api, NODE, "example.com", b"x").await, 403),
        (put(&api, MLC, "example.com", b"").await, 422),
        (put(&api, MLC, "*", b"x").await, 422),
        (put(&api, MLC, "example.com", &vec![0; policy::limits::MODEL_BYTES + 1]).await, 413),
        (api.method(Method::DELETE, "/nw-api/v2/models/example.com", ADMIN).await, 405),
    ] {
        assert_eq!(answer.status, status, "{}", answer.text);
        answer.error();
    }
    assert_eq!(form(&api, "del_models_uri", "vhost=example.com").await.status, 200);
    assert_eq!(get("example.com", None).await.0, 404);
    let api = api.restart().await;
    let listed = api.get("/nw-api/v2/get_models_list_uri", READ).await;
    assert_eq!(read_models(&listed.text).unwrap()[0].vhost, "example.ru");
}

#[tokio::test]
async fn fields_of_other_calls_are_refused() {
    let api = Api::start().await;
    for (call, fields) in [
        ("get_models_list_uri", "vhost=a.com"),
        ("get_training_uri", "duration=4"),
        ("del_models_uri", "vhost=a.com&src=b.com"),
        ("get_event_log", "complete=no"),
    ] {
        let answer = form(&api, call, fields).await;
        assert_eq!(answer.status, 400, "{call} {fields}: {}", answer.text);
    }
    let answer = api.try_write("set_dyn_bl", r#""del": "", "vhosts_list": "a.com""#).await;
    assert_eq!(answer.error().errors[0].field, "vhosts_list");
}
