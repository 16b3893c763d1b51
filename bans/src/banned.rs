//! The bans: a table that every request reads without the lock.
//!
//! ```text
//! bucket: line of 7 tags and a mark | 7 bans of a line each
//! ban:    version | high | low | domain | since | until | rule | blocked requests
//! ```
//! A tag is the hash of the ban's key, or 0. Bans that find their bucket full go on to
//! the next one, and leave a mark there that tells readers to go on too. The version is
//! odd while a ban is written: who reads it twice and finds the same even number has
//! read one ban (a sequence lock). All writing needs the zone's lock.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::key::Key;
use crate::memory::{LINE, Memory, at, place};

/// Bans in a bucket.
const SLOTS: usize = 7;
/// Buckets that are looked at for one key.
const REACH: usize = 8;
/// The word of a bucket that says that bans have gone on to the next one.
const MARK: usize = 7;

/// Words of a ban.
mod field {
    pub const VERSION: usize = 0;
    pub const KEY: usize = 1;
    pub const SINCE: usize = 4;
    pub const UNTIL: usize = 5;
    pub const RULE: usize = 6;
    pub const BLOCKED: usize = 7;
}

/// A ban as it lies in the zone; times in milliseconds of the zone's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// Who is banned.
    pub key: Key,
    /// When it began.
    pub since: u64,
    /// When it ends; at this moment it has no effect any more.
    pub until: u64,
    /// The rule that led to it; 0 for none.
    pub rule: u64,
    /// Requests it has stopped.
    pub blocked: u64,
}

/// The bans of a zone.
#[derive(Debug, Clone, Copy)]
pub struct Banned<'m>(pub Memory<'m>);

impl<'m> Banned<'m> {
    /// Whether all bans are over, or there never was one.
    #[inline]
    pub fn is_idle(&self, now: u64) -> bool {
        now >= self.0.get(at::LAST_END)
    }

    /// The ban of a key, with its counter. No lock; one line for most keys.
    #[inline]
    pub fn find(&self, key: &Key, hash: u64, now: u64) -> Option<(Ban, &'m AtomicU64)> {
        for bucket in self.buckets_of(hash) {
            for slot in (0..SLOTS).filter(|slot| self.tag(bucket, *slot) == hash) {
                let found = self.read(bucket, slot);
                if let Some(ban) = found.filter(|ban| ban.key == *key && now < ban.until) {
                    let counter = self.0.word(self.slot(bucket, slot) + field::BLOCKED)?;
                    return Some((ban, counter));
                }
            }
            if self.0.get(bucket + MARK) == 0 {
                break;
            }
        }
        None
    }

    /// Adds a ban, or makes the one of the same key last longer.
    pub fn insert(&self, ban: &Ban, hash: u64, now: u64) {
        if self.is_idle(now) && self.0.get(at::MARKED) != 0 {
            self.clear_marks();
        }
        // Before the ban is there, so that everybody looks for it.
        self.0.set(at::LAST_END, self.0.get(at::LAST_END).max(ban.until));
        // A free slot, else the one that ends soonest.
        let mut best: Option<(u64, usize, usize)> = None;
        for bucket in self.buckets_of(hash) {
            for slot in 0..SLOTS {
                let tag = self.tag(bucket, slot);
                let held = if tag == 0 { None } else { self.read(bucket, slot) };
                if let Some(own) = held.filter(|own| own.key == ban.key) {
                    // One that is over is another ban.
                    let own = if own.until <= now { *ban } else { own };
                    self.write(bucket, slot, &Ban { until: own.until.max(ban.until), ..own });
                    return;
                }
                let until = held.map_or(0, |held| if held.until <= now { 0 } else { held.until });
                if best.is_none_or(|(soonest, ..)| until < soonest) {
                    best = Some((until, bucket, slot));
                }
            }
            if best.is_some_and(|(until, ..)| until == 0) {
                break;
            }
        }
        let Some((until, chosen, slot)) = best else { return };
        if until > 0 {
            self.0.add(at::CUT, 1);
        }
        // Before the ban is there, so that nobody stops short of it.
        for bucket in self.buckets_of(hash).take_while(|bucket| *bucket != chosen) {
            self.0.set(at::MARKED, 1);
            self.0.set(bucket + MARK, 1);
        }
        self.write(chosen, slot, ban);
        self.set_tag(chosen, slot, hash);
    }

