//! The conformance test of [`Store`]: one story, told to any engine.
//!
//! Nothing here names an engine; `sqlite` below gives it one.

use std::sync::Arc;

use policy::RuleText;
use wire::v2::{AgentReport, AgentState, DELTA_BYTES, Revision};

use super::{
    Action, AgentRow, Change, Commit, DELTAS_MAX, KeyRow, LoggedDelta, Mode, Part, Sqlite, Store,
    StoreError, Stored,
};
use crate::key::{Digest, Scope};

fn commit(base: Revision, author: &str, at_ms: i64, changes: Vec<Change>) -> Commit {
    let action = Action {
        at_ms,
        author: author.to_owned(),
        address: "192.0.2.1".to_owned(),
        call: "set_dyn_bl".to_owned(),
        before: "null".to_owned(),
        after: "{}".to_owned(),
        ..Action::default()
    };
    let delta = Some(logged(base.generation));
    Commit { base, changes, delta, forced: false, next_rule_id: 1, action }
}

/// What a commit on top of a generation logs here.
fn logged(base: u64) -> LoggedDelta {
    LoggedDelta { base: format!("digest {base}"), changes: format!("{{\"{base}\"}}") }
}

fn entries(texts: &[&str]) -> Change {
    Change::PlaceBlockEntries(Arc::new(texts.iter().map(|t| (*t).to_owned()).collect()))
}

/// Tells the whole story to an empty store whose session is `session`.
pub async fn tell(store: &dyn Store, session: u64) {
    let first = an_empty_store(store, session).await;
    let last = commits_are_whole_and_counted(store, first).await;
    provenance_outlives_replacement(store, last).await;
    deltas_are_without_gaps(store, first).await;
    the_action_log_remembers(store).await;
    nodes_report(store).await;
    keys_come_and_go(store).await;
    sessions_grow(store).await;
    deltas_are_bounded(store).await;
}

async fn an_empty_store(store: &dyn Store, session: u64) -> Revision {
    let first = store.revision().await.unwrap();
    assert_eq!(first, Revision { session, generation: 1 });
    let expected =
        Stored { revision: first, next_rule_id: 1, block_list_active: true, ..Stored::default() };
    assert_eq!(store.load().await.unwrap(), expected);
    first
}

async fn commits_are_whole_and_counted(store: &dyn Store, first: Revision) -> Revision {
    let rule = RuleText {
        ip: Some("1.1.1.1".into()),
        other_headers: vec!["YQ==:".into(), ":Yg==".into()],
        lm: true,
        api: false,
        ..RuleText::default()
    };
    let changes = vec![
        Change::PutSetting { name: "nwaf_ip_wl", value: "1.1.1.1".into(), active: false },
        Change::PutSetting { name: "nwaf_host_wl", value: "a.com".into(), active: true },
        entries(&["9.9.9.9", "2.2.2.2", "1.1.1.1"]),
        Change::SetBlockListActive(false),
        Change::PutRule(7, Box::new(rule.clone())),
        Change::PutRule(8, Box::new(rule.clone())),
    ];
    let commit_all = Commit { next_rule_id: 9, ..commit(first, "anna", 1_000, changes) };
    let second = store.commit(commit_all).await.unwrap();
    assert_eq!(second, Revision { generation: 2, ..first });
    let expected = Stored {
        revision: second,
        forced_at: 0,
        next_rule_id: 9,
        settings: vec![
            ("nwaf_host_wl".into(), "a.com".into(), true),
            ("nwaf_ip_wl".into(), "1.1.1.1".into(), false),
        ],
        block_list_active: false,
        block_list: vec!["9.9.9.9".into(), "2.2.2.2".into(), "1.1.1.1".into()],
        rules: vec![(7, rule.clone()), (8, rule.clone())],
    };
    assert_eq!(store.load().await.unwrap(), expected);

    // From an old base: nothing happens, not even a row of the log.
    let late = commit(first, "late", 1_500, vec![Change::RemoveRule(7)]);
    let refused = store.commit(late).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Conflict { base, stored } if base == first && stored == second)
    );
    assert_eq!(store.load().await.unwrap(), expected);
    assert_eq!(store.actions(i64::MAX, 10).await.unwrap().len(), 1);

    let other = RuleText { ua: Some("YQ==".into()), ..rule.clone() };
    let changes = vec![
        Change::PutSetting { name: "nwaf_host_wl", value: "b.com".into(), active: true },
        Change::RemoveSetting("nwaf_ip_wl"),
        Change::RemoveBlockEntries(vec!["2.2.2.2".into()]),
        Change::AppendBlockEntries(vec!["7.7.7.7".into(), "6.6.6.6".into()]),
        Change::SetBlockListActive(true),
        Change::PutRule(8, Box::new(other.clone())),
        Change::RemoveRule(7),
    ];
    let forced =
        Commit { forced: true, next_rule_id: 9, ..commit(second, "berta", 2_000, changes) };
    let third = store.commit(forced).await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!((stored.revision, stored.forced_at), (third, third.generation));
    assert_eq!(stored.settings, [("nwaf_host_wl".to_owned(), "b.com".to_owned(), true)]);
    assert_eq!(stored.block_list, ["9.9.9.9", "1.1.1.1", "7.7.7.7", "6.6.6.6"]);
    assert_eq!(stored.rules, [(8, other)]);
    assert!(stored.block_list_active);
    third
}

