//! Answering a node with what changed since the bundle it has.
//!
//! The changes come from the store, where each write left its own: a node is answered
//! the same by every process and after every start. An answer costs as much as the
//! changes, and is made once for all nodes that have the same bundle.

use std::collections::HashMap;
use std::sync::Arc;

use store::{DELTAS_MAX, LoggedDelta};
use tokio::sync::Mutex;
use wire::v2::{Changes, DELTA_BYTES, Delta, Revision};

use super::{Current, Known, ServiceError, Tenant};

/// Bytes of answers that are kept for further nodes.
const KEPT_BYTES: usize = DELTA_BYTES;

/// An answer.
#[derive(Debug, Clone)]
struct Made {
    /// The digest of the bundle it belongs to.
    base: String,
    json: Arc<[u8]>,
}

/// Answers that lead to one revision, by the generation they begin at.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<(Revision, HashMap<u64, Option<Made>>)>);

impl Tenant {
    /// The JSON of the delta from what a node has to `current`; `None` where the changes
    /// are not known any more, belong to another content than the node's, or are more than
    /// the bundle.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn delta(
        &self,
        known: &Known,
        current: &Arc<Current>,
    ) -> Result<Option<Arc<[u8]>>, ServiceError> {
        let Known { revision: from, digest } = known;
        let to = current.revision;
        if from.session != to.session || from.generation >= to.generation {
            return Ok(None);
        }
        // Not asked of the store, which would read the whole log, nor remembered: anybody
        // can name any number of generations that are long gone.
        if to.generation - from.generation > u64::from(DELTAS_MAX) {
            return Ok(None);
        }
        // Held while the answer is made: others who need the same wait for it.
        let mut kept = self.deltas.0.lock().await;
        if kept.0 != to {
            *kept = (to, HashMap::new());
        }
        let made = match kept.1.get(&from.generation) {
            Some(made) => made.clone(),
            None => {
                let made = self.make_delta(*from, current).await?;
                let size = |made: &Option<Made>| made.as_ref().map_or(0, |made| made.json.len());
                let total: usize = kept.1.values().map(size).sum();
                if total + size(&made) <= KEPT_BYTES {
                    kept.1.insert(from.generation, made.clone());
                }
                made
            }
        };
        drop(kept);
        let fits = |made: &Made| {
            digest.as_ref().is_none_or(|digest| digest.eq_ignore_ascii_case(&made.base))
        };
        Ok(made.filter(fits).map(|made| made.json))
    }

    async fn make_delta(
        &self,
        from: Revision,
        current: &Arc<Current>,
    ) -> Result<Option<Made>, ServiceError> {
        let to = current.revision;
        let logged = self.store.deltas(self.waf(), from, to.generation).await?;
        if logged.len() as u64 != to.generation - from.generation {
            return Ok(None);
        }
        let current = Arc::clone(current);
        let made = tokio::task::spawn_blocking(move || join(from, logged, &current)).await?;
        Ok(made.unwrap_or_else(|why| {
            // A bundle can still be had, and the next change may empty the log anyway.
            tracing::error!(error = %why, %from, %to, "logged changes cannot be read");
            None
        }))
    }
}

/// Makes one delta of the changes from `from` on, which are without a gap.
fn join(
    from: Revision,
    logged: Vec<LoggedDelta>,
    current: &Current,
) -> Result<Option<Made>, serde_json::Error> {
    let Some(base) = logged.first().map(|first| first.base.clone()) else { return Ok(None) };
    let steps: Result<Vec<Changes>, _> =
        logged.iter().map(|step| serde_json::from_str(&step.changes)).collect();
    let delta = Delta {
        from,
        base: base.clone(),
        to: current.revision,
        forced_at: current.forced_at,
        count: current.tally().count(),
        digest: current.tally().digest(),
        changes: Changes::joined(steps?),
    };
    let json = serde_json::to_vec(&delta)?;
    let bundle_bytes = current.tally().bytes();
    let is_worth_it = json.len() <= DELTA_BYTES && (json.len() as u64) < bundle_bytes;
    Ok(is_worth_it.then(|| Made { base, json: json.into() }))
}
