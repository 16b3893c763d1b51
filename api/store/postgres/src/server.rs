//! What the server is: primary or replica, and on which timeline.

use sqlx::PgConnection;
use store::{History, Pulse, Role, StoreError, WafId, WafState};

use super::{Mode, Postgres, failed, from_row, revision};

/// A server's identity and timeline, `NULL` on a replica: `pg_walfile_name` is not
/// allowed there, and a replica's timeline is its primary's.
macro_rules! cluster_sql {
    () => {
        "CASE WHEN NOT pg_is_in_recovery() THEN
             (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
             substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
    };
}

/// Whether the server is the one that the present sessions were begun on; a replica, which
/// cannot be asked, is.
///
/// # Errors
/// The server does not answer.
pub(super) async fn is_known(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let is_known: Option<bool> = sqlx::query_scalar(concat!(
        "SELECT cluster = ",
        cluster_sql!(),
        " FROM installation WHERE id = 1"
    ))
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Ok(is_known != Some(false))
}

impl Postgres {
    /// Gives every WAF id a new session, if the server is not the one that the present
    /// ones were begun on.
    pub(super) async fn begin_sessions_anew(&self) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        // The lock is taken first: of several processes one does it.
        let known = sqlx::query_scalar!("SELECT cluster FROM installation WHERE id = 1 FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        let present: Option<String> = sqlx::query_scalar(concat!("SELECT ", cluster_sql!()))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        let Some(present) = present.filter(|present| *present != known) else { return Ok(()) };
        sqlx::query!("UPDATE installation SET cluster = $1 WHERE id = 1", present)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if !known.is_empty() {
            let now_ms = sqlx::query_scalar!(
                r#"SELECT (extract(epoch FROM now()) * 1000)::bigint AS "now_ms!""#
            )
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
            let begun = sqlx::query!(
                "WITH old AS (SELECT id, session FROM waf),
                      new AS (UPDATE waf SET session = greatest(session + 1, $1) RETURNING id, session, generation)
                 INSERT INTO action (waf_id, at_ms, author, address, call, generation, before, after)
                 SELECT id, $1, 'nwaf-api', '', 'new_session', generation,
                     json_build_object('session', old.session, 'cluster', $2::text)::text,
                     json_build_object('session', new.session, 'cluster', $3::text)::text
                 FROM new JOIN old USING (id)",
                now_ms,
                known,
                present
            )
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
            tracing::warn!(
                was = known,
                is = present,
                wafs = begun.rows_affected(),
                "the database was promoted or restored: new sessions begin"
            );
        }
        transaction.commit().await.map_err(failed)
    }

    /// Asks where everything stands; `None` where new sessions must begin first.
    pub(super) async fn try_pulse(&self) -> Result<Option<Pulse>, StoreError> {
        let rows: Vec<PulseRow> = sqlx::query_as(concat!(
            "WITH server AS MATERIALIZED (
                 SELECT pg_is_in_recovery() AS is_replica, ",
            cluster_sql!(),
            " AS cluster,
                     CASE WHEN NOT pg_is_in_recovery() THEN NULL
                     -- Nothing is left to replay of what a living connection brought.
                     WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
                         AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN 0
                     ELSE greatest(0, extract(epoch FROM
                         clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint
                     END AS lag_ms)
             SELECT server.is_replica, server.cluster, server.lag_ms,
                 installation.cluster AS known_cluster, installation.keys_version,
                 waf.id, waf.name, waf.session, waf.generation, ban_state.revision AS bans
             FROM server CROSS JOIN installation LEFT JOIN waf ON true
                 LEFT JOIN ban_state ON ban_state.waf_id = waf.id ORDER BY waf.id"
        ))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let Some(first) = rows.first() else {
            let reason = "it has no row".to_owned();
            return Err(StoreError::Corrupt { row: "installation".to_owned(), reason });
        };
        // Who must not write tells of the old sessions, in which nobody is led astray: what
        // they lost looks like what a lagging replica shows.
        let is_other = first.cluster.as_ref().is_some_and(|is| *is != first.known_cluster);
        if is_other && self.mode != Mode::ReadOnly {
            return Ok(None);
        }
        let role = if first.is_replica {
            Role::Replica { lag_ms: first.lag_ms.and_then(|ms| u64::try_from(ms).ok()) }
        } else {
            Role::Primary
        };
        let history = first.cluster.as_deref().and_then(history);
        let keys_version = from_row("installation", first.keys_version)?;
        let wafs = rows.into_iter().filter_map(PulseRow::waf).collect::<Result<_, _>>()?;
        Ok(Some(Pulse { role, history, keys_version, wafs }))
    }
}

/// A row of the pulse; the WAF id's columns are absent where there is none.
#[derive(sqlx::FromRow)]
struct PulseRow {
    is_replica: bool,
    cluster: Option<String>,
    lag_ms: Option<i64>,
    known_cluster: String,
    keys_version: i64,
    id: Option<i64>,
    name: Option<String>,
    session: Option<i64>,
    generation: Option<i64>,
    bans: Option<i64>,
}

impl PulseRow {
    fn waf(self) -> Option<Result<WafState, StoreError>> {
        let Self { id: Some(id), name: Some(name), session: Some(session), .. } = self else {
            return None;
        };
        let generation = self.generation?;
        let state = || {
            let revision = revision(session, generation)?;
            let bans = from_row("ban_state", self.bans.unwrap_or(0))?;
            Ok(WafState { id: WafId(id), name, revision, bans })
        };
        Some(state())
    }
}

/// Takes identity and timeline, which PostgreSQL writes in hexadecimal, apart.
fn history(cluster: &str) -> Option<History> {
    let (system, timeline) = cluster.split_once('/')?;
    let timeline = u32::from_str_radix(timeline, 16).ok()?;
    Some(History { system: system.to_owned(), timeline })
}
