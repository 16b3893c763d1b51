//! SQLite: one file, write-ahead log, one writer connection and a few readers.
//!
//! `synchronous=FULL`: an answered write survives a power cut. Writes begin with
//! `BEGIN IMMEDIATE`, so that two processes on one file queue up instead of failing
//! halfway.

mod rows;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite as Engine, SqlitePool, Transaction};
use wire::v2::{AgentReport, AgentState, DELTA_BYTES, Revision};

use super::{
    AGENTS_MAX, Action, AgentRow, Commit, KeyRow, LoggedDelta, Part, Provenance, Store, StoreError,
    Stored,
};

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
}

impl Sqlite {
    /// Opens the file at `path`.
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
            MIGRATIONS.run(&writer).await.map_err(StoreError::Schema)?;
            let session = to_row(now_ms);
            sqlx::query!(
                "INSERT INTO meta (id, session, generation, forced_at, next_rule_id, block_list_active)
                 VALUES (1, $1, 1, 0, 1, 1) ON CONFLICT DO NOTHING",
                session
            )
            .execute(&writer)
            .await
            .map_err(failed)?;
            let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
            return Ok(Self { writer, readers });
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
            let missing = sqlx::migrate::MigrateError::VersionMissing(newest);
            return Err(StoreError::Schema(missing));
        }
        Ok(Self { writer: readers.clone(), readers })
    }

    async fn begin(&self) -> Result<Transaction<'static, Engine>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let row = sqlx::query!("SELECT session, generation FROM meta WHERE id = 1")
            .fetch_one(&self.readers)
            .await
            .map_err(failed)?;
        revision(row.session, row.generation)
    }

    async fn load(&self) -> Result<Stored, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let meta = sqlx::query!(
            r#"SELECT session, generation, forced_at, next_rule_id,
                      block_list_active AS "block_list_active: bool" FROM meta WHERE id = 1"#
        )
        .fetch_one(&mut *snapshot)
        .await
        .map_err(failed)?;
        let settings = sqlx::query!(
            r#"SELECT name, value, active AS "active: bool" FROM setting ORDER BY name"#
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
        let block_list = sqlx::query_scalar!("SELECT entry FROM block_entry ORDER BY position")
            .fetch_all(&mut *snapshot)
            .await
            .map_err(failed)?;
        let rules = rows::load_rules(&mut snapshot).await?;
        Ok(Stored {
            revision: revision(meta.session, meta.generation)?,
            forced_at: from_row("meta", meta.forced_at)?,
            next_rule_id: from_row("meta", meta.next_rule_id)?,
            settings: settings.into_iter().map(|row| (row.name, row.value, row.active)).collect(),
            block_list_active: meta.block_list_active,
            block_list,
            rules,
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, StoreError> {
        let mut transaction = self.begin().await?;
        let Commit { base, changes, delta, forced, next_rule_id, action } = commit;
        let row = sqlx::query!("SELECT session, generation, forced_at FROM meta WHERE id = 1")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        let stored = revision(row.session, row.generation)?;
        if stored != base {
            return Err(StoreError::Conflict { base, stored });
        }
        for change in &changes {
            rows::apply(&mut transaction, change, &action.author, action.at_ms).await?;
        }
        let generation = row.generation + 1;
        let forced_at = if forced { generation } else { row.forced_at };
        let next_rule_id = to_row(next_rule_id);
        sqlx::query!(
            "UPDATE meta SET generation = $1, forced_at = $2, next_rule_id = $3 WHERE id = 1",
            generation,
            forced_at,
            next_rule_id
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        rows::log_delta(&mut transaction, base.session, generation, delta).await?;
        sqlx::query!(
            "INSERT INTO action (at_ms, author, address, call, generation, before, after)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            action.at_ms,
            action.author,
            action.address,
            action.call,
            generation,
            action.before,
            action.after
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        revision(row.session, generation)
    }

    async fn deltas(&self, after: Revision, last: u64) -> Result<Vec<LoggedDelta>, StoreError> {
        let (session, after) = (to_row(after.session), to_row(after.generation));
        let last = to_row(last);
        sqlx::query_as!(
            LoggedDelta,
            "SELECT base, changes FROM delta
             WHERE session = $1 AND generation > $2 AND generation <= $3 ORDER BY generation",
            session,
            after,
            last
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed)
    }

    async fn provenance(&self, part: Part) -> Result<HashMap<String, Provenance>, StoreError> {
        let row = |name: String, author: String, created_ms: i64, updated_ms: i64| {
            (name, Provenance { author, created_ms, updated_ms })
        };
        let rows = match part {
            Part::Settings => {
                sqlx::query!("SELECT name, author, created_ms, updated_ms FROM setting")
                    .map(|r| row(r.name, r.author, r.created_ms, r.updated_ms))
                    .fetch_all(&self.readers)
                    .await
            }
            Part::BlockList => {
                sqlx::query!("SELECT entry, author, created_ms FROM block_entry")
                    .map(|r| row(r.entry, r.author, r.created_ms, r.created_ms))
                    .fetch_all(&self.readers)
                    .await
            }
            Part::Rules => {
                sqlx::query!("SELECT id, author, created_ms, updated_ms FROM rule")
                    .map(|r| row(r.id.to_string(), r.author, r.created_ms, r.updated_ms))
                    .fetch_all(&self.readers)
                    .await
            }
        };
        Ok(rows.map_err(failed)?.into_iter().collect())
    }

    async fn actions(&self, before: i64, limit: u32) -> Result<Vec<Action>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, at_ms, author, address, call, generation, before, after FROM action
             WHERE id < $1 ORDER BY id DESC LIMIT $2",
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

    async fn forget_actions(&self, before_ms: i64) -> Result<u64, StoreError> {
        sqlx::query!("DELETE FROM action WHERE at_ms < $1", before_ms)
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected())
            .map_err(failed)
    }

    async fn put_agent(&self, agent: AgentRow) -> Result<(), StoreError> {
        let AgentReport { node, revision, state, reason } = agent.report;
        let (session, generation) = (to_row(revision.session), to_row(revision.generation));
        let state = match state {
            AgentState::Published => "published",
            AgentState::Refused => "refused",
        };
        let mut transaction = self.begin().await?;
        sqlx::query!(
            "INSERT INTO agent (node, session, generation, state, reason, address, at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (node) DO UPDATE SET session = excluded.session,
                 generation = excluded.generation, state = excluded.state,
                 reason = excluded.reason, address = excluded.address, at_ms = excluded.at_ms",
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
        .map_err(failed)?;
        sqlx::query!(
            "DELETE FROM agent WHERE node IN
                 (SELECT node FROM agent ORDER BY at_ms DESC LIMIT -1 OFFSET $1)",
            AGENTS_MAX
        )
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT node, session, generation, state, reason, address, at_ms FROM agent
             ORDER BY node"
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

    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows =
            sqlx::query!("SELECT name, scope, digest, created_ms FROM api_key ORDER BY name")
                .fetch_all(&self.readers)
                .await
                .map_err(failed)?;
        rows.into_iter()
            .map(|row| {
                let scope = row.scope.parse().map_err(|reason| StoreError::Corrupt {
                    row: format!("key {}", row.name),
                    reason,
                })?;
                Ok(KeyRow { name: row.name, scope, digest: row.digest, created_ms: row.created_ms })
            })
            .collect()
    }

    async fn add_key(&self, key: KeyRow) -> Result<(), StoreError> {
        let scope = key.scope.name();
        let added = sqlx::query!(
            "INSERT INTO api_key (name, scope, digest, created_ms) VALUES ($1, $2, $3, $4)",
            key.name,
            scope,
            key.digest,
            key.created_ms
        )
        .execute(&self.writer)
        .await;
        match added {
            Err(sqlx::Error::Database(why)) if why.is_unique_violation() => {
                Err(StoreError::KeyExists)
            }
            other => other.map(drop).map_err(failed),
        }
    }

    async fn remove_key(&self, name: &str) -> Result<bool, StoreError> {
        sqlx::query!("DELETE FROM api_key WHERE name = $1", name)
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(failed)
    }

    async fn renew_session(&self, now_ms: u64) -> Result<Revision, StoreError> {
        let now_ms = to_row(now_ms);
        let row = sqlx::query!(
            "UPDATE meta SET session = max(session + 1, $1), generation = generation + 1,
                 forced_at = generation + 1 WHERE id = 1 RETURNING session, generation",
            now_ms
        )
        .fetch_one(&self.writer)
        .await
        .map_err(failed)?;
        revision(row.session, row.generation)
    }

    async fn close(&self) {
        // The last connection to end copies the log into the database and removes
        // it; a reader cannot, so readers go first.
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
    Ok(Revision { session: from_row("meta", session)?, generation: from_row("meta", generation)? })
}

fn failed(why: sqlx::Error) -> StoreError {
    // Extended codes keep the code in the low byte.
    let code = why.as_database_error().and_then(|database| database.code());
    let code = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
    match code {
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => StoreError::Busy(why),
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => StoreError::NoDatabase(why),
        // SQLITE_PERM, SQLITE_READONLY
        Some(3 | 8) => StoreError::NoPermission(why),
        _ => StoreError::Unavailable(why),
    }
}
