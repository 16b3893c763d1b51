//! Bans beside the settings: their entry in the action log belongs to them. The row of
//! `ban_state` is changed first and makes writers of one WAF id take turns.

use async_trait::async_trait;
use sqlx::PgConnection;
use store::{
    Action, BANS_MAX, BanFilter, BanRow, BanState, Bans, GONE_BANS_MAX, Lift, NewBan, StoreError,
    WafId, bans_json,
};

use super::{Postgres, failed, from_row, no_waf, to_row};

/// A row as the engine has it.
struct Row {
    id: i64,
    revision: i64,
    address: String,
    domain: String,
    bt: i16,
    rule: i64,
    reason: String,
    source: String,
    start_ms: i64,
    until_ms: i64,
    lifted: bool,
}

impl TryFrom<Row> for BanRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let name = format!("ban {}", row.id);
        let bt = u8::try_from(row.bt).map_err(|why| StoreError::Corrupt {
            row: name.clone(),
            reason: format!("bt {}: {why}", row.bt),
        })?;
        Ok(Self {
            id: row.id,
            revision: from_row(&name, row.revision)?,
            address: row.address,
            domain: row.domain,
            bt,
            rule: from_row(&name, row.rule)?,
            reason: row.reason,
            source: row.source,
            start_ms: row.start_ms,
            until_ms: row.until_ms,
            lifted: row.lifted,
        })
    }
}

