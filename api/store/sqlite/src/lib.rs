//! SQLite: one file (and one beside it for attacks), write-ahead log, one writer connection and a few readers.
//!
//! `synchronous=FULL`: an answered write survives a power cut. Writes begin with
//! `BEGIN IMMEDIATE`, so that two processes on one file queue up instead of failing
//! halfway.

#![forbid(unsafe_code)]

mod analysis;
mod answers;
mod bans;
mod entries;
mod events;
mod keys;
mod rows;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use policy::Training;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite as Engine, SqlitePool, Transaction};
use store::{
    AGENTS_MAX, Action, AgentRow, Commit, DEFAULT_WAF, Events, KeptAnswer, KeyRow, LoggedDelta,
    Model, Part, Provenance, Pulse, Reported, Role, Store, StoreError, Stored, WafId, WafState,
};
use wire::v2::{AgentReport, AgentState, DELTA_BYTES, Revision};

pub use events::{SqliteEvents, events_path};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a connection waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers work in parallel; more than the cores of a small machine gain nothing.
const READERS: u32 = 4;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Created where missing, brought to this version's schema.
    ReadWrite {
        /// Number of a session that has to be begun, Unix milliseconds.
        now_ms: u64,
    },
    /// Must exist; nothing is written, not even a schema change.
    ReadOnly,
}

/// A database file.
#[derive(Debug)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    events: SqliteEvents,
}

impl Sqlite {
    /// Opens the file at `path`, and that of the attacks beside it.
    ///
    /// # Errors
    /// The file cannot be opened or created, is no database, or has another schema.
    pub async fn open(path: &Path, mode: Mode) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .optimize_on_close(false, None);
        let read_only = options.clone().read_only(true);
        let pool = |most| SqlitePoolOptions::new().min_connections(0).max_connections(most);
        if let Mode::ReadWrite { now_ms } = mode {
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full);
            let writer = pool(1).connect_with(options).await.map_err(failed)?;
            MIGRATIONS.run(&writer).await.map_err(|why| StoreError::Schema(why.into()))?;
            let session = to_row(now_ms);
            sqlx::query!(
                "INSERT INTO waf (id, name, session, generation, forced_at, next_rule_id, block_list_active)
                 SELECT 1, $1, $2, 1, 0, 1, 1 WHERE NOT EXISTS (SELECT 1 FROM waf)",
                DEFAULT_WAF,
                session
            )
            .execute(&writer)
            .await
            .map_err(failed)?;
            let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
            let events = SqliteEvents::open(path, mode).await?;
            return Ok(Self { writer, readers, events });
        }
        let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT max(version) FROM _sqlx_migrations WHERE success",
        )
        .fetch_one(&readers)
        .await
        .map_err(failed)?;
        if found != Some(newest) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            let why = format!("its last migration is {found}, this version's {newest}");
            return Err(StoreError::Schema(why.into()));
        }
        let events = SqliteEvents::open(path, mode).await?;
        Ok(Self { writer: readers.clone(), readers, events })
    }

    /// Copies the database as it is at this instant into an empty file, while others read
    /// and write. Takes as long as the database is large.
    ///
    /// # Errors
    /// The file is not empty or cannot be written.
    pub async fn backup(&self, into: &Path) -> Result<(), StoreError> {
        let into = into.to_string_lossy();
        // Not checked at compile time: the checker cannot prepare a VACUUM.
        sqlx::query("VACUUM INTO $1")
            .bind(into.as_ref())
            .execute(&self.readers)
            .await
            .map(drop)
            .map_err(failed)
    }

    async fn begin(&self) -> Result<Transaction<'static, Engine>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
    }
}

