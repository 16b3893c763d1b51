//! The policy of one WAF id in memory: read when it moved, changed one write after the
//! other.

use std::sync::Arc;
use std::time::Duration;

use store::{Action, Commit, LoggedDelta, Store, StoreError, WafId};
use tokio::sync::{Mutex, RwLock};
use wire::v2::Revision;

use super::pulse::Pulses;
use super::{Actor, Current, ServiceError, Write, Written, change, delta, now_ms};

/// How long a change is computed anew because other processes keep writing first.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest pause before that; it grows by a millisecond each time.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(20);

/// The policy of one WAF id.
pub struct Tenant {
    waf: WafId,
    pub(super) store: Arc<dyn Store>,
    pulses: Arc<Pulses>,
    current: RwLock<Option<Arc<Current>>>,
    writing: Mutex<()>,
    pub(super) deltas: delta::Kept,
    pub(super) revision: tokio::sync::watch::Sender<Revision>,
}

impl Tenant {
    /// Nothing is read yet.
    pub(super) fn new(waf: WafId, store: Arc<dyn Store>, pulses: Arc<Pulses>) -> Arc<Self> {
        Arc::new(Self {
            waf,
            store,
            pulses,
            current: RwLock::new(None),
            writing: Mutex::new(()),
            deltas: delta::Kept::default(),
            revision: tokio::sync::watch::Sender::new(Revision::default()),
        })
    }

    /// The store, for what needs no understanding.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Whose policy it is.
    pub const fn waf(&self) -> WafId {
        self.waf
    }

    /// Its place in history, as stored.
    ///
    /// # Errors
    /// The store does not answer, or has no such WAF id any more.
    pub async fn stored_revision(&self) -> Result<Revision, StoreError> {
        let pulse = self.pulses.ask(&*self.store).await?;
        pulse.waf(self.waf).map(|state| state.revision).ok_or(StoreError::NoWaf(self.waf))
    }

    /// The stored policy, understood; read from the store only if it moved.
    ///
    /// Reading it goes on to its end also if the caller stops waiting: callers that
    /// give up before a large policy is read would begin it anew for ever.
    ///
    /// # Errors
    /// The store does not answer or holds a row without meaning.
    pub async fn current(self: &Arc<Self>) -> Result<Arc<Current>, ServiceError> {
        let stored = self.stored_revision().await?;
        if let Some(current) = self.current.read().await.clone()
            && current.revision == stored
        {
            return Ok(current);
        }
        let tenant = Arc::clone(self);
        tokio::spawn(async move { tenant.load().await }).await?
    }

    /// Reads the policy; one caller does, the others wait for the lock and find it.
    async fn load(&self) -> Result<Arc<Current>, ServiceError> {
        let mut cached = self.current.write().await;
        // Another caller may have loaded it while this one waited for the lock.
        let stored = self.stored_revision().await?;
        if let Some(current) = cached.clone()
            && current.revision == stored
        {
            return Ok(current);
        }
        let stored = self.store.load(self.waf).await?;
        let current =
            Arc::new(tokio::task::spawn_blocking(|| Current::from_stored(stored)).await??);
        *cached = Some(Arc::clone(&current));
        self.announce(current.revision);
        Ok(current)
    }

    /// Whether a policy is in memory.
    #[cfg(test)]
    pub fn is_loaded(&self) -> bool {
        self.current.try_read().is_ok_and(|current| current.is_some())
    }

    /// Makes a change, or refuses it as a whole. A change to what is there already
    /// succeeds and moves nothing.
    ///
    /// Goes on to its end also if the caller stops waiting.
    ///
    /// # Errors
    /// See [`ServiceError`].
    pub async fn write(
        self: &Arc<Self>,
        actor: Actor,
        write: Write,
        force: bool,
    ) -> Result<Written, ServiceError> {
        let (tenant, write) = (Arc::clone(self), Arc::new(write));
        tokio::spawn(async move { tenant.write_in_turn(actor, write, force).await }).await?
    }

    async fn write_in_turn(
        self: &Arc<Self>,
        actor: Actor,
        write: Arc<Write>,
        force: bool,
    ) -> Result<Written, ServiceError> {
        let _turn = self.writing.lock().await;
        let deadline = tokio::time::Instant::now() + CONFLICT_PATIENCE;
        let mut pause = Duration::ZERO;
        loop {
            match self.try_write(&actor, &write, force).await {
                Err(ServiceError::Store(StoreError::Conflict { .. }))
                    if tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(pause).await;
                    pause = CONFLICT_PAUSE_MAX.min(pause + Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    async fn try_write(
        self: &Arc<Self>,
        actor: &Actor,
        write: &Arc<Write>,
        force: bool,
    ) -> Result<Written, ServiceError> {
        let base = self.current().await?;
        let now_ms = now_ms();
        let context = change::Context {
            author: actor.key.clone(),
            now_ms,
            generation: base.revision.generation + 1,
            trainings: match **write {
                Write::Training(_) => self.store.trainings(self.waf).await?,
                _ => Vec::new(),
            },
        };
        let computed = {
            let (base, write) = (Arc::clone(&base), Arc::clone(write));
            // A million addresses are parsed here; other requests must not wait for it.
            tokio::task::spawn_blocking(move || change::compute(&base, &context, &write, force))
                .await??
        };
        let Some(outcome) = computed.outcome else {
            return Ok(Written { revision: base.revision, moved: false, id: computed.id });
        };
        let commit = Commit {
            base: base.revision,
            changes: outcome.changes,
            delta: outcome
                .step
                .json()
                .map(|changes| LoggedDelta { base: base.tally().digest(), changes }),
            forced: outcome.forced,
            next_rule_id: outcome.state.next_rule_id,
            action: Action {
                at_ms: now_ms,
                author: actor.key.clone(),
                address: actor.address.clone(),
                call: write.call().to_owned(),
                before: outcome.before.to_string(),
                after: outcome.after.to_string(),
                ..Action::default()
            },
        };
        let revision = self.store.commit(self.waf, commit).await?;
        let forced_at = if outcome.forced { revision.generation } else { base.forced_at };
        let current =
            Current::new(revision, forced_at, outcome.state, outcome.policy, outcome.step.tally);
        *self.current.write().await = Some(Arc::new(current));
        self.announce(revision);
        Ok(Written { revision, moved: true, id: computed.id })
    }

    /// Wakes who waits for another revision; whether this is one.
    pub(super) fn announce(&self, revision: Revision) -> bool {
        let moved = |known: &mut Revision| std::mem::replace(known, revision) != revision;
        let is_other = self.revision.send_if_modified(moved);
        if is_other {
            let waf = self.waf.to_string();
            let gauge = metrics::gauge!("nwaf_api_generation", "waf_id" => waf.clone());
            gauge.set(revision.generation as f64);
            metrics::gauge!("nwaf_api_session", "waf_id" => waf).set(revision.session as f64);
        }
        is_other
    }
}
