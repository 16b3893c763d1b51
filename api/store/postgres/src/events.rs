//! The record of attacks: a partition for each day, and connections of its own, so that
//! attacks wait for attacks alone.
//!
//! A batch is one statement. Where it has no place for a day, the places are made and the
//! batch is tried again: days ahead are made in time, so this is for late ones.
//!
//! Questions are put together from constant pieces, one for each condition that is asked
//! for; values are bound. A constant question with every condition optional could not use
//! an index.

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Postgres as Engine, QueryBuilder};
use store::{
    AttackFilter, AttackId, AttackRow, Events, SUMMARY_EVENTS, Share, StoreError, Summary, WafId,
    address_bytes, address_text, day_of,
};
use wire::v2::attack::Attack;

use super::{days, failed, pool, to_row};

/// Connections of one process for attacks.
const CONNECTIONS: u32 = 4;

/// The attacks of a database.
#[derive(Debug)]
pub struct PostgresEvents {
    pub(super) pool: PgPool,
}

impl PostgresEvents {
    /// Connects; the schema is brought about by the store.
    pub(super) async fn open(options: PgConnectOptions) -> Result<Self, StoreError> {
        Ok(Self { pool: pool(CONNECTIONS, options).await? })
    }

    async fn insert(
        &self,
        waf: WafId,
        node: &str,
        received_ms: i64,
        columns: &Columns<'_>,
    ) -> Result<u64, sqlx::Error> {
        sqlx::query!(
            r#"INSERT INTO attack (waf_id, node, received_ms, at_ms, event_id, action, bt, rule,
                   zone, address, country, host, request_id, count, event)
               SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::text[], $6::text[],
                   $7::smallint[], $8::bigint[], $9::text[], $10::bytea[], $11::text[],
                   $12::text[], $13::text[], $14::bigint[], $15::text[])
               ON CONFLICT DO NOTHING"#,
            waf.0,
            node,
            received_ms,
            &columns.at_ms as _,
            &columns.event_id as _,
            &columns.action as _,
            &columns.bt as _,
            &columns.rule as _,
            &columns.zone as _,
            &columns.address as _,
            &columns.country as _,
            &columns.host as _,
            &columns.request_id as _,
            &columns.count as _,
            &columns.event as _
        )
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected())
    }
}

/// A batch turned on its side.
struct Columns<'a> {
    at_ms: Vec<i64>,
    event_id: Vec<&'a str>,
    action: Vec<&'a str>,
    bt: Vec<i16>,
    rule: Vec<Option<i64>>,
    zone: Vec<Option<&'a str>>,
    address: Vec<Option<Vec<u8>>>,
    country: Vec<Option<&'a str>>,
    host: Vec<&'a str>,
    request_id: Vec<&'a str>,
    count: Vec<i64>,
    event: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(attacks: &'a [Attack]) -> Self {
        let all = || attacks.iter();
        Self {
            at_ms: all().map(|attack| attack.at_ms).collect(),
            event_id: all().map(|attack| attack.id.as_str()).collect(),
            action: all().map(|attack| attack.action.word()).collect(),
            bt: all().map(|attack| i16::from(attack.bt)).collect(),
            rule: all().map(|attack| attack.rule.map(to_row)).collect(),
            zone: all().map(|attack| attack.zone.as_deref()).collect(),
            address: all().map(|a| a.client.map(|client| address_bytes(client).to_vec())).collect(),
            country: all().map(|attack| attack.country.as_deref()).collect(),
            host: all().map(|attack| attack.host.as_str()).collect(),
            request_id: all().map(|attack| attack.request_id.as_str()).collect(),
            count: all().map(|attack| to_row(attack.count)).collect(),
            event: all().map(|attack| attack.text.as_str()).collect(),
        }
    }
}