#[async_trait]
impl Store for Sqlite {
    fn events(&self) -> &dyn Events {
        &self.events
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        // One statement, so that it is one instant.
        let rows = sqlx::query!(
            r#"SELECT (SELECT keys_version FROM installation) AS "keys_version!: i64",
                      id, name, session, generation,
                      coalesce((SELECT revision FROM ban_state WHERE waf_id = waf.id), 0) AS "bans!: i64"
               FROM waf ORDER BY id"#
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        // Without a WAF id there is no key either.
        let keys_version = rows.first().map_or(0, |row| row.keys_version);
        let wafs = rows.into_iter().map(|row| {
            Ok(WafState {
                id: WafId(row.id),
                name: row.name,
                revision: revision(row.session, row.generation)?,
                bans: from_row("ban_state", row.bans)?,
            })
        });
        Ok(Pulse {
            role: Role::Primary,
            history: None,
            keys_version: from_row("installation", keys_version)?,
            wafs: wafs.collect::<Result<_, StoreError>>()?,
        })
    }

    async fn load(&self, waf: WafId) -> Result<Stored, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let meta = sqlx::query!(
            r#"SELECT session, generation, forced_at, next_rule_id,
                      block_list_active AS "block_list_active: bool" FROM waf WHERE id = $1"#,
            waf.0
        )
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NoWaf(waf))?;
        let settings = sqlx::query!(
            r#"SELECT name, value, active AS "active: bool" FROM setting
               WHERE waf_id = $1 ORDER BY name"#,
            waf.0
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
        let block_list = sqlx::query_scalar!(
            "SELECT entry FROM block_entry WHERE waf_id = $1 ORDER BY position",
            waf.0
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
        let rules = rows::load_rules(&mut snapshot, waf).await?;
        let exclusions = analysis::load_exclusions(&mut snapshot, waf).await?;
        let analysis = analysis::load(&mut snapshot, waf).await?;
        Ok(Stored {
            revision: revision(meta.session, meta.generation)?,
            forced_at: from_row("waf", meta.forced_at)?,
            next_rule_id: from_row("waf", meta.next_rule_id)?,
            settings: settings.into_iter().map(|row| (row.name, row.value, row.active)).collect(),
            block_list_active: meta.block_list_active,
            block_list,
            rules,
            exclusions,
            analysis,
        })
    }

    async fn commit(&self, waf: WafId, commit: Commit) -> Result<Revision, StoreError> {
        let mut transaction = self.begin().await?;
        let Commit { base, changes, delta, forced, next_rule_id, action, answer, progress } =
            commit;
        let row =
            sqlx::query!("SELECT session, generation, forced_at FROM waf WHERE id = $1", waf.0)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(failed)?
                .ok_or(StoreError::NoWaf(waf))?;
        let stored = revision(row.session, row.generation)?;
        if stored != base {
            return Err(StoreError::Conflict { base, stored });
        }
        for change in &changes {
            let by = rows::By { author: &action.author, at_ms: action.at_ms, progress: &progress };
            rows::apply(&mut transaction, waf, change, &by).await?;
        }
        let generation = row.generation + 1;
        let forced_at = if forced { generation } else { row.forced_at };
        let next_rule_id = to_row(next_rule_id);
        sqlx::query!(
            "UPDATE waf SET generation = $1, forced_at = $2, next_rule_id = $3 WHERE id = $4",
            generation,
            forced_at,
            next_rule_id,
            waf.0
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        rows::log_delta(&mut transaction, waf, base.session, generation, delta).await?;
        keys::log_action(&mut transaction, waf, generation, &action).await?;
        if let Some(answer) = &answer {
            answers::keep(&mut transaction, waf, answer).await?;
        }
        transaction.commit().await.map_err(failed)?;
        revision(row.session, generation)
    }

    async fn answer(
        &self,
        waf: WafId,
        author: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KeptAnswer>, StoreError> {
        answers::find(&self.readers, waf, author, key, now_ms).await
    }

    async fn keep_answer(&self, waf: WafId, answer: KeptAnswer) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        answers::keep(&mut transaction, waf, &answer).await?;
        transaction.commit().await.map_err(failed)
    }

    async fn deltas(
        &self,
        waf: WafId,
        after: Revision,
        last: u64,
    ) -> Result<Vec<LoggedDelta>, StoreError> {
        let (session, after) = (to_row(after.session), to_row(after.generation));
        let last = to_row(last);
        sqlx::query_as!(
            LoggedDelta,
            "SELECT base, changes FROM delta
             WHERE waf_id = $1 AND session = $2 AND generation > $3 AND generation <= $4
             ORDER BY generation",
            waf.0,
            session,
            after,
            last
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)
    }

    async fn provenance(
        &self,
        waf: WafId,
        part: Part,
    ) -> Result<HashMap<String, Provenance>, StoreError> {
        let row = |name: String, author: String, created_ms: i64, updated_ms: i64| {
            (name, Provenance { author, created_ms, updated_ms })
        };
        let rows =
            match part {
                Part::Settings => sqlx::query!(
                    "SELECT name, author, created_ms, updated_ms FROM setting WHERE waf_id = $1",
                    waf.0
                )
                .map(|r| row(r.name, r.author, r.created_ms, r.updated_ms))
                .fetch_all(&self.readers)
                .await,
                Part::BlockList => {
                    sqlx::query!(
                        "SELECT entry, author, created_ms FROM block_entry WHERE waf_id = $1",
                        waf.0
                    )
                    .map(|r| row(r.entry, r.author, r.created_ms, r.created_ms))
                    .fetch_all(&self.readers)
                    .await
                }
                Part::Exclusions | Part::Mlc => {
                    let mut connection = self.readers.acquire().await.map_err(failed)?;
                    return analysis::provenance(&mut connection, waf, part).await;
                }
                Part::Rules => {
                    sqlx::query!(
                        "SELECT id, author, created_ms, updated_ms FROM rule WHERE waf_id = $1",
                        waf.0
                    )
                    .map(|r| row(r.id.to_string(), r.author, r.created_ms, r.updated_ms))
                    .fetch_all(&self.readers)
                    .await
                }
            };
        Ok(rows.map_err(failed)?.into_iter().collect())
    }

    async fn actions(
        &self,
        waf: WafId,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Action>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, at_ms, author, address, call, generation, before, after FROM action
             WHERE waf_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
            waf.0,
            before,
            limit
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        let action = |row: i64| format!("action {row}");
        rows.into_iter()
            .map(|row| {
                Ok(Action {
                    generation: from_row(&action(row.id), row.generation)?,
                    id: row.id,
                    at_ms: row.at_ms,
                    author: row.author,
                    address: row.address,
                    call: row.call,
                    before: row.before,
                    after: row.after,
                })
            })
            .collect()
    }

    async fn forget_actions(&self, before_ms: i64, most: u32) -> Result<u64, StoreError> {
        sqlx::query!(
            "DELETE FROM action WHERE id IN (SELECT id FROM action WHERE at_ms < $1 LIMIT $2)",
            before_ms,
            most
        )
        .execute(&self.writer)
        .await
        .map(|done| done.rows_affected())
        .map_err(failed)
    }

    async fn trainings(&self, waf: WafId) -> Result<Vec<(String, Training)>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        analysis::trainings(&mut connection, waf).await
    }

    async fn report_training(
        &self,
        waf: WafId,
        vhost: &str,
        progress: u8,
        samples: u64,
    ) -> Result<Reported, StoreError> {
        let mut transaction = self.begin().await?;
        let reported =
            analysis::report_training(&mut transaction, waf, vhost, progress, samples).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(reported)
    }

    async fn model(&self, waf: WafId, vhost: &str) -> Result<Option<Model>, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        analysis::model(&mut connection, waf, vhost).await
    }

