//! The memory of a file, and the view of its sections that lives as long as it; and memory
//! that processes share. The only `unsafe` of this crate.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;

use super::SnapshotError;
use super::view::View;
use zerocopy::IntoBytes as _;

/// The bytes of one file.
pub enum Memory {
    /// Shared with every process that maps the same file.
    Mapped(memmap2::Mmap),
    /// 16-byte aligned memory, and how much of it is the file.
    Owned(Vec<u128>, usize),
}

impl Memory {
    /// Maps a file as it is now. The caller has checked whose file it is.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes must not change while they are mapped. Publishing
        // only ever renames whole files and never writes to a published one,
        // and the caller accepts only regular files that belong to root or to
        // the trusted user and that others cannot write to.
        unsafe { memmap2::Mmap::map(file) }.map(Self::Mapped)
    }

    /// A copy of bytes.
    pub fn copy(bytes: &[u8]) -> Self {
        let mut memory = vec![0u128; bytes.len().div_ceil(size_of::<u128>())];
        memory.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        Self::Owned(memory, bytes.len())
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(memory, length) => &memory.as_bytes()[..*length],
        }
    }
}

/// A file's bytes as words that several processes read and write at the same time.
#[derive(Debug)]
pub struct Words(memmap2::MmapRaw);

impl Words {
    /// Maps a file as it is now; where it is not `writable`, its words may only be loaded. The
    /// caller has checked whose file it is, and that its length is a multiple of 8.
    pub fn map(file: &File, writable: bool) -> io::Result<Self> {
        let mut options = memmap2::MmapOptions::new();
        // The pages are all there already; finding them costs the first requests nothing then.
        options.populate();
        let map = if writable { options.map_raw(file) } else { options.map_raw_read_only(file) };
        map.map(Self)
    }

    /// The words.
    #[inline]
    pub fn get(&self) -> &[AtomicU64] {
        // SAFETY: a mapping begins at a page and is as long as the file was, and both stay
        // while it lives. Every process uses the words as atomics only. The file is not
        // shortened: it belongs to who made it, and nobody else may write to it.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), self.0.len() / 8) }
    }
}

/// Memory that was verified, with the sections that were found in it, so that a
/// request does not look for them again.
pub struct Held {
    /// Always initialised. References promise to be good for the whole of a call that
    /// they are passed to; those in here end inside a call that drops a `Held`, so they
    /// are passed as what promises nothing.
    view: MaybeUninit<View<'static>>,
    memory: Memory,
}

impl Held {
    /// Verifies `memory` as a file of this kind.
    pub fn new(
        memory: Memory,
        verify: for<'a> fn(&'a [u8]) -> Result<View<'a>, SnapshotError>,
    ) -> Result<Self, SnapshotError> {
        let bytes = memory.bytes();
        // The bytes live in a mapping or in a vector's allocation. Neither moves when
        // `memory` is moved, and nothing takes `memory` mutably.
        // SAFETY: so they stay where and what they are as long as this `Held`, which
        // also holds the view and hands it out for a borrow of itself only.
        let bytes: &'static [u8] =
            unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        Ok(Self { view: MaybeUninit::new(verify(bytes)?), memory })
    }

    /// The sections.
    #[inline]
    pub fn view(&self) -> &View<'_> {
        // SAFETY: `new` has filled it, and nothing takes it away.
        unsafe { self.view.assume_init_ref() }
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> usize {
        self.memory.bytes().len()
    }
}

impl fmt::Debug for Held {
    /// The header; a million addresses help nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().header.fmt(f)
    }
}
