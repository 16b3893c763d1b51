//! Finished lines on their way to a file, bounded.
//!
//! The event loop pushes, a thread takes everything at once; the lock around this
//! is held for a copy of one line or an exchange of two buffers.
//!
//! Invariant: whole lines only; never more than `limit` bytes.

use std::mem;

/// Lines that wait for their writer.
#[derive(Debug)]
pub struct Backlog {
    lines: Vec<u8>,
    limit: usize,
    count: u64,
    dropped: u64,
}

/// Lines that were taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The lines, each with its line break.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u64,
    /// How many had no room since the last time.
    pub dropped: u64,
}

impl Backlog {
    /// Nothing yet; `limit` bytes at most.
    pub const fn new(limit: usize) -> Self {
        Self { lines: Vec::new(), limit, count: 0, dropped: 0 }
    }

    /// Takes a line with its line break, or counts it where there is no room or no memory.
    pub fn push(&mut self, line: &[u8]) {
        let has_room = self.lines.len() + line.len() <= self.limit;
        if has_room && self.lines.try_reserve(line.len()).is_ok() {
            self.lines.extend_from_slice(line);
            self.count += 1;
        } else {
            self.dropped += 1;
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes everything into `batch`, whose buffer is used for what comes next.
    pub fn take(&mut self, batch: &mut Batch) {
        batch.lines.clear();
        mem::swap(&mut batch.lines, &mut self.lines);
        batch.count = mem::take(&mut self.count);
        batch.dropped = mem::take(&mut self.dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_and_never_cut() {
        let mut backlog = Backlog::new(10);
        for line in [&b"1234\n"[..], b"12345\n", b"678\n", b"\n", b"\n"] {
            backlog.push(line);
        }
        assert_eq!(backlog.len(), 10);
        let mut batch = Batch::default();
        backlog.take(&mut batch);
        assert_eq!(batch, Batch { lines: b"1234\n678\n\n".to_vec(), count: 3, dropped: 2 });
        assert!(backlog.is_empty());
        backlog.push(b"again\n");
        backlog.take(&mut batch);
        assert_eq!(batch, Batch { lines: b"again\n".to_vec(), count: 1, dropped: 0 });
    }
}
