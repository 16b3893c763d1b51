//! A line of text in shared memory that every worker may replace.
//!
//! Invariants: all zero bytes are a valid, empty note; nobody ever waits: of two that
//! write at once one gives up, and a writer that died in the middle is overtaken after
//! [`PATIENCE_MS`]. What is read may then be a mixture of two texts, never anything
//! else: it is shown to people and decides nothing.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Bytes of a text that are kept.
const ROOM: usize = 240;
/// How long a writer may take: writing is a few hundred stores.
const PATIENCE_MS: u64 = 1_000;
/// How often a reader that was disturbed tries again.
const ATTEMPTS: usize = 8;

/// The note.
#[derive(Debug)]
pub struct Note {
    /// Odd while somebody writes.
    turn: AtomicU32,
    length: AtomicU32,
    /// Milliseconds since 1970; 0 where nothing was written yet.
    at_ms: AtomicU64,
    bytes: [AtomicU8; ROOM],
}

impl Note {
    /// Replaces the text, unless somebody else is doing so; what does not fit is cut.
    /// `now_ms` is milliseconds since 1970.
    pub fn write(&self, text: &str, now_ms: u64) {
        let turn = self.turn.load(Ordering::Acquire);
        let mine = if turn.is_multiple_of(2) {
            turn.wrapping_add(1)
        } else if now_ms.abs_diff(self.at_ms.load(Ordering::Relaxed)) > PATIENCE_MS {
            turn.wrapping_add(2)
        } else {
            return;
        };
        let taken = self.turn.compare_exchange(turn, mine, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_err() {
            return;
        }
        self.at_ms.store(now_ms, Ordering::Relaxed);
        let kept = &text.as_bytes()[..text.floor_char_boundary(ROOM)];
        for (to, from) in self.bytes.iter().zip(kept) {
            to.store(*from, Ordering::Relaxed);
        }
        self.length.store(kept.len() as u32, Ordering::Relaxed);
        // Not where another one has taken the turn of a writer it thought dead.
        let end = mine.wrapping_add(1);
        let _ = self.turn.compare_exchange(mine, end, Ordering::Release, Ordering::Relaxed);
    }

    /// The text and its time in milliseconds since 1970; `None` where there is none.
    pub fn read(&self) -> Option<(String, u64)> {
        let mut read = None;
        for _ in 0..ATTEMPTS {
            let turn = self.turn.load(Ordering::Acquire);
            let length = (self.length.load(Ordering::Relaxed) as usize).min(ROOM);
            let bytes = self.bytes[..length].iter().map(|byte| byte.load(Ordering::Relaxed));
            let text = String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned();
            let at_ms = self.at_ms.load(Ordering::Acquire);
            read = (at_ms != 0).then_some((text, at_ms));
            if turn.is_multiple_of(2) && self.turn.load(Ordering::Acquire) == turn {
                break;
            }
        }
        read
    }
}
