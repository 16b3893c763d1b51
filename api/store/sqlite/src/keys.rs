//! Keys, WAF ids and sessions; the action log they and every commit write.

use sqlx::SqliteConnection;
use store::{Action, KEYS_MAX, KeyRow, StoreError, WAFS_MAX, WafId};

use super::{Sqlite, failed, from_row, no_waf, to_row};

impl Sqlite {
    /// See `Store::keys`.
    pub(super) async fn select_keys(&self) -> Result<(u64, Vec<KeyRow>), StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(failed)?;
        let version = sqlx::query_scalar!("SELECT keys_version FROM installation WHERE id = 1")
            .fetch_one(&mut *snapshot)
            .await
            .map_err(failed)?;
        let rows = sqlx::query!(
            "SELECT name, waf_id, scope, digest, created_ms FROM api_key ORDER BY name"
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
        let keys = rows.into_iter().map(|row| {
            let scope = row.scope.parse().map_err(|reason| StoreError::Corrupt {
                row: format!("key {}", row.name),
                reason,
            })?;
            let (waf, created_ms) = (WafId(row.waf_id), row.created_ms);
            Ok(KeyRow { name: row.name, waf, scope, digest: row.digest, created_ms })
        });
        Ok((from_row("installation", version)?, keys.collect::<Result<_, StoreError>>()?))
    }

    /// See `Store::add_key`.
    pub(super) async fn insert_key(&self, key: KeyRow, action: Action) -> Result<(), StoreError> {
        let scope = key.scope.name();
        let mut transaction = self.begin().await?;
        let most = i64::from(KEYS_MAX);
        let added = sqlx::query!(
            "INSERT INTO api_key (name, waf_id, scope, digest, created_ms)
             SELECT $1, $2, $3, $4, $5
             WHERE (SELECT count(*) FROM api_key WHERE waf_id = $2) < $6",
            key.name,
            key.waf.0,
            scope,
            key.digest,
            key.created_ms,
            most
        )
        .execute(&mut *transaction)
        .await
        .map_err(|why| no_waf(why, key.waf))?
        .rows_affected();
        if added == 0 {
            return Err(StoreError::TooManyKeys);
        }
        log_now(&mut transaction, key.waf, &action).await?;
        keys_moved(&mut transaction).await?;
        transaction.commit().await.map_err(failed)
    }

    /// See `Store::remove_key`.
    pub(super) async fn delete_key(
        &self,
        name: &str,
        of: Option<WafId>,
        action: Action,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let of = of.map(|waf| waf.0);
        let removed = sqlx::query_scalar!(
            "DELETE FROM api_key WHERE name = $1 AND waf_id = coalesce($2, waf_id) RETURNING waf_id",
            name,
            of
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        let Some(waf) = removed else { return Ok(false) };
        log_now(&mut transaction, WafId(waf), &action).await?;
        keys_moved(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }

    /// See `Store::add_waf`.
    pub(super) async fn insert_waf(&self, name: &str, now_ms: u64) -> Result<WafId, StoreError> {
        let mut transaction = self.begin().await?;
        let (session, most) = (to_row(now_ms), WAFS_MAX as i64);
        let id = sqlx::query_scalar!(
            "INSERT INTO waf (name, session, generation, forced_at, next_rule_id, block_list_active)
             SELECT $1, $2, 1, 0, 1, 1 WHERE (SELECT count(*) FROM waf) < $3 RETURNING id",
            name,
            session,
            most
        )
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?
        .ok_or(StoreError::TooManyWafs)?;
        transaction.commit().await.map_err(failed)?;
        Ok(WafId(id))
    }

    /// See `Store::remove_waf`.
    pub(super) async fn delete_waf(&self, waf: WafId) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let removed = sqlx::query!("DELETE FROM waf WHERE id = $1", waf.0)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?
            .rows_affected();
        keys_moved(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(removed > 0)
    }

    /// See `Store::renew_sessions`.
    pub(super) async fn update_sessions(&self, now_ms: u64) -> Result<(), StoreError> {
        let now_ms = to_row(now_ms);
        sqlx::query!(
            "UPDATE waf SET session = max(session + 1, $1), generation = generation + 1,
                 forced_at = generation + 1",
            now_ms
        )
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(failed)
    }
}

/// Writes an entry of the action log; its id is the database's to choose.
pub(super) async fn log_action(
    connection: &mut SqliteConnection,
    waf: WafId,
    generation: i64,
    action: &Action,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO action (waf_id, at_ms, author, address, call, generation, before, after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        waf.0,
        action.at_ms,
        action.author,
        action.address,
        action.call,
        generation,
        action.before,
        action.after
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// As [`log_action`], of what is no part of the policy.
async fn log_now(
    connection: &mut SqliteConnection,
    waf: WafId,
    action: &Action,
) -> Result<(), StoreError> {
    let generation = sqlx::query_scalar!("SELECT generation FROM waf WHERE id = $1", waf.0)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    log_action(connection, waf, generation, action).await
}

/// Says that the keys are others now. By the clock, too: after a restore the same number
/// must not come back for other keys.
async fn keys_moved(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE installation
         SET keys_version = max(keys_version + 1, CAST(unixepoch('subsec') * 1000 AS INTEGER)) WHERE id = 1"
    )
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}
