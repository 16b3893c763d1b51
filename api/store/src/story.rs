//! The conformance test of [`Store`]: one story, told to any engine.
//!
//! Nothing here names an engine; the tests of each engine tell it to a database of theirs.

mod analysis;
pub mod bans;
mod bulk;
pub mod events;

use std::sync::Arc;

use policy::RuleText;
use wire::v2::{AgentReport, AgentState, DELTA_BYTES, Revision};

use crate::{
    Action, AgentRow, Change, Commit, DEFAULT_WAF, DELTAS_MAX, KEYS_MAX, KeyRow, LoggedDelta, Part,
    Progress, Role, Scope, Store, StoreError, Stored, WafId,
};

const WAF: WafId = WafId::DEFAULT;

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
    let (answer, progress) = (None, Progress::default());
    Commit { base, changes, delta, forced: false, next_rule_id: 1, action, answer, progress }
}

/// What a commit on top of a generation logs here.
fn logged(base: u64) -> LoggedDelta {
    LoggedDelta { base: format!("digest {base}"), changes: format!("{{\"{base}\"}}") }
}

fn entries(texts: &[&str]) -> Change {
    Change::PlaceBlockEntries(Arc::new(texts.iter().map(|t| (*t).to_owned()).collect()))
}

/// Tells the whole story to an empty store whose session is `session`.
///
/// # Panics
/// Where the store breaks a promise of [`Store`].
pub async fn tell(store: &dyn Store, session: u64) {
    let first = an_empty_store(store, session).await;
    let last = commits_are_whole_and_counted(store, first).await;
    provenance_outlives_replacement(store, last).await;
    deltas_are_without_gaps(store, first).await;
    the_action_log_remembers(store).await;
    nodes_report(store).await;
    keys_come_and_go(store).await;
    analysis::is_kept(store).await;
    sessions_grow(store).await;
    deltas_are_bounded(store).await;
    bulk::answers_are_kept_with_their_change(store).await;
    bulk::long_lists_are_written_in_order_and_told_of(store).await;
    wafs_do_not_mix(store).await;
}

async fn revision(store: &dyn Store) -> Revision {
    store.pulse().await.unwrap().waf(WAF).unwrap().revision
}

async fn an_empty_store(store: &dyn Store, session: u64) -> Revision {
    let pulse = store.pulse().await.unwrap();
    assert_eq!(pulse.role, Role::Primary);
    assert!(pulse.history.as_ref().is_none_or(|history| history.timeline == 1));
    let [waf] = pulse.wafs.as_slice() else { panic!("{pulse:?}") };
    assert_eq!((waf.id, waf.name.as_str()), (WAF, DEFAULT_WAF));
    let first = waf.revision;
    assert_eq!(first, Revision { session, generation: 1 });
    let expected =
        Stored { revision: first, next_rule_id: 1, block_list_active: true, ..Stored::default() };
    assert_eq!(store.load(WAF).await.unwrap(), expected);
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
        Change::PutRule(7, Arc::new(rule.clone())),
        Change::PutRule(8, Arc::new(rule.clone())),
    ];
    let commit_all = Commit { next_rule_id: 9, ..commit(first, "anna", 1_000, changes) };
    let second = store.commit(WAF, commit_all).await.unwrap();
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
        ..Stored::default()
    };
    assert_eq!(store.load(WAF).await.unwrap(), expected);

    // From an old base: nothing happens, not even a row of the log.
    let late = commit(first, "late", 1_500, vec![Change::RemoveRule(7)]);
    let refused = store.commit(WAF, late).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Conflict { base, stored } if base == first && stored == second)
    );
    assert_eq!(store.load(WAF).await.unwrap(), expected);
    assert_eq!(store.actions(WAF, i64::MAX, 10).await.unwrap().len(), 1);

    let other = RuleText { ua: Some("YQ==".into()), ..rule.clone() };
    let changes = vec![
        Change::PutSetting { name: "nwaf_host_wl", value: "b.com".into(), active: true },
        Change::RemoveSetting("nwaf_ip_wl"),
        Change::RemoveBlockEntries(vec!["2.2.2.2".into()]),
        Change::AppendBlockEntries(vec!["7.7.7.7".into(), "6.6.6.6".into()]),
        Change::SetBlockListActive(true),
        Change::PutRule(8, Arc::new(other.clone())),
        Change::RemoveRule(7),
    ];
    let forced =
        Commit { forced: true, next_rule_id: 9, ..commit(second, "berta", 2_000, changes) };
    let third = store.commit(WAF, forced).await.unwrap();
    let stored = store.load(WAF).await.unwrap();
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
    let next =
        store.commit(WAF, Commit { next_rule_id: 9, ..commit(last, "carl", 3_000, changes) });
    let next = next.await.unwrap();
    let stored = store.load(WAF).await.unwrap();
    assert_eq!(stored.block_list, ["5.5.5.5", "1.1.1.1"]);
    // `forced_at` stays where it was: this change was not forced.
    assert_eq!((stored.forced_at, stored.revision), (last.generation, next));

    let entries = store.provenance(WAF, Part::BlockList).await.unwrap();
    assert_eq!(
        (entries["1.1.1.1"].author.as_str(), entries["1.1.1.1"].created_ms),
        ("anna", 1_000)
    );
    assert_eq!(
        (entries["5.5.5.5"].author.as_str(), entries["5.5.5.5"].created_ms),
        ("carl", 3_000)
    );
    let settings = &store.provenance(WAF, Part::Settings).await.unwrap()["nwaf_host_wl"];
    assert_eq!(
        (settings.author.as_str(), settings.created_ms, settings.updated_ms),
        ("berta", 1_000, 2_000)
    );
    let rules = store.provenance(WAF, Part::Rules).await.unwrap();
    assert_eq!((rules["8"].created_ms, rules["8"].updated_ms), (1_000, 2_000));
    assert_eq!(rules.len(), 1);
}