#[async_trait]
impl Events for PostgresEvents {
    async fn add_attacks(
        &self,
        waf: WafId,
        node: &str,
        received_ms: i64,
        attacks: &[Attack],
    ) -> Result<u64, StoreError> {
        let columns = Columns::of(attacks);
        match self.insert(waf, node, received_ms, &columns).await {
            // check_violation: there is no partition for a row.
            Err(sqlx::Error::Database(why)) if why.code().as_deref() == Some("23514") => {}
            other => return other.map_err(failed),
        }
        let mut days: Vec<i64> = columns.at_ms.iter().map(|at_ms| day_of(*at_ms)).collect();
        days.sort_unstable();
        days.dedup();
        days::make(&self.pool, &days).await?;
        self.insert(waf, node, received_ms, &columns).await.map_err(failed)
    }

    async fn attacks(
        &self,
        waf: WafId,
        filter: &AttackFilter,
        before: Option<AttackId>,
        limit: u32,
    ) -> Result<Vec<AttackRow>, StoreError> {
        let mut query = QueryBuilder::<Engine>::new("SELECT at_ms, seq, node, received_ms, event");
        matching(&mut query, waf, filter, before, limit);
        let rows: Vec<(i64, i64, String, i64, String)> =
            query.build_query_as().fetch_all(&self.pool).await.map_err(failed)?;
        Ok(rows.into_iter().map(row).collect())
    }

    async fn attack(&self, waf: WafId, id: AttackId) -> Result<Option<AttackRow>, StoreError> {
        let found = sqlx::query!(
            "SELECT node, received_ms, event FROM attack
             WHERE waf_id = $1 AND at_ms = $2 AND seq = $3",
            waf.0,
            id.at_ms,
            id.seq
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        Ok(found.map(|found| row((id.at_ms, id.seq, found.node, found.received_ms, found.event))))
    }

    async fn summarize(
        &self,
        waf: WafId,
        filter: &AttackFilter,
        top: u32,
    ) -> Result<Summary, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut snapshot = self.pool.begin_with(begin).await.map_err(failed)?;
        let mut query = QueryBuilder::<Engine>::new(
            "SELECT count(*), coalesce(sum(count), 0)::bigint FROM (SELECT count",
        );
        matching(&mut query, waf, filter, None, SUMMARY_EVENTS);
        query.push(") AS newest");
        let (events, requests): (i64, i64) =
            query.build_query_as().fetch_one(&mut *snapshot).await.map_err(failed)?;
        let mut shares: Vec<Vec<Share>> = Vec::new();
        for (column, value) in [
            ("bt", "value::text::bytea"),
            ("rule", "value::text::bytea"),
            ("host", "convert_to(value, 'UTF8')"),
            ("address", "value"),
        ] {
            let mut query = QueryBuilder::<Engine>::new("SELECT ");
            // Constant words of the list above.
            query.push(value).push(", count(*), sum(count)::bigint FROM (SELECT ");
            query.push(column).push(" AS value, count");
            matching(&mut query, waf, filter, None, SUMMARY_EVENTS);
            query.push(") AS newest GROUP BY value ORDER BY 3 DESC, value NULLS FIRST LIMIT ");
            query.push_bind(i64::from(top));
            let rows: Vec<(Option<Vec<u8>>, i64, i64)> =
                query.build_query_as().fetch_all(&mut *snapshot).await.map_err(failed)?;
            let text = |bytes: Vec<u8>| match column {
                "address" => address_text(&bytes).unwrap_or_default(),
                _ => String::from_utf8_lossy(&bytes).into_owned(),
            };
            let share = |(value, events, requests): (Option<Vec<u8>>, i64, i64)| Share {
                value: value.map(text),
                events: events.unsigned_abs(),
                requests: requests.unsigned_abs(),
            };
            shares.push(rows.into_iter().map(share).collect());
        }
        let mut shares = shares.into_iter();
        let mut next = || shares.next().unwrap_or_default();
        let (bt, rule, host, address) = (next(), next(), next(), next());
        let (events, requests) = (events.unsigned_abs(), requests.unsigned_abs());
        Ok(Summary { events, requests, bt, rule, host, address })
    }