    /// Removes the bans of one bucket that are over, and those that `unwanted` picks;
    /// says how many the latter were.
    pub fn clean(&self, number: usize, now: u64, mut unwanted: impl FnMut(&Ban) -> bool) -> u64 {
        let bucket = self.0.bucket(number);
        let mut picked = 0;
        for slot in (0..SLOTS).filter(|slot| self.tag(bucket, *slot) != 0) {
            let ban = self.read(bucket, slot);
            let over = ban.is_none_or(|ban| ban.until <= now);
            let lifted = !over && ban.is_some_and(|ban| unwanted(&ban));
            picked += u64::from(lifted);
            if over || lifted {
                self.set_tag(bucket, slot, 0);
            }
        }
        picked
    }

    /// Removes the marks, where there is no ban that would need them.
    fn clear_marks(&self) {
        for number in 0..self.0.buckets {
            self.0.set(self.0.bucket(number) + MARK, 0);
        }
        self.0.set(at::MARKED, 0);
    }

    /// All bans that hold. Where there are none, the table is left alone: memory that was
    /// never touched costs nothing.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = Ban> + use<'m> {
        let own = *self;
        let count = if own.is_idle(now) { 0 } else { own.0.buckets };
        let buckets = (0..count).map(move |number| own.0.bucket(number));
        buckets
            .flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)))
            .filter(move |(bucket, slot)| own.tag(*bucket, *slot) != 0)
            .filter_map(move |(bucket, slot)| own.read(bucket, slot))
            .filter(move |ban| now < ban.until)
    }

    /// The buckets where a key may be, nearest first, as positions of words.
    fn buckets_of(&self, hash: u64) -> impl Iterator<Item = usize> + use<'m> {
        let memory = self.0;
        let first = place(hash, memory.buckets);
        (0..REACH.min(memory.buckets)).map(move |step| {
            let number = first + step;
            memory.bucket(if number < memory.buckets { number } else { number - memory.buckets })
        })
    }

    fn slot(&self, bucket: usize, slot: usize) -> usize {
        bucket + (1 + slot) * LINE
    }

    fn tag(&self, bucket: usize, slot: usize) -> u64 {
        self.0.word(bucket + slot).map_or(0, |tag| tag.load(Ordering::Acquire))
    }

    fn set_tag(&self, bucket: usize, slot: usize, tag: u64) {
        if let Some(word) = self.0.word(bucket + slot) {
            word.store(tag, Ordering::Release);
        }
    }

    /// A ban in one piece; `None` where it is being written.
    fn read(&self, bucket: usize, slot: usize) -> Option<Ban> {
        let from = self.slot(bucket, slot);
        let version = self.0.word(from + field::VERSION)?;
        let before = version.load(Ordering::Acquire);
        let ban = Ban {
            key: Key::from_words([0, 1, 2].map(|word| self.0.get(from + field::KEY + word))),
            since: self.0.get(from + field::SINCE),
            until: self.0.get(from + field::UNTIL),
            rule: self.0.get(from + field::RULE),
            blocked: self.0.get(from + field::BLOCKED),
        };
        fence(Ordering::Acquire);
        (before % 2 == 0 && version.load(Ordering::Relaxed) == before).then_some(ban)
    }

    fn write(&self, bucket: usize, slot: usize, ban: &Ban) {
        let to = self.slot(bucket, slot);
        let Some(version) = self.0.word(to + field::VERSION) else { return };
        // Odd already where a writer died here.
        let odd = version.load(Ordering::Relaxed) | 1;
        version.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in ban.key.words().into_iter().enumerate() {
            self.0.set(to + field::KEY + word, value);
        }
        self.0.set(to + field::SINCE, ban.since);
        self.0.set(to + field::UNTIL, ban.until);
        self.0.set(to + field::RULE, ban.rule);
        self.0.set(to + field::BLOCKED, ban.blocked);
        version.store(odd.wrapping_add(1), Ordering::Release);
    }
}
