//! Waiting for a change.
//!
//! Changes of this process wake waiters at once; [`Service::follow`] looks for those
//! of other processes on the same database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use wire::v2::Revision;

use super::{Current, Service, ServiceError};

/// How often the store is asked whether another process wrote.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its revision.
    pub revision: Revision,
    /// The digest of its content, where the node tells.
    pub digest: Option<String>,
}

impl Service {
    /// The policy once it is not the `known` one; `None` if that does not happen
    /// within `wait` or before `stop` turns true.
    ///
    /// # Errors
    /// As [`Service::current`].
    pub async fn changed(
        self: &Arc<Self>,
        known: &Known,
        wait: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Option<Arc<Current>>, ServiceError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut revision = self.revision.subscribe();
        loop {
            // Marked as seen before the store is asked: a change in between is not lost.
            revision.mark_unchanged();
            let current = self.current().await?;
            if current.revision != known.revision {
                return Ok(Some(current));
            }
            if let Some(digest) = &known.digest
                && !current.tally().digest().eq_ignore_ascii_case(digest)
            {
                return Ok(Some(current));
            }
            tokio::select! {
                _ = revision.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(None),
                _ = stop.wait_for(|stop| *stop) => return Ok(None),
            }
        }
    }

    /// Announces what other processes write, until `stop` turns true.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(FOLLOW_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            match self.store.revision().await {
                Ok(stored) => {
                    // Loaded ahead of the nodes that were woken, and although they may leave.
                    if self.announce(stored)
                        && let Err(why) = self.current().await
                    {
                        tracing::error!(error = %why, revision = %stored, "the policy cannot be served");
                    }
                }
                Err(why) => {
                    tracing::debug!(error = %why, "the store was not asked for its revision")
                }
            }
        }
    }
}