    async fn prepare_days(&self, now_ms: i64) -> Result<(), StoreError> {
        let today = day_of(now_ms);
        let days: Vec<i64> = (today..=today + store::DAYS_AHEAD).collect();
        days::make(&self.pool, &days).await
    }

    async fn forget_attacks(
        &self,
        before_ms: i64,
        wafs: &[WafId],
        most: u32,
    ) -> Result<u32, StoreError> {
        /// Rows of a step.
        const STEP: i64 = 1_000;
        let mut steps = days::drop_before(&self.pool, day_of(before_ms), most).await?;
        // Walks from one WAF id to the next in the index, however many rows each has.
        let found = sqlx::query_scalar!(
            r#"WITH RECURSIVE found (id) AS (
                   SELECT min(waf_id) FROM attack
                   UNION ALL
                   SELECT (SELECT min(waf_id) FROM attack WHERE waf_id > found.id)
                   FROM found WHERE found.id IS NOT NULL)
               SELECT id AS "id!" FROM found WHERE id IS NOT NULL"#
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        for waf in found.into_iter().filter(|waf| !wafs.contains(&WafId(*waf))) {
            while steps < most {
                let removed = sqlx::query!(
                    "WITH old AS (SELECT at_ms, seq FROM attack WHERE waf_id = $1
                         ORDER BY at_ms, seq LIMIT $2)
                     DELETE FROM attack USING old WHERE attack.waf_id = $1
                         AND attack.at_ms = old.at_ms AND attack.seq = old.seq",
                    waf,
                    STEP
                )
                .execute(&self.pool)
                .await
                .map_err(failed)?
                .rows_affected();
                if removed == 0 {
                    break;
                }
                steps += 1;
            }
        }
        Ok(steps)
    }
}

fn row((at_ms, seq, node, received_ms, event): (i64, i64, String, i64, String)) -> AttackRow {
    AttackRow { id: AttackId { at_ms, seq }, node, received_ms, event }
}

/// Appends `FROM attack` with all conditions, newest first.
fn matching(
    query: &mut QueryBuilder<Engine>,
    waf: WafId,
    filter: &AttackFilter,
    before: Option<AttackId>,
    limit: u32,
) {
    let AttackFilter {
        from_ms,
        to_ms,
        addresses,
        country,
        host,
        rule,
        bt,
        action,
        node,
        zone,
        request_id,
    } = filter;
    query.push(" FROM attack WHERE waf_id = ").push_bind(waf.0);
    if let Some(id) = before {
        // The second condition says nothing new, but says it of partitions.
        query.push(" AND (at_ms, seq) < (").push_bind(id.at_ms);
        query.push(", ").push_bind(id.seq).push(") AND at_ms <= ").push_bind(id.at_ms);
    }
    if let Some(from_ms) = from_ms {
        query.push(" AND at_ms >= ").push_bind(*from_ms);
    }
    if let Some(to_ms) = to_ms {
        query.push(" AND at_ms < ").push_bind(*to_ms);
    }
    match addresses {
        Some((first, last)) if first == last => {
            query.push(" AND address = ").push_bind(first.to_vec());
        }
        Some((first, last)) => {
            query.push(" AND address >= ").push_bind(first.to_vec());
            query.push(" AND address <= ").push_bind(last.to_vec());
        }
        None => {}
    }
    for (condition, text) in [
        (" AND country = ", country.as_deref()),
        (" AND host = ", host.as_deref()),
        (" AND action = ", action.map(|action| action.word())),
        (" AND node = ", node.as_deref()),
        (" AND zone = ", zone.as_deref()),
        (" AND request_id = ", request_id.as_deref()),
    ] {
        if let Some(text) = text {
            query.push(condition).push_bind(text.to_owned());
        }
    }
    if let Some(rule) = rule {
        query.push(" AND rule = ").push_bind(to_row(*rule));
    }
    if let Some(bt) = bt {
        query.push(" AND bt = ").push_bind(i16::from(*bt));
    }
    query.push(" ORDER BY at_ms DESC, seq DESC LIMIT ").push_bind(i64::from(limit));
}
