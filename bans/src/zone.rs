//! A zone: counts and bans together, behind one lock.

use std::sync::atomic::{AtomicU64, Ordering};

pub use crate::banned::Ban;
use crate::banned::Banned;
use crate::counts::{Counts, Rate};
use crate::key::Key;
use crate::memory::{MIN_WORDS, Memory, at};

/// Mutual exclusion among everybody who shares the words.
pub trait Lock {
    /// Runs `work` while nobody else does. Must let others in again if `work` panics;
    /// where a holder dies, somebody else must do that.
    fn hold<T>(&self, work: impl FnOnce() -> T) -> T;
}

/// What one entry of `nwaf_limit` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Blocked requests in a window.
    pub rate: u32,
    /// The window in seconds: 1 or 60.
    pub window_s: u32,
    /// The ban in seconds; 0 never bans.
    pub block_s: u32,
}

/// What became of a blocked request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was counted, and the limit is kept.
    Within,
    /// It exceeds the limit: its address is banned now.
    Exceeded {
        /// When the ban ends, in milliseconds of the zone's clock.
        until: u64,
    },
    /// Another request has exceeded the limit at the same time, for this rule.
    Overtaken {
        /// The rule that led to the ban; 0 for none.
        rule: u64,
    },
}

/// How full a zone is, and what has happened in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes of the zone.
    pub size: u64,
    /// Bans that hold.
    pub bans: u64,
    /// Room for bans.
    pub bans_room: u64,
    /// Addresses that are counted.
    pub addresses: u64,
    /// Cells of 64 bytes that counts take.
    pub cells: u64,
    /// Room for cells.
    pub cells_room: u64,
    /// Blocked requests that were counted.
    pub counted: u64,
    /// Bans that were made.
    pub made: u64,
    /// Bans that were lifted before their end.
    pub lifted: u64,
    /// Addresses whose counts were forgotten for want of room.
    pub forgotten: u64,
    /// Bans that ended early for want of room.
    pub cut: u64,
    /// Times that all counts were thrown away, because a process died among them.
    pub resets: u64,
}

/// Counts and bans in shared words.
#[derive(Debug, Clone, Copy)]
pub struct Zone<'m, L> {
    memory: Memory<'m>,
    lock: L,
}

impl<'m, L: Lock> Zone<'m, L> {
    /// The least number of words.
    pub const MIN_WORDS: usize = MIN_WORDS;

    /// Makes a zone of words that are all zero; `seeds` are numbers that nobody else can
    /// know. `None` where the words are too few or too many.
    pub fn create(words: &'m [AtomicU64], seeds: [u64; 3], lock: L) -> Option<Self> {
        let memory = Memory::new(words)?;
        for (nth, seed) in seeds.into_iter().enumerate() {
            memory.set(at::SEEDS + nth, seed);
        }
        Some(Self { memory, lock })
    }

    /// Whether nobody is banned at `now`. One load.
    #[inline]
    pub fn is_idle(&self, now: u64) -> bool {
        self.banned().is_idle(now)
    }

    /// The rule that led to the ban of a key (0 for none), if it is banned at `now`; the
    /// ban's counter is incremented. No lock, no allocation; reads one or two cache lines,
    /// at most eight buckets of them in a full zone.
    #[inline]
    pub fn stop(&self, key: &Key, now: u64) -> Option<u64> {
        let (ban, blocked) = self.banned().find(key, key.hash(self.memory.seeds()), now)?;
        blocked.fetch_add(1, Ordering::Relaxed);
        Some(ban.rule)
    }

    /// Counts a blocked request at `now`, for which `rule` has decided.
    ///
    /// The request that makes more than `rate` in a window begins a ban. Exact over
    /// all processes: of the requests of a key exactly `rate` are [`Counted::Within`] a window
    /// before the one that is not. Takes the lock; O(1).
    pub fn count(&self, key: &Key, allowance: Allowance, rule: u64, now: u64) -> Counted {
        if allowance.block_s == 0 {
            return Counted::Within;
        }
        let hash = key.hash(self.memory.seeds());
        let rate = Rate { count: allowance.rate, window_ms: u64::from(allowance.window_s) * 1000 };
        self.change(|| {
            if let Some((ban, blocked)) = self.banned().find(key, hash, now) {
                blocked.fetch_add(1, Ordering::Relaxed);
                return Counted::Overtaken { rule: ban.rule };
            }
            self.memory.add(at::COUNTED, 1);
            self.sweep_one(now);
            if !self.counts().add(key, hash, rate, now) {
                return Counted::Within;
            }
            let until = now.saturating_add(u64::from(allowance.block_s) * 1000);
            self.banned().insert(
                &Ban { key: *key, since: now, until, rule, blocked: 1 },
                hash,
                now,
            );
            self.memory.add(at::MADE, 1);
            Counted::Exceeded { until }
        })
    }

