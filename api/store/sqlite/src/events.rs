//! The record of attacks in a file of its own, beside that of the settings: however long
//! a batch takes, and whoever holds this file, settings are read and written.
//!
//! `synchronous=NORMAL`: what was acknowledged survives the end of this program, not always
//! a power cut. A batch is one transaction.
//!
//! Questions are put together from constant pieces, one for each condition that is asked
//! for; values are bound. A constant question with every condition optional could not use
//! an index.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{QueryBuilder, Sqlite as Engine, SqlitePool};
use store::{
    AttackFilter, AttackId, AttackRow, Events, SUMMARY_EVENTS, Share, StoreError, Summary, WafId,
    address_bytes, address_text,
};
use wire::v2::attack::Attack;

use super::{BUSY_TIMEOUT, Mode, READERS, failed, to_row};

static MIGRATIONS: Migrator = sqlx::migrate!("./events");

/// Pages of the file that the writer keeps, in KiB: the newest part of every index.
const WRITER_CACHE_KIB: &str = "-65536";

/// A file of attacks.
#[derive(Debug)]
pub struct SqliteEvents {
    /// `None`: there is no file, and none may be made. Then there are no attacks.
    pools: Option<(SqlitePool, SqlitePool)>,
}

/// The place of the attacks of the settings at `path`: `settings.db` has
/// `settings-events.db` beside it.
pub fn events_path(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-events");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

impl SqliteEvents {
    /// Opens the file beside the settings at `settings`.
    ///
    /// # Errors
    /// The file cannot be opened or created, is no database, or has another schema.
    pub(super) async fn open(settings: &Path, mode: Mode) -> Result<Self, StoreError> {
        let path = events_path(settings);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(BUSY_TIMEOUT)
            .optimize_on_close(false, None);
        let read_only = options.clone().read_only(true);
        let pool = |most| SqlitePoolOptions::new().min_connections(0).max_connections(most);
        if let Mode::ReadWrite { .. } = mode {
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal)
                .pragma("cache_size", WRITER_CACHE_KIB);
            let writer = pool(1).connect_with(options).await.map_err(failed)?;
            MIGRATIONS.run(&writer).await.map_err(|why| StoreError::Schema(why.into()))?;
            let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
            return Ok(Self { pools: Some((writer, readers)) });
        }
        // A database that was never served by this version has none.
        if !path.exists() {
            return Ok(Self { pools: None });
        }
        let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
        Ok(Self { pools: Some((readers.clone(), readers)) })
    }

    pub(super) async fn close(&self) {
        if let Some((writer, readers)) = &self.pools {
            readers.close().await;
            writer.close().await;
        }
    }

    fn writer(&self) -> Result<&SqlitePool, StoreError> {
        self.pools.as_ref().map(|(writer, _)| writer).ok_or(StoreError::ReadOnly)
    }

    fn readers(&self) -> Option<&SqlitePool> {
        self.pools.as_ref().map(|(_, readers)| readers)
    }
}

