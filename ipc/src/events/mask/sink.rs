//! Copies text up to a limit, card numbers hidden.

use super::HIDDEN;
use super::numbers::card_number;

/// Where masked text goes.
pub struct Sink<'o> {
    out: &'o mut Vec<u8>,
    /// The longest `out` may become.
    end: usize,
    whole: bool,
}

impl<'o> Sink<'o> {
    /// Appends at most `limit` bytes to `out`.
    pub fn new(out: &'o mut Vec<u8>, limit: usize) -> Self {
        let end = out.len().saturating_add(limit);
        Self { out, end, whole: true }
    }

    /// Whether everything found room.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Text without names in it.
    pub fn copy(&mut self, text: &[u8]) {
        if !self.whole {
            return;
        }
        let mut from = 0_usize;
        loop {
            // What finds no room is not looked at, but for a number that begins before that.
            let room = self.end - self.out.len();
            let seen = text.len().min(from.saturating_add(room).saturating_add(LOOK_AHEAD));
            let Some(number) = card_number(&text[..seen], from) else {
                return self.put(&text[from..]);
            };
            self.put(&text[from..number.start]);
            self.put(HIDDEN);
            if !self.whole {
                return;
            }
            from = number.end;
        }
    }

    /// The place of a secret.
    pub fn hide(&mut self) {
        self.put(HIDDEN);
    }

    fn put(&mut self, text: &[u8]) {
        let room = self.end - self.out.len();
        let part = text.get(..room).unwrap_or(text);
        self.out.extend_from_slice(part);
        self.whole &= part.len() == text.len();
    }
}

/// Longest card number in its longest spelling: 19 digits and an escaped separator after each.
const LOOK_AHEAD: usize = 19 * 4;
