//! Secrets are taken out of text before it leaves a worker.
//!
//! | file | does |
//! |---|---|
//! | `names` | which names have secret values |
//! | `numbers` | card numbers |
//! | `within` | names and values inside of any text |
//! | `sink` | copies text, what is secret in it hidden, up to a limit |
//! | `forms` | queries, cookies, paths, addresses of pages |
//! | `bodies` | JSON, XML, multipart and forms |
//!
//! What is hidden becomes [`HIDDEN`]: the value of a parameter, cookie, header, JSON member, XML
//! element or attribute, or part of a multipart body whose name is a secret's, and every card
//! number. Names are compared without regard to case, after one percent-decoding.
//!
//! Invariants: time is linear in the text; no allocation as long as the output has room;
//! what is cut off at a limit never shows the beginning of a card number.

mod bodies;
mod forms;
mod names;
mod numbers;
mod sink;
mod within;

pub use names::{Masks, NAME_MAX, NAMES_MAX, NameError};
pub use numbers::without_open_number;

use sink::Sink;

/// What stands for a secret.
pub const HIDDEN: &[u8] = b"***";

impl Masks {
    /// A path. All of these append at most `limit` bytes and return `false` where the text
    /// was longer.
    pub fn path(&self, out: &mut Vec<u8>, path: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        forms::path(self, &mut sink, path);
        sink.is_whole()
    }

    /// A query, with or without its `?`.
    pub fn args(&self, out: &mut Vec<u8>, args: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        forms::query(self, &mut sink, args);
        sink.is_whole()
    }

    /// The value of `Cookie`.
    pub fn cookies(&self, out: &mut Vec<u8>, cookies: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        forms::cookies(self, &mut sink, cookies);
        sink.is_whole()
    }

    /// An absolute or relative address of a page, as in `Referer`.
    pub fn url(&self, out: &mut Vec<u8>, url: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        forms::url(self, &mut sink, url);
        sink.is_whole()
    }

    /// Text without a structure of its own.
    pub fn text(&self, out: &mut Vec<u8>, text: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        sink.copy(text);
        sink.is_whole()
    }

    /// The value of any header but `Cookie`.
    pub fn header(&self, out: &mut Vec<u8>, name: &[u8], value: &[u8], limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        if self.is_secret_cookie(name) {
            sink.hide();
        } else if value.contains(&b'=') || value.contains(&b'@') {
            forms::url(self, &mut sink, value);
        } else {
            sink.copy(value);
        }
        sink.is_whole()
    }

    /// A body, or the beginning of one (`cut`).
    pub fn body(&self, out: &mut Vec<u8>, body: &[u8], cut: bool, limit: usize) -> bool {
        let mut sink = Sink::new(self, out, limit);
        let body = if cut { without_open_number(body) } else { body };
        bodies::body(self, &mut sink, body);
        sink.is_whole() && !cut
    }
}

#[cfg(test)]
mod tests;