#[async_trait]
impl Events for SqliteEvents {
    async fn add_attacks(
        &self,
        waf: WafId,
        node: &str,
        received_ms: i64,
        attacks: &[Attack],
    ) -> Result<u64, StoreError> {
        let begin = "BEGIN IMMEDIATE";
        let mut transaction = self.writer()?.begin_with(begin).await.map_err(failed)?;
        let mut added = 0;
        for attack in attacks {
            let (action, rule) = (attack.action.word(), attack.rule.map(to_row));
            let address = attack.client.map(|client| address_bytes(client).to_vec());
            let count = to_row(attack.count);
            added += sqlx::query!(
                "INSERT INTO attack (waf_id, at_ms, node, event_id, received_ms, action, bt, rule,
                     zone, address, country, host, request_id, count, event)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                 ON CONFLICT (waf_id, node, event_id, at_ms) DO NOTHING",
                waf.0,
                attack.at_ms,
                node,
                attack.id,
                received_ms,
                action,
                attack.bt,
                rule,
                attack.zone,
                address,
                attack.country,
                attack.host,
                attack.request_id,
                count,
                attack.text
            )
            .execute(&mut *transaction)
            .await
            .map_err(failed)?
            .rows_affected();
        }
        transaction.commit().await.map_err(failed)?;
        Ok(added)
    }

    async fn attacks(
        &self,
        waf: WafId,
        filter: &AttackFilter,
        before: Option<AttackId>,
        limit: u32,
    ) -> Result<Vec<AttackRow>, StoreError> {
        let Some(readers) = self.readers() else { return Ok(Vec::new()) };
        // What is sorted and thrown away are numbers; lines are read for the page alone.
        let mut query = QueryBuilder::<Engine>::new(
            "SELECT attack.at_ms, attack.seq, node, received_ms, event FROM (SELECT at_ms, seq",
        );
        matching(&mut query, waf, filter, before, limit);
        query.push(
            ") AS page CROSS JOIN attack ON attack.seq = page.seq
             ORDER BY page.at_ms DESC, page.seq DESC",
        );
        let rows: Vec<(i64, i64, String, i64, String)> =
            query.build_query_as().fetch_all(readers).await.map_err(failed)?;
        Ok(rows.into_iter().map(row).collect())
    }

    async fn attack(&self, waf: WafId, id: AttackId) -> Result<Option<AttackRow>, StoreError> {
        let Some(readers) = self.readers() else { return Ok(None) };
        let found = sqlx::query!(
            "SELECT node, received_ms, event FROM attack
             WHERE seq = $1 AND waf_id = $2 AND at_ms = $3",
            id.seq,
            waf.0,
            id.at_ms
        )
        .fetch_optional(readers)
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
        let Some(readers) = self.readers() else { return Ok(Summary::default()) };
        let mut snapshot = readers.begin().await.map_err(failed)?;
        let mut query = QueryBuilder::<Engine>::new(
            "SELECT count(*), coalesce(sum(count), 0) FROM (SELECT count",
        );
        matching(&mut query, waf, filter, None, SUMMARY_EVENTS);
        query.push(")");
        let (events, requests): (i64, i64) =
            query.build_query_as().fetch_one(&mut *snapshot).await.map_err(failed)?;
        let mut shares: Vec<Vec<Share>> = Vec::new();
        for column in ["bt", "rule", "host", "address"] {
            let mut query = QueryBuilder::<Engine>::new(
                "SELECT CAST(value AS BLOB), count(*), sum(count) FROM (SELECT ",
            );
            // One of the four words above.
            query.push(column).push(" AS value, count");
            matching(&mut query, waf, filter, None, SUMMARY_EVENTS);
            query.push(") GROUP BY value ORDER BY 3 DESC, value LIMIT ").push_bind(top);
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

    async fn prepare_days(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget_attacks(
        &self,
        before_ms: i64,
        wafs: &[WafId],
        most: u32,
    ) -> Result<u32, StoreError> {
        /// Rows of a step: a batch of a node waits for no more than that.
        const STEP: u32 = 1_000;
        let writer = self.writer()?;
        // Walks from one WAF id to the next in the index, however many rows each has.
        let found = sqlx::query_scalar!(
            r#"WITH RECURSIVE found (id) AS (
                   SELECT min(waf_id) FROM attack
                   UNION ALL
                   SELECT (SELECT min(waf_id) FROM attack WHERE waf_id > found.id)
                   FROM found WHERE found.id IS NOT NULL)
               SELECT id AS "id!: i64" FROM found WHERE id IS NOT NULL"#
        )
        .fetch_all(writer)
        .await
        .map_err(failed)?;
        let mut steps = 0;
        for waf in found {
            let before_ms = if wafs.contains(&WafId(waf)) { before_ms } else { i64::MAX };
            while steps < most {
                let removed = sqlx::query!(
                    "DELETE FROM attack WHERE seq IN (SELECT seq FROM attack
                         WHERE waf_id = $1 AND at_ms < $2 ORDER BY at_ms, seq LIMIT $3)",
                    waf,
                    before_ms,
                    STEP
                )
                .execute(writer)
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
        query.push(" AND (at_ms, seq) < (").push_bind(id.at_ms);
        query.push(", ").push_bind(id.seq).push(")");
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
    for (condition, number) in
        [(" AND rule = ", rule.map(to_row)), (" AND bt = ", bt.map(i64::from))]
    {
        if let Some(number) = number {
            query.push(condition).push_bind(number);
        }
    }
    query.push(" ORDER BY at_ms DESC, seq DESC LIMIT ").push_bind(limit);
}
