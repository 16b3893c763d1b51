//! The memory of a file, and the view of its sections that lives as long as it.
//! The only `unsafe` of this crate.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;

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
