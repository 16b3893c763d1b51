//! The last blocked requests of each address.
//!
//! A record keeps the times of the last requests of a [`Key`], never more than its
//! limit allows, so the one that exceeds it is found by a look at the oldest: exact, and
//! O(1). Those that have left the window go, two with each request. Records and the times
//! lie in cells of one line; a chain of the hash table and a list by last touch lead
//! through the records.
//!
//! ```text
//! record: high | low | domain | chain, rate and window | older, newer | first, last cell
//!         of times | skipped, count | last time
//! times:  next cell | 14 times of 32 bits, milliseconds modulo 2^32
//! ```
//! Everything here needs the lock.

use crate::key::Key;
use crate::memory::{Memory, at, half, place, with_half};

/// Times in a cell.
const TIMES: u32 = 14;

/// Words of a record, from its first.
mod field {
    pub const DOMAIN: usize = 2;
    /// Next of the chain; the limit.
    pub const CHAIN: usize = 3;
    /// Older and newer neighbour in the list by last touch.
    pub const AGE: usize = 4;
    /// First and last cell of times.
    pub const CELLS: usize = 5;
    /// How many of the first cell's times are gone; how many times there are.
    pub const COUNT: usize = 6;
    pub const LAST: usize = 7;
}

/// What a limit allows, as a record remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in a window.
    pub count: u32,
    /// The window, in milliseconds.
    pub window_ms: u64,
}

impl Rate {
    /// Tells limits apart; windows are a second or a minute.
    fn word(self) -> u32 {
        self.count << 8 | (self.window_ms / 1000) as u32 & 0xff
    }
}

/// The counts of a zone.
#[derive(Debug, Clone, Copy)]
pub struct Counts<'m>(pub Memory<'m>);

