//! The policy of one WAF id in memory: read when it moved, changed one write after the
//! other.

use std::sync::Arc;
use std::time::Duration;

use store::{Action, Commit, KeptAnswer, LoggedDelta, Store, StoreError, WafId};
use tokio::sync::{Mutex, RwLock};
use wire::v2::{Diff, Example, Revision};

use super::change::{Computed, Prepared};
use super::pulse::Pulses;
use super::{
    Actor, Current, Foreseen, Outcome, ServiceError, Terms, Write, Written, change, delta, diff,
    now_ms,
};

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
    /// Held from before a commit until its policy is in [`Self::current`]: who sees the new
    /// revision in between waits for it, instead of reading a million entries again.
    settling: Mutex<()>,
    pub(super) deltas: delta::Kept,
    pub(super) revision: tokio::sync::watch::Sender<Revision>,
    /// The number of the last change of bans.
    bans: tokio::sync::watch::Sender<u64>,
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
            settling: Mutex::new(()),
            deltas: delta::Kept::default(),
            revision: tokio::sync::watch::Sender::new(Revision::default()),
            bans: tokio::sync::watch::Sender::new(0),
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

    /// Its place in history each time that it moves. Begins with what is known now.
    pub fn revisions(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.revision.subscribe()
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
        drop(self.settling.lock().await);
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
        terms: Terms,
    ) -> Result<Outcome, ServiceError> {
        let tenant = Arc::clone(self);
        tokio::spawn(async move {
            // What was done before need not be understood again.
            if let Some(replayed) = tenant.answered(&actor, &terms).await? {
                return Ok(replayed);
            }
            let call = write.call();
            // A million addresses are parsed here; other requests must not wait for it.
            let (prepared, terms) = tokio::task::spawn_blocking(move || {
                Prepared::new(write, &terms).map(|prepared| (prepared, terms))
            })
            .await??;
            let write = Turn { actor, call, prepared: Arc::new(prepared), terms };
            tenant.write_in_turn(&write).await
        })
        .await?
    }

    async fn write_in_turn(self: &Arc<Self>, write: &Turn) -> Result<Outcome, ServiceError> {
        // Who only asks keeps nobody waiting.
        let _turn = if write.terms.validate_only { None } else { Some(self.writing.lock().await) };
        let deadline = tokio::time::Instant::now() + CONFLICT_PATIENCE;
        let mut pause = Duration::ZERO;
        loop {
            match self.try_write(write).await {
                // Another process wrote first, or kept an answer under this key.
                Err(ServiceError::Store(StoreError::Conflict { .. } | StoreError::Exists))
                    if tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(pause).await;
                    pause = CONFLICT_PAUSE_MAX.min(pause + Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    /// The answer to this very request, should it have been made before.
    async fn answered(
        &self,
        actor: &Actor,
        terms: &Terms,
    ) -> Result<Option<Outcome>, ServiceError> {
        let Some(once) = terms.once.as_ref().filter(|_| !terms.validate_only) else {
            return Ok(None);
        };
        let kept = self.store.answer(self.waf, &actor.key, &once.key, now_ms()).await?;
        let Some(kept) = kept else { return Ok(None) };
        if kept.digest != once.digest {
            return Err(ServiceError::OtherRequest(once.key.clone()));
        }
        let written = serde_json::from_str(&kept.answer).map_err(|why| StoreError::Corrupt {
            row: format!("answer {:?}", kept.key),
            reason: why.to_string(),
        })?;
        Ok(Some(Outcome::Replayed(written)))
    }

    async fn try_write(self: &Arc<Self>, turn: &Turn) -> Result<Outcome, ServiceError> {
        let Turn { actor, terms, .. } = turn;
        if let Some(replayed) = self.answered(actor, terms).await? {
            return Ok(replayed);
        }
        let base = self.current().await?;
        if let Some(wanted) = &terms.only_at
            && !wanted.contains(&base.revision)
        {
            return Err(ServiceError::ChangedSince(base.revision));
        }
        terms.report("comparing", 0, 0);
        let now_ms = now_ms();
        let context = change::Context {
            author: actor.key.clone(),
            now_ms,
            generation: base.revision.generation + 1,
            trainings: match *turn.prepared {
                Prepared::Other(Write::Training(_)) => self.store.trainings(self.waf).await?,
                _ => Vec::new(),
            },
        };
        let computed = {
            let (base, write, force) = (Arc::clone(&base), Arc::clone(&turn.prepared), terms.force);
            tokio::task::spawn_blocking(move || change::compute(&base, &context, &write, force))
                .await??
        };
        let is_import = matches!(&*turn.prepared, Prepared::Import(_));
        if terms.validate_only {
            let is_other = match &*turn.prepared {
                Prepared::Other(write) => !matches!(write, Write::Exclusions(_) | Write::Mlc(_)),
                _ => false,
            };
            let other = is_other.then_some(turn.call);
            return Ok(Outcome::Foreseen(foreseen(&base, computed, other)));
        }
        let Some(outcome) = computed.outcome else {
            let diff = is_import.then(Diff::default);
            let (revision, id) = (base.revision, computed.id);
            let written = Written { revision, moved: false, id, diff };
            if let Some(answer) = kept_answer(actor, terms, &written) {
                self.store.keep_answer(self.waf, answer).await?;
            }
            return Ok(Outcome::Done(written));
        };
        if !terms.force
            && let Some(danger) = outcome.danger
        {
            return Err(ServiceError::NeedsForce(danger));
        }
        let next = Revision { generation: base.revision.generation + 1, ..base.revision };
        let diff = is_import
            .then(|| diff::between(&base.state, &outcome.state, &outcome.list).without_examples());
        let written = Written { revision: next, moved: true, id: computed.id, diff };
        let commit = Commit {
            base: base.revision,
            progress: terms.writing(&outcome.changes),
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
                call: turn.call.to_owned(),
                before: outcome.before.to_string(),
                after: outcome.after.to_string(),
                ..Action::default()
            },
            answer: kept_answer(actor, terms, &written),
        };
        drop(outcome.list);
        let _settling = self.settling.lock().await;
        let revision = self.store.commit(self.waf, commit).await?;
        let forced_at = if outcome.forced { revision.generation } else { base.forced_at };
        let current =
            Current::new(revision, forced_at, outcome.state, outcome.meaning, outcome.step.tally);
        *self.current.write().await = Some(Arc::new(current));
        self.announce(revision);
        Ok(Outcome::Done(Written { revision, ..written }))
    }

    /// Where the WAF id stands once its bans are not at `known` any more, or after `wait`.
    ///
    /// # Errors
    /// The store does not answer, or has no such WAF id any more.
    pub async fn bans_moved(
        &self,
        known: Revision,
        wait: Duration,
        mut stop: tokio::sync::watch::Receiver<bool>,
    ) -> Result<store::WafState, StoreError> {
        let deadline = tokio::time::Instant::now() + wait;
        let (mut bans, mut revision) = (self.bans.subscribe(), self.revision.subscribe());
        loop {
            // Marked as seen before the store is asked: a change in between is not lost.
            bans.mark_unchanged();
            revision.mark_unchanged();
            let pulse = self.pulses.ask(&*self.store).await?;
            let state = pulse.waf(self.waf).ok_or(StoreError::NoWaf(self.waf))?;
            let now = Revision { session: state.revision.session, generation: state.bans };
            if now != known || tokio::time::Instant::now() >= deadline || *stop.borrow() {
                return Ok(state.clone());
            }
            tokio::select! {
                _ = bans.changed() => {}
                _ = revision.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Wakes who waits for bans.
    pub fn announce_bans(&self, number: u64) {
        self.bans.send_if_modified(|known| std::mem::replace(known, number) != number);
    }

    /// Wakes who waits for another revision; whether this is a newer one. An older one was
    /// overtaken on its way here: who follows must not be told of it afterwards.
    pub(super) fn announce(&self, revision: Revision) -> bool {
        let moved = |known: &mut Revision| {
            let is_newer = revision > *known;
            *known = revision.max(*known);
            is_newer
        };
        let is_newer = self.revision.send_if_modified(moved);
        if is_newer {
            let waf = self.waf.to_string();
            let gauge = metrics::gauge!("nwaf_api_generation", "waf_id" => waf.clone());
            gauge.set(revision.generation as f64);
            metrics::gauge!("nwaf_api_session", "waf_id" => waf).set(revision.session as f64);
        }
        is_newer
    }
}

/// A write on its way to its turn.
struct Turn {
    actor: Actor,
    /// The name of the call.
    call: &'static str,
    prepared: Arc<Prepared>,
    terms: Terms,
}

/// `other` is the call, where the diff of the policy does not show what changes.
fn foreseen(base: &Current, computed: Computed, other: Option<&str>) -> Foreseen {
    let Computed { id, outcome } = computed;
    let revision = base.revision;
    match outcome {
        None => {
            let (needs_force, diff) = (None, Diff::default());
            Foreseen { base: revision, next: revision, needs_force, id, diff }
        }
        Some(outcome) => Foreseen {
            base: revision,
            next: Revision { generation: revision.generation + 1, ..revision },
            needs_force: outcome.danger,
            id,
            diff: Diff {
                other: other.map(|call| Example {
                    name: call.to_owned(),
                    before: outcome.before,
                    after: outcome.after,
                }),
                ..diff::between(&base.state, &outcome.state, &outcome.list)
            },
        },
    }
}

/// The answer for who asks again, if anybody may.
fn kept_answer(actor: &Actor, terms: &Terms, written: &Written) -> Option<KeptAnswer> {
    let once = terms.once.as_ref()?;
    Some(KeptAnswer {
        author: actor.key.clone(),
        key: once.key.clone(),
        digest: once.digest.clone(),
        at_ms: now_ms(),
        answer: serde_json::to_string(written).expect("plain data has a JSON form"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another task heard of the store before a commit may be told after it.
    #[tokio::test]
    async fn what_was_overtaken_is_not_announced() {
        let directory = tempfile::tempdir().unwrap();
        let mode = store_sqlite::Mode::ReadWrite { now_ms: 1 };
        let store = store_sqlite::Sqlite::open(&directory.path().join("s.db"), mode).await.unwrap();
        let tenant = Tenant::new(WafId::DEFAULT, Arc::new(store), Arc::default());
        let seen = tenant.revisions();
        let at = |session, generation| Revision { session, generation };
        for (revision, is_newer, shown) in [
            (at(5, 7), true, at(5, 7)),
            (at(5, 6), false, at(5, 7)),
            (at(5, 7), false, at(5, 7)),
            (at(4, 9), false, at(5, 7)),
            (at(6, 1), true, at(6, 1)),
        ] {
            assert_eq!(tenant.announce(revision), is_newer, "{revision}");
            assert_eq!(*seen.borrow(), shown);
        }
    }
}