#[async_trait]
impl Bans for Postgres {
    async fn add_bans(
        &self,
        waf: WafId,
        bans: &[NewBan],
        now_ms: i64,
        action: Action,
    ) -> Result<Vec<BanRow>, StoreError> {
        let mut transaction = self.begin().await?;
        log(&mut transaction, waf, &action).await?;
        let mut revision = take_numbers(&mut transaction, waf, bans.len()).await?;
        let mut rows = Vec::with_capacity(bans.len());
        for ban in bans {
            revision += 1;
            let (first, last) = (ban.span.0.as_slice(), ban.span.1.as_slice());
            let rule = to_row(ban.rule);
            let row = sqlx::query_as!(
                Row,
                r#"INSERT INTO ban (waf_id, address, first, last, domain, bt, rule, reason, source,
                       start_ms, until_ms, kept_until_ms, lifted, revision)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, false, $12)
                   ON CONFLICT (waf_id, address, domain, bt) DO UPDATE SET rule = excluded.rule,
                       reason = excluded.reason, source = excluded.source,
                       start_ms = CASE WHEN ban.lifted OR ban.until_ms <= $10
                           THEN excluded.start_ms ELSE ban.start_ms END,
                       until_ms = CASE WHEN ban.lifted OR ban.until_ms <= $10
                           THEN excluded.until_ms ELSE greatest(ban.until_ms, excluded.until_ms) END,
                       kept_until_ms = greatest(ban.kept_until_ms, excluded.until_ms),
                       lifted = false, revision = excluded.revision
                   RETURNING id, revision, address, domain, bt, rule, reason, source, start_ms,
                       until_ms, lifted"#,
                waf.0,
                ban.address,
                first,
                last,
                ban.domain,
                i16::from(ban.bt),
                rule,
                ban.reason,
                action.author,
                now_ms,
                ban.until_ms,
                revision
            )
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
            rows.push(BanRow::try_from(row)?);
        }
        trim(&mut transaction, waf, now_ms, BANS_MAX, GONE_BANS_MAX).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(rows)
    }

    async fn lift_bans(
        &self,
        waf: WafId,
        lift: &Lift,
        now_ms: i64,
        mut action: Action,
    ) -> Result<Vec<BanRow>, StoreError> {
        let (id, address, domain, bt) = match lift {
            Lift::Id(id) => (Some(*id), None, None, None),
            Lift::Address { address, domain, bt } => {
                (None, Some(address.as_str()), domain.as_deref(), bt.map(i16::from))
            }
        };
        let mut transaction = self.begin().await?;
        // Takes its turn before it looks: of two who lift a ban, one does.
        take_numbers(&mut transaction, waf, 0).await?;
        let found = sqlx::query_as!(
            Row,
            r#"SELECT id, revision, address, domain, bt, rule, reason, source, start_ms, until_ms,
                   lifted FROM ban
               WHERE waf_id = $1 AND NOT lifted AND until_ms > $2
                   AND ($3::bigint IS NULL OR id = $3) AND ($4::text IS NULL OR address = $4)
                   AND ($5::text IS NULL OR domain = $5) AND ($6::smallint IS NULL OR bt = $6)
               ORDER BY id"#,
            waf.0,
            now_ms,
            id,
            address,
            domain,
            bt
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = found.into_iter().map(BanRow::try_from).collect::<Result<Vec<_>, _>>()?;
        action.before = bans_json(&rows);
        log(&mut transaction, waf, &action).await?;
        let mut revision = take_numbers(&mut transaction, waf, rows.len()).await?;
        for row in &mut rows {
            revision += 1;
            sqlx::query!(
                "UPDATE ban SET lifted = true, revision = $1 WHERE id = $2",
                revision,
                row.id
            )
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
            (row.lifted, row.revision) = (true, from_row("ban", revision)?);
        }
        trim(&mut transaction, waf, now_ms, BANS_MAX, GONE_BANS_MAX).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(rows)
    }

    async fn bans(
        &self,
        waf: WafId,
        filter: &BanFilter,
        now_ms: i64,
        limit: u32,
    ) -> Result<(BanState, Vec<BanRow>), StoreError> {
        let mut snapshot = self.snapshot().await?;
        let state = sqlx::query!("SELECT revision, floor FROM ban_state WHERE waf_id = $1", waf.0)
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(failed)?;
        let state = match state {
            Some(row) => BanState {
                revision: from_row("ban_state", row.revision)?,
                floor: from_row("ban_state", row.floor)?,
            },
            None => BanState::default(),
        };
        let (after, bt) = (to_row(filter.after), filter.bt.map(i16::from));
        let address = filter.address.as_ref().map(<[u8; 16]>::as_slice);
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, revision, address, domain, bt, rule, reason, source, start_ms, until_ms,
                   lifted FROM ban
               WHERE waf_id = $1 AND revision > $2 AND kept_until_ms > $3
                   AND ($4::boolean OR (NOT lifted AND until_ms > $3))
                   AND ($5::bytea IS NULL OR (first <= $5 AND last >= $5)) AND ($6::smallint IS NULL OR bt = $6)
               ORDER BY revision LIMIT $7"#,
            waf.0,
            after,
            now_ms,
            filter.gone,
            address,
            bt,
            i64::from(limit)
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(failed)?;
        Ok((state, rows.into_iter().map(BanRow::try_from).collect::<Result<_, _>>()?))
    }

    async fn count_bans(&self, now_ms: i64) -> Result<Vec<(WafId, u64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT waf.id, (SELECT count(*) FROM ban
                   WHERE waf_id = waf.id AND NOT lifted AND until_ms > $1) AS "bans!"
               FROM waf ORDER BY id"#,
            now_ms
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        rows.into_iter().map(|row| Ok((WafId(row.id), from_row("ban", row.bans)?))).collect()
    }

    async fn forget_bans(&self, now_ms: i64, most: u32) -> Result<u64, StoreError> {
        // Said twice: the second one is asked again of a row that was extended while this
        // statement waited for it.
        sqlx::query!(
            "DELETE FROM ban WHERE id IN (SELECT id FROM ban WHERE kept_until_ms <= $1 LIMIT $2)
                 AND kept_until_ms <= $1",
            now_ms,
            i64::from(most)
        )
        .execute(&self.pool)
        .await
        .map(|done| done.rows_affected())
        .map_err(failed)
    }
}

/// Writes an entry of the action log at the present generation.
async fn log(connection: &mut PgConnection, waf: WafId, action: &Action) -> Result<(), StoreError> {
    let logged = sqlx::query!(
        "INSERT INTO action (waf_id, at_ms, author, address, call, generation, before, after)
         SELECT id, $2, $3, $4, $5, generation, $6, $7 FROM waf WHERE id = $1",
        waf.0,
        action.at_ms,
        action.author,
        action.address,
        action.call,
        action.before,
        action.after
    )
    .execute(connection)
    .await
    .map_err(failed)?;
    if logged.rows_affected() == 0 { Err(StoreError::NoWaf(waf)) } else { Ok(()) }
}