impl Counts<'_> {
    /// Adds a request; `true` where it exceeds the rate, and the record is gone then.
    pub fn add(&self, key: &Key, hash: u64, rate: Rate, now: u64) -> bool {
        let Some(record) = self.find(key, hash).or_else(|| self.begin(key, hash, rate)) else {
            return false;
        };
        self.touch(record);
        // Each process looks at the clock at its own moments: of two requests the later
        // one may bring the earlier time.
        let last = self.get(record, field::LAST);
        let now = now.max(last);
        let over = now - last >= rate.window_ms;
        // After a change of the limit, too, counting begins anew.
        if over || half(self.get(record, field::CHAIN), 1) != rate.word() {
            self.free_times(record);
            self.set_half(record, field::CHAIN, 1, rate.word());
        }
        // Two, so that what has left the window goes faster than it comes: times are of 32 bits,
        // and one of seven weeks ago would look new.
        for _ in 0..2 {
            let is_over = || {
                let age = (now as u32).wrapping_sub(self.oldest_time(record));
                u64::from(age) >= rate.window_ms
            };
            if self.count(record) > 0 && is_over() {
                self.drop_oldest(record);
            }
        }
        if self.count(record) >= rate.count {
            self.remove(record);
            return true;
        }
        self.push(record, now);
        false
    }

    /// Forgets an address.
    pub fn forget(&self, key: &Key, hash: u64) {
        if let Some(record) = self.find(key, hash) {
            self.remove(record);
        }
    }

    /// Throws everything away.
    pub fn reset(&self) {
        self.0.clear_chains();
        for place in [at::FRESH, at::FREE, at::OLDEST, at::NEWEST, at::RECORDS, at::CELLS] {
            self.0.set(place, 0);
        }
    }

    fn get(&self, record: u32, field: usize) -> u64 {
        self.0.get(self.0.cell(record) + field)
    }

    fn set(&self, record: u32, field: usize, value: u64) {
        self.0.set(self.0.cell(record) + field, value);
    }

    fn set_half(&self, record: u32, field: usize, which: usize, value: u32) {
        self.set(record, field, with_half(self.get(record, field), which, value));
    }

    fn count(&self, record: u32) -> u32 {
        half(self.get(record, field::COUNT), 1)
    }

    fn chain_of(&self, hash: u64) -> usize {
        place(hash, self.0.chains)
    }

    fn key(&self, record: u32) -> Key {
        Key::from_words([0, 1, field::DOMAIN].map(|word| self.get(record, word)))
    }

    fn find(&self, key: &Key, hash: u64) -> Option<u32> {
        let mut record = self.0.chain(self.chain_of(hash));
        while record != 0 {
            if self.key(record) == *key {
                return Some(record);
            }
            record = half(self.get(record, field::CHAIN), 0);
        }
        None
    }

    /// A new record, without times.
    fn begin(&self, key: &Key, hash: u64, rate: Rate) -> Option<u32> {
        let record = self.take_cell(0)?;
        let chain = self.chain_of(hash);
        for (word, value) in key.words().into_iter().enumerate() {
            self.set(record, word, value);
        }
        let next = u64::from(self.0.chain(chain));
        self.set(record, field::CHAIN, next | u64::from(rate.word()) << 32);
        for empty in [field::CELLS, field::COUNT, field::LAST] {
            self.set(record, empty, 0);
        }
        self.0.set_chain(chain, record);
        self.link_newest(record);
        self.0.add(at::RECORDS, 1);
        Some(record)
    }

    fn remove(&self, record: u32) {
        self.free_times(record);
        let chain = self.chain_of(self.key(record).hash(self.0.seeds()));
        let next = half(self.get(record, field::CHAIN), 0);
        let mut before = self.0.chain(chain);
        if before == record {
            self.0.set_chain(chain, next);
        } else {
            while before != 0 {
                let after = half(self.get(before, field::CHAIN), 0);
                if after == record {
                    self.set_half(before, field::CHAIN, 0, next);
                    break;
                }
                before = after;
            }
        }
        self.unlink(record);
        self.give_cells(record, record, 1);
        self.0.add(at::RECORDS, -1);
    }

    fn touch(&self, record: u32) {
        if self.0.get(at::NEWEST) as u32 != record {
            self.unlink(record);
            self.link_newest(record);
        }
    }

    fn unlink(&self, record: u32) {
        let age = self.get(record, field::AGE);
        let (older, newer) = (half(age, 0), half(age, 1));
        match older {
            0 => self.0.set(at::OLDEST, newer.into()),
            older => self.set_half(older, field::AGE, 1, newer),
        }
        match newer {
            0 => self.0.set(at::NEWEST, older.into()),
            newer => self.set_half(newer, field::AGE, 0, older),
        }
    }

    fn link_newest(&self, record: u32) {
        let before = self.0.get(at::NEWEST) as u32;
        self.set(record, field::AGE, before.into());
        match before {
            0 => self.0.set(at::OLDEST, record.into()),
            before => self.set_half(before, field::AGE, 1, record),
        }
        self.0.set(at::NEWEST, record.into());
    }

    fn push(&self, record: u32, now: u64) {
        let cells = self.get(record, field::CELLS);
        let (skipped, count) = (half(self.get(record, field::COUNT), 0), self.count(record));
        let position = (skipped + count) % TIMES;
        let mut cell = half(cells, 1);
        if cell == 0 || (position == 0 && skipped + count > 0) {
            let Some(fresh) = self.take_cell(record) else {
                // This address alone fills the zone: its oldest times make room.
                self.0.add(at::FORGOTTEN, 1);
                self.drop_cell(record);
                return;
            };
            // What was taken for it may have been this record's neighbours, not its own.
            self.set(fresh, 0, 0);
            match cell {
                0 => self.set_half(record, field::CELLS, 0, fresh),
                last => self.set(last, 0, fresh.into()),
            }
            self.set_half(record, field::CELLS, 1, fresh);
            cell = fresh;
        }
        let (word, which) = time_at(position);
        self.set_half(cell, word, which, now as u32);
        self.set_half(record, field::COUNT, 1, count + 1);
        self.set(record, field::LAST, now);
    }

    fn oldest_time(&self, record: u32) -> u32 {
        let first = half(self.get(record, field::CELLS), 0);
        let (word, which) = time_at(half(self.get(record, field::COUNT), 0));
        half(self.get(first, word), which)
    }

    fn drop_oldest(&self, record: u32) {
        let counted = self.get(record, field::COUNT);
        let (skipped, count) = (half(counted, 0) + 1, half(counted, 1).saturating_sub(1));
        if skipped == TIMES {
            self.set(record, field::COUNT, u64::from(count) << 32);
            self.free_first_cell(record);
        } else {
            self.set(record, field::COUNT, u64::from(skipped) | u64::from(count) << 32);
        }
    }

    /// Drops the times of the first cell.
    fn drop_cell(&self, record: u32) {
        let counted = self.get(record, field::COUNT);
        let (skipped, count) = (half(counted, 0), half(counted, 1));
        let left = count.saturating_sub(TIMES - skipped);
        self.set(record, field::COUNT, u64::from(left) << 32);
        self.free_first_cell(record);
    }

    fn free_first_cell(&self, record: u32) {
        let cells = self.get(record, field::CELLS);
        let (first, last) = (half(cells, 0), half(cells, 1));
        if first == 0 {
            return;
        }
        let next = if first == last { 0 } else { self.get(first, 0) as u32 };
        let last = if next == 0 { 0 } else { last };
        self.set(record, field::CELLS, u64::from(next) | u64::from(last) << 32);
        self.give_cells(first, first, 1);
    }

    fn free_times(&self, record: u32) {
        let cells = self.get(record, field::CELLS);
        let (first, last) = (half(cells, 0), half(cells, 1));
        if first != 0 {
            let counted = self.get(record, field::COUNT);
            let times = half(counted, 0) + half(counted, 1);
            self.give_cells(first, last, times.div_ceil(TIMES).max(1));
        }
        self.set(record, field::CELLS, 0);
        self.set(record, field::COUNT, 0);
    }

    /// A cell: a free one, else a fresh one, else one of the address that was touched
    /// longest ago, which is forgotten, unless that is `keep`.
    fn take_cell(&self, keep: u32) -> Option<u32> {
        if self.0.get(at::FREE) == 0 && self.0.get(at::FRESH) as usize >= self.0.cells {
            let oldest = self.0.get(at::OLDEST) as u32;
            if oldest == 0 || oldest == keep {
                return None;
            }
            self.remove(oldest);
            self.0.add(at::FORGOTTEN, 1);
        }
        let cell = match self.0.get(at::FREE) as u32 {
            0 => {
                let fresh = self.0.get(at::FRESH) + 1;
                self.0.set(at::FRESH, fresh);
                fresh as u32
            }
            free => {
                self.0.set(at::FREE, self.get(free, 0));
                free
            }
        };
        self.0.add(at::CELLS, 1);
        Some(cell)
    }

    /// Gives back a list of cells, linked by their first words.
    fn give_cells(&self, first: u32, last: u32, count: u32) {
        self.set(last, 0, self.0.get(at::FREE));
        self.0.set(at::FREE, first.into());
        self.0.add(at::CELLS, -i64::from(count));
    }
}

/// The word of a cell, and its half, where a time is.
fn time_at(position: u32) -> (usize, usize) {
    (1 + position as usize / 2, position as usize % 2)
}
