//! Answers that are given again.

use sqlx::{PgConnection, PgPool};
use store::{ANSWERS_KEPT_MS, ANSWERS_MAX, KeptAnswer, StoreError, WafId};

use super::{failed, no_waf};

/// See [`store::Store::answer`].
pub(super) async fn find(
    pool: &PgPool,
    waf: WafId,
    author: &str,
    key: &str,
    now_ms: i64,
) -> Result<Option<KeptAnswer>, StoreError> {
    let oldest_ms = now_ms - ANSWERS_KEPT_MS;
    sqlx::query_as!(
        KeptAnswer,
        "SELECT author, key, digest, at_ms, answer FROM answer
         WHERE waf_id = $1 AND author = $2 AND key = $3 AND at_ms >= $4",
        waf.0,
        author,
        key,
        oldest_ms
    )
    .fetch_optional(pool)
    .await
    .map_err(failed)
}

/// Keeps an answer, and forgets what is too old or, with all that is newer, too much. The
/// costs do not depend on how many there are.
pub(super) async fn keep(
    connection: &mut PgConnection,
    waf: WafId,
    answer: &KeptAnswer,
) -> Result<(), StoreError> {
    // Numbers are given one after the other.
    sqlx::query!("SELECT id FROM waf WHERE id = $1 FOR NO KEY UPDATE", waf.0)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?
        .ok_or(StoreError::NoWaf(waf))?;
    let KeptAnswer { author, key, digest, at_ms, answer } = answer;
    let oldest_ms = at_ms - ANSWERS_KEPT_MS;
    sqlx::query!("DELETE FROM answer WHERE waf_id = $1 AND at_ms < $2", waf.0, oldest_ms)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let number = sqlx::query_scalar!(
        "INSERT INTO answer (waf_id, author, key, number, at_ms, digest, answer)
         VALUES ($1, $2, $3,
             (SELECT coalesce(max(number), 0) + 1 FROM answer WHERE waf_id = $1), $4, $5, $6)
         RETURNING number",
        waf.0,
        author,
        key,
        at_ms,
        digest,
        answer
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|why| no_waf(why, waf))?;
    let last = number - i64::from(ANSWERS_MAX);
    sqlx::query!("DELETE FROM answer WHERE waf_id = $1 AND number <= $2", waf.0, last)
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}
