//! The rows of the block list.
//!
//! A million entries are written in batches of [`BATCH`], in the order of the table's key:
//! little memory, pages that are touched once, and somebody can be told how far it is.

use sqlx::PgConnection;
use store::{BATCH, StoreError, WafId};

use super::failed;
use super::rows::By;

/// Puts entries, none twice, in this order.
pub(super) async fn place(
    connection: &mut PgConnection,
    waf: WafId,
    entries: &[String],
    by: &By<'_>,
) -> Result<(), StoreError> {
    write(connection, waf, entries, 0, by).await
}

/// Puts entries that are not there yet at the end.
pub(super) async fn append(
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    waf: WafId,
    entries: &[String],
    first: i64,
    by: &By<'_>,
) -> Result<(), StoreError> {
    let mut order: Vec<u32> = (0..u32::try_from(entries.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by(|a, b| entries[*a as usize].cmp(&entries[*b as usize]));
    for batch in order.chunks(BATCH) {
        let texts: Vec<&str> = batch.iter().map(|n| entries[*n as usize].as_str()).collect();
        let places: Vec<i64> = batch.iter().map(|n| first + i64::from(*n)).collect();
        sqlx::query!(
            "INSERT INTO block_entry (waf_id, entry, position, author, created_ms)
             SELECT $1, entry, position, $2, $3
             FROM unnest($4::text[], $5::bigint[]) AS given (entry, position)
             ON CONFLICT (waf_id, entry) DO UPDATE SET position = excluded.position
                 WHERE block_entry.position <> excluded.position",
            waf.0,
            by.author,
            by.at_ms,
            &texts as &[&str],
            &places
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
    connection: &mut PgConnection,
    waf: WafId,
    entries: &[String],
    by: &By<'_>,
) -> Result<(), StoreError> {
    let mut sorted: Vec<&str> = entries.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    for batch in sorted.chunks(BATCH) {
        sqlx::query!(
            "DELETE FROM block_entry WHERE waf_id = $1 AND entry = ANY($2::text[])",
            waf.0,
            batch as &[&str]
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        by.progress.report(batch.len());
    }
    Ok(())
}
