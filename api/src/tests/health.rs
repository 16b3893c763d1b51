//! What balancers are told.

use serde_json::json;
use store::History;

use super::support::{ADMIN, Api, LIVE, NODE};
use crate::http::Live;

const WRITE: &str = r#"{"set": {"bl": ["1.1.1.1"]}}"#;

async fn statuses(api: &Api) -> [u16; 4] {
    let mut all = [0; 4];
    for (n, path) in ["/healthz", "/readyz", "/primary", "/replica"].into_iter().enumerate() {
        all[n] = api.get(path, "").await.status.as_u16();
    }
    all
}

#[tokio::test]
async fn a_primary_is_one_until_it_is_made_read_only() {
    let api = Api::start().await;
    assert_eq!(statuses(&api).await, [200, 200, 200, 503]);
    let role = api.get("/role", "").await;
    assert_eq!(role.value(), json!({"role": "primary"}));
    assert_eq!(role.header("x-nw-role"), "primary");

    assert!(api.app.is_keeper());
    api.app.set_live(Live { read_only: true, ..LIVE });
    assert!(!api.app.is_keeper(), "old entries would be forgotten in read-only mode");
    assert_eq!(statuses(&api).await, [200, 200, 503, 200]);
    assert_eq!(api.get("/role", "").await.value(), json!({"role": "read_only"}));
    let read = api.get("/nw-api/get_dyn_bl", NODE).await;
    assert_eq!((read.status.as_u16(), read.header("x-nw-role")), (200, "read_only"));
}

#[tokio::test]
async fn before_the_peers_were_asked_nothing_is_written() {
    let api = Api::start_beside_peers().await;
    let path = format!("/nw-api/set_dyn_bl?key={ADMIN}");
    let refused = api.post(&path, "application/json", WRITE);
    refused.await.refused(503, "read_only");
    assert!(!api.app.is_keeper());
    assert_eq!(statuses(&api).await, [200, 200, 503, 200]);
    assert_eq!(api.get("/nw-api/get_dyn_bl", NODE).await.status, 200);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_not_ready() {
    let api = Api::start().await;
    api.app.service.store().close().await;
    assert_eq!(statuses(&api).await, [200, 503, 503, 503]);
    assert_eq!(api.get("/role", "").await.value(), json!({"role": "unavailable"}));
}

#[tokio::test]
async fn a_database_without_copies_is_never_fenced() {
    let api = Api::start().await;
    api.app.peers.saw(History { system: "1".into(), timeline: 9 });
    assert_eq!(statuses(&api).await, [200, 200, 200, 503]);
}
