//! Copies text up to a limit, what is secret in it hidden.

use super::within::next_secret;
use super::{HIDDEN, Masks};

/// Where masked text goes.
pub struct Sink<'o> {
    masks: &'o Masks,
    out: &'o mut Vec<u8>,
    /// The longest `out` may become.
    end: usize,
    whole: bool,
}

impl<'o> Sink<'o> {
    /// Appends at most `limit` bytes to `out`.
    pub fn new(masks: &'o Masks, out: &'o mut Vec<u8>, limit: usize) -> Self {
        let end = out.len().saturating_add(limit);
        Self { masks, out, end, whole: true }
    }

    /// Whether everything found room.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Text in which the names that its form has are no secrets'.
    pub fn copy(&mut self, text: &[u8]) {
        let mut from = 0_usize;
        while self.whole {
            // What finds no room is not looked at.
            let until = text.len().min(from.saturating_add(self.end - self.out.len()));
            let Some(secret) = next_secret(self.masks, text, from, until) else {
                return self.put(&text[from..]);
            };
            self.put(&text[from..secret.start]);
            self.put(HIDDEN);
            from = secret.end;
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
