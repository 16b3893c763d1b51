//! What the workers of one nginx know of each other: a table of slots in shared memory.
//!
//! Each worker owns one slot and is its only writer, so counting is a plain load
//! and store. No locks: a worker that is killed leaves a slot behind, never a
//! lock, for the next worker that starts. Counters go on where the worker before has
//! stopped, which is what that of the new one is reckoned from.
//!
//! Invariants: all zero bytes are a valid, empty table; the layout is named by
//! [`MAGIC`], which changes with it; nothing is ever subtracted from a counter or moved
//! to another, so that a sum over all of them never goes back.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use policy::BlockType;

use crate::note::Note;

/// Names this layout of [`Table`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"nwafwk\x00\x07");
/// Workers that can be counted one by one. A reload has old and new ones at once.
const SLOTS: usize = 256;
/// In `pid` while a slot changes hands. No process has this id.
const BUSY: u32 = u32::MAX;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Requests judged, or tried to.
    Requests,
    /// Requests refused.
    Blocked,
    /// Requests with an observed hit.
    Observed,
    /// Requests of white-listed hosts or addresses.
    Bypassed,
    /// Panics caught.
    Errors,
    /// Snapshots refused.
    Refusals,
    /// Addresses banned by `nwaf_limit`.
    Bans,
    /// Lines written to the attack journal.
    JournalLines,
    /// Lines that could not be.
    JournalDropped,
    /// Records written for behavioural analysis.
    TelemetryRecords,
}

/// Every counter with its name in the status, in the order of the enum.
pub const COUNTERS: [(Counter, &str); 10] = [
    (Counter::Requests, "requests"),
    (Counter::Blocked, "blocked"),
    (Counter::Observed, "observed"),
    (Counter::Bypassed, "bypassed"),
    (Counter::Errors, "errors"),
    (Counter::Refusals, "refusals"),
    (Counter::Bans, "bans"),
    (Counter::JournalLines, "journal_lines"),
    (Counter::JournalDropped, "journal_dropped"),
    (Counter::TelemetryRecords, "telemetry_records"),
];

/// Room for the numbers of block types.
const BLOCK_TYPES: usize = 12;

/// The counters of a slot.
#[derive(Debug, Default)]
pub struct Counters {
    of: [AtomicU64; COUNTERS.len()],
    /// Requests refused, by what decided.
    blocked_by: [AtomicU64; BLOCK_TYPES],
}

impl Counters {
    const fn new() -> Self {
        Self {
            of: [const { AtomicU64::new(0) }; COUNTERS.len()],
            blocked_by: [const { AtomicU64::new(0) }; BLOCK_TYPES],
        }
    }

    fn get(&self, counter: Counter) -> u64 {
        self.of[counter as usize].load(Ordering::Relaxed)
    }

    fn blocked_by(&self, what: BlockType) -> u64 {
        self.blocked_by[what as usize].load(Ordering::Relaxed)
    }

