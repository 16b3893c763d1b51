//! Names and values in one line: queries, cookies, paths, addresses of pages.

use super::Masks;
use super::sink::Sink;

/// How names and values are told apart. Types and not values, so that the loop below is
/// compiled for each.
trait Style {
    /// Whether values may stand for a login.
    const COOKIE: bool;
    /// A name may begin after this.
    fn is_before_name(byte: u8) -> bool;
    /// A secret value ends before this.
    fn is_after_value(byte: u8) -> bool;
}

/// `;` separates for some sites and is part of a password for others, so it ends no secret.
struct Query;

impl Style for Query {
    const COOKIE: bool = false;

    fn is_before_name(byte: u8) -> bool {
        matches!(byte, b'&' | b';' | b'?' | b'#')
    }

    fn is_after_value(byte: u8) -> bool {
        matches!(byte, b'&' | b'#')
    }
}

/// A form in a body. Line breaks end the values of `text/plain`, and no other has one; what
/// ends the query of an address does not end a password here.
struct Form;

impl Style for Form {
    const COOKIE: bool = false;

    fn is_before_name(byte: u8) -> bool {
        matches!(byte, b'&' | b';' | b'?' | b'\r' | b'\n')
    }

    fn is_after_value(byte: u8) -> bool {
        matches!(byte, b'&' | b'\r' | b'\n')
    }
}

struct Cookies;

impl Style for Cookies {
    const COOKIE: bool = true;

    fn is_before_name(byte: u8) -> bool {
        matches!(byte, b';' | b',')
    }

    fn is_after_value(byte: u8) -> bool {
        byte == b';'
    }
}

struct Path;

impl Style for Path {
    const COOKIE: bool = true;

    fn is_before_name(byte: u8) -> bool {
        matches!(byte, b'/' | b';' | b',')
    }

    fn is_after_value(byte: u8) -> bool {
        matches!(byte, b'/' | b';')
    }
}

/// A query, its `?`, and a fragment.
pub fn query(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs::<Query>(masks, sink, text);
}

/// A body that is a form, or nothing that is known.
pub fn form(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs::<Form>(masks, sink, text);
}

/// The value of `Cookie`.
pub fn cookies(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs::<Cookies>(masks, sink, text);
}

/// A path, perhaps with parameters, as in `/shop;jsessionid=1`.
pub fn path(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs::<Path>(masks, sink, text);
}

/// The address of a page: who asks, path, query, fragment.
pub fn url(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    let (before, query_part) =
        text.split_at(text.iter().position(|byte| b"?#".contains(byte)).unwrap_or(text.len()));
    let mut rest = before;
    if let Some(at) = before.windows(3).position(|three| three == b"://") {
        let authority = &before[at + 3..];
        let end = authority.iter().position(|byte| *byte == b'/').unwrap_or(authority.len());
        if let Some(user) = authority[..end].iter().rposition(|byte| *byte == b'@') {
            sink.copy(&before[..at + 3]);
            sink.hide();
            rest = &authority[user..];
        }
    }
    path(masks, sink, rest);
    query(masks, sink, query_part);
}

fn pairs<S: Style>(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    if !text.contains(&b'=') {
        return sink.copy(text);
    }
    // Text that is not secret is copied in as few pieces as possible: a number may reach over
    // several values.
    let (mut copied, mut name) = (0, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if S::is_before_name(*byte) {
            name = at;
        } else if *byte == b'=' {
            let (named, value) = (text[name..at - 1].trim_ascii(), &text[at..]);
            if masks.is_secret_encoded(named, S::COOKIE) {
                let length = value.iter().position(|byte| S::is_after_value(*byte));
                let length = length.unwrap_or(value.len());
                if length == 0 {
                    continue;
                }
                sink.copy(&text[copied..at]);
                sink.hide();
                (at, copied) = (at + length, at + length);
                if !sink.is_whole() {
                    return;
                }
            } else {
                // What else belongs to this value is no name.
                let next = value.iter().position(|byte| S::is_before_name(*byte));
                at += next.unwrap_or(value.len());
            }
        }
    }
    sink.copy(&text[copied..]);
}
