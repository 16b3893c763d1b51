//! Attacks beside the settings: two files, neither of which waits for the other.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use store::{
    Action, AttackFilter, Bans as _, Change, Commit, Store as _, StoreError, WafId, story,
};
use store_sqlite::{Mode, Sqlite, events_path};

const WAF: WafId = WafId::DEFAULT;
const MODE: Mode = Mode::ReadWrite { now_ms: 42 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_the_attacks_holds_up_no_setting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.db");
    let store = Sqlite::open(&path, MODE).await.unwrap();
    let place = events_path(&path);
    assert!(place.ends_with("settings-events.db") && place.exists());

    // Another process in the middle of a write, for seconds.
    let mut holder =
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", place.display())).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
    let batch = [story::events::attack(1, 5_000)];
    let waiting = async {
        let started = Instant::now();
        let refused = store.events().add_attacks(WAF, "a", 1, &batch).await;
        (refused, started.elapsed())
    };
    let working = async {
        let (started, mut slowest, mut commits) = (Instant::now(), Duration::ZERO, 0_u64);
        while started.elapsed() < Duration::from_secs(3) {
            let begun = Instant::now();
            let base = store.pulse().await.unwrap().waf(WAF).unwrap().revision;
            let value = format!("h{commits}.test");
            let changes = vec![Change::PutSetting { name: "nwaf_host_wl", value, active: true }];
            let commit = Commit {
                base,
                changes,
                delta: None,
                forced: false,
                next_rule_id: 1,
                action: Action::default(),
                answer: None,
                progress: Default::default(),
            };
            store.commit(WAF, commit).await.unwrap();
            assert_eq!(store.load(WAF).await.unwrap().settings.len(), 1);
            let ban = [story::bans::ban("1.1.1.1", i64::MAX)];
            store.add_bans(WAF, &ban, 1, Action::default()).await.unwrap();
            slowest = slowest.max(begun.elapsed());
            commits += 1;
        }
        (slowest, commits)
    };
    let ((refused, waited), (slowest, commits)) = tokio::join!(waiting, working);
    assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
    assert!(waited > Duration::from_secs(4), "the file was not held: {waited:?}");
    assert!(slowest < Duration::from_secs(1) && commits > 10, "{slowest:?}, {commits} commits");
    sqlx::query("COMMIT").execute(&mut holder).await.unwrap();
    assert_eq!(store.events().add_attacks(WAF, "a", 1, &batch).await.unwrap(), 1);
}

#[tokio::test]
async fn without_a_file_a_read_only_store_has_no_attacks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.db");
    Sqlite::open(&path, MODE).await.unwrap().close().await;
    std::fs::remove_file(events_path(&path)).unwrap();
    let store = Sqlite::open(&path, Mode::ReadOnly).await.unwrap();
    let filter = AttackFilter::default();
    assert_eq!(store.events().attacks(WAF, &filter, None, 10).await.unwrap(), []);
    assert_eq!(store.events().summarize(WAF, &filter, 10).await.unwrap().events, 0);
    let batch = [story::events::attack(1, 5_000)];
    let refused = store.events().add_attacks(WAF, "a", 1, &batch).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    assert!(!events_path(&path).exists());
}
