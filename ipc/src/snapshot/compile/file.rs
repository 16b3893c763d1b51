//! Sections -> the bytes of a file.

use zerocopy::{Immutable, IntoBytes};

use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;
use crate::snapshot::verify::checksum;

/// A position in the blob or a table; files end at 4 GiB.
pub fn position(value: usize) -> Result<u32, CompileError> {
    u32::try_from(value).map_err(|_| CompileError::TooLarge)
}

/// The file while it grows.
pub struct File {
    bytes: Vec<u8>,
    table: Vec<SectionEntry>,
}

impl File {
    /// A file with room for header and table.
    pub fn new() -> Self {
        let start = size_of::<Header>() + SECTIONS * size_of::<SectionEntry>();
        Self { bytes: vec![0; start], table: Vec::with_capacity(SECTIONS) }
    }

    /// Appends a section.
    pub fn section<T: IntoBytes + Immutable>(&mut self, id: SectionId, records: &[T]) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let content = records.as_bytes();
        self.table.push(SectionEntry {
            id: id as u32,
            reserved: 0,
            offset: self.bytes.len() as u64,
            length: content.len() as u64,
        });
        self.bytes.extend_from_slice(content);
    }

    /// Completes and signs the header.
    pub fn seal(mut self, mut header: Header) -> Result<Vec<u8>, CompileError> {
        position(self.bytes.len())?;
        header.sections = position(self.table.len())?;
        header.payload_length = (self.bytes.len() - size_of::<Header>()) as u64;
        let start = size_of::<Header>();
        let table = self.table.as_bytes();
        self.bytes[start..start + table.len()].copy_from_slice(table);
        self.bytes[..start].copy_from_slice(header.as_bytes());
        header.checksum = checksum(&self.bytes);
        self.bytes[..start].copy_from_slice(header.as_bytes());
        Ok(self.bytes)
    }
}
