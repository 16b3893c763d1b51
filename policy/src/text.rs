//! The forms in which text of a request is searched.
//!
//! A text term is found if it occurs in *any* form, so that an encoded and a
//! plain spelling of the same bytes cannot be told apart by an attacker:
//!
//! | field | forms |
//! |---|---|
//! | `url` | as sent · decoded · as served: decoded, `//`, `/./` and `/../` resolved |
//! | `args` | as sent · decoded, with `+` as a space |
//! | `body` | the same, and what its contents ask for: see `content` |
//! | headers | as sent · decoded |
//!
//! Decoding is percent-decoding, once: `%2561` is `%61`, as the server behind
//! nginx sees it. A path ends at a raw `#`, as nginx's does.
//!
//! A *negated* term of `url` is compared with the path as served only, and one of
//! `args` with the query up to a raw `#`: "anything outside /api" must not be
//! escaped by a `/api/../` that the server removes, nor "without a token" by `#token`.

use std::ops::{ControlFlow, Range};

use crate::Request;
use crate::content::Contents;
use crate::limits::BUFFER_KEPT;
use crate::request::Headers;

/// How a field is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Percent-decoding.
    Percent,
    /// Percent-decoding, and `+` is a space.
    Form,
}

/// What one evaluation works out about a request, at most once each, and the
/// buffers for it, kept between requests so that evaluation does not allocate.
#[derive(Debug, Default)]
pub struct Scratch {
    path: Path,
    args: Decoded,
    served_args: Decoded,
    body: Contents,
    headers: HeaderValues,
    /// What a search over all literals has found so far.
    pub found: Found,
}

/// A form of a field, made when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    known: bool,
    /// Whether it differs from what was sent.
    differs: bool,
    bytes: Vec<u8>,
}

/// The further forms of a path.
#[derive(Debug, Default)]
struct Path {
    decoded: Decoded,
    resolved: Decoded,
}

/// The decoded forms of those header values that were asked for and differ from what was sent.
#[derive(Debug, Default)]
struct HeaderValues {
    bytes: Vec<u8>,
    /// By position of the header line: where its decoded value lies in `bytes`.
    decoded: Vec<(usize, Range<usize>)>,
}

impl Decoded {
    /// The form, where it differs from what was sent. `make` appends it to an empty
    /// buffer and says whether it does.
    pub(crate) fn of(&mut self, make: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<&[u8]> {
        if !self.known {
            self.known = true;
            self.bytes.clear();
            self.differs = make(&mut self.bytes);
        }
        self.differs.then_some(self.bytes.as_slice())
    }

    /// Forgets it, and gives back memory that few requests need.
    pub(crate) fn forget(&mut self) {
        if std::mem::take(&mut self.known) && self.bytes.capacity() > BUFFER_KEPT {
            self.bytes = Vec::new();
        }
    }
}

impl Path {
    /// The path as served, in full.
    fn served<'a>(&'a mut self, raw: &'a [u8]) -> &'a [u8] {
        let path = cut(raw);
        let plain = self.decoded.of(|out| decode(path, Coding::Percent, out)).unwrap_or(path);
        if !self.resolved.known {
            self.resolved.known = true;
            self.resolved.differs = resolve(plain, &mut self.resolved.bytes);
        }
        if self.resolved.differs { &self.resolved.bytes } else { plain }
    }
}

impl HeaderValues {
    fn of(&mut self, line: usize, value: &[u8]) -> Option<&[u8]> {
        let place = match self.decoded.binary_search_by_key(&line, |(line, _)| *line) {
            Ok(place) => place,
            Err(place) => {
                let start = self.bytes.len();
                if !decode(value, Coding::Percent, &mut self.bytes) {
                    return None;
                }
                self.decoded.insert(place, (line, start..self.bytes.len()));
                place
            }
        };
        self.bytes.get(self.decoded[place].1.clone())
    }
}

impl Scratch {
    /// Forgets the last request.
    pub fn begin(&mut self) {
        self.path.decoded.known = false;
        self.path.resolved.known = false;
        self.args.known = false;
        self.served_args.known = false;
        self.body.begin();
        self.headers.bytes.clear();
        self.headers.decoded.clear();
    }

