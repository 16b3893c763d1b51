//! Keys through calls, and WAF ids that do not see each other.

use axum::body::Body;
use axum::http::{Method, Request, header};
use store::{Action, KeyRow, Scope, WafId};

use super::support::{ADMIN, Answer, Api, NODE, READ};
use crate::key::Digest;

async fn make(api: &Api, key: &str, body: &str) -> Answer {
    let request =
        Request::post("/nw-api/v2/keys").header(header::AUTHORIZATION, format!("Bearer {key}"));
    api.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn made_used_listed_and_revoked() {
    let api = Api::start().await;
    let made = make(&api, ADMIN, r#"{"name": "web-2", "scope": "node"}"#).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let key = made.value()["key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 64);
    assert_eq!(api.get("/nw-api/v2/bundle", &key).await.status, 200);
    api.get("/nw-api/v2/keys", &key).await.refused(403, "forbidden");

    let listed = api.get("/nw-api/v2/keys", ADMIN).await;
    let names: Vec<_> =
        listed.value()["keys"].as_array().unwrap().iter().map(|k| k["name"].clone()).collect();
    assert_eq!(names, ["anna", "eve", "m1", "n1", "web-2"]);
    assert!(!listed.text.contains(&key) && !listed.text.contains("digest"), "{}", listed.text);
    let log = api.get("/nw-api/get_event_log", READ).await;
    assert_eq!(log.value()["events"][0]["after"]["name"], "web-2");
    assert!(!log.text.contains(&key));

    let revoked = api.method(Method::DELETE, "/nw-api/v2/keys/web-2", ADMIN).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    api.get("/nw-api/v2/bundle", &key).await.refused(401, "unknown_key");
    api.method(Method::DELETE, "/nw-api/v2/keys/web-2", ADMIN).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let api = Api::start().await;
    for (body, status, code) in [
        (r#"{"name": "a b", "scope": "node"}"#, 400, "invalid_field"),
        (r#"{"name": "x", "scope": "root"}"#, 400, "invalid_field"),
        (r#"{"name": "x"}"#, 400, "invalid_field"),
        (r#"{"name": "n1", "scope": "node"}"#, 409, "exists"),
        (r#"{"name": "x", "scope": "node""#, 400, "invalid_json"),
    ] {
        make(&api, ADMIN, body).await.refused(status, code);
    }
    for key in [NODE, READ] {
        make(&api, key, r#"{"name": "x", "scope": "admin"}"#).await.refused(403, "forbidden");
    }
    let own = api.method(Method::DELETE, "/nw-api/v2/keys/anna", ADMIN).await;
    assert!(own.refused(400, "invalid_field").contains("does not revoke itself"));
}

/// Everything that can be read and written with a key of one WAF id, beside another.
#[tokio::test]
async fn another_waf_id_is_another_world() {
    const SHOP: &str = "shop-key-0123456789";
    let api = Api::start().await;
    let store = api.app.service.store();
    let shop = store.add_waf("shop", 5).await.unwrap();
    assert_ne!(shop, WafId::DEFAULT);
    let digest = Digest::of_key(SHOP).into_string();
    let row = KeyRow { name: "shop".into(), waf: shop, scope: Scope::Admin, digest, created_ms: 1 };
    store.add_key(row, Action::default()).await.unwrap();

    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    api.write("set_dyn_erl", r#""add": {"ip": "2.2.2.2"}"#).await;
    api.write("set_dyn_settings", r#""set": {"nwaf_ip_wl": "3.3.3.3"}"#).await;
    let ours = api.bundle().await;
    for path in [
        "get_dyn_bl",
        "get_dyn_erl",
        "get_dyn_settings",
        "v2/get_dyn_erl",
        "v2/agents",
        "get_event_log",
    ] {
        let theirs = api.get(&format!("/nw-api/{path}"), SHOP).await;
        assert_eq!(theirs.status, 200, "{path}: {}", theirs.text);
        for word in ["1.1.1.1", "2.2.2.2", "3.3.3.3", "anna"] {
            assert!(!theirs.text.contains(word), "{path}: {}", theirs.text);
        }
    }
    let theirs = api.get("/nw-api/v2/bundle", SHOP).await;
    assert_eq!((theirs.header("x-nw-session"), theirs.header("x-nw-generation")), ("5", "1"));
    // A rule's id names a rule of theirs, or none.
    let path = format!("/nw-api/set_dyn_erl?key={SHOP}");
    api.json(&path, r#"{"del": {"id": 1}}"#).await.refused(404, "not_found");
    assert_eq!(api.json(&path, r#"{"add": {"ip": "9.9.9.9"}}"#).await.value()["id"], 1);
    assert_eq!(api.json(&path, r#"{"del": {"id": 1}}"#).await.status, 200);
    assert_eq!(api.bundle().await, ours);
    // Nor does an admin see or revoke keys of others.
    let keys = api.get("/nw-api/v2/keys", SHOP).await;
    assert_eq!(keys.value()["keys"].as_array().unwrap().len(), 1);
    api.method(Method::DELETE, "/nw-api/v2/keys/n1", SHOP).await.refused(404, "not_found");
    assert_eq!(api.get("/nw-api/v2/bundle", NODE).await.status, 200);
    // What their removal leaves is ours.
    assert!(store.remove_waf(shop).await.unwrap());
    api.get("/nw-api/get_dyn_bl", SHOP).await.refused(401, "unknown_key");
    assert_eq!(api.bundle().await, ours);
}
