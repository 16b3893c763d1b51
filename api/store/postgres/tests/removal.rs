//! A WAF id that is removed leaves nothing in PostgreSQL: not every table refers to it, so
//! what a new one leaves behind is found here, by asking the catalogue.

use std::sync::Arc;

use policy::RuleText;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::{
    Action, AgentRow, AnalysisChange, Bans as _, Change, Commit, KeptAnswer, KeyRow, LoggedDelta,
    NewBan, Progress, Scope, Store as _, WafId, address_bytes, story,
};
use store_postgres::{Mode, Postgres};
use support::Postgres as Server;
use wire::v2::{AgentReport, AgentState, Revision};

/// 2025-11-22T14:00:00Z.
const NOW: i64 = 1_763_820_000_000;
/// Rows of the record that are forgotten in one go; more than there are.
const STEPS: u32 = 100;

/// Rows of a WAF id in every table that has such a column.
async fn rows(connection: &mut PgConnection, waf: WafId) -> Vec<(String, i64)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I', relname) FROM pg_class
         JOIN pg_attribute ON attrelid = pg_class.oid
         WHERE attname = 'waf_id' AND relkind IN ('r', 'p') AND NOT relispartition
             AND relnamespace = current_schema()::regnamespace
         ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let mut counted = Vec::new();
    for table in tables {
        // A name from the catalogue, quoted by it.
        let count = format!("SELECT count(*) FROM {table} WHERE waf_id = $1");
        let count = sqlx::query_scalar(AssertSqlSafe(count)).bind(waf.0);
        counted.push((table, count.fetch_one(&mut *connection).await.unwrap()));
    }
    counted
}

/// Writes something of everything that belongs to a WAF id.
async fn fill(store: &Postgres, waf: WafId, name: &str) {
    let base = store.pulse().await.unwrap().waf(waf).unwrap().revision;
    let author = name.to_owned();
    let vhost = "a.com".to_owned();
    let model = AnalysisChange::PutModel {
        vhost: vhost.clone(),
        sha256: "0".repeat(64),
        bytes: [1].into(),
    };
    let setting =
        AnalysisChange::PutMlc { name: "brute__enable", value: "true".to_owned(), active: true };
    let changes = vec![
        Change::PutSetting { name: "nwaf_ip_wl", value: "1.1.1.1".to_owned(), active: true },
        Change::PlaceBlockEntries(Arc::new(vec!["1.1.1.1".to_owned()])),
        Change::PutRule(1, Arc::new(RuleText::default())),
        Change::PutExclusion(1, Box::default()),
        Change::Analysis(setting),
        Change::Analysis(AnalysisChange::PlaceVhosts(vec![vhost])),
        Change::Analysis(model),
    ];
    let answer = KeptAnswer {
        author: author.clone(),
        key: "k".to_owned(),
        digest: "d".to_owned(),
        at_ms: NOW,
        answer: "{}".to_owned(),
    };
    let action = || Action { author: author.clone(), ..Action::default() };
    let commit = Commit {
        base,
        changes,
        delta: Some(LoggedDelta { base: "d".to_owned(), changes: "{}".to_owned() }),
        forced: false,
        next_rule_id: 2,
        action: action(),
        answer: Some(answer),
        progress: Progress::default(),
    };
    store.commit(waf, commit).await.unwrap();
    let digest = format!("{name:0>64}");
    let key = KeyRow { name: author.clone(), waf, scope: Scope::Admin, digest, created_ms: 1 };
    store.add_key(key, action()).await.unwrap();
    let revision = Revision { session: 1, generation: 1 };
    let state = AgentState::Published;
    let report = AgentReport { node: "n".to_owned(), revision, state, reason: None };
    let agent = AgentRow { report, address: "192.0.2.1".to_owned(), at_ms: NOW };
    store.put_agent(waf, agent).await.unwrap();
    let address = address_bytes([192, 0, 2, 1].into());
    let ban = NewBan {
        address: "192.0.2.1".to_owned(),
        span: (address, address),
        domain: "*".to_owned(),
        bt: 5,
        rule: 0,
        reason: String::new(),
        until_ms: NOW + 1_000,
    };
    store.add_bans(waf, &[ban], NOW, action()).await.unwrap();
    let attacks = [story::events::attack(1, NOW)];
    assert_eq!(store.events().add_attacks(waf, "n", NOW, &attacks).await.unwrap(), 1);
}

#[tokio::test]
async fn a_removed_waf_id_leaves_no_rows() {
    let url = Server::shared().fresh_database();
    let store = Postgres::open(&url, Mode::ReadWrite { now_ms: 42 }).await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let shop = store.add_waf("shop", 1_000).await.unwrap();
    fill(&store, WafId::DEFAULT, "anna").await;
    fill(&store, shop, "ben").await;
    let before = rows(&mut connection, WafId::DEFAULT).await;
    let filled = rows(&mut connection, shop).await;
    assert!(filled.len() >= 15, "{filled:?}");
    // A table that is empty here would prove nothing.
    assert!(filled.iter().all(|(_, count)| *count > 0), "{filled:?}");

    assert!(store.remove_waf(shop).await.unwrap());
    // The record is forgotten by the task that forgets old attacks, in steps.
    let wafs: Vec<WafId> = store.pulse().await.unwrap().wafs.iter().map(|waf| waf.id).collect();
    store.events().forget_attacks(0, &wafs, STEPS).await.unwrap();
    let left = rows(&mut connection, shop).await;
    assert!(left.iter().all(|(_, count)| *count == 0), "{left:?}");
    assert_eq!(rows(&mut connection, WafId::DEFAULT).await, before);
}
