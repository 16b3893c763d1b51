//! The use cases: read the policy, change it, wait for a change.
//!
//! Knows neither HTTP nor SQL. Invariants:
//!
//! * Every policy that leaves this module was understood by the `policy` crate in
//!   full, whatever the store held.
//! * A refused change leaves no trace; an accepted one is one commit.
//! * Writes of this process happen one after the other; writes of another process
//!   are noticed through the revision, and a change computed from an old one is
//!   computed anew.

mod change;
mod delta;
mod state;
mod step;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::{Danger, Invalid};
use tokio::sync::{Mutex, RwLock};
use wire::v1::{BlockListWrite, RuleWrite, SettingsWrite};
use wire::v2::Revision;

pub use state::Current;
pub use watch::Known;

use crate::store::{Action, Commit, LoggedDelta, Store, StoreError};

/// How long a change is computed anew because other processes keep writing first.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(5);
/// Longest pause before that; it grows by a millisecond each time.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(20);

/// A write, understood in form.
#[derive(Debug, Clone)]
pub enum Write {
    /// `set_dyn_settings`
    Settings(SettingsWrite),
    /// `set_dyn_bl`
    BlockList(BlockListWrite),
    /// `set_dyn_erl`
    Rules(Box<RuleWrite>),
}

impl Write {
    /// The name of the call, as in the action log.
    pub const fn call(&self) -> &'static str {
        match self {
            Self::Settings(_) => "set_dyn_settings",
            Self::BlockList(_) => "set_dyn_bl",
            Self::Rules(_) => "set_dyn_erl",
        }
    }
}

/// Who writes.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Name of the key.
    pub key: String,
    /// The client's address.
    pub address: String,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The revision that holds the result.
    pub revision: Revision,
    /// Whether the write made this revision; false where it asked for what was there.
    pub moved: bool,
    /// The rule that was added or changed.
    pub id: Option<u64>,
}

/// Why a call cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Values without meaning.
    #[error("{} value(s) refused, first: {}", .0.len(), .0[0])]
    Invalid(Vec<Invalid>),
    /// What the change is about does not exist.
    #[error("{0}")]
    NotFound(Invalid),
    /// The resulting policy is almost certainly a mistake.
    #[error("{0}")]
    NeedsForce(Danger),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task died.
    #[error("a task of this call did not finish")]
    Died(#[from] tokio::task::JoinError),
}

/// The one service of a process.
pub struct Service {
    store: Arc<dyn Store>,
    current: RwLock<Option<Arc<Current>>>,
    writing: Mutex<()>,
    deltas: delta::Kept,
    revision: tokio::sync::watch::Sender<Revision>,
}

impl Service {
    /// A service over `store`; nothing is read yet.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            current: RwLock::new(None),
            writing: Mutex::new(()),
            deltas: delta::Kept::default(),
            revision: tokio::sync::watch::Sender::new(Revision::default()),
        })
    }

    /// The store, for what needs no understanding: keys, reports, the action log.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The stored policy, understood; read from the store only if it moved.
    ///
    /// Reading it goes on to its end also if the caller stops waiting: callers that
    /// give up before a large policy is read would begin it anew for ever.
    ///
    /// # Errors
    /// The store does not answer or holds a row without meaning.
    pub async fn current(self: &Arc<Self>) -> Result<Arc<Current>, ServiceError> {
        let stored = self.store.revision().await?;
        if let Some(current) = self.current.read().await.clone()
            && current.revision == stored
        {
            return Ok(current);
        }
        let service = Arc::clone(self);
        tokio::spawn(async move { service.load().await }).await?
    }

    /// Reads the policy; one caller does, the others wait for the lock and find it.
    async fn load(&self) -> Result<Arc<Current>, ServiceError> {
        let mut cached = self.current.write().await;
        // Another caller may have loaded it while this one waited for the lock.
        let stored = self.store.revision().await?;
        if let Some(current) = cached.clone()
            && current.revision == stored
        {
            return Ok(current);
        }
        let stored = self.store.load().await?;
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
        let (service, write) = (Arc::clone(self), Arc::new(write));
        tokio::spawn(async move { service.write_in_turn(actor, write, force).await }).await?
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
        let computed = {
            let (base, write) = (Arc::clone(&base), Arc::clone(write));
            // A million addresses are parsed here; other requests must not wait for it.
            tokio::task::spawn_blocking(move || change::compute(&base, &write, force)).await??
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
                at_ms: now_ms(),
                author: actor.key.clone(),
                address: actor.address.clone(),
                call: write.call().to_owned(),
                before: outcome.before.to_string(),
                after: outcome.after.to_string(),
                ..Action::default()
            },
        };
        let revision = self.store.commit(commit).await?;
        let forced_at = if outcome.forced { revision.generation } else { base.forced_at };
        let current =
            Current::new(revision, forced_at, outcome.state, outcome.policy, outcome.step.tally);
        *self.current.write().await = Some(Arc::new(current));
        self.announce(revision);
        Ok(Written { revision, moved: true, id: computed.id })
    }

    /// Wakes who waits for another revision; whether this is one.
    fn announce(&self, revision: Revision) -> bool {
        let moved = |known: &mut Revision| std::mem::replace(known, revision) != revision;
        let is_other = self.revision.send_if_modified(moved);
        if is_other {
            metrics::gauge!("nwaf_api_generation").set(revision.generation as f64);
            metrics::gauge!("nwaf_api_session").set(revision.session as f64);
        }
        is_other
    }
}

/// Unix milliseconds of now.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