async fn the_action_log_remembers(store: &dyn Store) {
    let log = store.actions(WAF, i64::MAX, 2).await.unwrap();
    assert_eq!(log.iter().map(|a| a.author.as_str()).collect::<Vec<_>>(), ["carl", "berta"]);
    assert_eq!((log[0].generation, log[0].call.as_str()), (4, "set_dyn_bl"));
    let older = store.actions(WAF, log[1].id, 10).await.unwrap();
    assert_eq!(older.iter().map(|a| a.author.as_str()).collect::<Vec<_>>(), ["anna"]);
    assert_eq!(store.forget_actions(2_000, 10).await.unwrap(), 1);
    assert_eq!(store.actions(WAF, i64::MAX, 10).await.unwrap(), log);
}

async fn deltas_are_without_gaps(store: &dyn Store, first: Revision) {
    let last = revision(store).await;
    let known = async |after| store.deltas(WAF, after, last.generation).await.unwrap();
    assert_eq!(known(first).await, [logged(1), logged(2), logged(3)]);
    assert_eq!(known(Revision { generation: 2, ..first }).await, [logged(2), logged(3)]);
    assert_eq!(store.deltas(WAF, first, 3).await.unwrap(), [logged(1), logged(2)]);
    assert_eq!(known(last).await, []);
    assert_eq!(known(Revision { session: 7, ..first }).await, []);
}

async fn deltas_are_bounded(store: &dyn Store) {
    let mut now = revision(store).await;
    let from = now;
    for _ in 0..DELTAS_MAX + 3 {
        now = store.commit(WAF, commit(now, "anna", 1, vec![])).await.unwrap();
    }
    let known = store.deltas(WAF, from, now.generation).await.unwrap();
    assert_eq!(known.len(), DELTAS_MAX as usize);
    assert_eq!(known.last(), Some(&logged(now.generation - 1)));

    let large = LoggedDelta { changes: "x".repeat(DELTA_BYTES / 3), ..logged(0) };
    for _ in 0..5 {
        let large = Commit { delta: Some(large.clone()), ..commit(now, "anna", 1, vec![]) };
        now = store.commit(WAF, large).await.unwrap();
    }
    assert_eq!(store.deltas(WAF, from, now.generation).await.unwrap(), vec![large; 3]);

    let unknown = Commit { delta: None, ..commit(now, "anna", 1, vec![]) };
    let next = store.commit(WAF, unknown).await.unwrap();
    assert_eq!(store.deltas(WAF, now, next.generation).await.unwrap(), []);
    let last = store.commit(WAF, commit(next, "anna", 1, vec![])).await.unwrap();
    assert_eq!(store.deltas(WAF, now, last.generation).await.unwrap(), [logged(next.generation)]);
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
    store.put_agent(WAF, report("b", AgentState::Refused, 1)).await.unwrap();
    store.put_agent(WAF, report("a", AgentState::Published, 2)).await.unwrap();
    store.put_agent(WAF, report("b", AgentState::Published, 3)).await.unwrap();
    let expected = [report("a", AgentState::Published, 2), report("b", AgentState::Published, 3)];
    assert_eq!(store.agents(WAF).await.unwrap(), expected);
}