    /// The path as served: decoded and resolved, without a fragment.
    pub fn path_as_served<'a>(&'a mut self, raw: &'a [u8]) -> &'a [u8] {
        self.path.served(raw)
    }

    /// Whether `hit` holds for any form of the path.
    pub fn any_path_form(&mut self, raw: &[u8], mut hit: impl FnMut(&[u8]) -> bool) -> bool {
        if hit(raw) {
            return true;
        }
        self.path.served(raw);
        let Path { decoded, resolved } = &self.path;
        [decoded, resolved].into_iter().any(|form| form.differs && hit(&form.bytes))
    }

    /// Whether `hit` holds for any form of the query.
    pub fn any_args_form(&mut self, raw: &[u8], mut hit: impl FnMut(&[u8]) -> bool) -> bool {
        hit(raw) || self.args.of(|out| decode(raw, Coding::Form, out)).is_some_and(hit)
    }

    /// Whether `hit` holds for any form of the body; `false` without one.
    pub fn any_body_form(&mut self, request: &Request<'_>, hit: impl FnMut(&[u8]) -> bool) -> bool {
        let Request { headers, body, decoded_body, .. } = *request;
        body.is_some_and(|sent| self.body.any_form(headers, sent, decoded_body, hit))
    }

    /// Whether `hit` holds for any form of the query as served, which ends at a raw `#`.
    pub fn any_served_args_form(&mut self, raw: &[u8], mut hit: impl FnMut(&[u8]) -> bool) -> bool {
        let served = cut(raw);
        if served.len() == raw.len() {
            return self.any_args_form(raw, hit);
        }
        let form = self.served_args.of(|out| decode(served, Coding::Form, out));
        hit(served) || form.is_some_and(hit)
    }