async fn provenance_outlives_replacement(store: &dyn Store, last: Revision) {
    let unwanted = ["9.9.9.9", "7.7.7.7", "6.6.6.6"].map(str::to_owned).into();
    let changes = vec![Change::RemoveBlockEntries(unwanted), entries(&["5.5.5.5", "1.1.1.1"])];
    let next = store.commit(Commit { next_rule_id: 9, ..commit(last, "carl", 3_000, changes) });
    let next = next.await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.block_list, ["5.5.5.5", "1.1.1.1"]);
    // `forced_at` stays where it was: this change was not forced.
    assert_eq!((stored.forced_at, stored.revision), (last.generation, next));

    let entries = store.provenance(Part::BlockList).await.unwrap();
    assert_eq!(
        (entries["1.1.1.1"].author.as_str(), entries["1.1.1.1"].created_ms),
        ("anna", 1_000)
    );
    assert_eq!(
        (entries["5.5.5.5"].author.as_str(), entries["5.5.5.5"].created_ms),
        ("carl", 3_000)
    );
    let settings = &store.provenance(Part::Settings).await.unwrap()["nwaf_host_wl"];
    assert_eq!(
        (settings.author.as_str(), settings.created_ms, settings.updated_ms),
        ("berta", 1_000, 2_000)
    );
    let rules = store.provenance(Part::Rules).await.unwrap();
    assert_eq!((rules["8"].created_ms, rules["8"].updated_ms), (1_000, 2_000));
    assert_eq!(rules.len(), 1);
}

async fn the_action_log_remembers(store: &dyn Store) {
    let log = store.actions(i64::MAX, 2).await.unwrap();
    assert_eq!(log.iter().map(|a| a.author.as_str()).collect::<Vec<_>>(), ["carl", "berta"]);
    assert_eq!((log[0].generation, log[0].call.as_str()), (4, "set_dyn_bl"));
    let older = store.actions(log[1].id, 10).await.unwrap();
    assert_eq!(older.iter().map(|a| a.author.as_str()).collect::<Vec<_>>(), ["anna"]);
    assert_eq!(store.forget_actions(2_000).await.unwrap(), 1);
    assert_eq!(store.actions(i64::MAX, 10).await.unwrap(), log);
}

async fn deltas_are_without_gaps(store: &dyn Store, first: Revision) {
    let last = store.revision().await.unwrap();
    let known = async |after| store.deltas(after, last.generation).await.unwrap();
    assert_eq!(known(first).await, [logged(1), logged(2), logged(3)]);
    assert_eq!(known(Revision { generation: 2, ..first }).await, [logged(2), logged(3)]);
    assert_eq!(store.deltas(first, 3).await.unwrap(), [logged(1), logged(2)]);
    assert_eq!(known(last).await, []);
    assert_eq!(known(Revision { session: 7, ..first }).await, []);
}