/// An entry of the action log about a key.
fn made(author: &str) -> Action {
    Action { author: author.to_owned(), call: "keys".to_owned(), ..Action::default() }
}

async fn keys_come_and_go(store: &dyn Store) {
    let key = |name: &str, scope, secret: &str| KeyRow {
        name: name.to_owned(),
        waf: WAF,
        scope,
        digest: secret.repeat(64),
        created_ms: 5,
    };
    let (before, none) = store.keys().await.unwrap();
    assert_eq!(none, []);
    assert_eq!(store.pulse().await.unwrap().keys_version, before);
    let (ops, node) = (key("ops", Scope::Admin, "1"), key("node", Scope::Node, "2"));
    store.add_key(ops.clone(), made("anna")).await.unwrap();
    store.add_key(node.clone(), made("anna")).await.unwrap();
    for twice in [key("ops", Scope::Read, "3"), key("other", Scope::Read, "1")] {
        assert!(matches!(store.add_key(twice, made("eve")).await, Err(StoreError::Exists)));
    }
    let nobodys = KeyRow { waf: WafId(99), ..key("lost", Scope::Read, "9") };
    assert!(matches!(store.add_key(nobodys, made("eve")).await, Err(StoreError::NoWaf(WafId(99)))));
    let (version, keys) = store.keys().await.unwrap();
    assert_eq!(keys, [node, ops.clone()]);
    assert!(version > before);
    assert_eq!(store.pulse().await.unwrap().keys_version, version);
    assert!(store.remove_key("node", None, made("anna")).await.unwrap());
    assert!(!store.remove_key("node", None, made("anna")).await.unwrap());
    let log = store.actions(WAF, i64::MAX, 4).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.call == "keys").count(), 3);
    assert!(log[0].author == "anna" && log[0].generation == revision(store).await.generation);
    assert!(!store.remove_key("ops", Some(WafId(99)), made("eve")).await.unwrap());
    let (later, keys) = store.keys().await.unwrap();
    assert_eq!(keys, [ops]);
    assert!(later > version);
    let crowded = store.add_waf("crowded", 1).await.unwrap();
    let nth =
        |n: u32| KeyRow { waf: crowded, ..key(&format!("k{n}"), Scope::Read, &format!("n{n}")) };
    for n in 0..KEYS_MAX {
        store.add_key(nth(n), made("eve")).await.unwrap();
    }
    let beyond = store.add_key(nth(KEYS_MAX), made("eve")).await;
    assert!(matches!(beyond, Err(StoreError::TooManyKeys)));
    store.add_key(key("others", Scope::Read, "o"), made("anna")).await.unwrap();
    assert!(store.remove_key("others", None, made("anna")).await.unwrap());
    assert!(store.remove_waf(crowded).await.unwrap());
    for scope in Scope::ALL {
        let name = format!("every-{}", scope.name());
        store.add_key(key(&name, scope, scope.name()), made("anna")).await.unwrap();
        let (_, keys) = store.keys().await.unwrap();
        assert!(keys.iter().any(|key| key.name == name && key.scope == scope));
        assert!(store.remove_key(&name, Some(WAF), made("anna")).await.unwrap());
    }
}

