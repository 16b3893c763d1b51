//! The forms in which text of a request is searched.
//!
//! A text term is found if it occurs in *any* form, so that an encoded and a
//! plain spelling of the same bytes cannot be told apart by an attacker:
//!
//! | field | forms |
//! |---|---|
//! | `url` | as sent · percent-decoded · percent-decoded with `//`, `/./` and `/../` resolved |
//! | `args`, `body` | as sent · percent-decoded with `+` as a space |
//! | headers | as sent · percent-decoded |
//!
//! Decoding is single: `%2561` is `%61`, as the server behind nginx sees it.

/// How a field is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Percent-decoding.
    Percent,
    /// Percent-decoding, and `+` is a space.
    Form,
}

/// Buffers of one evaluation, kept between requests so that it does not allocate.
#[derive(Debug, Default)]
pub struct Scratch {
    decoded: Vec<u8>,
    resolved: Vec<u8>,
    /// What a search over all literals has found so far.
    pub found: Found,
}

/// Literals that occurred in a request, and the rules they stand for.
#[derive(Debug, Default)]
pub struct Found {
    /// Positions of rules.
    pub rules: Vec<u32>,
    /// One bit a literal; grows to the number of literals once.
    marks: Vec<u64>,
    marked: Vec<usize>,
}

impl Found {
    /// Remembers a literal; `true` the first time since [`Found::clear`].
    pub fn mark(&mut self, literal: usize) -> bool {
        let (word, bit) = (literal / 64, 1 << (literal % 64));
        if word >= self.marks.len() {
            self.marks.resize(word + 1, 0);
        }
        let new = self.marks[word] & bit == 0;
        if new {
            self.marks[word] |= bit;
            self.marked.push(literal);
        }
        new
    }

    /// Forgets everything, in time that follows what was found.
    pub fn clear(&mut self) {
        self.rules.clear();
        for literal in self.marked.drain(..) {
            self.marks[literal / 64] = 0;
        }
    }
}

/// Whether `hit` holds for any form of a path.
pub fn any_path_form(
    raw: &[u8],
    scratch: &mut Scratch,
    mut hit: impl FnMut(&[u8]) -> bool,
) -> bool {
    if hit(raw) {
        return true;
    }
    let Scratch { decoded, resolved, .. } = scratch;
    let plain = if decode(raw, Coding::Percent, decoded) {
        if hit(decoded) {
            return true;
        }
        decoded.as_slice()
    } else {
        raw
    };
    resolve(plain, resolved) && hit(resolved)
}

/// Whether `hit` holds for any form of a text that is not a path.
pub fn any_form(
    raw: &[u8],
    coding: Coding,
    scratch: &mut Scratch,
    mut hit: impl FnMut(&[u8]) -> bool,
) -> bool {
    hit(raw) || (decode(raw, coding, &mut scratch.decoded) && hit(&scratch.decoded))
}

/// Whether `needle` occurs in `haystack`. Linear time, no allocation.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Writes the decoded form to `out`; `false`, with `out` untouched, where it equals `raw`.
/// A `%` without two hexadecimal digits stays as it is.
fn decode(raw: &[u8], coding: Coding, out: &mut Vec<u8>) -> bool {
    let encoded = match coding {
        Coding::Percent => memchr::memchr(b'%', raw),
        Coding::Form => memchr::memchr2(b'%', b'+', raw),
    };
    let Some(start) = encoded else { return false };
    out.clear();
    out.extend_from_slice(&raw[..start]);
    let mut at = start;
    while let Some(&byte) = raw.get(at) {
        let digits = || Some((hex(*raw.get(at + 1)?)?, hex(*raw.get(at + 2)?)?));
        match byte {
            b'%' => match digits() {
                Some((high, low)) => {
                    out.push(high << 4 | low);
                    at += 3;
                    continue;
                }
                None => out.push(b'%'),
            },
            b'+' if coding == Coding::Form => out.push(b' '),
            other => out.push(other),
        }
        at += 1;
    }
    true
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Resolves empty, `.` and `..` segments of a path as nginx does; `false`, with
/// `out` undefined, where nothing had to change.
fn resolve(path: &[u8], out: &mut Vec<u8>) -> bool {
    let needs_work =
        memchr::memchr_iter(b'/', path).any(|at| matches!(path.get(at + 1), Some(b'/' | b'.')));
    if !needs_work {
        return false;
    }
    out.clear();
    let mut segments = path.strip_prefix(b"/").unwrap_or(path).split(|b| *b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." if !last => {}
            b"" | b"." => out.push(b'/'),
            b".." => {
                let parent = memchr::memrchr(b'/', out).unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out != path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(raw: &str) -> Vec<String> {
        let mut seen = Vec::new();
        any_path_form(raw.as_bytes(), &mut Scratch::default(), |form| {
            seen.push(String::from_utf8_lossy(form).into_owned());
            false
        });
        seen
    }

    #[test]
    fn a_path_is_searched_in_every_form_that_differs() {
        assert_eq!(forms("/a/b"), ["/a/b"]);
        assert_eq!(forms("/%61/b"), ["/%61/b", "/a/b"]);
        assert_eq!(forms("/x/%2e%2e/a//b/./c"), ["/x/%2e%2e/a//b/./c", "/x/../a//b/./c", "/a/b/c"]);
        assert_eq!(forms("/a/.."), ["/a/..", "/"]);
        assert_eq!(forms("/a/."), ["/a/.", "/a/"]);
        assert_eq!(forms("/../../a"), ["/../../a", "/a"]);
        assert_eq!(forms("/a%2"), ["/a%2", "/a%2"]);
        assert_eq!(forms("/.well-known/x"), ["/.well-known/x"]);
        assert_eq!(forms("*"), ["*"]);
    }

    #[test]
    fn plus_is_a_space_only_in_forms() {
        let seen = |coding| {
            let mut last = Vec::new();
            any_form(b"?q=a+b%26", coding, &mut Scratch::default(), |form| {
                last = form.to_vec();
                false
            });
            last
        };
        assert_eq!(seen(Coding::Form), b"?q=a b&");
        assert_eq!(seen(Coding::Percent), b"?q=a+b&");
    }
}
