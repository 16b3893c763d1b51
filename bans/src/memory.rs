//! The words of a zone, and how they are shared out.
//!
//! ```text
//! head (64 words) | buckets of bans | heads of chains | cells of counts
//! ```
//! A line is eight words, as much as the processor fetches at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a line.
pub const LINE: usize = 8;
/// Words of a bucket: one line of tags, and a line for each of seven bans.
pub const BUCKET: usize = 8 * LINE;
/// Words before the buckets.
pub const HEAD: usize = 8 * LINE;
/// The least a zone needs to be of use: 32 KiB.
pub const MIN_WORDS: usize = 4096;
/// Positions are 32 bits wide: 32 GiB.
const MAX_WORDS: usize = 1 << 32;

/// Where the words of the head are. The first line is written once, the second by
/// whoever holds the lock, and the third is read by every request.
pub mod at {
    /// Three words nobody outside can know.
    pub const SEEDS: usize = 0;

    /// Not 0 while the counts are changed.
    pub const BUSY: usize = 8;
    /// The first cell that was never used.
    pub const FRESH: usize = 9;
    /// The first of the cells that are free again.
    pub const FREE: usize = 10;
    /// The record that was touched longest ago.
    pub const OLDEST: usize = 11;
    /// The one touched last.
    pub const NEWEST: usize = 12;
    /// Addresses that are counted.
    pub const RECORDS: usize = 13;
    /// Cells in use.
    pub const CELLS: usize = 14;
    /// The bucket to be swept next.
    pub const SWEEP: usize = 15;

    /// When the last of all bans ends.
    pub const LAST_END: usize = 16;
    /// Not 0 once any bucket has a mark.
    pub const MARKED: usize = 17;

    /// Blocked requests that were counted.
    pub const COUNTED: usize = 24;
    /// Bans that were made.
    pub const MADE: usize = 25;
    /// Bans that were lifted before their end.
    pub const LIFTED: usize = 26;
    /// Addresses whose counts were forgotten for want of room.
    pub const FORGOTTEN: usize = 27;
    /// Bans that ended early for want of room.
    pub const CUT: usize = 28;
    /// Times that all counts were thrown away.
    pub const RESETS: usize = 29;
    /// When the want of room was last reported, and for how many losses.
    pub const TOLD_AT: usize = 30;
    pub const TOLD: usize = 31;
}

/// The words of a zone, with the sizes of its parts.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'m> {
    words: &'m [AtomicU64],
    /// Number of buckets.
    pub buckets: usize,
    /// Number of chains, two in a word.
    pub chains: usize,
    /// Number of cells; they count from 1.
    pub cells: usize,
    /// Word at which the chains begin.
    chains_at: usize,
    /// Word at which the cells begin.
    cells_at: usize,
}

impl<'m> Memory<'m> {
    /// Shares out words; `None` where they are too few or too many.
    pub fn new(words: &'m [AtomicU64]) -> Option<Self> {
        if !(MIN_WORDS..=MAX_WORDS).contains(&words.len()) {
            return None;
        }
        let lines = (words.len() - HEAD) / LINE;
        // Three eighths for bans, a sixteenth for chains: nearly two for each cell.
        let buckets = lines * 3 / 8 / (BUCKET / LINE);
        let chain_lines = lines / 16;
        let chains_at = HEAD + buckets * BUCKET;
        let cells_at = chains_at + chain_lines * LINE;
        let cells = (words.len() - cells_at) / LINE;
        let chains = chain_lines * LINE * 2;
        Some(Self { words, buckets, chains, cells, chains_at, cells_at })
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// A word. Nothing is beyond the end: damage reads as 0.
    pub fn word(&self, at: usize) -> Option<&'m AtomicU64> {
        self.words.get(at)
    }

    /// The value of a word.
    pub fn get(&self, at: usize) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes a word.
    pub fn set(&self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Adds to a word that only the holder of the lock writes.
    pub fn add(&self, at: usize, count: i64) {
        self.set(at, self.get(at).saturating_add_signed(count));
    }

    /// The seeds of the hash.
    pub fn seeds(&self) -> [u64; 3] {
        [at::SEEDS, at::SEEDS + 1, at::SEEDS + 2].map(|place| self.get(place))
    }

    /// The word where a cell begins.
    pub fn cell(&self, number: u32) -> usize {
        self.cells_at + (number as usize).saturating_sub(1) * LINE
    }

    /// The word where a bucket begins.
    pub fn bucket(&self, number: usize) -> usize {
        HEAD + number * BUCKET
    }

    /// The first cell of a chain; 0 for none.
    pub fn chain(&self, number: usize) -> u32 {
        half(self.get(self.chains_at + number / 2), number % 2)
    }

    /// Sets the first cell of a chain.
    pub fn set_chain(&self, number: usize, cell: u32) {
        let place = self.chains_at + number / 2;
        self.set(place, with_half(self.get(place), number % 2, cell));
    }

    /// Empties all chains.
    pub fn clear_chains(&self) {
        for place in self.chains_at..self.cells_at {
            self.set(place, 0);
        }
    }
}

/// One of the two numbers in a word.
pub fn half(word: u64, which: usize) -> u32 {
    (word >> (32 * which)) as u32
}

/// The word with one of its two numbers replaced.
pub fn with_half(word: u64, which: usize, value: u32) -> u64 {
    let shift = 32 * which;
    word & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift
}

/// A place below `count` for a hash, evenly.
pub fn place(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}