async fn deltas_are_bounded(store: &dyn Store) {
    let mut now = store.revision().await.unwrap();
    let from = now;
    for _ in 0..DELTAS_MAX + 3 {
        now = store.commit(commit(now, "anna", 1, vec![])).await.unwrap();
    }
    let known = store.deltas(from, now.generation).await.unwrap();
    assert_eq!(known.len(), DELTAS_MAX as usize);
    assert_eq!(known.last(), Some(&logged(now.generation - 1)));

    let large = LoggedDelta { changes: "x".repeat(DELTA_BYTES / 3), ..logged(0) };
    for _ in 0..5 {
        let large = Commit { delta: Some(large.clone()), ..commit(now, "anna", 1, vec![]) };
        now = store.commit(large).await.unwrap();
    }
    assert_eq!(store.deltas(from, now.generation).await.unwrap(), vec![large; 3]);

    let unknown = Commit { delta: None, ..commit(now, "anna", 1, vec![]) };
    let next = store.commit(unknown).await.unwrap();
    assert_eq!(store.deltas(now, next.generation).await.unwrap(), []);
    let last = store.commit(commit(next, "anna", 1, vec![])).await.unwrap();
    assert_eq!(store.deltas(now, last.generation).await.unwrap(), [logged(next.generation)]);
}

async fn nodes_report(store: &dyn Store) {
    let report = |node: &str, state, at_ms| AgentRow {
        report: AgentReport {
            node: node.to_owned(),
            revision: Revision { session: 3, generation: 4 },
            state,
            reason: (state == AgentState::Refused).then(|| "too drastic".to_owned()),
        },
        address: "192.0.2.7".to_owned(),
        at_ms,
    };
    store.put_agent(report("b", AgentState::Refused, 1)).await.unwrap();
    store.put_agent(report("a", AgentState::Published, 2)).await.unwrap();
    store.put_agent(report("b", AgentState::Published, 3)).await.unwrap();
    let expected = [report("a", AgentState::Published, 2), report("b", AgentState::Published, 3)];
    assert_eq!(store.agents().await.unwrap(), expected);
}

async fn keys_come_and_go(store: &dyn Store) {
    let key = |name: &str, scope, secret: &str| KeyRow {
        name: name.to_owned(),
        scope,
        digest: Digest::of_key(secret).into_string(),
        created_ms: 5,
    };
    let (ops, node) = (key("ops", Scope::Admin, "1"), key("node", Scope::Node, "2"));
    store.add_key(ops.clone()).await.unwrap();
    store.add_key(node.clone()).await.unwrap();
    for twice in [key("ops", Scope::Read, "3"), key("other", Scope::Read, "1")] {
        assert!(matches!(store.add_key(twice).await, Err(StoreError::KeyExists)));
    }
    assert_eq!(store.keys().await.unwrap(), [node, ops.clone()]);
    assert!(store.remove_key("node").await.unwrap());
    assert!(!store.remove_key("node").await.unwrap());
    assert_eq!(store.keys().await.unwrap(), [ops]);
}

async fn sessions_grow(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    let renewed = store.renew_session(0).await.unwrap();
    assert_eq!(renewed.session, before.session + 1);
    assert!(renewed > before);
    let later = store.renew_session(renewed.session + 1_000).await.unwrap();
    assert_eq!(later.session, renewed.session + 1_000);
}

#[tokio::test]
async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    let mode = Mode::ReadWrite { now_ms: 42 };
    tell(&Sqlite::open(&path, mode).await.unwrap(), 42).await;

    // Opened again, later: the same session, the same content.
    let again = Sqlite::open(&path, Mode::ReadWrite { now_ms: 99_999 }).await.unwrap();
    let stored = again.load().await.unwrap();
    assert_eq!(stored.revision.session, 43 + 1_000);
    let read_only = Sqlite::open(&path, Mode::ReadOnly).await.unwrap();
    assert_eq!(read_only.load().await.unwrap(), stored);
    assert!(read_only.remove_key("ops").await.is_err());
}

#[tokio::test]
async fn a_read_only_store_must_exist_and_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    assert!(Sqlite::open(&path, Mode::ReadOnly).await.is_err());
    assert!(!path.exists());
    std::fs::write(&path, "this is no database, but long enough to be looked at").unwrap();
    assert!(Sqlite::open(&path, Mode::ReadOnly).await.is_err());
    assert!(Sqlite::open(&path, Mode::ReadWrite { now_ms: 1 }).await.is_err());
}
