//! PostgreSQL: primary, or a replica that only reads and turns primary when it is
//! promoted.
//!
//! * Whether the server takes writes is asked with every pulse, and told by the server
//!   (SQLSTATE 25006) to who writes nevertheless; no configuration has to follow.
//! * A server with another identity or timeline than the one that sessions were begun on
//!   is a promoted replica or a restored copy: acknowledged generations may be lost, so
//!   every WAF id gets a new session before anything is read or written. The check is
//!   part of every pulse and of every commit's transaction.
//! * Where the server hangs, questions end after [`QUESTION_TIMEOUT`].

#![forbid(unsafe_code)]

mod analysis;
mod answers;
mod bans;
mod connect;
mod days;
mod entries;
mod events;
mod keys;
mod rows;
mod server;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use policy::Training;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgPool, Postgres as Engine, Transaction};
use store::{
    AGENTS_MAX, Action, AgentRow, Commit, DEFAULT_WAF, Events, KeptAnswer, KeyRow, LoggedDelta,
    Model, Part, Provenance, Pulse, Reported, Store, StoreError, Stored, WafId,
};
use wire::v2::{AgentReport, AgentState, DELTA_BYTES, Revision};

pub use connect::check_url;
use connect::{options, pool, probe};
pub use events::PostgresEvents;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Connections of one process. PostgreSQL takes 100 by default, for everybody.
const CONNECTIONS: u32 = 8;
/// How long the server may take to say where it stands.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Brought to this version's schema, unless the server is a replica.
    ReadWrite {
        /// Number of a session that has to be begun, Unix milliseconds.
        now_ms: u64,
    },
    /// Nothing is written, not even a schema change.
    ReadOnly,
}

/// A database of a server.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
    mode: Mode,
    events: PostgresEvents,
}

impl Postgres {
    /// Connects to the database of `url` (`postgres://USER:PASSWORD@HOST:PORT/NAME`).
    ///
    /// # Errors
    /// The server cannot be reached, lets nobody in, or has another schema.
    pub async fn open(url: &str, mode: Mode) -> Result<Self, StoreError> {
        let options = options(url).map_err(|why| StoreError::Unavailable(why.into()))?;
        probe(&options).await?;
        let events = PostgresEvents::open(options.clone()).await?;
        let this = Self { pool: pool(CONNECTIONS, options).await?, mode, events };
        let is_replica = sqlx::query_scalar!(r#"SELECT pg_is_in_recovery() AS "is_replica!""#)
            .fetch_one(&this.pool)
            .await
            .map_err(failed)?;
        match mode {
            Mode::ReadWrite { now_ms } if !is_replica => this.prepare(now_ms).await?,
            _ => this.check_schema().await?,
        }
        Ok(this)
    }

    /// Brings the database to this version's schema and begins its first WAF id.
    async fn prepare(&self, now_ms: u64) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.pool).await.map_err(not_migrated)?;
        let session = to_row(now_ms);
        sqlx::query!(
            "INSERT INTO waf (name, session, generation, forced_at, next_rule_id, block_list_active)
             SELECT $1, $2, 1, 0, 1, true WHERE NOT EXISTS (SELECT 1 FROM waf)
             ON CONFLICT DO NOTHING",
            DEFAULT_WAF,
            session
        )
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed)?;
        self.begin_sessions_anew().await
    }

    /// Whether a replica, which must not be changed, has what this program reads. A newer
    /// schema is refused, too: what it means is not known here.
    async fn check_schema(&self) -> Result<(), StoreError> {
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let found = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT max(version) FROM _sqlx_migrations WHERE success",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|why| match why {
            // There is no such table: nobody ever prepared this database.
            sqlx::Error::Database(why) if why.code().as_deref() == Some("42P01") => {
                StoreError::Schema(why.into())
            }
            other => failed(other),
        })?;
        if found != Some(newest) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            let why = format!("its last migration is {found}, this version's {newest}");
            return Err(StoreError::Schema(why.into()));
        }
        Ok(())
    }

    /// A transaction that sees one instant.
    async fn snapshot(&self) -> Result<Transaction<'static, Engine>, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        self.pool.begin_with(begin).await.map_err(failed)
    }

    async fn begin(&self) -> Result<Transaction<'static, Engine>, StoreError> {
        self.pool.begin().await.map_err(failed)
    }
}

#[async_trait]
impl Store for Postgres {
    fn events(&self) -> &dyn Events {
        &self.events
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        let asked = async {
            for _ in 0..2 {
                if let Some(pulse) = self.try_pulse().await? {
                    return Ok(pulse);
                }
                self.begin_sessions_anew().await?;
            }
            Err(StoreError::Unavailable("the server's timeline does not stand still".into()))
        };
        within(QUESTION_TIMEOUT, asked).await
    }

