//! Bytes -> a snapshot that can be asked.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes as _, KnownLayout};

use super::error::SnapshotError;
use super::format::{Field, Header, SECTIONS, SectionId};
use super::map::Map;
use super::verify::verify;

/// What a snapshot is a snapshot of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// History the policy belongs to.
    pub session: u64,
    /// Its number in that history.
    pub generation: u64,
    /// When it was compiled, milliseconds since 1970.
    pub created_ms: u64,
}

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of all address lists.
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
pub struct Snapshot {
    bytes: Bytes,
    header: Header,
    layout: Layout,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Map),
    /// 16-byte aligned memory, and how much of it is the file.
    Owned(Vec<u128>, usize),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(memory, length) => &memory.as_bytes()[..*length],
        }
    }
}

/// Where each section of version 1 lies.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout(pub(super) [Range<usize>; SECTIONS]);

impl Snapshot {
    /// Maps and verifies a file. Linear in its length (about 1 ms for 8 MB).
    ///
    /// # Errors
    /// A file that is not regular, not trusted, or not a whole snapshot of a
    /// known format, with what is wrong.
    pub fn open(path: &Path, trust: Trust) -> Result<Self, SnapshotError> {
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
        Self::verified(Bytes::Mapped(Map::new(&file)?))
    }

    /// Copies and verifies bytes, for readers that have no file.
    ///
    /// # Errors
    /// Bytes that are not a whole snapshot of a known format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut memory = vec![0u128; bytes.len().div_ceil(size_of::<u128>())];
        memory.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self::verified(Bytes::Owned(memory, bytes.len()))
    }

    fn verified(bytes: Bytes) -> Result<Self, SnapshotError> {
        let (header, layout) = verify(bytes.as_slice())?;
        Ok(Self { bytes, header, layout })
    }

    /// What this is a snapshot of.
    pub fn meta(&self) -> Meta {
        let Header { session, generation, created_ms, .. } = self.header;
        Meta { session, generation, created_ms }
    }

    /// How much it holds.
    pub fn counts(&self) -> Counts {
        let Header { addresses, hosts, rules, .. } = self.header;
        Counts { addresses, hosts, rules }
    }

    /// Bits of lists that hold `*`.
    pub(super) fn any_host(&self) -> u8 {
        self.header.any_host as u8
    }

    /// At which positions the text of a field is searched; 0 is nowhere.
    pub(super) fn stride(&self, field: Field) -> usize {
        self.header.strides[field as usize].into()
    }

    /// A section as its records. The layout was verified, so the empty slice is never a surprise.
    #[inline]
    pub(super) fn section<T: FromBytes + Immutable + KnownLayout>(&self, id: SectionId) -> &[T] {
        records(self.bytes.as_slice(), &self.layout, id).unwrap_or(&[])
    }
}

/// A section as records, where its place and length fit the record.
#[inline]
pub(super) fn records<'a, T: FromBytes + Immutable + KnownLayout>(
    bytes: &'a [u8],
    layout: &Layout,
    id: SectionId,
) -> Option<&'a [T]> {
    <[T]>::ref_from_bytes(bytes.get(layout.0[id as usize].clone())?).ok()
}