    /// Whether `hit` holds for any form of the value of any header that `pick`
    /// takes by its name; what `pick` says about it is handed on.
    pub fn any_header_form<C: Copy>(
        &mut self,
        headers: &dyn Headers,
        pick: impl Fn(&[u8]) -> Option<C>,
        mut hit: impl FnMut(C, &[u8]) -> bool,
    ) -> bool {
        let (mut line, mut found) = (0, false);
        headers.visit(&mut |name, value| {
            if let Some(picked) = pick(name) {
                found = hit(picked, value)
                    || self.headers.of(line, value).is_some_and(|form| hit(picked, form));
            }
            line += 1;
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }
}

/// What a search over all literals has found in a request.
#[derive(Debug, Default)]
pub struct Found {
    /// Positions of rules that may hold.
    pub rules: Vec<u32>,
    /// Places of the search structure that were passed already.
    pub passed: Marks,
    /// Literals that occur.
    pub literals: Marks,
    /// Header names that occur.
    pub names: Marks,
    /// Literals too short for the search that were looked for on their own.
    pub asked: Marks,
    /// Those of them that occur.
    pub answered: Marks,
}

impl Found {
    /// Forgets everything, in time that follows what was found.
    pub fn clear(&mut self) {
        self.rules.clear();
        for marks in [
            &mut self.passed,
            &mut self.literals,
            &mut self.names,
            &mut self.asked,
            &mut self.answered,
        ] {
            marks.clear();
        }
    }
}

/// A set of small numbers that is emptied in time that follows its size. Grows to
/// the largest number once.
#[derive(Debug, Default)]
pub struct Marks {
    bits: Vec<u64>,
    marked: Vec<usize>,
}

impl Marks {
    /// Adds a number; `true` where it was not in the set.
    pub fn mark(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let new = self.bits[word] & bit == 0;
        if new {
            self.bits[word] |= bit;
            self.marked.push(number);
        }
        new
    }

    /// Whether a number is in the set. O(1).
    #[inline]
    pub fn has(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    fn clear(&mut self) {
        for number in self.marked.drain(..) {
            self.bits[number / 64] = 0;
        }
    }
}

/// Whether `needle` occurs in `haystack`. Linear time, no allocation.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

/// Path and query as nginx serves them end at a raw `#`; an encoded one is part of them.
fn cut(raw: &[u8]) -> &[u8] {
    memchr::memchr(b'#', raw).map_or(raw, |at| &raw[..at])
}

/// Appends the decoded form to `out`; `false`, with `out` untouched, where it equals `raw`.
/// A `%` without two hexadecimal digits stays as it is.
pub(crate) fn decode(raw: &[u8], coding: Coding, out: &mut Vec<u8>) -> bool {
    let encoded = match coding {
        Coding::Percent => memchr::memchr(b'%', raw),
        Coding::Form => memchr::memchr2(b'%', b'+', raw),
    };
    let Some(start) = encoded else { return false };
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
        Scratch::default().any_path_form(raw.as_bytes(), |form| {
            seen.push(String::from_utf8_lossy(form).into_owned());
            false
        });
        seen
    }

    fn served(raw: &str) -> String {
        let mut scratch = Scratch::default();
        String::from_utf8_lossy(scratch.path_as_served(raw.as_bytes())).into_owned()
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
    fn a_path_ends_at_a_raw_hash() {
        assert_eq!(forms("/deep//x#/../.."), ["/deep//x#/../..", "/deep/x"]);
        assert_eq!(served("/admin#/api"), "/admin");
        assert_eq!(served("/a%23/../b"), "/b");
        assert_eq!(served("/h/..%2fapi/..%2fadmin"), "/admin");
    }

    #[test]
    fn plus_is_a_space_only_in_forms() {
        let (mut seen, text) = (Vec::new(), b"?q=a+b%26");
        let mut scratch = Scratch::default();
        let mut see = |form: &[u8]| {
            seen.push(form.to_vec());
            false
        };
        scratch.any_args_form(text, &mut see);
        let no_headers: Vec<(&str, &str)> = Vec::new();
        let get = Request::new(crate::Host::normalised(b""), b"/", &no_headers);
        scratch.any_body_form(&get, &mut see);
        scratch.any_body_form(&Request { body: Some(text), ..get }, &mut see);
        assert_eq!(seen, [&b"?q=a+b%26"[..], b"?q=a b&", b"?q=a+b%26", b"?q=a b&"]);
    }

    #[test]
    fn memory_that_few_requests_need_is_given_back() {
        let mut form = Decoded::default();
        for (length, kept) in [(BUFFER_KEPT, true), (BUFFER_KEPT + 1, false)] {
            form.of(|out| {
                *out = vec![0; length];
                true
            });
            form.forget();
            assert_eq!(form.bytes.capacity() >= length, kept);
            assert_eq!(form.of(|_| false), None);
            form.forget();
        }
    }

    #[test]
    fn each_header_has_its_own_decoded_form() {
        let lines = vec![("c", "x%20y+z"), ("a", "%41"), ("b", "plain"), ("c", "%42")];
        let mut scratch = Scratch::default();
        let mut seen = |wanted: &[u8]| {
            let mut seen = Vec::new();
            let pick = |name: &[u8]| wanted.contains(&name[0]).then_some(name[0] as char);
            scratch.any_header_form(&lines, pick, |name, form| {
                seen.push(format!("{name}={}", String::from_utf8_lossy(form)));
                false
            });
            seen
        };
        let all = ["c=x%20y+z", "c=x y+z", "a=%41", "a=A", "b=plain", "c=%42", "c=B"];
        assert_eq!(seen(b"a"), ["a=%41", "a=A"]);
        assert_eq!(seen(b"abc"), all);
        assert_eq!(seen(b"abc"), all, "from what is known now");
        scratch.begin();
        let other = vec![("a", "b")];
        assert!(!scratch.any_header_form(&other, |_| Some(()), |(), form| form == b"A"));
    }
}