    /// Takes over a ban from another zone.
    pub fn adopt(&self, ban: &Ban, now: u64) {
        let hash = ban.key.hash(self.memory.seeds());
        self.change(|| self.banned().insert(ban, hash, now));
    }

    /// The bans that hold at `now`, in no order. No lock: bans that come and go
    /// meanwhile may be there or not.
    pub fn bans(&self, now: u64) -> impl Iterator<Item = Ban> + use<'m, L> {
        self.banned().iter(now)
    }

    /// Ends the bans that `wanted` picks and forgets their counts; says how many they were.
    /// The lock is held for one bucket at a time.
    pub fn lift(&self, now: u64, wanted: impl Fn(&Ban) -> bool) -> u64 {
        let seeds = self.memory.seeds();
        let mut lifted = 0;
        for number in 0..self.memory.buckets {
            lifted += self.change(|| {
                let count = self.banned().clean(number, now, |ban| {
                    let picked = wanted(ban);
                    if picked {
                        self.counts().forget(&ban.key, ban.key.hash(seeds));
                    }
                    picked
                });
                self.memory.add(at::LIFTED, i64::try_from(count).unwrap_or(i64::MAX));
                count
            });
        }
        lifted
    }

    /// What was lost for want of room since that was last reported: addresses whose counts
    /// were forgotten, and bans that ended early. `Some` once a minute, for one caller.
    pub fn losses_to_tell(&self, now: u64) -> Option<u64> {
        const INTERVAL_MS: u64 = 60_000;
        let get = |place| self.memory.get(place);
        let lost = get(at::FORGOTTEN) + get(at::CUT);
        let (told, told_at) = (get(at::TOLD), get(at::TOLD_AT));
        if lost <= told || (told > 0 && now < told_at.saturating_add(INTERVAL_MS)) {
            return None;
        }
        let mine = self.memory.word(at::TOLD)?.compare_exchange(
            told,
            lost,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        self.memory.set(at::TOLD_AT, now);
        mine.is_ok().then_some(lost - told)
    }

    /// How full it is at `now`, and what has happened. Counts the bans: linear in the zone.
    pub fn statistics(&self, now: u64) -> Statistics {
        let get = |place| self.memory.get(place);
        Statistics {
            size: self.memory.len() as u64 * 8,
            bans: self.bans(now).count() as u64,
            bans_room: self.memory.buckets as u64 * 7,
            addresses: get(at::RECORDS),
            cells: get(at::CELLS),
            cells_room: self.memory.cells as u64,
            counted: get(at::COUNTED),
            made: get(at::MADE),
            lifted: get(at::LIFTED),
            forgotten: get(at::FORGOTTEN),
            cut: get(at::CUT),
            resets: get(at::RESETS),
        }
    }

    fn banned(&self) -> Banned<'m> {
        Banned(self.memory)
    }

    fn counts(&self) -> Counts<'m> {
        Counts(self.memory)
    }

    fn sweep_one(&self, now: u64) {
        let number = self.memory.get(at::SWEEP) as usize % self.memory.buckets.max(1);
        self.banned().clean(number, now, |_| false);
        self.memory.set(at::SWEEP, number as u64 + 1);
    }

    /// Holds the lock. Counts that a dead holder has left half changed are thrown away;
    /// its bans are whole, or nobody reads them.
    fn change<T>(&self, work: impl FnOnce() -> T) -> T {
        self.lock.hold(|| {
            if self.memory.get(at::BUSY) != 0 {
                self.counts().reset();
                self.memory.add(at::RESETS, 1);
            }
            self.memory.set(at::BUSY, 1);
            let result = work();
            self.memory.set(at::BUSY, 0);
            result
        })
    }
}
