//! Bundle -> snapshot in force; and what is in force at the start, before any
//! endpoint is asked.
//!
//! Invariant: whatever fails here, the snapshot that is in force stays.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc::snapshot::{self, CURRENT, CompileError, Meta, PREVIOUS, Snapshot, SnapshotError, Trust};
use policy::Policy;
use tracing::{info, warn};
use wire::v2::{Bundle, Revision};

use crate::refuse::{self, Refusal, Running, Terms};
use crate::store::Store;

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// What runs now.
    pub running: Running,
    /// When it was compiled.
    pub at: SystemTime,
    /// Bytes of the snapshot.
    pub bytes: u64,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bundle is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk did not take it. The bundle may be good.
    #[error("the snapshot cannot be written: {0}; it is tried again, what runs stays")]
    Disk(#[from] io::Error),
}

/// Checks a bundle against what runs, compiles it and puts it in force. Blocks.
///
/// # Errors
/// See [`PublishError`].
pub fn publish(
    store: &Store,
    bundle: &Bundle,
    running: Option<&Running>,
    terms: Terms,
) -> Result<Published, PublishError> {
    if terms.ordered
        && let Some(running) = running
    {
        // An operator may go back to a history, but not back within one.
        if !(terms.forced && bundle.revision.session < running.revision.session) {
            refuse::order(bundle.revision, running.revision)?;
        }
        let same = running.digest.as_ref().is_none_or(|digest| *digest == bundle.digest);
        if bundle.revision == running.revision && !same {
            return Err(Refusal::Conflict(bundle.revision).into());
        }
    }
    let policy = if terms.checked { bundle.content.to_policy() } else { bundle.to_policy() };
    let policy = policy.map_err(Refusal::from)?;
    refuse::guard(bundle, &policy, running, terms)?;
    let at = SystemTime::now();
    let bytes = compile(&policy, bundle.revision, at).map_err(Refusal::from)?;
    // In this order: what is kept is then never older than what is in force,
    // and what is in force is never lost.
    store.write(bundle)?;
    snapshot::publish(store.dir(), &bytes)?;
    Ok(published(bundle, &policy, at, bytes.len()))
}

/// Puts the last known good in force, or leaves it in force. Blocks.
///
/// In this order: the snapshot in force; the kept bundle, compiled again; the
/// snapshot before. A kept bundle that is newer than the snapshot goes first: it
/// was accepted, and the process ended before its snapshot was in place. `None`
/// where none of them can be used.
pub fn start(store: &Store) -> Option<Published> {
    let trust = Trust { owner: rustix::process::geteuid().as_raw() };
    let kept = kept(store);
    let current = store.dir().join(CURRENT);
    let damaged = match Snapshot::open(&current, trust) {
        Ok(snapshot) => {
            let published = adopted(&snapshot, kept.as_ref(), &current);
            let revision = published.running.revision;
            info!(%revision, "the snapshot in force is good");
            let newer = kept.as_ref().filter(|(bundle, _)| bundle.revision > revision);
            let Some((bundle, policy)) = newer else { return Some(published) };
            return Some(match recompiled(store, bundle, policy, false) {
                Ok(finished) => {
                    info!(revision = %bundle.revision, "published the kept bundle, which is newer");
                    finished
                }
                Err(why) => {
                    warn!(error = %why, "the kept bundle is newer, but cannot be published");
                    published
                }
            });
        }
        Err(SnapshotError::Io(why)) if why.kind() == io::ErrorKind::NotFound => {
            info!(dir = %store.dir().display(), "no snapshot is in force");
            false
        }
        Err(why) => {
            warn!(file = %current.display(), error = %why, "the snapshot in force cannot be used");
            true
        }
    };
    if let Some((bundle, policy)) = &kept {
        match recompiled(store, bundle, policy, damaged) {
            Ok(published) => {
                info!(revision = %bundle.revision, "compiled the kept bundle again");
                return Some(published);
            }
            Err(why) => warn!(error = %why, "the kept bundle cannot be published"),
        }
    }
    let previous = store.dir().join(PREVIOUS);
    match Snapshot::open(&previous, trust) {
        Ok(snapshot) => match restored(store, damaged) {
            Ok(()) => {
                let published = adopted(&snapshot, kept.as_ref(), &current);
                warn!(revision = %published.running.revision, "went back to the previous snapshot");
                Some(published)
            }
            Err(why) => {
                warn!(error = %why, "the previous snapshot cannot be put in force");
                None
            }
        },
        Err(SnapshotError::Io(why)) if why.kind() == io::ErrorKind::NotFound => None,
        Err(why) => {
            warn!(file = %previous.display(), error = %why, "the previous snapshot cannot be used");
            None
        }
    }
}

/// The kept bundle with its meaning, where it has one.
fn kept(store: &Store) -> Option<(Bundle, Policy)> {
    let bundle = match store.read() {
        Ok(bundle) => bundle?,
        Err(why) => {
            warn!(error = %why, "the kept bundle cannot be read");
            return None;
        }
    };
    match bundle.to_policy() {
        Ok(policy) => Some((bundle, policy)),
        Err(why) => {
            warn!(error = %why, "the kept bundle cannot be used");
            None
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum RestartError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Disk(#[from] io::Error),
}

fn recompiled(
    store: &Store,
    bundle: &Bundle,
    policy: &Policy,
    damaged: bool,
) -> Result<Published, RestartError> {
    let at = SystemTime::now();
    let bytes = compile(policy, bundle.revision, at)?;
    if damaged {
        store.put_away()?;
    }
    snapshot::publish(store.dir(), &bytes)?;
    Ok(published(bundle, policy, at, bytes.len()))
}

/// Puts the previous snapshot in force; it was verified by opening it.
fn restored(store: &Store, damaged: bool) -> io::Result<()> {
    let bytes = fs::read(store.dir().join(PREVIOUS))?;
    if damaged {
        store.put_away()?;
    }
    snapshot::publish(store.dir(), &bytes)
}

/// What is known about a snapshot that this process did not compile.
fn adopted(snapshot: &Snapshot, kept: Option<&(Bundle, Policy)>, path: &Path) -> Published {
    let Meta { session, generation, created_ms } = snapshot.meta();
    let revision = Revision { session, generation };
    let at = UNIX_EPOCH + Duration::from_millis(created_ms);
    let bytes = fs::metadata(path).map_or(0, |meta| meta.len());
    match kept.filter(|(bundle, _)| bundle.revision == revision) {
        Some((bundle, policy)) => Published { bytes, ..published(bundle, policy, at, 0) },
        // The snapshot counts white lists together with the block list, so only
        // its rules can be compared.
        None => {
            let size = snapshot.counts().rules;
            Published {
                running: Running { revision, digest: None, size, dangers: HashSet::new() },
                at,
                bytes,
            }
        }
    }
}

fn published(bundle: &Bundle, policy: &Policy, at: SystemTime, bytes: usize) -> Published {
    let running = Running {
        revision: bundle.revision,
        digest: Some(bundle.digest.clone()),
        size: refuse::size(&bundle.content),
        dangers: policy::dangers(policy).collect(),
    };
    Published { running, at, bytes: bytes as u64 }
}

fn compile(policy: &Policy, revision: Revision, at: SystemTime) -> Result<Vec<u8>, CompileError> {
    let Revision { session, generation } = revision;
    let created_ms = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    snapshot::compile(policy, Meta { session, generation, created_ms })
}

#[cfg(test)]
mod tests;
