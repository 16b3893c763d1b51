//! Noticing that another file is in force, from a thread beside the request path.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BANS, Bans, CURRENT, Snapshot, SnapshotError, Trust};

/// A kind of file that can be followed.
pub trait Followed: Sized {
    /// Its name in the directory.
    const NAME: &'static str;

    /// Maps and verifies it.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError>;
}

impl Followed for Snapshot {
    const NAME: &'static str = CURRENT;

    fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError> {
        Self::open(path, trust)
    }
}

impl Followed for Bans {
    const NAME: &'static str = BANS;

    fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError> {
        Self::open(path, trust)
    }
}

/// What one look at the directory found.
#[derive(Debug)]
pub enum Event<F> {
    /// Nothing new.
    Unchanged,
    /// A new file is in force and was verified.
    Loaded(Arc<F>),
    /// A new file is in force and is refused; said once for each such file.
    Refused(SnapshotError),
    /// No file is in force; said once until there is one again.
    Missing,
}

/// What tells one published file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    mode: u32,
    owner: u32,
}

/// Follows one kind of file in one directory.
#[derive(Debug)]
pub struct Follower<F> {
    kind: PhantomData<F>,
    path: PathBuf,
    trust: Trust,
    /// What was looked at last; `Some(None)` where nothing was there.
    seen: Option<Option<Stamp>>,
    /// A file that could not be opened for a reason that may pass, such as too
    /// many open files: it is tried again, and reported once.
    deferred: Option<Stamp>,
}

impl<F: Followed> Follower<F> {
    /// Follows the file of this kind in `dir`.
    pub fn new(dir: &Path, trust: Trust) -> Self {
        Self { kind: PhantomData, path: dir.join(F::NAME), trust, seen: None, deferred: None }
    }

    /// Looks once: one `stat`, and where the file is another one, opening and
    /// verifying it, which is linear in its length.
    pub fn poll(&mut self) -> Event<F> {
        let stamp = match self.stamp() {
            Ok(stamp) => stamp,
            Err(why) => {
                // Not to be able to look is like a file that is refused, once.
                let first = self.seen.is_none_or(|seen| seen.is_some());
                self.seen = Some(None);
                return match why.kind() {
                    _ if !first => Event::Unchanged,
                    io::ErrorKind::NotFound => Event::Missing,
                    _ => Event::Refused(why.into()),
                };
            }
        };
        // The change time is left out on purpose: it moves when the file gets its
        // second name, previous.nws.
        if self.seen.flatten() == Some(stamp) {
            return Event::Unchanged;
        }
        self.seen = Some(Some(stamp));
        let outcome = F::open(&self.path, self.trust);
        let told = std::mem::take(&mut self.deferred) == Some(stamp);
        match outcome {
            Ok(file) => Event::Loaded(Arc::new(file)),
            Err(why @ SnapshotError::Io(_)) => {
                self.seen = None;
                self.deferred = Some(stamp);
                if told { Event::Unchanged } else { Event::Refused(why) }
            }
            Err(why) => Event::Refused(why),
        }
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let meta = fs::symlink_metadata(&self.path)?;
        Ok(Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            mode: meta.mode(),
            owner: meta.uid(),
        })
    }
}
