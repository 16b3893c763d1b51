//! Attacks in PostgreSQL: forgetting days holds nobody up, and a replica shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use store::{AttackFilter, Bans as _, DAY_MS, Store as _, StoreError, WafId, story};
use store_postgres::{Mode, Postgres};
use support::{Pair, Postgres as Server};

const WAF: WafId = WafId::DEFAULT;
const MODE: Mode = Mode::ReadWrite { now_ms: 42 };
/// 2025-11-22T14:00:00Z.
const NOW: i64 = 1_763_820_000_000;
/// Longer than this nobody may wait: no lock is held, the machine is shared.
const PATIENCE: Duration = Duration::from_millis(1_500);

async fn add(store: &Postgres, number: u32, at_ms: i64) -> Result<u64, StoreError> {
    store.events().add_attacks(WAF, "a", NOW, &[story::events::attack(number, at_ms)]).await
}

/// The number of an attack nobody has written yet.
static NEXT: AtomicU32 = AtomicU32::new(10_000);

/// The longest that a writer and a reader have to wait while `what` happens.
async fn longest_wait<T>(store: &Arc<Postgres>, what: impl Future<Output = T>) -> (Duration, T) {
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let worker = |writes: bool| {
        let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
        let longest = Arc::clone(&longest);
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = NEXT.fetch_add(1, Ordering::Relaxed);
                let started = Instant::now();
                if writes {
                    assert_eq!(add(&store, number, NOW).await.unwrap(), 1);
                } else {
                    let filter = AttackFilter::default();
                    store.events().attacks(WAF, &filter, None, 10).await.unwrap();
                }
                let took = u64::try_from(started.elapsed().as_millis()).unwrap();
                longest.fetch_max(took, Ordering::Relaxed);
            }
        })
    };
    let workers = [worker(true), worker(false)];
    let outcome = what.await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    (Duration::from_millis(longest.load(Ordering::Relaxed)), outcome)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_days_holds_nobody_up() {
    let server = Server::start();
    let store = Arc::new(Postgres::open(&server.url(), MODE).await.unwrap());
    for day in 0..20_u32 {
        assert_eq!(add(&store, day, NOW - i64::from(day) * DAY_MS).await.unwrap(), 1);
    }
    let days =
        || server.sql("select count(*) from pg_inherits where inhparent = 'attack'::regclass");
    let before: u32 = days().parse().unwrap();
    let forget = |limit: i64| {
        let store = Arc::clone(&store);
        async move { store.events().forget_attacks(limit, &[WAF], 100).await }
    };
    let (waited, forgotten) = longest_wait(&store, forget(NOW - 9 * DAY_MS)).await;
    assert_eq!(forgotten.unwrap(), 10);
    assert!(waited < PATIENCE, "{waited:?}");
    assert_eq!(days().parse::<u32>().unwrap(), before - 10);
    assert_eq!(
        server.sql("select count(*) from pg_class where relname ~ '^attack_[0-9]{8}$'"),
        days()
    );

    // Somebody reads for long, over all days: what is to go stays a while, and nobody else
    // is held up by either of them.
    let mut reader = server
        .tool("psql")
        .args(["-XqAt", &server.url(), "-c"])
        .arg("begin; select count(*) from attack; select pg_sleep(60)")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.sql(
        "select count(*) from pg_stat_activity where query ~ 'pg_sleep' and wait_event = 'PgSleep'",
    ) == "0"
    {
        assert!(Instant::now() < deadline, "the reader does not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (waited, refused) = longest_wait(&store, forget(NOW - 5 * DAY_MS)).await;
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    assert!(waited < PATIENCE, "{waited:?}");
    reader.kill().unwrap();
    reader.wait().unwrap();
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'pg_sleep' and pid <> pg_backend_pid()");
    // What was begun is finished the next time.
    assert_eq!(forget(NOW - 5 * DAY_MS).await.unwrap(), 4);
    assert_eq!(add(&store, 500, NOW - 7 * DAY_MS).await.unwrap(), 1);
}

#[tokio::test]
async fn a_replica_shows_attacks_and_bans_and_takes_none() {
    let pair = Pair::start();
    let primary = Postgres::open(&pair.primary.url(), MODE).await.unwrap();
    assert_eq!(add(&primary, 1, NOW).await.unwrap(), 1);
    let bans = [story::bans::ban("1.1.1.1", NOW + 1_000)];
    primary.add_bans(WAF, &bans, NOW, store::Action::default()).await.unwrap();
    pair.in_step();
    let replica = Postgres::open(&pair.replica.url(), MODE).await.unwrap();
    let filter = AttackFilter::default();
    let shown = replica.events().attacks(WAF, &filter, None, 10).await.unwrap();
    assert_eq!(shown, primary.events().attacks(WAF, &filter, None, 10).await.unwrap());
    assert_eq!(replica.events().summarize(WAF, &filter, 10).await.unwrap().events, 1);
    let filter = store::BanFilter::default();
    assert_eq!(replica.bans(WAF, &filter, NOW, 10).await.unwrap().1.len(), 1);
    for refused in [
        add(&replica, 2, NOW).await.map(drop),
        add(&replica, 3, NOW - 100 * DAY_MS).await.map(drop),
        replica.add_bans(WAF, &bans, NOW, store::Action::default()).await.map(drop),
        replica.forget_bans(NOW, 1).await.map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    }
}
