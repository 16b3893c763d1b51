//! Read-only memory of a whole file. The only `unsafe` of this crate.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A file's bytes, shared with every process that maps the same file.
#[derive(Debug)]
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps a file as it is now. The caller has checked whose file it is.
    pub fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes must not change while they are mapped. Publishing
        // only ever renames whole files and never writes to a published one,
        // and the caller accepts only regular files that belong to root or to
        // the trusted user and that others cannot write to.
        unsafe { memmap2::Mmap::map(file) }.map(Self)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