    async fn put_agent(&self, waf: WafId, agent: AgentRow) -> Result<(), StoreError> {
        let AgentReport { node, revision, state, reason } = agent.report;
        let (session, generation) = (to_row(revision.session), to_row(revision.generation));
        let state = match state {
            AgentState::Published => "published",
            AgentState::Refused => "refused",
        };
        let mut transaction = self.begin().await?;
        sqlx::query!(
            "INSERT INTO agent (waf_id, node, session, generation, state, reason, address, at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (waf_id, node) DO UPDATE SET session = excluded.session,
                 generation = excluded.generation, state = excluded.state,
                 reason = excluded.reason, address = excluded.address, at_ms = excluded.at_ms",
            waf.0,
            node,
            session,
            generation,
            state,
            reason,
            agent.address,
            agent.at_ms
        )
        .execute(&mut *transaction)
        .await
        .map_err(|why| no_waf(why, waf))?;
        sqlx::query!(
            "DELETE FROM agent WHERE waf_id = $1 AND node IN
                 (SELECT node FROM agent WHERE waf_id = $1 ORDER BY at_ms DESC LIMIT -1 OFFSET $2)",
            waf.0,
            AGENTS_MAX
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn agents(&self, waf: WafId) -> Result<Vec<AgentRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT node, session, generation, state, reason, address, at_ms FROM agent
             WHERE waf_id = $1 ORDER BY node",
            waf.0
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let report = AgentReport {
                    revision: revision(row.session, row.generation)?,
                    state: match row.state.as_str() {
                        "published" => AgentState::Published,
                        _ => AgentState::Refused,
                    },
                    node: row.node,
                    reason: row.reason,
                };
                Ok(AgentRow { report, address: row.address, at_ms: row.at_ms })
            })
            .collect()
    }

    async fn keys(&self) -> Result<(u64, Vec<KeyRow>), StoreError> {
        self.select_keys().await
    }

    async fn add_key(&self, key: KeyRow, action: Action) -> Result<(), StoreError> {
        self.insert_key(key, action).await
    }

    async fn remove_key(
        &self,
        name: &str,
        of: Option<WafId>,
        action: Action,
    ) -> Result<bool, StoreError> {
        self.delete_key(name, of, action).await
    }

    async fn add_waf(&self, name: &str, now_ms: u64) -> Result<WafId, StoreError> {
        self.insert_waf(name, now_ms).await
    }

    async fn remove_waf(&self, waf: WafId) -> Result<bool, StoreError> {
        self.delete_waf(waf).await
    }

    async fn renew_sessions(&self, now_ms: u64) -> Result<(), StoreError> {
        self.update_sessions(now_ms).await
    }

    async fn close(&self) {
        // The last connection to end copies the log into the database and removes
        // it; a reader cannot, so readers go first.
        self.events.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// SQLite's integers are signed; ids, sessions and generations never come near 2^63.
fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_row(row: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt {
        row: row.to_owned(),
        reason: format!("{number} is negative"),
    })
}

fn revision(session: i64, generation: i64) -> Result<Revision, StoreError> {
    Ok(Revision { session: from_row("waf", session)?, generation: from_row("waf", generation)? })
}

fn failed(why: sqlx::Error) -> StoreError {
    let database = why.as_database_error();
    if database.is_some_and(|database| database.is_unique_violation()) {
        return StoreError::Exists;
    }
    // Extended codes keep the code in the low byte.
    let code = database.and_then(|database| database.code());
    let code = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    match code {
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => StoreError::Busy(why.into()),
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => StoreError::NoDatabase(why.into()),
        // SQLITE_PERM, SQLITE_READONLY
        Some(3 | 8) => StoreError::NoPermission(why.into()),
        _ => StoreError::Unavailable(why.into()),
    }
}

/// As [`failed`], of a row that belongs to `waf`.
fn no_waf(why: sqlx::Error, waf: WafId) -> StoreError {
    if why.as_database_error().is_some_and(|database| database.is_foreign_key_violation()) {
        return StoreError::NoWaf(waf);
    }
    failed(why)
}
