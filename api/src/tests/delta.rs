//! Deltas: whoever applies them has the bundle.

use std::sync::Arc;
use std::time::Duration;

use wire::v2::{Bundle, Delta, Revision};

use super::support::{ADMIN, Answer, Api, NODE};

/// Entries of the list that is there before anything happens: a delta of anything is small
/// beside it.
const ENTRIES: usize = 1_000;

fn entry(n: usize) -> String {
    format!("10.0.{}.{}", n / 250, n % 250)
}

fn list(entries: impl IntoIterator<Item = usize>) -> String {
    let entries: Vec<String> = entries.into_iter().map(entry).collect();
    format!(r#""set": {{"bl": {}}}"#, serde_json::json!(entries))
}

async fn with_a_list() -> Api {
    let api = Api::start().await;
    api.write("set_dyn_bl", &list(0..ENTRIES)).await;
    api
}

/// The order of the block list has no meaning.
fn sorted(mut bundle: Bundle) -> Bundle {
    bundle.content.block_list.sort();
    bundle
}

async fn ask(api: &Api, known: &Bundle, wait: u64) -> Answer {
    let Bundle { revision, digest, .. } = known;
    let path = format!("/nw-api/v2/delta?since={revision}&digest={digest}&wait={wait}");
    api.get(&path, NODE).await
}

async fn delta(api: &Api, known: &Bundle) -> Delta {
    let answer = ask(api, known, 0).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn deltas_since_any_generation_lead_to_the_bundle_after_every_kind_of_write() {
    let mut api = with_a_list().await;
    let reversed = list((0..20).rev().chain(20..ENTRIES));
    let inactive = list(5..ENTRIES).replace("{", r#"{"active": false, "#);
    let writes = [
        ("set_dyn_settings", r#""set": {"nwaf_host_wl": "a.com", "nwaf_ip_lm": "1.1.1.1"}"#),
        ("set_dyn_settings", r#""set": {"nwaf_host_wl": "b.com", "active": false}"#),
        ("set_dyn_settings", r#""set": {"nwaf_host_wl": "c.com"}"#),
        ("set_dyn_settings", r#""del": ["nwaf_host_wl", "nwaf_ip_lm"]"#),
        ("set_dyn_erl", r#""add": {"ip": "1.1.1.1", "url": "YQ=="}"#),
        ("set_dyn_erl", r#""add": {"ua": "YQ==", "active": false}"#),
        ("set_dyn_erl", r#""add": {"other_headers": ["YQ==:Yg=="], "lm": true}"#),
        ("set_dyn_erl", r#""upd": {"id": 1, "url": "Yg=="}"#),
        ("set_dyn_erl", r#""upd": {"id": 2, "active": true}"#),
        ("set_dyn_erl", r#""upd": {"id": 3, "active": false}"#),
        ("set_dyn_erl", r#""del": {"id": 1}"#),
        ("set_dyn_bl", r#""del": ["10.0.0.3", "10.0.1.7/32"]"#),
        ("set_dyn_bl", &list((0..ENTRIES).chain([1_200]))),
        ("set_dyn_bl", &reversed),
        ("set_dyn_bl", &list(20..ENTRIES - 20)),
        ("set_dyn_bl", &inactive),
        ("set_dyn_erl", r#""del": {"id": 3}"#),
        ("set_dyn_bl", r#""set": {"active": true}"#),
        ("set_dyn_bl", r#""del": "10.0.0.5""#),
    ];
    let mut known = vec![api.bundle().await];
    // What nobody can be told: the whole list went, and came again.
    let mut unknown = 0;
    for (n, (call, rest)) in writes.into_iter().enumerate() {
        api.write(call, rest).await;
        if n % 4 == 3 {
            // The log is on disk, and so is what the digest is computed from.
            api = api.restart().await;
        }
        let now = api.bundle().await;
        for base in &known {
            let answer = ask(&api, base, 0).await;
            if answer.status == 410 {
                unknown += 1;
                assert!(now.content.block_list.is_empty() || n >= 15, "{rest}");
                continue;
            }
            let delta: Delta = serde_json::from_str(&answer.text).unwrap();
            assert!(answer.text.len() < serde_json::to_vec(&now).unwrap().len());
            let applied = sorted(delta.apply(base.clone()).unwrap());
            assert_eq!(applied, sorted(now.clone()), "{} by {rest}", base.revision);
        }
        known.push(now);
    }
    assert!(unknown < known.len() * known.len() / 4, "{unknown}");
}

#[tokio::test]
async fn forced_changes_are_told_as_such() {
    let api = with_a_list().await;
    let known = api.bundle().await;
    api.write("set_dyn_erl", r#""force": true, "add": {"ip": "0.0.0.0/0"}"#).await;
    let delta = delta(&api, &known).await;
    assert_eq!(delta.forced_at, delta.to.generation);
    assert_eq!(delta.apply(known).unwrap(), api.bundle().await);
}

#[tokio::test]
async fn a_change_wakes_a_node_that_waits_for_it() {
    let api = Arc::new(with_a_list().await);
    let known = api.bundle().await;
    let answer = ask(&api, &known, 0).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
    let waiting = tokio::spawn({
        let (api, known) = (Arc::clone(&api), known.clone());
        async move { ask(&api, &known, 30).await }
    });
    // The poll has to be under way; nothing outside shows it, so it gets a little time.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    api.write("set_dyn_bl", r#""del": "10.0.0.9""#).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.header("x-nw-generation"), "3");
    let delta: Delta = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(delta.changes.block_list.removed, ["10.0.0.9"]);
    assert!(answer.text.len() < 600, "{}", answer.text);
    assert_eq!(delta.apply(known).unwrap(), api.bundle().await);
}

#[tokio::test]
async fn what_cannot_be_told_is_gone() {
    let api = with_a_list().await;
    let first = api.bundle().await;
    api.write("set_dyn_bl", r#""del": "10.0.0.9""#).await;
    assert_eq!(ask(&api, &first, 0).await.status, 200);
    let at = |session, generation| Revision { session, generation };
    let Revision { session, generation } = first.revision;
    for other in [
        Bundle { revision: at(session + 1, generation), ..first.clone() },
        Bundle { revision: at(session - 1, generation), ..first.clone() },
        Bundle { revision: at(session, generation + 9), ..first.clone() },
        Bundle { revision: at(session, 0), ..first.clone() },
        Bundle { digest: "0".repeat(64), ..first.clone() },
        Bundle { digest: "0".repeat(64), ..api.bundle().await },
    ] {
        let message = ask(&api, &other, 30).await.refused(410, "delta_gone");
        assert!(message.contains("/nw-api/v2/bundle"), "{message}");
    }
    let upper = Bundle { digest: first.digest.to_uppercase(), ..first.clone() };
    assert_eq!(ask(&api, &upper, 0).await.status, 200);

    // More than the bundle that it leads to.
    let bundle = api.bundle().await;
    api.write("set_dyn_bl", &list(0..1)).await;
    ask(&api, &bundle, 0).await.refused(410, "delta_gone");

    api.write("set_dyn_bl", &list(0..ENTRIES)).await;
    let bundle = api.bundle().await;
    api.write("set_dyn_bl", r#""del": "10.0.0.9""#).await;
    assert_eq!(ask(&api, &bundle, 0).await.status, 200);
    api.app.service.store().renew_sessions(0).await.unwrap();
    ask(&api, &bundle, 0).await.refused(410, "delta_gone");
}

#[tokio::test]
async fn a_log_that_was_damaged_is_no_reason_to_fail() {
    let api = with_a_list().await;
    let bundle = api.bundle().await;
    api.write("set_dyn_bl", r#""del": "10.0.0.9""#).await;
    api.tamper("UPDATE delta SET changes = '{'").await;
    ask(&api, &bundle, 0).await.refused(410, "delta_gone");
    api.write("set_dyn_bl", r#""del": "10.0.0.10""#).await;
    api.tamper("DELETE FROM delta WHERE generation = 3").await;
    ask(&api, &bundle, 0).await.refused(410, "delta_gone");
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_by_name() {
    let api = Api::start().await;
    for bad in [
        "",
        "since=1",
        "since=1.",
        "since=.1",
        "since=a.b",
        "since=-1.1",
        "since=1.1.1",
        "since=1.1&since=1.1",
        "since=1.1&wait=x",
        "since=1.1&digest=0",
        "since=1.1&session=1",
    ] {
        api.get(&format!("/nw-api/v2/delta?{bad}"), NODE).await.refused(400, "invalid_field");
    }
    api.get("/nw-api/v2/delta?since=1.1", "wrong").await.refused(401, "unknown_key");
    let twice = format!("/nw-api/v2/delta?since=1.1&key={ADMIN}");
    api.get(&twice, NODE).await.refused(400, "invalid_field");
}
