//! Waiting for a change.
//!
//! Changes of this process wake waiters at once; [`Service::follow`] looks for those
//! of other processes on the same database.

use std::sync::Arc;
use std::time::Duration;

use store::Role;
use tokio::sync::watch;
use wire::v2::Revision;

use super::{Current, Service, ServiceError, Tenant};

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

impl Tenant {
    /// The policy once it is not the `known` one; `None` if that does not happen
    /// within `wait` or before `stop` turns true.
    ///
    /// # Errors
    /// As [`Tenant::current`].
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
}

impl Service {
    /// Announces what other processes write, until `stop` turns true.
    pub async fn follow(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(FOLLOW_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known_role = self.role();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let pulse = match self.pulse().await {
                Ok(pulse) => pulse,
                Err(why) => {
                    tracing::debug!(error = %why, "the store was not asked where it stands");
                    continue;
                }
            };
            let was_replica = matches!(known_role, Role::Replica { .. });
            if was_replica != matches!(pulse.role, Role::Replica { .. }) {
                let now = if was_replica {
                    "primary: it takes writes"
                } else {
                    "a replica: it takes no writes"
                };
                tracing::warn!("the database is now {now}");
            }
            known_role = pulse.role;
            self.keys_version.send_if_modified(|known| {
                std::mem::replace(known, pulse.keys_version) != pulse.keys_version
            });
            for tenant in self.loaded_tenants() {
                let Some(state) = pulse.waf(tenant.waf()) else {
                    self.forget_tenant(tenant.waf());
                    continue;
                };
                tenant.announce_bans(state.bans);
                // Loaded ahead of the nodes that were woken, and although they may leave.
                if tenant.announce(state.revision)
                    && let Err(why) = tenant.current().await
                {
                    tracing::error!(
                        error = %why, waf = state.name, revision = %state.revision,
                        "the policy cannot be served"
                    );
                }
            }
        }
    }
}
