//! Noticing that there is another file, from a thread beside the request path.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Countries, CountryError};

/// What one look found.
#[derive(Debug)]
pub enum Event {
    /// Nothing new.
    Unchanged,
    /// There is another file, and it was read.
    Loaded(Arc<Countries>),
    /// There is another file, and it is refused; said once for each such file.
    Refused(CountryError),
    /// There is no file; said once until there is one again.
    Missing,
}

/// What tells one file from the next, and from itself while it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    mode: u32,
}

/// What is known of the file from looks before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Not looked at yet.
    Nothing,
    /// It is not there, or cannot be looked at.
    Absent,
    /// It differed from the look before: it may be being written.
    Changing(Stamp),
    /// It was read.
    Read(Stamp),
    /// It could not be opened or read, which may pass, such as too many open
    /// files: it is tried again, and has been reported.
    Failed(Stamp),
}

/// Follows one file, also where its name is a link to others.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    seen: Seen,
}

impl Follower {
    /// Follows the file at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: Seen::Nothing }
    }

    /// The file that is followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks once: one `stat`, and where there is another file that two looks have
    /// found the same, reading it. The first look reads what it finds.
    ///
    /// Waiting for two equal looks keeps a file that is written in place from
    /// being read and complained about half done.
    pub fn poll(&mut self) -> Event {
        let stamp = match stamp(&self.path) {
            Ok(stamp) => stamp,
            Err(why) => {
                let first = std::mem::replace(&mut self.seen, Seen::Absent) != Seen::Absent;
                return match why.kind() {
                    _ if !first => Event::Unchanged,
                    io::ErrorKind::NotFound => Event::Missing,
                    _ => Event::Refused(why.into()),
                };
            }
        };
        match self.seen {
            Seen::Read(seen) if seen == stamp => return Event::Unchanged,
            Seen::Changing(seen) | Seen::Failed(seen) if seen == stamp => {}
            Seen::Nothing => {}
            Seen::Absent | Seen::Changing(_) | Seen::Read(_) | Seen::Failed(_) => {
                self.seen = Seen::Changing(stamp);
                return Event::Unchanged;
            }
        }
        let told = self.seen == Seen::Failed(stamp);
        // First, so that a file the reader panics at is not read again.
        self.seen = Seen::Read(stamp);
        match Countries::open(&self.path) {
            Ok(countries) => Event::Loaded(Arc::new(countries)),
            Err(why @ CountryError::Io(_)) => {
                self.seen = Seen::Failed(stamp);
                if told { Event::Unchanged } else { Event::Refused(why) }
            }
            Err(why) => Event::Refused(why),
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        length: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        mode: meta.mode(),
    })
}
