//! What a node does: long polls, reports; and what machines read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use wire::v2::{AgentReport, AgentState, Revision};

use super::support::{ADMIN, Api, NODE};
use crate::service::Service;
use store::WafId;
use store_sqlite::{Mode, Sqlite};

fn poll(known: Revision, wait: u64) -> String {
    let Revision { session, generation } = known;
    format!("/nw-api/v2/bundle?session={session}&generation={generation}&wait={wait}")
}

#[tokio::test]
async fn a_change_wakes_a_waiting_node() {
    let api = Arc::new(Api::start().await);
    let known = api.revision().await;
    let answer = api.get(&poll(known, 0), NODE).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    assert_eq!(answer.header("x-nw-generation"), "1");

    let waiting = tokio::spawn({
        let api = Arc::clone(&api);
        async move { (api.get(&poll(known, 30), NODE).await, Instant::now()) }
    });
    // The poll has to be under way; nothing outside shows it, so it gets a little time.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    let written = Instant::now();
    let (answer, woken) = waiting.await.unwrap();
    assert!(woken.saturating_duration_since(written) < Duration::from_millis(500));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-nw-generation"), "2");
    assert_eq!(answer.header("x-nw-session"), known.session.to_string());

    // Any other pair than the current one gets the bundle at once, also a newer one.
    for other in [known, Revision { session: u64::MAX, generation: 9 }] {
        assert_eq!(api.get(&poll(other, 30), NODE).await.status, 200);
    }
    for bad in ["session=1", "generation=1", "session=x&generation=1", "wait=-1", "foo=1"] {
        api.get(&format!("/nw-api/v2/bundle?{bad}"), NODE).await.refused(400, "invalid_field");
    }
    api.get("/nw-api/v2/bundle", "wrong").await.refused(401, "unknown_key");
}

#[tokio::test]
async fn the_same_revision_with_another_content_is_another_bundle() {
    let api = Api::start().await;
    let bundle = api.bundle().await;
    let with = |digest: &str| format!("{}&digest={digest}", poll(bundle.revision, 0));
    assert_eq!(api.get(&with(&bundle.digest), NODE).await.status, 204);
    assert_eq!(api.get(&with(&bundle.digest.to_uppercase()), NODE).await.status, 204);
    let answer = api.get(&with(&"0".repeat(64)), NODE).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains(&bundle.digest));
    for bad in ["", "0", &"x".repeat(64)] {
        api.get(&with(bad), NODE).await.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_during_a_long_poll_gets_nothing() {
    let api = Arc::new(Api::start().await);
    let known = api.revision().await;
    let waiting = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.get(&poll(known, 30), NODE).await }
    });
    // Until the poll is under way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        api.app.service.store().remove_key("n1", None, store::Action::default()).await.unwrap()
    );
    api.write("set_dyn_bl", r#""set": {"bl": ["1.1.1.1"]}"#).await;
    waiting.await.unwrap().refused(401, "unknown_key");
}

