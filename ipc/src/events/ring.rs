//! Records in shared memory: many writers, readers that nobody waits for.
//!
//! A file of a header and a ring of 64-byte cells. A writer reserves cells by adding to the
//! head, fills them, and last of all writes the tag of its first cell, which names the cell's
//! position since the beginning of time. Nothing is locked: a writer that is killed leaves
//! cells without their tag, which readers step over; a reader that is too slow is overtaken
//! and finds out by the head.
//!
//! ```text
//! header   magic | version | bytes of the ring | ... | head (cells) | records written
//! cell     tag: (position + 1) * 2 + (1 in a record's first cell) | 7 words of the record
//! record   length (4 bytes), CRC-32 of position and bytes (4 bytes) | number | bytes
//! ```
//!
//! Invariants: every access is atomic, so that no writer can confuse a reader more than by
//! bytes whose checksum is wrong; what a visitor sends is never where a tag is; all bytes 0
//! is an empty ring.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::snapshot::Words;

/// Names the file, and with the version its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"nwafring");
const VERSION: u64 = 1;
/// One page, so that cells are aligned to cache lines.
const HEADER_BYTES: usize = 4096;
const HEADER_WORDS: usize = HEADER_BYTES / 8;
/// Where in the header. The two that change have a cache line of their own.
const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 1;
const AT_SIZE: usize = 2;
const AT_HEAD: usize = 8;
const AT_NUMBERS: usize = 9;

/// Words of a cell: one cache line.
const CELL: usize = 8;
/// Those of them that hold a record.
const CELL_DATA: usize = CELL - 1;
/// Words before a record's bytes.
const PREFIX: usize = 2;
/// Longest record in bytes.
pub const RECORD_MAX: usize = 8 << 10;
/// Sizes a ring may have in bytes, powers of two: a thousand short records, and an hour of many.
pub const SIZE_MIN: usize = 1 << 20;
/// See [`SIZE_MIN`].
pub const SIZE_MAX: usize = 1 << 30;
/// How long a reader waits for a record that was begun: a thousand times what writing takes, and
/// more than a busy system lets a process wait. Then its writer is dead.
const GRACE_MS: u64 = 200;
/// Owner and group read it: it shows what visitors send.
const MODE: u32 = 0o640;

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a power of two in the range.
    #[error(
        "{0} bytes are no size of a ring: it must be a power of two from {SIZE_MIN} to {SIZE_MAX}"
    )]
    Size(usize),
    /// It is no ring of this version.
    #[error("it is not a ring of version {VERSION}")]
    Foreign,
}

/// The writers' side.
#[derive(Debug)]
pub struct Ring {
    words: Words,
    cells: u64,
    file: File,
    /// Device and inode.
    id: (u64, u64),
}

impl Ring {
    /// The ring at `path` with `size` bytes of cells. One that is there and may be believed is
    /// used further, so that readers notice nothing of a restart; any other file is replaced.
    ///
    /// The file is readable for the group of its directory.
    ///
    /// # Errors
    /// A size that is none; what the system says.
    pub fn open(path: &Path, size: usize) -> Result<Self, RingError> {
        if !size.is_power_of_two() || !(SIZE_MIN..=SIZE_MAX).contains(&size) {
            return Err(RingError::Size(size));
        }
        match Self::reuse(path, size) {
            Some(ring) => Ok(ring),
            None => Self::create(path, size),
        }
    }

