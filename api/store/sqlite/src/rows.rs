//! The rows of a policy: reading rules, carrying out changes.

use policy::RuleText;
use sqlx::SqliteConnection;

use store::{Change, DELTAS_MAX, LoggedDelta, Progress, StoreError, WafId};

use super::{DELTA_BYTES, analysis, entries, failed, from_row, to_row};

/// Every rule, in the order of ids.
pub(super) async fn load_rules(
    connection: &mut SqliteConnection,
    waf: WafId,
) -> Result<Vec<(u64, RuleText)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, ip, domain, country, url, args, body, cookie, ua, referer, other_headers,
                  no_cookie AS "no_cookie: bool", lm AS "lm: bool", api AS "api: bool",
                  noban AS "noban: bool", active AS "active: bool" FROM rule
           WHERE waf_id = $1 ORDER BY id"#,
        waf.0
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let name = format!("rule {}", row.id);
            let id = from_row(&name, row.id)?;
            let other_headers = serde_json::from_str(&row.other_headers).map_err(|why| {
                StoreError::Corrupt { row: name, reason: format!("other_headers: {why}") }
            })?;
            let text = RuleText {
                ip: row.ip,
                domain: row.domain,
                country: row.country,
                url: row.url,
                args: row.args,
                body: row.body,
                cookie: row.cookie,
                ua: row.ua,
                referer: row.referer,
                other_headers,
                no_cookie: row.no_cookie,
                lm: row.lm,
                api: row.api,
                noban: row.noban,
                active: row.active,
            };
            Ok((id, text))
        })
        .collect()
}

/// Whose commit it is.
pub(super) struct By<'a> {
    pub author: &'a str,
    pub at_ms: i64,
    pub progress: &'a Progress,
}

/// Carries out one change of a commit.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    waf: WafId,
    change: &Change,
    by: &By<'_>,
) -> Result<(), StoreError> {
    let By { author, at_ms, .. } = *by;
    let done = match change {
        Change::PutSetting { name, value, active } => {
            sqlx::query!(
                "INSERT INTO setting (waf_id, name, value, active, author, created_ms, updated_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $6)
                 ON CONFLICT (waf_id, name) DO UPDATE SET value = excluded.value,
                     active = excluded.active, author = excluded.author,
                     updated_ms = excluded.updated_ms",
                waf.0,
                name,
                value,
                active,
                author,
                at_ms
            )
            .execute(connection)
            .await
        }
        Change::RemoveSetting(name) => {
            sqlx::query!("DELETE FROM setting WHERE waf_id = $1 AND name = $2", waf.0, name)
                .execute(connection)
                .await
        }
        Change::PlaceBlockEntries(entries) => {
            return entries::place(connection, waf, entries, by).await;
        }
        Change::RemoveBlockEntries(entries) => {
            return entries::remove(connection, waf, entries, by).await;
        }
        Change::AppendBlockEntries(entries) => {
            return entries::append(connection, waf, entries, by).await;
        }
        Change::SetBlockListActive(active) => {
            sqlx::query!("UPDATE waf SET block_list_active = $1 WHERE id = $2", active, waf.0)
                .execute(connection)
                .await
        }
        Change::PutRule(id, rule) => {
            return put_rule(connection, waf, *id, rule, author, at_ms).await;
        }
        Change::RemoveRule(id) => {
            let id = to_row(*id);
            sqlx::query!("DELETE FROM rule WHERE waf_id = $1 AND id = $2", waf.0, id)
                .execute(connection)
                .await
        }
        Change::PutExclusion(id, exclusion) => {
            return analysis::put_exclusion(connection, waf, *id, exclusion, author, at_ms).await;
        }
        Change::RemoveExclusion(id) => {
            let id = to_row(*id);
            sqlx::query!("DELETE FROM exclusion WHERE waf_id = $1 AND id = $2", waf.0, id)
                .execute(connection)
                .await
        }
        Change::Analysis(change) => {
            return analysis::apply(connection, waf, change, author, at_ms).await;
        }
    };
    done.map(drop).map_err(failed)
}

async fn put_rule(
    connection: &mut SqliteConnection,
    waf: WafId,
    id: u64,
    rule: &RuleText,
    author: &str,
    at_ms: i64,
) -> Result<(), StoreError> {
    let id = to_row(id);
    let other_headers = json(&rule.other_headers);
    sqlx::query!(
        "INSERT INTO rule (waf_id, id, ip, domain, country, url, args, body, cookie, ua, referer,
             other_headers, no_cookie, lm, api, noban, active, author, created_ms, updated_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
             $19, $19)
         ON CONFLICT (waf_id, id) DO UPDATE SET ip = excluded.ip, domain = excluded.domain,
             country = excluded.country, url = excluded.url, args = excluded.args,
             body = excluded.body, cookie = excluded.cookie, ua = excluded.ua,
             referer = excluded.referer, other_headers = excluded.other_headers,
             no_cookie = excluded.no_cookie, lm = excluded.lm, api = excluded.api,
             noban = excluded.noban, active = excluded.active, author = excluded.author,
             updated_ms = excluded.updated_ms",
        waf.0,
        id,
        rule.ip,
        rule.domain,
        rule.country,
        rule.url,
        rule.args,
        rule.body,
        rule.cookie,
        rule.ua,
        rule.referer,
        other_headers,
        rule.no_cookie,
        rule.lm,
        rule.api,
        rule.noban,
        rule.active,
        author,
        at_ms
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Writes down what `generation` changed in the bundle, and forgets what is too old or,
/// with all that is newer, too much. Without `delta` everything before is of no use either.
pub(super) async fn log_delta(
    connection: &mut SqliteConnection,
    waf: WafId,
    session: u64,
    generation: i64,
    delta: Option<LoggedDelta>,
) -> Result<(), StoreError> {
    let Some(LoggedDelta { base, changes }) = delta else {
        let forgotten =
            sqlx::query!("DELETE FROM delta WHERE waf_id = $1", waf.0).execute(connection).await;
        return forgotten.map(drop).map_err(failed);
    };
    let (session, bytes) = (to_row(session), to_row(changes.len() as u64));
    sqlx::query!(
        "INSERT INTO delta (waf_id, generation, session, base, bytes, changes)
         VALUES ($1, $2, $3, $4, $5, $6)",
        waf.0,
        generation,
        session,
        base,
        bytes,
        changes
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let oldest = generation - i64::from(DELTAS_MAX);
    sqlx::query!("DELETE FROM delta WHERE waf_id = $1 AND generation <= $2", waf.0, oldest)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let kept = sqlx::query_scalar!(
        r#"SELECT sum(bytes) AS "bytes!: i64" FROM delta WHERE waf_id = $1"#,
        waf.0
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let most = to_row(DELTA_BYTES as u64);
    if kept <= most {
        return Ok(());
    }
    // Adding up from the newest on costs ten times a mere sum, so it is done where it matters.
    sqlx::query!(
        "DELETE FROM delta WHERE waf_id = $1 AND generation <= coalesce(
             (SELECT max(generation) FROM (SELECT generation,
                  sum(bytes) OVER (ORDER BY generation DESC) AS newer FROM delta WHERE waf_id = $1)
              WHERE newer > $2), 0)",
        waf.0,
        most
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

fn json(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("texts have a JSON form")
}