    async fn load(&self, waf: WafId) -> Result<Stored, StoreError> {
        let mut snapshot = self.snapshot().await?;
        let meta = sqlx::query!(
            "SELECT session, generation, forced_at, next_rule_id, block_list_active
             FROM waf WHERE id = $1",
            waf.0
        )
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NoWaf(waf))?;
        let settings = sqlx::query!(
            "SELECT name, value, active FROM setting WHERE waf_id = $1 ORDER BY name",
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
        // Others commit afterwards; bans, reports and keys, which only refer to the row, need
        // not wait for a million entries.
        let row = sqlx::query!(
            "SELECT session, generation, forced_at FROM waf WHERE id = $1 FOR NO KEY UPDATE",
            waf.0
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NoWaf(waf))?;
        let stored = revision(row.session, row.generation)?;
        if !server::is_known(&mut transaction).await? {
            transaction.rollback().await.map_err(failed)?;
            self.begin_sessions_anew().await?;
            // The next pulse tells of the new session; the caller computes anew.
            return Err(StoreError::Conflict { base, stored });
        }
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
        answers::find(&self.pool, waf, author, key, now_ms).await
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
        .fetch_all(&self.pool)
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
                .fetch_all(&self.pool)
                .await,
                Part::BlockList => {
                    sqlx::query!(
                        "SELECT entry, author, created_ms FROM block_entry WHERE waf_id = $1",
                        waf.0
                    )
                    .map(|r| row(r.entry, r.author, r.created_ms, r.created_ms))
                    .fetch_all(&self.pool)
                    .await
                }
                Part::Exclusions | Part::Mlc => {
                    let mut connection = self.pool.acquire().await.map_err(failed)?;
                    return analysis::provenance(&mut connection, waf, part).await;
                }
                Part::Rules => {
                    sqlx::query!(
                        "SELECT id, author, created_ms, updated_ms FROM rule WHERE waf_id = $1",
                        waf.0
                    )
                    .map(|r| row(r.id.to_string(), r.author, r.created_ms, r.updated_ms))
                    .fetch_all(&self.pool)
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
            i64::from(limit)
        )
        .fetch_all(&self.pool)
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
            i64::from(most)
        )
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected())
        .map_err(failed)
    }

    async fn trainings(&self, waf: WafId) -> Result<Vec<(String, Training)>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
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
        let mut connection = self.pool.acquire().await.map_err(failed)?;
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
                 (SELECT node FROM agent WHERE waf_id = $1 ORDER BY at_ms DESC OFFSET $2)",
            waf.0,
            i64::from(AGENTS_MAX)
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
        .fetch_all(&self.pool)
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
        self.events.pool.close().await;
        self.pool.close().await;
    }
}

/// PostgreSQL's integers are signed; ids, sessions and generations never come near 2^63.
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

/// The answer, or an error after `most`.
async fn within<T>(
    most: Duration,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || StoreError::Unavailable(format!("no answer within {} s", most.as_secs()).into());
    tokio::time::timeout(most, asked).await.unwrap_or_else(|_| Err(late()))
}

fn failed(why: sqlx::Error) -> StoreError {
    let code = why.as_database_error().and_then(|database| database.code());
    match code.as_deref() {
        // read_only_sql_transaction
        Some("25006") => StoreError::ReadOnly,
        // unique_violation
        Some("23505") => StoreError::Exists,
        // serialization_failure, deadlock_detected, lock_not_available
        Some("40001" | "40P01" | "55P03") => StoreError::Busy(why.into()),
        // invalid authorization, invalid password, insufficient_privilege
        Some("28000" | "28P01" | "42501") => StoreError::NoPermission(why.into()),
        _ => StoreError::Unavailable(why.into()),
    }
}

/// As [`failed`], of a change of the schema.
fn not_migrated(why: MigrateError) -> StoreError {
    let source = match &why {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => Some(source),
        _ => None,
    };
    let code = source.and_then(|source| source.as_database_error()?.code());
    match code.as_deref() {
        // insufficient_privilege
        Some("42501") => StoreError::NoPermission(why.into()),
        _ => StoreError::Schema(why.into()),
    }
}

/// As [`failed`], of a row that belongs to `waf`.
fn no_waf(why: sqlx::Error, waf: WafId) -> StoreError {
    if why.as_database_error().is_some_and(|database| database.is_foreign_key_violation()) {
        return StoreError::NoWaf(waf);
    }
    failed(why)
}
