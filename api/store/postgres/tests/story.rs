//! PostgreSQL is told the story of every store, and what only a pair of servers can show.

use std::time::Duration;

use store::{Action, Change, Commit, Role, Store as _, StoreError, WafId, story};
use store_postgres::{Mode, Postgres};
use support::{Pair, Postgres as Server};
use wire::v2::Revision;

const WAF: WafId = WafId::DEFAULT;
const MODE: Mode = Mode::ReadWrite { now_ms: 42 };

fn setting(base: Revision, value: &str) -> Commit {
    Commit {
        base,
        changes: vec![Change::PutSetting {
            name: "nwaf_host_wl",
            value: value.to_owned(),
            active: true,
        }],
        delta: None,
        forced: false,
        next_rule_id: 1,
        action: Action { author: "anna".to_owned(), ..Action::default() },
        answer: None,
        progress: store::Progress::default(),
    }
}

async fn revision(store: &Postgres) -> Revision {
    store.pulse().await.unwrap().waf(WAF).unwrap().revision
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), so).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn postgres() {
    let url = Server::shared().fresh_database();
    let store = Postgres::open(&url, MODE).await.unwrap();
    story::tell(&store, 42).await;
    story::bans::tell(&store).await;
    story::events::tell(store.events(), 1_763_820_000_000).await;

    // Opened again, later: the same session, the same content.
    let again = Postgres::open(&url, Mode::ReadWrite { now_ms: 99_999 }).await.unwrap();
    let stored = again.load(WAF).await.unwrap();
    assert_eq!(stored.revision.session, 43 + 1_000);
    let read_only = Postgres::open(&url, Mode::ReadOnly).await.unwrap();
    assert_eq!(read_only.load(WAF).await.unwrap(), stored);
}

#[tokio::test]
async fn a_database_nobody_prepared_is_not_read() {
    let url = Server::shared().fresh_database();
    let refused = Postgres::open(&url, Mode::ReadOnly).await.unwrap_err();
    assert!(matches!(refused, StoreError::Schema(_)), "{refused:?}");
}

#[tokio::test]
async fn who_cannot_open_it_is_told_why() {
    let server = Server::shared();
    let refused = async |url: &str| match Postgres::open(url, MODE).await {
        Ok(_) => panic!("{url} was opened"),
        Err(why) => whole(why),
    };
    // A pool alone would say that it took too long.
    let why = refused("postgres://nwaf:secret@127.0.0.1:1/nwaf").await;
    assert!(why.contains("refused") && !why.contains("secret"), "{why}");
    let url = server.fresh_database();
    let (start, name) = url.rsplit_once('/').unwrap();
    let why = refused(&format!("{start}/no_such_database")).await;
    assert!(why.contains("no_such_database"), "{why}");
    // Somebody else's database: a matter of rights, not of the schema.
    server.sql(&format!("ALTER DATABASE {name} OWNER TO CURRENT_USER"));
    let Err(why) = Postgres::open(&url, MODE).await else { panic!("{url} was opened") };
    assert!(matches!(why, StoreError::NoPermission(_)), "{why:?}");
    assert!(whole(why).contains("permission denied"));
}

