//! Bytes -> a policy or bans that can be asked.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use policy::Keys;

use super::error::SnapshotError;
use super::format::Header;
use super::map::{Held, Memory};
use super::verify;
use super::view::View;

/// What a file is a file of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// History the policy belongs to.
    pub session: u64,
    /// Its number in that history.
    pub generation: u64,
    /// When it was compiled, milliseconds since 1970.
    pub created_ms: u64,
}

/// How much a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of all address lists; bans in a file of bans.
    pub addresses: u64,
    /// Entries of the host lists.
    pub hosts: u64,
    /// Extended rules.
    pub rules: u64,
}

/// Whose files are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// The user besides root that a file may belong to.
    pub owner: u32,
}

/// A verified policy. Cheap to share, never changes; the file stays mapped while it lives.
#[derive(Debug)]
pub struct Snapshot(Held);

/// Verified bans, as a [`Snapshot`] is a verified policy.
#[derive(Debug)]
pub struct Bans(Held);

impl Snapshot {
    /// Maps and verifies a file. Linear in its length (about 1 ms for 3 MB).
    ///
    /// # Errors
    /// A file that is not regular, not trusted, or not a whole snapshot of a
    /// known format, with what is wrong.
    pub fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError> {
        let memory = Memory::map(&trusted(path, trust)?)?;
        Held::new(memory, verify::policy).map(Self)
    }

    /// Copies and verifies bytes, for readers that have no file.
    ///
    /// # Errors
    /// Bytes that are not a whole snapshot of a known format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Held::new(Memory::copy(bytes), verify::policy).map(Self)
    }

    /// What this is a snapshot of.
    pub fn meta(&self) -> Meta {
        meta(self.view())
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        counts(self.view())
    }

    /// The settings that the policy gives, empty ones too: nothing else may say what
    /// these are.
    pub fn given(&self) -> Keys {
        Keys::from_bits(self.view().header.given).unwrap_or_default()
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> usize {
        self.0.length()
    }

    #[inline]
    pub(super) fn view(&self) -> &View<'_> {
        self.0.view()
    }
}

impl Bans {
    /// Maps and verifies a file, as [`Snapshot::open`] does.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError> {
        let memory = Memory::map(&trusted(path, trust)?)?;
        Held::new(memory, verify::bans).map(Self)
    }

    /// Copies and verifies bytes, for readers that have no file.
    ///
    /// # Errors
    /// As [`Snapshot::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Held::new(Memory::copy(bytes), verify::bans).map(Self)
    }

    /// What these are the bans of.
    pub fn meta(&self) -> Meta {
        meta(self.view())
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        counts(self.view())
    }

    #[inline]
    pub(super) fn view(&self) -> &View<'_> {
        self.0.view()
    }
}

/// Opens a file that may be believed.
fn trusted(path: &Path, trust: Trust) -> Result<File, SnapshotError> {
    // Neither follow a link nor wait for a pipe's writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|why| match why.raw_os_error() {
            Some(libc::ELOOP) => SnapshotError::NotRegular,
            _ => SnapshotError::Io(why),
        })?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(SnapshotError::NotRegular);
    }
    if meta.uid() != 0 && meta.uid() != trust.owner {
        return Err(SnapshotError::Owner { owner: meta.uid(), trusted: trust.owner });
    }
    if meta.mode() & 0o002 != 0 {
        return Err(SnapshotError::Writable(meta.mode() & 0o7777));
    }
    if meta.len() < size_of::<Header>() as u64 {
        // Also: an empty file cannot be mapped.
        let announced = size_of::<Header>() as u64;
        return Err(SnapshotError::Length { found: meta.len(), announced });
    }
    Ok(file)
}

fn meta(view: &View<'_>) -> Meta {
    let Header { session, generation, created_ms, .. } = *view.header;
    Meta { session, generation, created_ms }
}

fn counts(view: &View<'_>) -> Counts {
    let Header { addresses, hosts, rules, .. } = *view.header;
    Counts { addresses, hosts, rules }
}
