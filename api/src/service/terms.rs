//! The terms under which a write is made, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use policy::Danger;
use serde::{Deserialize, Serialize};
use store::Change;
use tokio::sync::watch;
use wire::v2::{Diff, Revision};

/// The terms of a write.
#[derive(Debug, Default)]
pub struct Terms {
    /// Take a policy that is almost certainly a mistake.
    pub force: bool,
    /// Only if the policy is at one of these revisions when the write has its turn.
    pub only_at: Option<Vec<Revision>>,
    /// Say what would happen, and do nothing.
    pub validate_only: bool,
    /// Do it once, however often it is asked for.
    pub once: Option<Once>,
    /// Who wants to see how far it is.
    pub progress: Option<watch::Sender<Progress>>,
}

/// A write that may be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The client's name for it.
    pub key: String,
    /// SHA-256 of what is asked, in hexadecimal.
    pub digest: String,
}

/// How far a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// `checking`, `comparing` or `writing`.
    pub stage: &'static str,
    /// Elements done in this stage.
    pub done: u64,
    /// Elements to do in this stage.
    pub total: u64,
}

impl Terms {
    /// Tells who is interested.
    pub(super) fn report(&self, stage: &'static str, done: usize, total: usize) {
        if let Some(progress) = &self.progress {
            let (done, total) = (done as u64, total as u64);
            progress.send_replace(Progress { stage, done, total });
        }
    }

    /// Tells who is interested how far the store is with the entries of `changes`.
    pub(super) fn writing(&self, changes: &[Change]) -> store::Progress {
        let total: usize = changes.iter().map(entries).sum();
        store::Progress(self.progress.clone().map(|progress| {
            let written = AtomicUsize::new(0);
            let told = move |more| {
                let done = written.fetch_add(more, Ordering::Relaxed) + more;
                let (done, total) = (done as u64, total as u64);
                progress.send_replace(Progress { stage: "writing", done, total });
            };
            Arc::new(told) as Arc<dyn Fn(usize) + Send + Sync>
        }))
    }
}

/// Entries of the block list that a change writes.
fn entries(change: &Change) -> usize {
    match change {
        Change::PlaceBlockEntries(entries) => entries.len(),
        Change::RemoveBlockEntries(entries) | Change::AppendBlockEntries(entries) => entries.len(),
        _ => 0,
    }
}

/// What a write did. Kept as JSON for who asks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The revision that holds the result.
    pub revision: Revision,
    /// Whether the write made this revision; false where it asked for what was there.
    pub moved: bool,
    /// The rule that was added or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// How much an import changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
}

/// What a write would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// What it was computed from.
    pub base: Revision,
    /// The revision it would make; `base` where it asks for what is there.
    pub next: Revision,
    /// Why it would be refused without force.
    pub needs_force: Option<Danger>,
    /// The rule that would be added or changed.
    pub id: Option<u64>,
    /// What would change.
    pub diff: Diff,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out now.
    Done(Written),
    /// It was carried out before, by the same client under the same key.
    Replayed(Written),
    /// It was only asked about.
    Foreseen(Foreseen),
}
