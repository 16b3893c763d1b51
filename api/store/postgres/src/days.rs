//! The places of days: making them and letting them go while everybody reads and writes.
//!
//! A place is attached and detached, never created or dropped in place: both need a lock
//! on the whole record that readers and writers do not notice, where `CREATE ... PARTITION
//! OF` and `DROP TABLE` wait for all of them and hold up everybody behind.
//!
//! Statements are put together here because names cannot be bound; all they hold is
//! numbers made here.

use sqlx::{AssertSqlSafe, PgPool};
use store::{DAY_MS, StoreError};

use super::failed;

/// Number of the lock under which places are made and let go, by one process at a time.
const LOCK: i64 = 0x6e77_6166_6461_7973;

/// How long everybody may have to wait for a place to be let go where that cannot be done
/// beside them, in milliseconds.
const LOCKED_MS: u32 = 1_000;

/// Makes places for days that have none.
pub(super) async fn make(pool: &PgPool, days: &[i64]) -> Result<(), StoreError> {
    let names: Vec<String> = days.iter().map(|day| name(*day)).collect();
    let there = attached(pool).await?;
    let missing =
        days.iter().zip(&names).filter(|(_, name)| !there.iter().any(|p| p.name == **name));
    for (day, name) in missing {
        let mut transaction = pool.begin().await.map_err(failed)?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        let is_there = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM pg_inherits WHERE inhparent = 'attack'::regclass
                   AND inhrelid = to_regclass($1)) AS "is_there!""#,
            name
        )
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        if is_there {
            continue;
        }
        let (from, to) = (day * DAY_MS, (day + 1) * DAY_MS);
        // A table of this name that is attached to nothing was let go and not dropped yet.
        let statements = format!(
            "DROP TABLE IF EXISTS {name};
             CREATE TABLE {name} (LIKE attack INCLUDING ALL);
             ALTER TABLE attack ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to});"
        );
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Lets go of at most `most` places of days before `day`. How many.
pub(super) async fn drop_before(pool: &PgPool, day: i64, most: u32) -> Result<u32, StoreError> {
    // One connection, and the lock for as long as it is held: it is not of a transaction,
    // in which detaching is not possible.
    let mut connection = pool.acquire().await.map_err(failed)?;
    let is_ours = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "ours!""#, LOCK)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !is_ours {
        return Ok(0);
    }
    // PostgreSQL 13 knows one way, which everybody waits for: not for long.
    let concurrently = sqlx::query_scalar!(
        r#"SELECT current_setting('server_version_num')::integer >= 140000 AS "so!""#
    )
    .fetch_one(&mut *connection)
    .await;
    let mut dropped = 0;
    let outcome = async {
        let concurrently = concurrently.map_err(failed)?;
        for place in attached(pool).await? {
            if dropped >= most || day_of_name(&place.name).is_none_or(|found| found >= day) {
                continue;
            }
            let name = &place.name;
            let detach = match (place.detaching, concurrently) {
                // A process that ended in between leaves the first half done.
                (true, _) => format!("ALTER TABLE attack DETACH PARTITION {name} FINALIZE"),
                (false, true) => format!("ALTER TABLE attack DETACH PARTITION {name} CONCURRENTLY"),
                (false, false) => format!(
                    "BEGIN; SET LOCAL lock_timeout = {LOCKED_MS};
                     ALTER TABLE attack DETACH PARTITION {name}; COMMIT"
                ),
            };
            sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await.map_err(failed)?;
            let drop = format!("DROP TABLE {name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await.map_err(failed)?;
            dropped += 1;
        }
        // Nor was it dropped, should a process have ended right after that.
        let left = sqlx::query_scalar!(
            r#"SELECT relname::text AS "name!" FROM pg_class
               WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)
                   AND relname ~ '^attack_[0-9]{8}$'"#
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
        for name in left.iter().filter(|name| day_of_name(name).is_some_and(|found| found < day)) {
            let drop = format!("DROP TABLE {name}");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await.map_err(failed)?;
        }
        Ok(dropped)
    }
    .await;
    let unlocked = sqlx::query_scalar!("SELECT pg_advisory_unlock($1)", LOCK)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed);
    if unlocked.is_err() {
        // The lock goes with the connection.
        drop(connection.detach());
    }
    outcome
}

/// A place of a day.
struct Place {
    name: String,
    /// Letting it go was begun.
    detaching: bool,
}

/// Every place. PostgreSQL 13 does not have the column that says what is being let go.
async fn attached(pool: &PgPool) -> Result<Vec<Place>, StoreError> {
    sqlx::query_as!(
        Place,
        r#"SELECT relname::text AS "name!", coalesce(
               (to_jsonb(pg_inherits) ->> 'inhdetachpending')::boolean, false) AS "detaching!"
           FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
           WHERE inhparent = 'attack'::regclass ORDER BY relname"#
    )
    .fetch_all(pool)
    .await
    .map_err(failed)
}

/// `attack_20251122`
fn name(day: i64) -> String {
    // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is last.
    let shifted = day + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("attack_{year:04}{month:02}{day:02}")
}

/// The day of a name; `None` for a name of somebody else.
fn day_of_name(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("attack_")?;
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (name(days) == text).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dates() {
        for (day, text) in [
            (0, "attack_19700101"),
            (11_016, "attack_20000229"),
            (20_414, "attack_20251122"),
            (20_453, "attack_20251231"),
            (20_454, "attack_20260101"),
        ] {
            assert_eq!((name(day).as_str(), day_of_name(text)), (text, Some(day)));
        }
        for day in 0..60_000 {
            assert_eq!(day_of_name(&name(day)), Some(day));
        }
        for other in ["attack_", "attack_20251301", "attack_20250230", "attack_old", "x_20250101"] {
            assert_eq!(day_of_name(other), None, "{other}");
        }
    }
}