    fn reuse(path: &Path, size: usize) -> Option<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .ok()?;
        let meta = file.metadata().ok()?;
        // Whose process this is.
        let own = fs::metadata("/proc/self").ok()?.uid();
        let is_whole = meta.len() == (HEADER_BYTES + size) as u64
            // A hole would want a page of a disk that may be full by then.
            && meta.blocks().saturating_mul(512) >= meta.len();
        let is_ours = meta.is_file() && meta.uid() == own && meta.mode() & 0o022 == 0;
        if !is_whole || !is_ours || meta.nlink() != 1 {
            return None;
        }
        let words = Words::map(&file, true).ok()?;
        let cells = cells_of(words.get()).filter(|cells| *cells as usize * CELL * 8 == size)?;
        Some(Self { words, cells, file, id: (meta.dev(), meta.ino()) })
    }

    fn create(path: &Path, size: usize) -> Result<Self, RingError> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let new = PathBuf::from(name);
        let made = Self::make(&new, path, size);
        if made.is_err() {
            // Of no use to anybody; what was there before stays.
            let _ = fs::remove_file(&new);
        }
        made
    }

    fn make(new: &Path, path: &Path, size: usize) -> Result<Self, RingError> {
        let _ = fs::remove_file(new);
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(new)?;
        // Written and not only made longer: every page is there from now on.
        let zeros = vec![0; 1 << 16];
        let mut left = HEADER_BYTES + size;
        while left > 0 {
            let part = left.min(zeros.len());
            file.write_all(&zeros[..part])?;
            left -= part;
        }
        if let Some(dir) = path.parent() {
            // Fails for a group that is not ours; then only our own group can read it.
            let _ = fchown(&file, None, Some(fs::metadata(dir)?.gid()));
        }
        let words = Words::map(&file, true)?;
        words.get()[AT_VERSION].store(VERSION, Relaxed);
        words.get()[AT_SIZE].store(size as u64, Relaxed);
        words.get()[AT_MAGIC].store(MAGIC, Ordering::Release);
        fs::rename(new, path)?;
        let meta = file.metadata()?;
        Ok(Self { words, cells: (size / CELL / 8) as u64, file, id: (meta.dev(), meta.ino()) })
    }

    /// Whether `path` still names this ring.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.id)
    }

    /// Whether the file is still as long as its memory. Where its owner has shortened it
    /// (`> FILE`, `copytruncate`), the system ends whoever writes on (`SIGBUS`).
    pub fn is_whole(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.len() >= (HEADER_BYTES + self.size()) as u64)
    }

    /// Bytes of cells.
    pub fn size(&self) -> usize {
        self.cells as usize * CELL * 8
    }

    /// Writes one record; `false` where it is longer than [`RECORD_MAX`]. No lock, no system
    /// call, no allocation; linear in the record.
    pub fn write(&self, record: &[u8]) -> bool {
        if record.len() > RECORD_MAX {
            return false;
        }
        let words = self.words.get();
        let cells = cells_for(record.len());
        let first = words[AT_HEAD].fetch_add(cells, Relaxed);
        let number = words[AT_NUMBERS].fetch_add(1, Relaxed);
        // Who sees any word below sees that it was reserved.
        fence(Ordering::Release);
        let start = (record.len() as u64) | u64::from(checksum(first, record)) << 32;
        let bytes = record.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        for (nth, word) in [start, number].into_iter().chain(bytes).enumerate() {
            let cell = first.wrapping_add((nth / CELL_DATA) as u64);
            words[self.place(cell) + 1 + nth % CELL_DATA].store(word, Relaxed);
        }
        for cell in 1..cells {
            let cell = first.wrapping_add(cell);
            words[self.place(cell)].store(tag(cell, false), Relaxed);
        }
        words[self.place(first)].store(tag(first, true), Ordering::Release);
        true
    }

    fn place(&self, cell: u64) -> usize {
        place(cell, self.cells)
    }
}

/// Where a cell begins.
fn place(cell: u64, cells: u64) -> usize {
    // `cells` is a power of two, and its words are in memory.
    HEADER_WORDS + (cell & (cells - 1)) as usize * CELL
}

fn tag(cell: u64, is_first: bool) -> u64 {
    cell.wrapping_add(1) << 1 | u64::from(is_first)
}

fn cells_for(bytes: usize) -> u64 {
    (PREFIX + bytes.div_ceil(8)).div_ceil(CELL_DATA) as u64
}