fn whole(why: StoreError) -> String {
    let mut text = why.to_string();
    let mut cause = std::error::Error::source(&why);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[test]
fn a_parameter_nobody_knows_is_refused() {
    let check = store_postgres::check_url;
    check("postgres://u:p@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem").unwrap();
    check("postgres:///d?host=%2Frun&user=u&password=p").unwrap();
    for typo in ["sslmod=verify-full", "sslmode", "passwort=secret", "?sslmode=require"] {
        let why = check(&format!("postgres://u@h/d?{typo}")).unwrap_err();
        assert!(!why.contains("secret"), "{why}");
    }
}

#[tokio::test]
async fn several_processes_prepare_one_database() {
    let url = Server::shared().fresh_database();
    let open = || Postgres::open(&url, MODE);
    let (a, b, c, d) = tokio::join!(open(), open(), open(), open());
    let stores = [a, b, c, d].map(Result::unwrap);
    let pulse = stores[0].pulse().await.unwrap();
    assert_eq!(pulse.wafs.len(), 1);
    // Of two commits on one base one is told to compute anew.
    let base = revision(&stores[0]).await;
    let (first, second) = tokio::join!(
        stores[1].commit(WAF, setting(base, "a.com")),
        stores[2].commit(WAF, setting(base, "b.com"))
    );
    let conflicts = [first, second]
        .into_iter()
        .filter(|done| matches!(done, Err(StoreError::Conflict { .. })))
        .count();
    assert_eq!(conflicts, 1);
    assert_eq!(revision(&stores[3]).await.generation, 2);
}

#[tokio::test]
async fn a_replica_reads_and_a_promoted_one_begins_new_sessions() {
    let mut pair = Pair::start();
    let primary = Postgres::open(&pair.primary.url(), MODE).await.unwrap();
    let first = primary.commit(WAF, setting(revision(&primary).await, "a.com")).await.unwrap();
    pair.in_step();

    let replica = Postgres::open(&pair.replica.url(), MODE).await.unwrap();
    let pulse = replica.pulse().await.unwrap();
    assert!(matches!(pulse.role, Role::Replica { lag_ms: Some(0) }), "{pulse:?}");
    assert_eq!(replica.load(WAF).await.unwrap(), primary.load(WAF).await.unwrap());
    for refused in [
        replica.commit(WAF, setting(first, "b.com")).await.map(drop),
        replica.remove_key("x", None, Action::default()).await.map(drop),
        replica.add_waf("x", 1).await.map(drop),
        replica.renew_sessions(1).await,
        replica.forget_actions(1, 1).await.map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    }

    // The replica does not hear of the last change before its primary is gone.
    let frozen = pair.primary.freeze_senders();
    let lost = primary.commit(WAF, setting(first, "lost.com")).await.unwrap();
    let lags = async || {
        let Role::Replica { lag_ms } = replica.pulse().await.unwrap().role else { return false };
        lag_ms.is_some_and(|ms| ms > 1_000)
    };
    until("the replica says that it lags", lags).await;
    assert_eq!(revision(&replica).await, first);
    pair.primary.kill9();
    drop(frozen);
    assert!(matches!(primary.pulse().await, Err(StoreError::Unavailable(_))));
    pair.replica.promote();

    // Who opened it only for reading changes nothing of it.
    let observer = Postgres::open(&pair.replica.url(), Mode::ReadOnly).await.unwrap();
    assert_eq!(revision(&observer).await, first);

    // The lost generation is given again, but in a newer session.
    let promoted = revision(&replica).await;
    assert!(promoted.session > first.session && promoted > lost, "{promoted} after {lost}");
    assert_eq!(replica.pulse().await.unwrap().role, Role::Primary);
    let next = replica.commit(WAF, setting(promoted, "c.com")).await.unwrap();
    assert_eq!(next, Revision { generation: promoted.generation + 1, ..promoted });
    let log = replica.actions(WAF, i64::MAX, 10).await.unwrap();
    assert_eq!(log[1].call, "new_session");
    assert!(log[1].after.contains(&promoted.session.to_string()), "{}", log[1].after);

    // The old primary, started by mistake, is behind for ever.
    pair.primary.start_again();
    let resurrected = Postgres::open(&pair.primary.url(), MODE).await.unwrap();
    assert_eq!(revision(&resurrected).await, lost);
    assert!(revision(&resurrected).await < next);
}

/// A commit that was computed before the promotion must not land in the old session.
#[tokio::test]
async fn a_commit_computed_before_a_promotion_is_computed_anew() {
    let mut pair = Pair::start();
    let primary = Postgres::open(&pair.primary.url(), MODE).await.unwrap();
    let base = revision(&primary).await;
    pair.in_step();
    let replica = Postgres::open(&pair.replica.url(), MODE).await.unwrap();
    pair.primary.kill9();
    pair.replica.promote();
    // No pulse in between: the commit itself notices.
    let refused = replica.commit(WAF, setting(base, "a.com")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused:?}");
    let now = revision(&replica).await;
    assert!(now.session > base.session);
    replica.commit(WAF, setting(now, "a.com")).await.unwrap();
}

/// A server that hangs is reported within seconds.
#[tokio::test]
async fn a_hanging_server_is_not_waited_for() {
    let server = Server::start();
    let store = Postgres::open(&server.url(), MODE).await.unwrap();
    let frozen = server.freeze();
    let asked = tokio::time::timeout(Duration::from_secs(10), store.pulse()).await.unwrap();
    assert!(matches!(asked, Err(StoreError::Unavailable(_))), "{asked:?}");
    drop(frozen);
    until("the thawed server answers", async || store.pulse().await.is_ok()).await;
}
