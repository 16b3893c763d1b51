//! The rows of exclusions and of behavioural analysis.

use std::collections::HashMap;

use policy::{ExclusionText, Training};
use sqlx::SqliteConnection;
use store::{
    AnalysisChange, Model, ModelRow, Part, Provenance, Reported, StoreError, StoredAnalysis, WafId,
};

use super::{failed, from_row, to_row};

/// Every exclusion, in the order of ids.
pub(super) async fn load_exclusions(
    connection: &mut SqliteConnection,
    waf: WafId,
) -> Result<Vec<(u64, ExclusionText)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, rl_id, domain, mz, extension, pattern, comment, active AS "active: bool"
           FROM exclusion WHERE waf_id = $1 ORDER BY id"#,
        waf.0
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            let id = from_row(&format!("exclusion {}", row.id), row.id)?;
            let text = ExclusionText {
                rl_id: row.rl_id,
                domain: row.domain,
                mz: row.mz,
                extension: row.extension,
                pattern: row.pattern,
                comment: row.comment,
                active: row.active,
            };
            Ok((id, text))
        })
        .collect()
}

/// What behavioural analysis is told.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    waf: WafId,
) -> Result<StoredAnalysis, StoreError> {
    let next_exclusion_id =
        sqlx::query_scalar!("SELECT next_exclusion_id FROM waf WHERE id = $1", waf.0)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
    let mlc = sqlx::query!(
        r#"SELECT name, value, active AS "active: bool" FROM mlc_setting
           WHERE waf_id = $1 ORDER BY name"#,
        waf.0
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let vhosts =
        sqlx::query_scalar!("SELECT name FROM vhost WHERE waf_id = $1 ORDER BY position", waf.0)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    let models = sqlx::query!(
        "SELECT vhost, version, size, sha256, author, updated_ms FROM model
         WHERE waf_id = $1 ORDER BY vhost",
        waf.0
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let models = models.into_iter().map(|row| {
        let name = format!("model {}", row.vhost);
        Ok(ModelRow {
            version: from_row(&name, row.version)?,
            size: from_row(&name, row.size)?,
            vhost: row.vhost,
            sha256: row.sha256,
            author: row.author,
            updated_ms: row.updated_ms,
        })
    });
    Ok(StoredAnalysis {
        next_exclusion_id: from_row("waf", next_exclusion_id)?,
        mlc: mlc.into_iter().map(|row| (row.name, row.value, row.active)).collect(),
        vhosts,
        models: models.collect::<Result<_, StoreError>>()?,
    })
}

/// Writes an exclusion; later ones get larger ids.
pub(super) async fn put_exclusion(
    connection: &mut SqliteConnection,
    waf: WafId,
    id: u64,
    exclusion: &ExclusionText,
    author: &str,
    at_ms: i64,
) -> Result<(), StoreError> {
    let id = to_row(id);
    sqlx::query!(
        "INSERT INTO exclusion (waf_id, id, rl_id, domain, mz, extension, pattern, comment,
             active, author, created_ms, updated_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
         ON CONFLICT (waf_id, id) DO UPDATE SET rl_id = excluded.rl_id,
             domain = excluded.domain, mz = excluded.mz, extension = excluded.extension,
             pattern = excluded.pattern, comment = excluded.comment, active = excluded.active,
             author = excluded.author, updated_ms = excluded.updated_ms",
        waf.0,
        id,
        exclusion.rl_id,
        exclusion.domain,
        exclusion.mz,
        exclusion.extension,
        exclusion.pattern,
        exclusion.comment,
        exclusion.active,
        author,
        at_ms
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query!(
        "UPDATE waf SET next_exclusion_id = $1 + 1 WHERE id = $2 AND next_exclusion_id <= $1",
        id,
        waf.0
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Carries out one change of a commit.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    waf: WafId,
    change: &AnalysisChange,
    author: &str,
    at_ms: i64,
) -> Result<(), StoreError> {
    let done = match change {
        AnalysisChange::PutMlc { name, value, active } => {
            sqlx::query!(
                "INSERT INTO mlc_setting (waf_id, name, value, active, author, created_ms,
                     updated_ms)
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
        AnalysisChange::RemoveMlc(name) => {
            sqlx::query!("DELETE FROM mlc_setting WHERE waf_id = $1 AND name = $2", waf.0, name)
                .execute(connection)
                .await
        }
        AnalysisChange::PlaceVhosts(vhosts) => return place_vhosts(connection, waf, vhosts).await,
        AnalysisChange::OrderTraining { vhost, order } => {
            return match training(connection, waf, vhost).await? {
                Some(known) => {
                    put_training(connection, waf, vhost, known.ordered(*order, at_ms)).await
                }
                None => Ok(()),
            };
        }
        AnalysisChange::PutModel { vhost, sha256, bytes } => {
            let (size, bytes) = (to_row(bytes.len() as u64), &**bytes);
            sqlx::query!(
                "INSERT INTO model (waf_id, vhost, version, size, sha256, author, updated_ms, bytes)
                 SELECT $1, $2, generation + 1, $3, $4, $5, $6, $7 FROM waf WHERE id = $1
                 ON CONFLICT (waf_id, vhost) DO UPDATE SET version = excluded.version,
                     size = excluded.size, sha256 = excluded.sha256, author = excluded.author,
                     updated_ms = excluded.updated_ms, bytes = excluded.bytes",
                waf.0,
                vhost,
                size,
                sha256,
                author,
                at_ms,
                bytes
            )
            .execute(connection)
            .await
        }
        AnalysisChange::CopyModel { src, dst } => {
            sqlx::query!(
                "INSERT INTO model (waf_id, vhost, version, size, sha256, author, updated_ms, bytes)
                 SELECT $1, $2, waf.generation + 1, size, sha256, $3, $4, bytes
                 FROM model JOIN waf ON waf.id = model.waf_id
                 WHERE waf_id = $1 AND vhost = $5
                 ON CONFLICT (waf_id, vhost) DO UPDATE SET version = excluded.version,
                     size = excluded.size, sha256 = excluded.sha256, author = excluded.author,
                     updated_ms = excluded.updated_ms, bytes = excluded.bytes",
                waf.0,
                dst,
                author,
                at_ms,
                src
            )
            .execute(connection)
            .await
        }
        AnalysisChange::RemoveModel(vhost) => {
            sqlx::query!("DELETE FROM model WHERE waf_id = $1 AND vhost = $2", waf.0, vhost)
                .execute(connection)
                .await
        }
    };
    done.map(drop).map_err(failed)
}

async fn place_vhosts(
    connection: &mut SqliteConnection,
    waf: WafId,
    vhosts: &[String],
) -> Result<(), StoreError> {
    let names = serde_json::to_string(vhosts).expect("texts have a JSON form");
    sqlx::query!(
        "DELETE FROM vhost
         WHERE waf_id = $1 AND name NOT IN (SELECT value FROM json_each($2))",
        waf.0,
        names
    )
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let fresh = Training::default();
    let (state, days) = (fresh.state.as_str(), i64::from(fresh.duration_days));
    sqlx::query!(
        "INSERT INTO vhost (waf_id, name, position, state, duration_days, progress, samples)
         SELECT $1, value, key, $2, $3, 0, 0 FROM json_each($4) WHERE true
         ON CONFLICT (waf_id, name) DO UPDATE SET position = excluded.position",
        waf.0,
        state,
        days,
        names
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// A row of a virtual host.
struct VhostRow {
    name: String,
    state: String,
    duration_days: i64,
    started_ms: Option<i64>,
    progress: i64,
    samples: i64,
}

impl VhostRow {
    fn training(self) -> Result<(String, Training), StoreError> {
        let row = format!("virtual host {}", self.name);
        let corrupt =
            |reason: &str| StoreError::Corrupt { row: row.clone(), reason: reason.to_owned() };
        let training = Training {
            state: self.state.parse().map_err(|_| corrupt("there is no such state"))?,
            duration_days: self.duration_days.try_into().map_err(|_| corrupt("duration_days"))?,
            started_ms: self.started_ms,
            progress: self.progress.try_into().map_err(|_| corrupt("progress"))?,
            samples: from_row(&row, self.samples)?,
        };
        Ok((self.name, training))
    }
}

/// The training of every listed virtual host, in the order of the list.
pub(super) async fn trainings(
    connection: &mut SqliteConnection,
    waf: WafId,
) -> Result<Vec<(String, Training)>, StoreError> {
    let rows = sqlx::query_as!(
        VhostRow,
        "SELECT name, state, duration_days, started_ms, progress, samples FROM vhost
         WHERE waf_id = $1 ORDER BY position",
        waf.0
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.into_iter().map(VhostRow::training).collect()
}

/// The training of one, which nobody else changes before the transaction ends.
async fn training(
    connection: &mut SqliteConnection,
    waf: WafId,
    vhost: &str,
) -> Result<Option<Training>, StoreError> {
    let row = sqlx::query_as!(
        VhostRow,
        "SELECT name, state, duration_days, started_ms, progress, samples FROM vhost
         WHERE waf_id = $1 AND name = $2",
        waf.0,
        vhost
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| row.training().map(|(_, training)| training)).transpose()
}

async fn put_training(
    connection: &mut SqliteConnection,
    waf: WafId,
    vhost: &str,
    training: Training,
) -> Result<(), StoreError> {
    let state = training.state.as_str();
    let (days, progress) = (i64::from(training.duration_days), i64::from(training.progress));
    let samples = to_row(training.samples);
    sqlx::query!(
        "UPDATE vhost SET state = $1, duration_days = $2, started_ms = $3, progress = $4,
             samples = $5
         WHERE waf_id = $6 AND name = $7",
        state,
        days,
        training.started_ms,
        progress,
        samples,
        waf.0,
        vhost
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}

/// Takes down how far a training is; the caller's transaction makes it one step.
pub(super) async fn report_training(
    connection: &mut SqliteConnection,
    waf: WafId,
    vhost: &str,
    progress: u8,
    samples: u64,
) -> Result<Reported, StoreError> {
    let Some(known) = training(connection, waf, vhost).await? else {
        return Ok(Reported::NoVhost);
    };
    match known.reported(progress, samples) {
        Ok(training) => {
            put_training(connection, waf, vhost, training).await?;
            Ok(Reported::Kept(training))
        }
        Err(why) => Ok(Reported::Refused(why)),
    }
}

/// A model with its bytes.
pub(super) async fn model(
    connection: &mut SqliteConnection,
    waf: WafId,
    vhost: &str,
) -> Result<Option<Model>, StoreError> {
    let row = sqlx::query!(
        "SELECT version, size, sha256, author, updated_ms, bytes FROM model
         WHERE waf_id = $1 AND vhost = $2",
        waf.0,
        vhost
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let name = format!("model {vhost}");
    row.map(|row| {
        let known = ModelRow {
            vhost: vhost.to_owned(),
            version: from_row(&name, row.version)?,
            size: from_row(&name, row.size)?,
            sha256: row.sha256,
            author: row.author,
            updated_ms: row.updated_ms,
        };
        Ok(Model { row: known, bytes: row.bytes })
    })
    .transpose()
}

/// Who wrote the elements of a part that is kept here.
pub(super) async fn provenance(
    connection: &mut SqliteConnection,
    waf: WafId,
    part: Part,
) -> Result<HashMap<String, Provenance>, StoreError> {
    let row = |name: String, author: String, created_ms: i64, updated_ms: i64| {
        (name, Provenance { author, created_ms, updated_ms })
    };
    let rows =
        match part {
            Part::Exclusions => {
                sqlx::query!(
                    "SELECT id, author, created_ms, updated_ms FROM exclusion WHERE waf_id = $1",
                    waf.0
                )
                .map(|r| row(r.id.to_string(), r.author, r.created_ms, r.updated_ms))
                .fetch_all(connection)
                .await
            }
            Part::Mlc => sqlx::query!(
                "SELECT name, author, created_ms, updated_ms FROM mlc_setting WHERE waf_id = $1",
                waf.0
            )
            .map(|r| row(r.name, r.author, r.created_ms, r.updated_ms))
            .fetch_all(connection)
            .await,
            Part::Settings | Part::BlockList | Part::Rules => Ok(Vec::new()),
        };
    Ok(rows.map_err(failed)?.into_iter().collect())
}
