//! Changed snapshots that look whole: the reader's checks of form pass, and its checks
//! of content have to find what is wrong.

use std::mem::offset_of;

use ipc::snapshot::format::{
    BYTE_ORDER, FORMAT_VERSION, Header, MAGIC, MIN_READER, SECTIONS, SectionEntry,
};

/// Bytes of one change: what, where (3 bytes), and a number (4 bytes).
const EDIT: usize = 8;
/// Most bytes a change may add, and take away.
const GROWTH: usize = 1 << 12;
/// Where the sections begin. Most changes go behind it: a wrong table ends the reading early.
const HEAD: usize = size_of::<Header>() + SECTIONS * size_of::<SectionEntry>();
/// Changes whose first byte is below this one may go anywhere.
const ANYWHERE: u8 = 32;

/// Applies changes of eight bytes each; what is left over is ignored.
pub fn edit(file: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(EDIT) {
        let place = u32::from_le_bytes([edit[1], edit[2], edit[3], 0]) as usize;
        let number = u32::from_le_bytes([edit[4], edit[5], edit[6], edit[7]]);
        let from = if edit[0] < ANYWHERE { 0 } else { HEAD };
        if file.len() <= from {
            return;
        }
        let at = from + place % (file.len() - from);
        let word = at & !3;
        match edit[0] % 6 {
            0 => file[at] = edit[4],
            1 => put(file, at & !1, &number.to_le_bytes()[..2]),
            2 => put(file, word, &number.to_le_bytes()),
            3 => {
                // A little more or less than what is there: the edges of every limit.
                if let Some(old) = file.get(word..word + 4) {
                    let old = u32::from_le_bytes([old[0], old[1], old[2], old[3]]);
                    let by = i32::from(edit[4].cast_signed());
                    put(file, word, &old.wrapping_add_signed(by).to_le_bytes());
                }
            }
            4 => file.truncate(file.len().saturating_sub(number as usize % GROWTH)),
            _ => file.resize(file.len() + number as usize % GROWTH, edit[1]),
        }
    }
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
