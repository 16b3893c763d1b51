//! What clients of the vendor's API send, and what they look for in answers.

use super::support::{ADMIN, Api};

/// The three places where every call lives.
const PREFIXES: [&str; 3] = ["/nw-api", "/nw/agent", "/nw/agent/public"];

#[tokio::test]
async fn settings_come_and_go_under_every_prefix_and_name_of_the_key() {
    let api = Api::start().await;
    for prefix in PREFIXES {
        for name in ["key", "token"] {
            let set = format!(
                r#"{{"{name}": "{ADMIN}", "set": {{"nwaf_ip_wl": "127.0.0.1, 127.0.0.2", "nwaf_ai_extra_host_lm": "example.com", "active": "true"}}}}"#
            );
            let answer = api.json(&format!("{prefix}/set_dyn_settings"), &set).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert!(answer.text.contains(r#""status": "success""#), "{}", answer.text);

            let path = format!("{prefix}/get_dyn_settings?format=json");
            let answer = api.form(&path, &format!("{name}={ADMIN}")).await;
            assert!(answer.text.contains(r#""status": "success""#), "{}", answer.text);
            let object = answer.value();
            assert_eq!(object["nwaf_ip_wl"], "127.0.0.1, 127.0.0.2");
            assert_eq!(object["nwaf_ai_extra_host_lm"], "example.com");

            let del = format!(r#"{{"{name}": "{ADMIN}", "del": "nwaf_ip_wl"}}"#);
            let answer = api.json(&format!("{prefix}/set_dyn_settings"), &del).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            let settings =
                wire::v1::read_settings(&api.form(&path, &format!("key={ADMIN}")).await.text);
            assert_eq!(
                settings.unwrap().into_keys().collect::<Vec<_>>(),
                ["nwaf_ai_extra_host_lm"]
            );
        }
    }
}

#[tokio::test]
async fn the_block_list_is_replaced_shortened_and_cleared() {
    let api = Api::start().await;
    let list = || async { api.form("/nw-api/get_dyn_bl", &format!("key={ADMIN}")).await.text };
    api.write(
        "set_dyn_bl",
        r#""set": {"active": "true", "bl": ["domain=example.com 1.1.1.1", "2.2.2.2", "3.3.3.0/24", "4.4.4.4-5.5.5.5"]}"#,
    )
    .await;
    assert_eq!(
        list().await,
        "domain=example.com 1.1.1.1\n2.2.2.2\n3.3.3.0/24\n4.4.4.4-5.5.5.5\n{'status': 'success'}\n"
    );
    // Found by meaning: spelling and api=yes make no difference; repeats are one entry.
    api.write("set_dyn_bl", r#""set": {"bl": "1.1.1.9/24, 2.2.2.2  api=yes, 2.2.2.2 api=yes"}"#)
        .await;
    assert_eq!(list().await, "1.1.1.9/24\n2.2.2.2 api=yes\n{'status': 'success'}\n");
    api.write("set_dyn_bl", r#""del": ["1.1.1.0/24"]"#).await;
    api.write("set_dyn_bl", r#""del": "2.2.2.2""#).await;
    assert_eq!(list().await, "{'status': 'success'}\n");

    api.write("set_dyn_bl", r#""set": {"bl": ["9.9.9.9"], "active": false}"#).await;
    assert_eq!(list().await, "{'status': 'success'}\n", "an inactive list is not in force");
    assert!(api.bundle().await.content.block_list.is_empty());
    api.write("set_dyn_bl", r#""set": {"active": true}"#).await;
    assert_eq!(api.bundle().await.content.block_list, ["9.9.9.9"]);
    api.write("set_dyn_bl", r#""del": """#).await;
    assert!(api.bundle().await.content.block_list.is_empty());
}

#[tokio::test]
async fn rules_are_added_changed_and_deleted() {
    let api = Api::start().await;
    let samples = [
        r#""add": {"ip": "1.1.1.1|2.2.2.2", "active": "true"}"#,
        r#""add": {"ip": "!1.1.1.0/24", "domain": "ZXhhbXBsZS5jb20=", "active": "true"}"#,
        r#""add": {"ip": "1.1.1.1", "domain": "ZXhhbXBsZS5jb20=", "other_headers": ["dGVzdC1oZWFkZXI=:YWJj"], "active": "true"}"#,
        // The first letter of country is U+0441, as in the specification.
        "\"add\": {\"\u{441}ountry\": \"Q0g=|UlU=\", \"domain\": \"ZXhhbXBsZS5jb20=\", \"other_headers\": [\"dGVzdC1oZWFkZXI=:YWJj\"], \"cookie\": \"!dGVzdF9jb29raWU=\", \"referer\": \"!aHR0cDovL2V4YW1wbGUuY29t\", \"active\": \"true\"}",
        r#""add": {"ip": "1.1.1.1", "other_headers": ["VGVzdC1GaWVsZA==:"], "referer": "aHR0cDovL2V4YW1wbGUuY29tLw==", "ua": "TW96aWxsYS81LjA=", "cookie": "dGVzdF9jb29raWU=", "body": "YmM9MyZjYz0x", "args": "P3BhZ2U9Mw==", "url": "aW50ZXJuYWx0ZXN0", "domain": "ZXhhbXBsZS5jb20=", "api": false, "country": "Q0g=|VFc=", "active": true}"#,
    ];
    for (index, sample) in samples.into_iter().enumerate() {
        assert_eq!(api.write("set_dyn_erl", sample).await["id"], index + 1);
    }
    let text = api.form("/nw-api/get_dyn_erl", &format!("key={ADMIN}")).await.text;
    let rules = wire::v1::read_rules(&text).unwrap();
    assert_eq!(rules, api.bundle().await.content.rules);
    assert_eq!(rules[3].country.as_deref(), Some("Q0g=|UlU="));
    assert!(text.contains(r#""country": "Q0g=|UlU=""#) && text.is_ascii(), "{text}");

    api.write("set_dyn_erl", r#""upd": {"id": "1", "ip": "3.3.3.3", "active": "true"}"#).await;
    api.write("set_dyn_erl", r#""upd": {"id": 3, "other_headers": "", "domain": "*.example.org"}"#)
        .await;
    let rules = api.bundle().await.content.rules;
    assert_eq!(rules[0].ip.as_deref(), Some("3.3.3.3"));
    assert_eq!(rules[2].ip.as_deref(), Some("1.1.1.1"));
    assert_eq!(rules[2].domain.as_deref(), Some("Ki5leGFtcGxlLm9yZw=="));
    assert!(rules[2].other_headers.is_empty());

    api.write("set_dyn_erl", r#""upd": {"id": 2, "active": false}"#).await;
    api.write("set_dyn_erl", r#""del": {"id": "5"}"#).await;
    let ids: Vec<u64> = api.bundle().await.content.rules.iter().map(|rule| rule.id).collect();
    assert_eq!(ids, [1, 3, 4], "inactive and deleted rules are not handed out");
    // An id is never given twice, not even that of the last rule.
    assert_eq!(api.write("set_dyn_erl", r#""add": {"ua": "YQ=="}"#).await["id"], 6);
}

#[tokio::test]
async fn requests_come_in_every_form() {
    let api = Api::start().await;
    // JSON under curl's default label.
    let body = format!(r#"{{"key": "{ADMIN}", "set": {{"nwaf_host_wl": "a.com"}}}}"#);
    assert_eq!(api.form("/nw-api/set_dyn_settings", &body).await.status, 200);
    assert_eq!(api.post("/nw-api/set_dyn_settings", "text/plain", &body).await.status, 200);
    // A form whose fields hold JSON or plain texts.
    let form = format!("key={ADMIN}&set=%7B%22nwaf_host_lm%22%3A%22b.com%22%7D");
    assert_eq!(api.form("/nw-api/set_dyn_settings", &form).await.status, 200);
    let form = format!("token={ADMIN}&del=nwaf_host_wl");
    assert_eq!(api.form("/nw-api/set_dyn_settings", &form).await.status, 200);
    // The query, a header, GET.
    let answer = api.get("/nw-api/get_dyn_settings?format=json&extended=no", ADMIN).await;
    assert_eq!(answer.value()["nwaf_host_lm"], "b.com");
    assert!(answer.value().get("nwaf_host_wl").is_none());
    let answer = api.form(&format!("/nw-api/get_dyn_bl?key={ADMIN}"), "").await;
    assert_eq!(answer.status, 200);
    let answer = api.json("/nw-api/v2/get_dyn_erl", &format!(r#"{{"key":"{ADMIN}"}}"#)).await;
    assert_eq!(answer.text, r#"{"erl":[]}"#);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn inactive_settings_are_kept_and_shown_on_demand() {
    let api = Api::start().await;
    api.write("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com", "active": false}"#).await;
    api.write("set_dyn_settings", r#""set": {"nwaf_host_lm": "b.com"}"#).await;
    let plain = api.get("/nw-api/get_dyn_settings", ADMIN).await.value();
    assert!(plain.get("nwaf_host_wl").is_none() && plain["nwaf_host_lm"] == "b.com");
    let extended = api.get("/nw-api/get_dyn_settings?extended=yes", ADMIN).await.value();
    assert_eq!(extended["nwaf_host_wl"], "a.com");
    assert_eq!(extended["inactive"], serde_json::json!(["nwaf_host_wl"]));
    assert_eq!(extended["details"]["nwaf_host_lm"]["author"], "anna");
    let bundle = api.bundle().await;
    assert_eq!(bundle.content.settings.keys().collect::<Vec<_>>(), ["nwaf_host_lm"]);
    let view = api.get("/nw-api/v2/get_dyn_settings?extended=yes", ADMIN).await.value();
    assert_eq!(view["settings"]["nwaf_host_wl"]["active"], false);
    assert_eq!(view["settings"]["nwaf_host_wl"]["provenance"]["author"], "anna");
}