#[tokio::test]
async fn reading_the_policy_goes_on_without_the_clients_that_asked() {
    let api = Api::start().await;
    let entries = (0..30_000u32).map(|n| format!("10.{}.{}.1", n / 256, n % 256));
    let entries = entries.collect::<Vec<_>>().join(",");
    api.write("set_dyn_bl", &format!(r#""set": {{"bl": "{entries}"}}"#)).await;
    let api = api.restart().await;
    let service = &api.app.service;
    // Clients that wait for less than the reading takes; it must not end with them.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !service.tenant(WafId::DEFAULT).is_loaded() {
        assert!(Instant::now() < deadline, "every client begins anew");
        let _ = tokio::time::timeout(
            Duration::from_millis(3),
            service.tenant(WafId::DEFAULT).current(),
        )
        .await;
    }
}

#[tokio::test]
async fn the_end_of_the_process_ends_long_polls() {
    let api = Arc::new(Api::start().await);
    let known = api.revision().await;
    let waiting = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.get(&poll(known, 60), NODE).await }
    });
    api.stop.send(true).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn changes_of_another_process_are_noticed() {
    let api = Api::start().await;
    let path = api.directory.path().join("s.db");
    let other = Sqlite::open(&path, Mode::ReadWrite { now_ms: 1 }).await.unwrap();
    let other = Service::new(Arc::new(other));
    tokio::spawn(Arc::clone(&api.app.service).follow(api.app.stop.clone()));
    let known = api.revision().await;

    let path = poll(known, 30);
    let waiting = api.get(&path, NODE);
    let renew = async {
        other.store().renew_sessions(0).await.unwrap();
        other.tenant(WafId::DEFAULT).stored_revision().await.unwrap()
    };
    let (answer, renewed) = tokio::join!(waiting, renew);
    assert_eq!(answer.status, 200);
    assert_eq!(api.revision().await, renewed);
    // And a write on top of it is computed from the new state.
    assert_eq!(api.write("set_dyn_erl", r#""add": {"ip": "1.1.1.1"}"#).await["generation"], 3);
    assert_eq!(other.tenant(WafId::DEFAULT).current().await.unwrap().state.rules.len(), 1);
}

#[tokio::test]
async fn writers_in_parallel_lose_nothing() {
    let api = Arc::new(Api::start().await);
    let path = api.directory.path().join("s.db");
    let other = Sqlite::open(&path, Mode::ReadWrite { now_ms: 1 }).await.unwrap();
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let second = crate::http::App::new(
        Service::new(Arc::new(other)),
        Arc::default(),
        super::support::LIVE,
        stopped,
    );
    let second = crate::http::router(Arc::new(second));
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..20u32 {
        let mut api = Api {
            router: api.router.clone(),
            app: Arc::clone(&api.app),
            stop: api.stop.clone(),
            directory: tempfile::tempdir().unwrap(),
        };
        if n % 4 == 0 {
            api.router = second.clone();
        }
        writers.spawn(async move {
            api.write("set_dyn_erl", &format!(r#""add": {{"ip": "10.0.0.{n}"}}"#)).await["id"]
                .clone()
        });
    }
    let ids = writers.join_all().await;
    assert_eq!(ids.len(), 20);
    let bundle = api.bundle().await;
    assert_eq!(bundle.revision.generation, 21);
    assert_eq!(
        bundle.content.rules.iter().map(|r| r.id).collect::<Vec<_>>(),
        (1..=20).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn nodes_report_and_are_listed() {
    let api = Api::start().await;
    let report = |node: &str, state| AgentReport {
        node: node.to_owned(),
        revision: Revision { session: 1, generation: 2 },
        state,
        reason: Some("digest".to_owned()),
    };
    let send = |report: AgentReport| {
        let body = serde_json::to_string(&report).unwrap();
        let request = Request::post("/nw-api/v2/report")
            .header(header::AUTHORIZATION, format!("Bearer {NODE}"))
            .header(header::CONTENT_TYPE, "application/json");
        api.send(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(send(report("web-1", AgentState::Refused)).await.status, 200);
    assert_eq!(send(report("web-1", AgentState::Published)).await.status, 200);
    send(report("", AgentState::Published)).await.refused(400, "invalid_field");
    send(report(&"x".repeat(129), AgentState::Published)).await.refused(400, "invalid_field");
    send(report("a\nb", AgentState::Published)).await.refused(400, "invalid_field");
    let mut odd = report("web-2", AgentState::Refused);
    odd.reason = Some("a\u{1b}[2Jb".to_owned());
    assert!(send(odd.clone()).await.refused(400, "invalid_field").contains("reason"));
    odd.reason = None;
    odd.revision.generation = u64::MAX;
    let message = send(odd).await.refused(400, "invalid_field");
    assert!(message.contains("revision.generation"), "{message}");
    let agents = api.get("/nw-api/v2/agents", ADMIN).await.value();
    assert_eq!(agents["status"], "success");
    assert_eq!(agents["revision"]["generation"], 1);
    assert_eq!(agents["agents"].as_array().unwrap().len(), 1);
    assert_eq!(agents["agents"][0]["node"], "web-1");
    assert_eq!(agents["agents"][0]["state"], "published");
    assert_eq!(agents["agents"][0]["address"], "127.0.0.1");
    let request = Request::post("/nw-api/v2/report")
        .header(header::AUTHORIZATION, format!("Bearer {NODE}"))
        .body(Body::from(r#"{"node": "a", "revision": {"session": 1}}"#));
    let message = api.send(request.unwrap()).await.refused(400, "invalid_field");
    assert!(message.contains("revision.generation"), "{message}");

    // In read-only mode the latest report is shown, and the database is left alone.
    api.app.set_live(crate::http::Live { read_only: true, ..super::support::LIVE });
    assert_eq!(send(report("web-9", AgentState::Published)).await.status, 200);
    let agents = api.get("/nw-api/v2/agents", ADMIN).await.value();
    assert_eq!(agents["agents"].as_array().unwrap().len(), 2);
    let stored = api.app.service.store().agents(WafId::DEFAULT).await.unwrap();
    assert_eq!(stored.len(), 1);
}

#[tokio::test]
async fn health_document_and_request_ids_need_no_key() {
    let api = Api::start().await;
    let plain = |path: &str| Request::get(path.to_owned()).body(Body::empty()).unwrap();
    let health = api.send(plain("/healthz")).await;
    assert_eq!((health.status.as_u16(), health.text.as_str()), (200, r#"{"status":"ok"}"#));
    let document = api.send(plain("/nw-api/v2/openapi.json")).await.value();
    for call in ["get", "set"]
        .iter()
        .flat_map(|verb| ["dyn_settings", "dyn_bl", "dyn_erl"].map(|noun| format!("{verb}_{noun}")))
    {
        for prefix in ["/nw-api", "/nw-api/v2"] {
            let path = &document["paths"][format!("{prefix}/{call}")];
            assert!(path["post"]["responses"]["200"].is_object(), "{prefix}/{call}");
        }
    }
    for call in [
        "/nw-api/get_event_log",
        "/nw-api/v2/bundle",
        "/nw-api/v2/delta",
        "/nw-api/v2/report",
        "/nw-api/v2/agents",
    ] {
        assert!(document["paths"][call].is_object(), "{call}");
    }
    // No dangling references.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }

    let with_id =
        |id: &str| Request::get("/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
    assert_eq!(api.send(with_id("abc-1.2_3")).await.header("x-request-id"), "abc-1.2_3");
    assert_ne!(api.send(with_id("a b")).await.header("x-request-id"), "a b");
    assert_eq!(api.send(plain("/healthz")).await.header("x-request-id").len(), 32);
}
