//! Changed snapshots that look whole: the reader's checks of form pass, and its checks
//! of content have to find what is wrong.

use std::mem::offset_of;
use std::ops::Range;

use ipc::snapshot::format::{
    BYTE_ORDER, FORMAT_VERSION, Header, MAGIC, MIN_READER, SECTIONS, SectionEntry,
};

/// Most bytes a change may add, and take away.
const GROWTH: usize = 1 << 12;

/// One change of a file.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    /// Whether the file of bans is meant, and not the policy's.
    pub is_of_bans: bool,
    kind: u8,
    /// A section, or none for the whole file.
    section: Option<usize>,
    place: usize,
    number: u32,
}

impl Edit {
    /// Bytes of one change: how, in which section, where in it (2), a number (4).
    pub const LENGTH: usize = 8;

    /// Reads a change. Most are inside a section: a wrong header or table ends the
    /// reading early.
    pub fn parse(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let section = usize::from(byte(1)) % (SECTIONS + 2);
        Self {
            is_of_bans: byte(0) & 0x80 != 0,
            kind: byte(0) & 0x7f,
            section: Some(section).filter(|section| *section < SECTIONS),
            place: usize::from(u16::from_le_bytes([byte(2), byte(3)])),
            number: u32::from_le_bytes([byte(4), byte(5), byte(6), byte(7)]),
        }
    }

    /// Changes a file; nothing where the section is empty.
    pub fn apply(&self, file: &mut Vec<u8>) {
        let part = self.section.map_or(Some(0..file.len()), |number| section(file, number));
        let Some(part) = part.filter(|part| !part.is_empty()) else { return };
        let at = part.start + self.place % part.len();
        let word = at & !3;
        let number = self.number.to_le_bytes();
        match self.kind % 6 {
            0 => put(file, at, &number[..1]),
            1 => put(file, at & !1, &number[..2]),
            2 => put(file, word, &number),
            3 => {
                // A little more or less than what is there: the edges of every limit.
                if let Some([a, b, c, d]) = file.get(word..word + 4) {
                    let old = u32::from_le_bytes([*a, *b, *c, *d]);
                    let by = i32::from(number[0].cast_signed());
                    put(file, word, &old.wrapping_add_signed(by).to_le_bytes());
                }
            }
            // A section that is longer or shorter than it was.
            4 => {
                let entry = size_of::<Header>() + self.place % SECTIONS * size_of::<SectionEntry>();
                put(file, entry + offset_of!(SectionEntry, length), &number);
            }
            _ => {
                let length = file.len() + self.number as usize % GROWTH;
                file.resize(length.saturating_sub(GROWTH / 2), 0);
            }
        }
    }
}

/// Where the table says that a section lies, as far as that is inside the file.
fn section(file: &[u8], number: usize) -> Option<Range<usize>> {
    let entry = size_of::<Header>() + number * size_of::<SectionEntry>();
    let read = |field: usize| {
        let bytes = file.get(entry + field..)?.first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*bytes)).ok()
    };
    let start = read(offset_of!(SectionEntry, offset))?;
    let end = start.checked_add(read(offset_of!(SectionEntry, length))?)?;
    (end <= file.len()).then_some(start..end)
}

/// Makes magic, versions, length and checksum what they have to be.
pub fn repair(file: &mut [u8]) {
    let Some(payload) = file.len().checked_sub(size_of::<Header>()) else { return };
    put(file, offset_of!(Header, magic), &MAGIC);
    put(file, offset_of!(Header, byte_order), &BYTE_ORDER.to_ne_bytes());
    put(file, offset_of!(Header, format_version), &FORMAT_VERSION.to_ne_bytes());
    put(file, offset_of!(Header, min_reader), &MIN_READER.to_ne_bytes());
    put(file, offset_of!(Header, payload_length), &(payload as u64).to_ne_bytes());
    put(file, offset_of!(Header, checksum), &[0; 4]);
    let checksum = crc32fast::hash(file);
    put(file, offset_of!(Header, checksum), &checksum.to_ne_bytes());
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
