//! A database that grew up with the program is like one that is new.

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use store::{DEFAULT_WAF, Part, Role, Scope, Store as _, WafId};
use store_sqlite::{Mode, Sqlite};

/// What an installation of the first version had.
const FIRST_VERSION: &str = "
    INSERT INTO meta VALUES (1, 77, 5, 2, 9, 0);
    INSERT INTO setting VALUES ('nwaf_ip_wl', '1.1.1.1', 1, 'anna', 10, 20);
    INSERT INTO block_entry VALUES ('3.3.3.3', 2, 'anna', 30), ('2.2.2.2', 1, 'berta', 40);
    INSERT INTO rule VALUES (8, '4.4.4.4', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]',
        0, 1, 1, 0, 1, 'carl', 50, 60);
    INSERT INTO api_key VALUES ('ops', 'admin', 'd1', 70), ('web-1', 'node', 'd2', 80);
    INSERT INTO action VALUES (41, 90, 'anna', '192.0.2.1', 'set_dyn_bl', 5, 'null', '{}');
    INSERT INTO agent VALUES ('web-1', 77, 5, 'published', NULL, '192.0.2.2', 100);";

async fn connect(path: &std::path::Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.foreign_keys(true).connect().await.unwrap()
}

/// Tables, indexes and their columns, in the words that matter.
async fn schema(path: &std::path::Path) -> Vec<String> {
    let mut connection = connect(path).await;
    let rows = sqlx::query(
        "SELECT m.type || ' ' || m.name || ' ' || coalesce(group_concat(
             c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk, ', '), '') AS line
         FROM sqlite_master m LEFT JOIN pragma_table_info(m.name) c
         WHERE m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' GROUP BY m.type, m.name ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.iter().map(|row| row.get("line")).collect()
}

#[tokio::test]
async fn what_the_first_version_kept_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old.db");
    let migrations = sqlx::migrate!();
    let mut connection = connect(&old).await;
    // As the first version left it: its migrations, and their marks.
    let first = sqlx::migrate::Migrator {
        migrations: migrations.iter().filter(|m| m.version <= 2).cloned().collect(),
        ..sqlx::migrate::Migrator::DEFAULT
    };
    first.run(&mut connection).await.unwrap();
    sqlx::raw_sql(FIRST_VERSION).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let waf = WafId::DEFAULT;
    let store = Sqlite::open(&old, Mode::ReadWrite { now_ms: 999 }).await.unwrap();
    let pulse = store.pulse().await.unwrap();
    assert_eq!((pulse.role, pulse.wafs.len()), (Role::Primary, 1));
    assert_eq!((pulse.wafs[0].id, pulse.wafs[0].name.as_str()), (waf, DEFAULT_WAF));
    let kept = store.load(waf).await.unwrap();
    assert_eq!((kept.revision.session, kept.revision.generation, kept.forced_at), (77, 5, 2));
    assert_eq!((kept.next_rule_id, kept.block_list_active), (9, false));
    assert_eq!(kept.settings, [("nwaf_ip_wl".to_owned(), "1.1.1.1".to_owned(), true)]);
    assert_eq!(kept.block_list, ["2.2.2.2", "3.3.3.3"]);
    assert_eq!((kept.rules[0].0, kept.rules[0].1.ip.as_deref()), (8, Some("4.4.4.4")));
    assert!(kept.rules[0].1.lm);
    let author = &store.provenance(waf, Part::BlockList).await.unwrap()["2.2.2.2"];
    assert_eq!((author.author.as_str(), author.created_ms), ("berta", 40));
    let (_, keys) = store.keys().await.unwrap();
    assert_eq!((keys[0].name.as_str(), keys[0].scope, keys[0].waf), ("ops", Scope::Admin, waf));
    assert_eq!(store.actions(waf, i64::MAX, 9).await.unwrap()[0].id, 41);
    assert_eq!(store.agents(waf).await.unwrap()[0].report.node, "web-1");
    store.close().await;

    let new = directory.path().join("new.db");
    Sqlite::open(&new, Mode::ReadWrite { now_ms: 999 }).await.unwrap().close().await;
    assert_eq!(schema(&old).await, schema(&new).await);
    assert!(schema(&new).await.len() > 10);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    Sqlite::open(&path, Mode::ReadWrite { now_ms: 1 }).await.unwrap().close().await;
    let mut connection = connect(&path).await;
    let later = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2026-01-01', true, x'00', 0)";
    sqlx::raw_sql(later).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for mode in [Mode::ReadWrite { now_ms: 1 }, Mode::ReadOnly] {
        let refused = Sqlite::open(&path, mode).await.unwrap_err();
        assert!(matches!(refused, store::StoreError::Schema(_)), "{refused:?}");
    }
}