fn checksum(cell: u64, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&cell.to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

/// The number of cells that a header tells; none where it is no header for as many words.
fn cells_of(words: &[AtomicU64]) -> Option<u64> {
    let told = |at: usize| words.get(at).map(|word| word.load(Relaxed));
    let size = usize::try_from(told(AT_SIZE)?).ok()?;
    let is_ring = told(AT_MAGIC)? == MAGIC
        && told(AT_VERSION)? == VERSION
        && size.is_power_of_two()
        && (SIZE_MIN..=SIZE_MAX).contains(&size)
        && words.len() == HEADER_WORDS + size / 8;
    is_ring.then_some((size / CELL / 8) as u64)
}

/// The readers' side. Reads what is written from now on.
#[derive(Debug)]
pub struct RingReader {
    words: Words,
    cells: u64,
    file: (u64, u64),
    /// The next cell.
    at: u64,
    /// Between records: the next one that begins is looked for.
    is_searching: bool,
    /// The cell that is waited for, and since when.
    waiting: Option<(u64, u64)>,
    /// The number the next record should have.
    next_number: Option<u64>,
    /// The number of the first record, records read, and one past the highest number seen.
    seen: Option<(u64, u64, u64)>,
}

impl RingReader {
    /// Reads the ring at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or is no ring.
    pub fn open(path: &Path) -> Result<Self, RingError> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() < HEADER_BYTES as u64 || !meta.len().is_multiple_of(8) {
            return Err(RingError::Foreign);
        }
        let words = Words::map(&file, false)?;
        let cells = cells_of(words.get()).ok_or(RingError::Foreign)?;
        let number = words.get()[AT_NUMBERS].load(Relaxed);
        let at = words.get()[AT_HEAD].load(Relaxed);
        Ok(Self {
            words,
            cells,
            file: (meta.dev(), meta.ino()),
            at,
            is_searching: false,
            waiting: None,
            next_number: Some(number),
            seen: None,
        })
    }

    /// Goes back to the oldest record that is still there.
    pub fn rewind(&mut self) {
        self.at = self.head().saturating_sub(self.cells);
        (self.is_searching, self.waiting) = (true, None);
        (self.next_number, self.seen) = (None, None);
    }

    /// Whether `path` still names this ring; if not, the writers have gone to another one.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file)
    }

    /// Records that were overwritten before they were read, or never finished, as far as
    /// later ones have shown.
    pub fn lost(&self) -> u64 {
        self.seen.map_or(0, |(first, read, after)| after.wrapping_sub(first).saturating_sub(read))
    }

    /// Puts the next record into `record`; `false` where there is none yet. `now_ms` is of any
    /// clock that does not go back.
    pub fn next(&mut self, now_ms: u64, record: &mut Vec<u8>) -> bool {
        loop {
            let head = self.head();
            if self.at == head {
                (self.is_searching, self.waiting) = (false, None);
                return false;
            }
            if head.wrapping_sub(self.at) > self.cells {
                // Overtaken. Not to the oldest, which would be overwritten next.
                self.at = head.wrapping_sub(self.cells - self.cells / 4);
                (self.is_searching, self.waiting) = (true, None);
            }
            let found = self.word(place(self.at, self.cells));
            fence(Ordering::Acquire);
            if found == tag(self.at, true) {
                if let Some(number) = self.read(record) {
                    self.at = self.at.wrapping_add(cells_for(record.len()));
                    (self.is_searching, self.waiting) = (false, None);
                    self.note(number);
                    return true;
                }
                // Overwritten meanwhile, which the head tells, or by a writer that was late by
                // a whole round.
                (self.at, self.is_searching) = (self.at.wrapping_add(1), true);
            } else if self.is_searching || found == tag(self.at, false) {
                self.at = self.at.wrapping_add(1);
            } else {
                match self.waiting {
                    Some((cell, since)) if cell == self.at => {
                        if now_ms.saturating_sub(since) < GRACE_MS {
                            return false;
                        }
                        self.is_searching = true;
                    }
                    _ => {
                        self.waiting = Some((self.at, now_ms));
                        return false;
                    }
                }
            }
        }
    }

    /// Reads the record that begins here; its number, or nothing where it is not whole.
    fn read(&self, record: &mut Vec<u8>) -> Option<u64> {
        let data = |nth: usize| {
            let cell = self.at.wrapping_add((nth / CELL_DATA) as u64);
            self.word(place(cell, self.cells) + 1 + nth % CELL_DATA)
        };
        let start = data(0);
        let length = (start as u32) as usize;
        if length > RECORD_MAX {
            return None;
        }
        let number = data(1);
        record.clear();
        for nth in 0..length.div_ceil(8) {
            record.extend_from_slice(&data(PREFIX + nth).to_le_bytes());
        }
        record.truncate(length);
        // What was read before is older than what is read after this.
        fence(Ordering::Acquire);
        let is_there = self.head().wrapping_sub(self.at) <= self.cells;
        let is_whole = checksum(self.at, record) == (start >> 32) as u32;
        (is_there && is_whole).then_some(number)
    }

    fn note(&mut self, number: u64) {
        let expected = self.next_number.unwrap_or(number);
        let (first, read, after) = self.seen.unwrap_or((expected.min(number), 0, number));
        let after = after.max(number.wrapping_add(1));
        self.seen = Some((first.min(number), read + 1, after));
        self.next_number = Some(after);
    }

    fn head(&self) -> u64 {
        self.word(AT_HEAD)
    }

    fn word(&self, at: usize) -> u64 {
        // Relaxed, because this memory may be mapped for reading only.
        self.words.get()[at].load(Relaxed)
    }
}

#[cfg(test)]
mod tests;