    fn copy(&self, other: &Self) {
        let own = self.of.iter().chain(&self.blocked_by);
        for (to, from) in own.zip(other.of.iter().chain(&other.blocked_by)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// One worker. Aligned so that workers do not share cache lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Slot {
    /// Process id; 0 where the slot is free.
    pid: AtomicU32,
    exiting: AtomicBool,
    session: AtomicU64,
    generation: AtomicU64,
    activated_ms: AtomicU64,
    /// Number of the bans in force, plus one; 0 where there are none.
    bans: AtomicU64,
    /// What all workers that had this slot have counted.
    counters: Counters,
    /// What they had counted when the present one came.
    before: Counters,
}

impl Slot {
    /// An empty slot, for a worker that found no room in the table.
    pub const fn new() -> Self {
        Self {
            pid: AtomicU32::new(0),
            exiting: AtomicBool::new(false),
            session: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            activated_ms: AtomicU64::new(0),
            bans: AtomicU64::new(0),
            counters: Counters::new(),
            before: Counters::new(),
        }
    }

    /// Adds one. Each counter has one writing thread: the background thread for
    /// refusals, the worker's own for the rest; a panic may be either's and is
    /// worth a real addition.
    #[inline]
    pub fn count(&self, counter: Counter) {
        let cell = &self.counters.of[counter as usize];
        if counter == Counter::Errors {
            cell.fetch_add(1, Ordering::Relaxed);
        } else {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Adds one to the requests that this has blocked; for the worker's own thread.
    pub fn blocked(&self, what: BlockType) {
        let cell = &self.counters.blocked_by[what as usize];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Adds `count`, whichever thread asks.
    pub fn add(&self, counter: Counter, count: u64) {
        self.counters.of[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Reports which policy this worker enforces since `now_ms` (milliseconds since 1970).
    pub fn activated(&self, session: u64, generation: u64, now_ms: u64) {
        self.session.store(session, Ordering::Relaxed);
        self.generation.store(generation, Ordering::Relaxed);
        // Last, so that who sees the time of a policy sees its number.
        self.activated_ms.store(now_ms, Ordering::Release);
    }

    /// Reports which bans this worker enforces.
    pub fn banned(&self, generation: u64) {
        self.bans.store(generation.saturating_add(1), Ordering::Relaxed);
    }

    /// Reports that the worker takes no new connections any more.
    pub fn exiting(&self) {
        self.exiting.store(true, Ordering::Relaxed);
    }

    /// What the worker has counted.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counters.get(counter).saturating_sub(self.before.get(counter))
    }

    /// How many requests this has blocked in the worker.
    pub fn blocked_by(&self, what: BlockType) -> u64 {
        self.counters.blocked_by(what).saturating_sub(self.before.blocked_by(what))
    }

    /// What the status shows of this slot.
    pub fn view(&self) -> View {
        let activated_ms = self.activated_ms.load(Ordering::Acquire);
        View {
            pid: self.pid.load(Ordering::Relaxed),
            exiting: self.exiting.load(Ordering::Relaxed),
            session: self.session.load(Ordering::Relaxed),
            generation: self.generation.load(Ordering::Relaxed),
            activated_ms,
            bans_generation: self.bans.load(Ordering::Relaxed).checked_sub(1),
        }
    }

    fn reset(&self) {
        self.exiting.store(false, Ordering::Relaxed);
        self.session.store(0, Ordering::Relaxed);
        self.generation.store(0, Ordering::Relaxed);
        self.activated_ms.store(0, Ordering::Relaxed);
        self.bans.store(0, Ordering::Relaxed);
        self.before.copy(&self.counters);
    }
}

/// A slot at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Process id.
    pub pid: u32,
    /// Serves its last connections after a reload or before the end.
    pub exiting: bool,
    /// History of the policy in force.
    pub session: u64,
    /// Number of the policy in force.
    pub generation: u64,
    /// When it came into force, milliseconds since 1970; 0 where none is.
    pub activated_ms: u64,
    /// Number of the bans in force.
    pub bans_generation: Option<u64>,
}

/// The whole table, as it lies in shared memory.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Table {
    magic: AtomicU64,
    /// The file that was last complained about, so that only one worker does.
    complaint: AtomicU64,
    /// The same for a file of bans.
    complaint_of_bans: AtomicU64,
    /// The same for a country database.
    complaint_of_countries: AtomicU64,
    /// When the missing snapshot was last complained about, seconds since 1970.
    missing_told_s: AtomicU64,
    /// The last error of any worker.
    last_error: Note,
    slots: [Slot; SLOTS],
}

impl Table {
    /// Gives zeroed memory its name.
    pub fn name(&self) {
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Whether the memory holds this layout.
    pub fn is_named(&self) -> bool {
        self.magic.load(Ordering::Acquire) == MAGIC
    }

    /// A slot for the process `pid`; `None` where all are in use. Slots of
    /// processes for which `alive` is false are emptied on the way.
    pub fn claim(&self, pid: u32, alive: impl Fn(u32) -> bool) -> Option<&Slot> {
        for slot in &self.slots {
            let owner = slot.pid.load(Ordering::Acquire);
            if owner != 0 && owner != BUSY && (owner == pid || !alive(owner)) {
                self.empty(slot, owner);
            }
        }
        self.slots.iter().find(|slot| {
            let free =
                slot.pid.compare_exchange(0, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if free {
                slot.reset();
                slot.pid.store(pid, Ordering::Release);
            }
            free
        })
    }

    /// Gives a slot back; its counts stay in the total.
    pub fn release(&self, slot: &Slot) {
        self.empty(slot, slot.pid.load(Ordering::Acquire));
    }

    fn empty(&self, slot: &Slot, owner: u32) {
        // Of several that see a dead owner, one does it; nobody takes away what is a new owner's.
        let _ = slot.pid.compare_exchange(owner, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The slots in use.
    pub fn in_use(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !matches!(slot.pid.load(Ordering::Acquire), 0 | BUSY))
    }

    /// A counter summed over all workers, ended ones included.
    pub fn total(&self, counter: Counter) -> u64 {
        self.sum(|counters| counters.get(counter))
    }

    /// Requests that this has blocked, in all workers, ended ones included.
    pub fn total_blocked_by(&self, what: BlockType) -> u64 {
        self.sum(|counters| counters.blocked_by(what))
    }

    fn sum(&self, value: impl Fn(&Counters) -> u64) -> u64 {
        // Free slots too: they keep what their workers have counted.
        self.slots.iter().map(|slot| value(&slot.counters)).fold(0, u64::wrapping_add)
    }

    /// The last error of any worker.
    pub fn last_error(&self) -> &Note {
        &self.last_error
    }

    /// Whether this caller is the one to complain about the file named by
    /// `file` (any number that differs between files, not 0).
    pub fn complain(&self, file: u64) -> bool {
        self.complaint.swap(file, Ordering::Relaxed) != file
    }

    /// As [`Table::complain`], about a file of bans.
    pub fn complain_about_bans(&self, file: u64) -> bool {
        self.complaint_of_bans.swap(file, Ordering::Relaxed) != file
    }

    /// As [`Table::complain`], about a country database.
    pub fn complain_about_countries(&self, file: u64) -> bool {
        self.complaint_of_countries.swap(file, Ordering::Relaxed) != file
    }

    /// As [`Table::content`], about a country database.
    pub fn content_with_countries(&self) {
        self.complaint_of_countries.store(0, Ordering::Relaxed);
    }

    /// A good file is in force: the next bad one is news, even if it is the same.
    pub fn content(&self) {
        self.complaint.store(0, Ordering::Relaxed);
    }

    /// Whether this caller is the one to say that there is no snapshot; once a
    /// minute for all workers. `now_s` is seconds since 1970.
    pub fn tell_missing(&self, now_s: u64) -> bool {
        const INTERVAL_S: u64 = 60;
        let told = self.missing_told_s.load(Ordering::Relaxed);
        // A clock that was set back must not silence the line.
        (now_s < told || now_s - told >= INTERVAL_S)
            && self
                .missing_told_s
                .compare_exchange(told, now_s, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
