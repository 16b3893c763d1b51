//! Every class of error: precise, and without a trace in the policy.

use axum::body::Body;
use axum::http::{Method, Request, header};

use super::support::{ADMIN, Api, LIVE, NODE, READ};
use crate::http::{FAILURES_MAX, Live};

/// Calls with bad input: call, the body's rest after the key, status, code, and what
/// the message must name.
const BAD: &[(&str, &str, u16, &str, &[&str])] = &[
    (
        "set_dyn_erl",
        r#""add": {"ip": "!1.1.1.0/24", "domain": "ZXhhbXBsZS5jb20=" "active": "true"}"#,
        400,
        "invalid_json",
        &["line 1 column 91"],
    ),
    (
        "set_dyn_erl",
        "\n\"add\": {\"ip\": \"1.1.1.1\" \"active\": \"true\"}",
        400,
        "invalid_json",
        &["line 2 column 25"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_foo": "1"}"#,
        400,
        "invalid_field",
        &["set.nwaf_foo", "nwaf_ip_wl"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_ip_wl": ["1.1.1.1"]}"#,
        400,
        "invalid_field",
        &["set.nwaf_ip_wl", "string"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_ip_wl": "1.1.1.1", "nwaf_ip_wl": "2.2.2.2"}"#,
        400,
        "invalid_field",
        &["set.nwaf_ip_wl", "duplicate"],
    ),
    (
        "set_dyn_settings",
        r#""foo": 1, "del": "nwaf_ip_wl""#,
        400,
        "invalid_field",
        &["foo", "force"],
    ),
    (
        "set_dyn_settings",
        r#""token": "x", "del": "nwaf_ip_wl""#,
        400,
        "invalid_field",
        &["key", "duplicate"],
    ),
    ("set_dyn_settings", r#""force": false"#, 400, "invalid_field", &["set, del"]),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_ip_wl": "1.1.1.1"}, "del": "nwaf_ip_lm""#,
        400,
        "invalid_field",
        &["del", "more than one"],
    ),
    (
        "set_dyn_settings",
        r#""add": {"nwaf_ip_wl": "1.1.1.1"}"#,
        400,
        "invalid_field",
        &["add", "set, del"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_ip_wl": "1.1.1.0/33, x"}"#,
        422,
        "invalid_value",
        &["nwaf_ip_wl[0]", "1.1.1.0/33", "0-32", "1 more"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_host_wl": "a..b"}"#,
        422,
        "invalid_value",
        &["nwaf_host_wl", "a..b"],
    ),
    (
        "set_dyn_settings",
        r#""set": {"nwaf_limit": "rate=5r/h block_time=1"}"#,
        422,
        "invalid_value",
        &["nwaf_limit", "r/m"],
    ),
    ("set_dyn_settings", r#""del": "nwaf_foo""#, 422, "invalid_value", &["nwaf_foo", "nwaf_ip_wl"]),
    (
        "set_dyn_bl",
        r#""set": {"bl": ["5.5.5.5-4.4.4.4"]}"#,
        422,
        "invalid_value",
        &["bl[0]", "5.5.5.5-4.4.4.4", "above"],
    ),
    (
        "set_dyn_bl",
        r#""set": {"bl": ["1.1.1.1-::1"]}"#,
        422,
        "invalid_value",
        &["bl[0]", "families"],
    ),
    ("set_dyn_bl", r#""set": {"bl": [5]}"#, 400, "invalid_field", &["set.bl[0]: \"5\""]),
    ("set_dyn_bl", r#""set": ["1.1.1.1"]"#, 400, "invalid_field", &["set", "object"]),
    ("set_dyn_bl", r#""set": {"bl": ["0.0.0.0/0"]}"#, 422, "needs_force", &["IPv4", "force"]),
    (
        "set_dyn_bl",
        r#""del": ["6.6.6.6", "7.7.7.7", "8.8.8.8"]"#,
        404,
        "not_found",
        &["6.6.6.6, 7.7.7.7"],
    ),
    ("set_dyn_bl", r#""del": "x""#, 422, "invalid_value", &["del[0]"]),
    ("set_dyn_erl", r#""add": {"url": "%%%"}"#, 422, "invalid_value", &["url", "base64"]),
    ("set_dyn_erl", r#""add": {"country": "USA="}"#, 422, "invalid_value", &["country"]),
    ("set_dyn_erl", r#""add": {"ip": "1.1.1.1|"}"#, 422, "invalid_value", &["ip", "missing"]),
    ("set_dyn_erl", r#""add": {"domain": "a..b"}"#, 422, "invalid_value", &["domain", "a..b"]),
    ("set_dyn_erl", r#""add": {"active": true}"#, 422, "invalid_value", &["add: ", "no condition"]),
    ("set_dyn_erl", r#""add": {"ip": "0.0.0.0/0"}"#, 422, "needs_force", &["rule 2", "force"]),
    (
        "set_dyn_erl",
        r#""add": {"ip": "1.1.1.1", "lm": "yes"}"#,
        400,
        "invalid_field",
        &["add.lm", "true or false"],
    ),
    (
        "set_dyn_erl",
        r#""add": {"cookie": "YQ==", "cookies": "YQ=="}"#,
        400,
        "invalid_field",
        &["add.cookie"],
    ),
    ("set_dyn_erl", r#""upd": {"id": 99, "ip": "1.1.1.1"}"#, 404, "not_found", &["99"]),
    (
        "set_dyn_erl",
        r#""upd": {"id": 1, "ip": ""}"#,
        422,
        "invalid_value",
        &["upd: ", "no condition"],
    ),
    ("set_dyn_erl", r#""del": {"id": "99"}"#, 404, "not_found", &["99"]),
    ("set_dyn_erl", r#""del": {"rid": "1"}"#, 400, "invalid_field", &["del.rid", "id"]),
    ("get_dyn_erl", r#""del": {"id": "1"}"#, 400, "invalid_field", &["del", "only reads"]),
];

#[tokio::test]
async fn bad_input_is_refused_precisely_and_changes_nothing() {
    let api = Api::start().await;
    api.write("set_dyn_erl", r#""add": {"ip": "9.9.9.9"}"#).await;
    api.write("set_dyn_bl", r#""set": {"bl": ["8.8.8.8"]}"#).await;
    let before = api.bundle().await;
    for (call, rest, status, code, parts) in BAD {
        let message = api.try_write(call, rest).await.refused(*status, code);
        for part in *parts {
            assert!(message.contains(part), "{rest}: {part:?} is not in {message:?}");
        }
    }
    assert_eq!(api.bundle().await, before);
    let log = api.get("/nw-api/get_event_log", ADMIN).await.value();
    assert_eq!(log["events"].as_array().unwrap().len(), 2);
    // Every bad value is listed, not only the first.
    let answer = api.try_write("set_dyn_bl", r#""set": {"bl": ["x", "1.1.1.1", "y"]}"#).await;
    let fields: Vec<_> = answer.error().errors.into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["bl[0]", "bl[2]"]);
}

#[tokio::test]
async fn bodies_that_are_no_object() {
    let api = Api::start().await;
    let path = "/nw-api/set_dyn_bl";
    api.json(path, "[]").await.refused(400, "invalid_field");
    api.json(path, "{").await.refused(400, "invalid_json");
    api.json(path, "x=1").await.refused(400, "invalid_json");
    api.form(path, "x=1").await.refused(400, "invalid_field");
    api.post(path, "multipart/form-data", "x").await.refused(415, "unsupported_content_type");
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let answer = api.send(request.body(Body::from(&b"{\"a\": \"\xff\"}"[..])).unwrap()).await;
    assert!(answer.refused(400, "invalid_json").contains("line 1 column 8"), "{}", answer.text);
    let form = format!("key={ADMIN}&set=%7Bbl");
    let message = api.form(path, &form).await.refused(400, "invalid_json");
    assert!(message.starts_with("set is not valid JSON"), "{message}");
    let twice = format!("/nw-api/get_dyn_bl?key={ADMIN}&token={NODE}");
    api.method(Method::GET, &twice, ADMIN).await.refused(400, "invalid_field");
}

/// A parser that calls itself for each bracket would end with its stack.
#[tokio::test]
async fn bodies_as_deep_as_they_are_long() {
    let api = Api::start().await;
    for open in ["[", r#"{"set":"#, r#"{"set":{"bl":["#, r#"{"add":{"other_headers":["#] {
        let deep = format!(r#"{{"key":"{ADMIN}","set":{}"#, open.repeat(1 << 20));
        let refused = api.json("/nw-api/set_dyn_bl", &deep).await.refused(400, "invalid_json");
        assert!(refused.contains("recursion limit") || refused.contains("column"), "{refused}");
        api.json("/nw-api/set_dyn_erl", &open.repeat(1 << 20)).await;
    }
    assert_eq!(api.get("/nw-api/get_dyn_bl", READ).await.status, 200);
}

#[tokio::test]
async fn keys_and_scopes() {
    let api = Api::start().await;
    let body = "{\"set\": {\"bl\": []}}";
    api.json("/nw-api/set_dyn_bl", body).await.refused(401, "missing_key");
    api.form("/nw-api/get_dyn_bl", "key=").await.refused(401, "missing_key");
    let answer = api.form("/nw-api/get_dyn_bl", "key=wrong").await;
    answer.refused(401, "unknown_key");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let request = Request::get("/nw-api/get_dyn_bl").header(header::AUTHORIZATION, "Basic eDp5");
    api.send(request.body(Body::empty()).unwrap()).await.refused(400, "invalid_field");

    // The SHA-256 of a key is as good as the key.
    let hash = {
        use sha2::Digest as _;
        crate::key::hex(&sha2::Sha256::digest(ADMIN.as_bytes()))
    };
    assert_eq!(api.form("/nw-api/get_dyn_bl", &format!("key={hash}")).await.status, 200);

    let reads = ["get_dyn_settings", "get_dyn_bl", "get_dyn_erl", "v2/bundle", "v2/get_dyn_bl"];
    for key in [ADMIN, NODE, READ] {
        for read in reads {
            assert_eq!(api.get(&format!("/nw-api/{read}"), key).await.status, 200, "{read}");
        }
    }
    for key in [NODE, READ] {
        let write = format!(r#"{{"key": "{key}", "set": {{"bl": []}}}}"#);
        let message = api.json("/nw-api/set_dyn_bl", &write).await.refused(403, "forbidden");
        assert!(message.contains("admin"), "{message}");
    }
    for call in ["get_event_log", "v2/agents"] {
        assert_eq!(api.get(&format!("/nw-api/{call}"), READ).await.status, 200);
        api.get(&format!("/nw-api/{call}"), NODE).await.refused(403, "forbidden");
    }
    api.method(Method::POST, "/nw-api/v2/report", READ).await.refused(403, "forbidden");
}

#[tokio::test]
async fn too_many_wrong_keys_do_not_lock_out_the_right_one() {
    let api = Api::start().await;
    for _ in 0..FAILURES_MAX {
        api.get("/nw-api/get_dyn_bl", "wrong").await.refused(401, "unknown_key");
    }
    let answer = api.get("/nw-api/get_dyn_bl", "wrong").await;
    answer.refused(429, "too_many_failures");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(api.get("/nw-api/get_dyn_bl", NODE).await.status, 200);
}

#[tokio::test]
async fn a_key_before_the_body_is_judged_before_the_body_is_read() {
    let api = Api::start().await;
    // Without waiting for the body's own limit of a minute.
    let soon = std::time::Duration::from_secs(10);
    for (path, key, status, code) in [
        ("set_dyn_bl", "wrong", 401, "unknown_key"),
        ("set_dyn_erl", NODE, 403, "forbidden"),
        ("set_dyn_settings?key=wrong", "", 401, "unknown_key"),
        ("v2/report", "wrong", 401, "unknown_key"),
    ] {
        let mut request = Request::post(format!("/nw-api/{path}"));
        if !key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let answer = api.send(request.body(stuck(Vec::new())).unwrap());
        tokio::time::timeout(soon, answer).await.expect(path).refused(status, code);
    }
}

#[tokio::test]
async fn strangers_cannot_fill_the_memory() {
    let api = Api::start().await;
    let size = LIVE.body_limit;
    let request = |key: Option<&str>| {
        let mut request = Request::post("/nw-api/set_dyn_bl");
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        // The largest body, and then nothing: it stays in memory.
        let first = stuck(vec![b' '; size]);
        api.send(request.body(first).unwrap())
    };
    let (first, second) = (Box::pin(request(None)), Box::pin(request(None)));
    let mut held = [first, second];
    for request in &mut held {
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(500), request).await.is_err()
        );
    }
    let text =
        format!(r#"{{"key": "{ADMIN}", "set": {{"bl": "1.1.1.1{}"}}}}"#, " ".repeat(1 << 20));
    let answer = api.json("/nw-api/set_dyn_bl", &text).await;
    answer.refused(503, "overloaded");
    assert_eq!(answer.header("retry-after"), "1");
    // Small ones and those of known clients are taken.
    api.write("set_dyn_bl", r#""set": {"bl": ["2.2.2.2"]}"#).await;
    let request = Request::post("/nw-api/set_dyn_bl")
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
    assert_eq!(api.send(request.body(Body::from(text.clone())).unwrap()).await.status, 200);
    drop(held);
    assert_eq!(api.json("/nw-api/set_dyn_bl", &text).await.status, 200);
}

/// Bytes at once, and then nothing for ever.
fn stuck(bytes: Vec<u8>) -> Body {
    struct Stuck(Option<axum::body::Bytes>);
    impl axum::body::HttpBody for Stuck {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            match self.0.take() {
                Some(bytes) => std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(bytes)))),
                None => std::task::Poll::Pending,
            }
        }
    }
    Body::new(Stuck(Some(bytes.into())))
}

#[tokio::test]
async fn paths_methods_and_sizes() {
    let api = Api::start().await;
    api.get("/nw-api/get_dyn", ADMIN).await.refused(404, "no_such_call");
    api.get("/", ADMIN).await.refused(404, "no_such_call");
    api.get("/nw-api/set_dyn_bl", ADMIN).await.refused(405, "method_not_allowed");
    api.method(Method::PUT, "/nw-api/get_dyn_bl", ADMIN).await.refused(405, "method_not_allowed");

    api.app.set_live(Live { body_limit: 2_000, ..LIVE });
    let long = format!(r#""set": {{"bl": "{}"}}"#, "1.1.1.1, ".repeat(1_000));
    let message = api.try_write("set_dyn_bl", &long).await.refused(413, "body_too_large");
    assert!(message.contains("2000") && message.contains("body_limit"), "{message}");
    let long = format!("key={}", "x".repeat(70_000));
    api.form("/nw-api/get_dyn_bl", &long).await.refused(413, "body_too_large");
}

#[tokio::test]
async fn read_only_refuses_every_write_and_serves_every_read() {
    let api = Api::start().await;
    api.app.set_live(Live { read_only: true, ..LIVE });
    for (call, rest) in [
        ("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com"}"#),
        ("set_dyn_bl", r#""del": """#),
        ("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#),
    ] {
        let answer = api.try_write(call, rest).await;
        answer.refused(503, "read_only");
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    api.bundle().await;
    api.app.set_live(LIVE);
    api.write("set_dyn_bl", r#""del": """#).await;
}

#[tokio::test]
async fn names_in_paths_and_queries_are_visible_text() {
    let api = Api::start().await;
    // PostgreSQL has no texts with NUL; SQLite has, and is asked nothing all the same.
    for name in ["host", "node", "country", "zone", "request_id"] {
        for call in ["attacks", "attacks/summary", "attacks/export"] {
            let path = format!("/nw-api/v2/{call}?{name}=a%00");
            let message = api.get(&path, ADMIN).await.refused(400, "invalid_field");
            assert!(message.starts_with(name), "{message}");
        }
    }
    for (method, path) in [
        (Method::DELETE, "keys"),
        (Method::GET, "models"),
        (Method::PUT, "models"),
        (Method::GET, "attacks"),
        (Method::DELETE, "bans"),
        (Method::GET, "export"),
        (Method::POST, "import"),
    ] {
        for name in ["a%00", "%ff", "%ED%A0%80", "%0d%0aX-A:1"] {
            let path = format!("/nw-api/v2/{path}/{name}");
            let answer = api.method(method.clone(), &path, ADMIN).await;
            let message = answer.refused(400, "invalid_field");
            assert!(message.starts_with("path: "), "{path}: {message}");
        }
    }
}

#[tokio::test]
async fn a_corrupt_row_is_named_not_skipped() {
    for (statement, row) in [
        ("UPDATE rule SET ip = '1.1.1.1/99' WHERE id = 1", "rule 1"),
        ("UPDATE rule SET other_headers = 'x' WHERE id = 1", "rule 1"),
        ("UPDATE block_entry SET entry = '1.1.1.x'", "block list"),
        ("UPDATE setting SET value = 'a..b'", "setting nwaf_host_wl"),
        ("UPDATE setting SET name = 'nwaf_foo'", "setting nwaf_foo"),
    ] {
        let api = Api::start().await;
        api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await;
        api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
        api.write("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com"}"#).await;
        api.tamper(statement).await;
        let api = api.restart().await;
        for path in ["v2/bundle", "get_dyn_erl", "get_dyn_bl", "get_dyn_settings"] {
            let message =
                api.get(&format!("/nw-api/{path}"), ADMIN).await.refused(500, "store_corrupt");
            assert!(message.contains(row), "{statement}: {message}");
        }
        api.try_write("set_dyn_bl", r#""del": """#).await.refused(500, "store_corrupt");
        assert_eq!(api.get("/healthz", "").await.status, 200);
    }
}