/// The number before `count` new ones.
async fn take_numbers(
    connection: &mut PgConnection,
    waf: WafId,
    count: usize,
) -> Result<i64, StoreError> {
    let count = to_row(count as u64);
    let last = sqlx::query_scalar!(
        "INSERT INTO ban_state (waf_id, revision, floor) VALUES ($1, $2, 0)
         ON CONFLICT (waf_id) DO UPDATE SET revision = ban_state.revision + excluded.revision
         RETURNING revision",
        waf.0,
        count
    )
    .fetch_one(connection)
    .await
    .map_err(|why| no_waf(why, waf))?;
    Ok(last - count)
}

/// Keeps bans in force, and those that are gone, within their limits.
async fn trim(
    connection: &mut PgConnection,
    waf: WafId,
    now_ms: i64,
    in_force_max: u32,
    gone_max: u32,
) -> Result<(), StoreError> {
    let in_force = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM ban WHERE waf_id = $1 AND NOT lifted AND until_ms > $2"#,
        waf.0,
        now_ms
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let excess = in_force - i64::from(in_force_max);
    if excess > 0 {
        sqlx::query!(
            "DELETE FROM ban WHERE id IN (SELECT id FROM ban
                 WHERE waf_id = $1 AND NOT lifted AND until_ms > $2 ORDER BY until_ms LIMIT $3)",
            waf.0,
            now_ms,
            excess
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    // Lifted ones; those that merely ended are forgotten with time.
    let gone = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM ban WHERE waf_id = $1 AND lifted"#,
        waf.0
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let excess = gone - i64::from(gone_max);
    if excess > 0 {
        sqlx::query!(
            "UPDATE ban_state SET floor = (SELECT max(revision) FROM (SELECT revision FROM ban
                 WHERE waf_id = $1 AND lifted ORDER BY revision LIMIT $2) AS gone) WHERE waf_id = $1",
            waf.0,
            excess
        )
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        sqlx::query!(
            "DELETE FROM ban WHERE waf_id = $1 AND lifted
                 AND revision <= (SELECT floor FROM ban_state WHERE waf_id = $1)",
            waf.0
        )
        .execute(connection)
        .await
        .map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::story;

    use super::*;
    use crate::Mode;

    /// The limits themselves are too large for a test; their meaning is not.
    #[tokio::test]
    async fn beyond_the_limits_the_shortest_and_the_oldest_go() {
        const WAF: WafId = WafId::DEFAULT;
        let url = support::Postgres::shared().fresh_database();
        let store = Postgres::open(&url, Mode::ReadWrite { now_ms: 1 }).await.unwrap();
        let bans: Vec<NewBan> =
            (0..9).map(|n| story::bans::ban(&format!("1.1.1.{n}"), 1_000 + n)).collect();
        store.add_bans(WAF, &bans, 1, Action::default()).await.unwrap();
        for id in [2, 4, 6] {
            let lifted = store.lift_bans(WAF, &Lift::Id(id), 1, Action::default()).await;
            assert_eq!(lifted.unwrap().len(), 1);
        }
        let mut connection = store.pool.acquire().await.unwrap();
        trim(&mut connection, WAF, 1, 4, 2).await.unwrap();
        drop(connection);
        let all = BanFilter { gone: true, ..BanFilter::default() };
        let (state, rows) = store.bans(WAF, &all, 1, 100).await.unwrap();
        // Six were in force, of which the two that end first go; of three lifted ones the
        // first, and who has not heard of that has to read everything.
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids, [5, 7, 8, 9, 4, 6]);
        assert_eq!(state, BanState { revision: 12, floor: 10 });
        assert_eq!(store.count_bans(1).await.unwrap(), [(WAF, 4)]);
    }

    /// Waits until somebody waits for a lock of this database.
    async fn somebody_waits(store: &Postgres) {
        let waits = async {
            loop {
                let waiting: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'",
                )
                .fetch_one(&store.pool)
                .await
                .unwrap();
                if waiting > 0 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(4), waits).await.expect("nobody waits");
    }

    #[tokio::test]
    async fn a_ban_that_is_extended_meanwhile_is_not_forgotten() {
        const WAF: WafId = WafId::DEFAULT;
        let url = support::Postgres::shared().fresh_database();
        let store = Postgres::open(&url, Mode::ReadWrite { now_ms: 1 }).await.unwrap();
        let ban = story::bans::ban("1.1.1.1", 1_000);
        store.add_bans(WAF, &[ban], 1, Action::default()).await.unwrap();
        // As `add_bans` extends it, held open.
        let mut extending = store.begin().await.unwrap();
        sqlx::query("UPDATE ban SET until_ms = 9000, kept_until_ms = 9000")
            .execute(&mut *extending)
            .await
            .unwrap();
        let forgetting = store.forget_bans(2_000, 10);
        let committing = async {
            somebody_waits(&store).await;
            extending.commit().await.unwrap();
        };
        let (forgotten, ()) = tokio::join!(forgetting, committing);
        assert_eq!(forgotten.unwrap(), 0);
        assert_eq!(store.count_bans(2_000).await.unwrap(), [(WAF, 1)]);
    }

    #[tokio::test]
    async fn of_two_who_lift_a_ban_one_does() {
        const WAF: WafId = WafId::DEFAULT;
        let url = support::Postgres::shared().fresh_database();
        let store = Postgres::open(&url, Mode::ReadWrite { now_ms: 1 }).await.unwrap();
        let ban = story::bans::ban("1.1.1.1", 1_000);
        let id = store.add_bans(WAF, &[ban], 1, Action::default()).await.unwrap()[0].id;
        let mut first = store.begin().await.unwrap();
        take_numbers(&mut first, WAF, 1).await.unwrap();
        sqlx::query("UPDATE ban SET lifted = true, revision = 2")
            .execute(&mut *first)
            .await
            .unwrap();
        let wanted = Lift::Id(id);
        let second = store.lift_bans(WAF, &wanted, 2, Action::default());
        let committing = async {
            somebody_waits(&store).await;
            first.commit().await.unwrap();
        };
        let (lifted, ()) = tokio::join!(second, committing);
        assert_eq!(lifted.unwrap(), []);
        let nobody = store.lift_bans(WafId(77), &wanted, 2, Action::default()).await;
        assert!(matches!(nobody, Err(StoreError::NoWaf(WafId(77)))), "{nobody:?}");
    }

    /// Who commits a million entries holds the row of the WAF id for seconds.
    #[tokio::test(flavor = "multi_thread")]
    async fn bans_do_not_wait_for_a_commit() {
        use std::sync::{Arc, Mutex, mpsc};

        use store::Store as _;

        const WAF: WafId = WafId::DEFAULT;
        let url = support::Postgres::shared().fresh_database();
        let store = Arc::new(Postgres::open(&url, Mode::ReadWrite { now_ms: 1 }).await.unwrap());
        let (told, writes) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let (told, held) = (Mutex::new(told), Mutex::new(held));
        let progress = store::Progress(Some(Arc::new(move |_| {
            told.lock().unwrap().send(()).unwrap();
            let _ = tokio::task::block_in_place(|| held.lock().unwrap().recv());
        })));
        let commit = store::Commit {
            base: store.pulse().await.unwrap().waf(WAF).unwrap().revision,
            changes: vec![store::Change::AppendBlockEntries(vec!["1.1.1.1".to_owned()])],
            delta: None,
            forced: false,
            next_rule_id: 1,
            action: Action::default(),
            answer: None,
            progress,
        };
        let committing = Arc::clone(&store);
        let committing = tokio::spawn(async move { committing.commit(WAF, commit).await });
        tokio::task::block_in_place(|| writes.recv()).unwrap();
        let ban = story::bans::ban("1.1.1.1", 1_000);
        let banned = store.add_bans(WAF, &[ban], 1, Action::default()).await;
        drop(go_on);
        assert_eq!(banned.unwrap().len(), 1);
        committing.await.unwrap().unwrap();
    }
}