async fn sessions_grow(store: &dyn Store) {
    let before = revision(store).await;
    store.renew_sessions(0).await.unwrap();
    let renewed = revision(store).await;
    assert_eq!(renewed.session, before.session + 1);
    assert!(renewed > before);
    assert_eq!(store.load(WAF).await.unwrap().forced_at, renewed.generation);
    store.renew_sessions(renewed.session + 1_000).await.unwrap();
    assert_eq!(revision(store).await.session, renewed.session + 1_000);
}

/// Everything of one WAF id is invisible with another, and goes with it.
async fn wafs_do_not_mix(store: &dyn Store) {
    let before = store.load(WAF).await.unwrap();
    let log = store.actions(WAF, i64::MAX, 100).await.unwrap();
    let other = store.add_waf("shop", 7_000).await.unwrap();
    assert!(matches!(store.add_waf("shop", 1).await, Err(StoreError::Exists)));
    assert_ne!(other, WAF);
    let first = store.pulse().await.unwrap().waf(other).unwrap().revision;
    assert_eq!(first, Revision { session: 7_000, generation: 1 });
    let empty =
        Stored { revision: first, next_rule_id: 1, block_list_active: true, ..Stored::default() };
    assert_eq!(store.load(other).await.unwrap(), empty);

    let rule = RuleText { ip: Some("4.4.4.4".into()), ..RuleText::default() };
    let changes = vec![
        Change::PutSetting { name: "nwaf_host_wl", value: "shop.com".into(), active: true },
        entries(&["1.1.1.1"]),
        Change::PutRule(8, Arc::new(rule.clone())),
    ];
    let theirs = Commit { next_rule_id: 9, ..commit(first, "shop", 1, changes) };
    let second = store.commit(other, theirs).await.unwrap();
    let found = store.load(other).await.unwrap();
    assert_eq!(found.block_list, ["1.1.1.1"]);
    assert_eq!(found.rules, [(8, rule)]);
    assert_eq!(store.load(WAF).await.unwrap(), before);
    assert_eq!(store.actions(WAF, i64::MAX, 100).await.unwrap(), log);
    assert_eq!(store.actions(other, i64::MAX, 100).await.unwrap().len(), 1);
    assert_eq!(store.deltas(other, first, 99).await.unwrap(), [logged(1)]);
    for part in [Part::Settings, Part::BlockList, Part::Rules] {
        let authors = store.provenance(other, part).await.unwrap();
        assert!(authors.len() == 1 && authors.values().all(|row| row.author == "shop"));
    }
    assert_eq!(store.agents(other).await.unwrap(), []);

    // Removing what is theirs leaves ours.
    let changes = vec![
        Change::RemoveSetting("nwaf_host_wl"),
        Change::RemoveBlockEntries(vec!["1.1.1.1".into()]),
        Change::RemoveRule(8),
        Change::SetBlockListActive(false),
    ];
    store.commit(other, commit(second, "shop", 2, changes)).await.unwrap();
    assert_eq!(store.load(WAF).await.unwrap(), before);

    let key = KeyRow {
        name: "shop".into(),
        waf: other,
        scope: Scope::Admin,
        digest: "5".repeat(64),
        created_ms: 1,
    };
    store.add_key(key.clone(), made("shop")).await.unwrap();
    let agents = store.agents(WAF).await.unwrap();
    store.put_agent(other, agents[0].clone()).await.unwrap();
    assert!(store.remove_waf(other).await.unwrap());
    assert!(!store.remove_waf(other).await.unwrap());
    assert!(!store.keys().await.unwrap().1.contains(&key));
    assert!(matches!(store.load(other).await, Err(StoreError::NoWaf(id)) if id == other));
    let late = store.commit(other, commit(second, "late", 1, vec![])).await;
    assert!(matches!(late, Err(StoreError::NoWaf(id)) if id == other));
    let late = store.put_agent(other, agents[0].clone()).await;
    assert!(matches!(late, Err(StoreError::NoWaf(id)) if id == other));
    assert_eq!(store.load(WAF).await.unwrap(), before);
    assert_eq!(store.agents(WAF).await.unwrap(), agents);
    // An id is never given again.
    assert_ne!(store.add_waf("shop", 8_000).await.unwrap(), other);
}
