//! SQLite is told the story of every store; files that are not, or no longer, what they
//! should be.

use store::{Action, Store as _, WafId, story};
use store_sqlite::{Mode, Sqlite};

const WAF: WafId = WafId::DEFAULT;

#[tokio::test]
async fn sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    let mode = Mode::ReadWrite { now_ms: 42 };
    let store = Sqlite::open(&path, mode).await.unwrap();
    story::tell(&store, 42).await;
    story::bans::tell(&store).await;
    story::events::tell(store.events(), 1_763_820_000_000).await;

    // Opened again, later: the same session, the same content.
    let again = Sqlite::open(&path, Mode::ReadWrite { now_ms: 99_999 }).await.unwrap();
    let stored = again.load(WAF).await.unwrap();
    assert_eq!(stored.revision.session, 43 + 1_000);
    let read_only = Sqlite::open(&path, Mode::ReadOnly).await.unwrap();
    assert_eq!(read_only.load(WAF).await.unwrap(), stored);
    assert!(read_only.remove_key("ops", None, Action::default()).await.is_err());
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
