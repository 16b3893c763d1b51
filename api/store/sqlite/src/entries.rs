//! The rows of the block list.
//!
//! A million entries are written in batches of [`BATCH`], in the order of the table's key:
//! little memory, pages that are touched once, and somebody can be told how far it is.

use sqlx::SqliteConnection;
use store::{BATCH, StoreError, WafId};

use super::failed;
use super::rows::By;

/// Puts entries, none twice, in this order.
pub(super) async fn place(
    connection: &mut SqliteConnection,
    waf: WafId,
    entries: &[String],
    by: &By<'_>,
) -> Result<(), StoreError> {
    write(connection, waf, entries, 0, by).await
}

/// Puts entries that are not there yet at the end.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    waf: WafId,
    entries: &[String],
    by: &By<'_>,
) -> Result<(), StoreError> {
    let last = sqlx::query_scalar!(
        r#"SELECT coalesce(max(position), 0) AS "last!: i64" FROM block_entry WHERE waf_id = $1"#,
        waf.0
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    write(connection, waf, entries, last + 1, by).await
}

async fn write(
    connection: &mut SqliteConnection,
    waf: WafId,
    entries: &[String],
    first: i64,
    by: &By<'_>,
) -> Result<(), StoreError> {
    let mut order: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by(|a, b| entries[*a as usize].cmp(&entries[*b as usize]));
    for batch in order.chunks(BATCH) {
        let pairs: Vec<(&str, i64)> =
            batch.iter().map(|n| (entries[*n as usize].as_str(), first + i64::from(*n))).collect();
        let pairs = serde_json::to_string(&pairs).expect("texts and numbers have a JSON form");
        sqlx::query!(
            "INSERT INTO block_entry (waf_id, entry, position, author, created_ms)
             SELECT $1, value ->> 0, value ->> 1, $2, $3 FROM json_each($4) WHERE true
             ON CONFLICT (waf_id, entry) DO UPDATE SET position = excluded.position
                 WHERE position <> excluded.position",
            waf.0,
            by.author,
            by.at_ms,
            pairs
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        by.progress.report(batch.len());
    }
    Ok(())
}

/// Removes entries by their exact text.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    waf: WafId,
    entries: &[String],
    by: &By<'_>,
) -> Result<(), StoreError> {
    let mut sorted: Vec<&str> = entries.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    for batch in sorted.chunks(BATCH) {
        let texts = serde_json::to_string(batch).expect("texts have a JSON form");
        sqlx::query!(
            "DELETE FROM block_entry
             WHERE waf_id = $1 AND entry IN (SELECT value FROM json_each($2))",
            waf.0,
            texts
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        by.progress.report(batch.len());
    }
    Ok(())
}
