//! Names and values in one line: queries, cookies, paths, addresses of pages.

use super::Masks;
use super::sink::Sink;

/// How names and values are told apart.
struct Style {
    /// A name may begin after these.
    before_name: &'static [u8],
    /// A secret value ends before these.
    after_value: &'static [u8],
    cookie: bool,
}

/// `;` separates for some sites and is part of a password for others, so it ends no secret.
const QUERY: Style = Style { before_name: b"&;?#", after_value: b"&#", cookie: false };
const COOKIES: Style = Style { before_name: b";,", after_value: b";", cookie: true };
const PATH: Style = Style { before_name: b"/;,", after_value: b"/;", cookie: true };

/// A query, its `?`, and a fragment.
pub fn query(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs(masks, sink, text, &QUERY);
}

/// The value of `Cookie`.
pub fn cookies(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs(masks, sink, text, &COOKIES);
}

/// A path, perhaps with parameters, as in `/shop;jsessionid=1`.
pub fn path(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    pairs(masks, sink, text, &PATH);
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

fn pairs(masks: &Masks, sink: &mut Sink<'_>, text: &[u8], style: &Style) {
    // Text that is not secret is copied in as few pieces as possible: a number may reach over
    // several values.
    let (mut copied, mut name) = (0, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if style.before_name.contains(byte) {
            name = at;
        } else if *byte == b'=' {
            let (named, value) = (text[name..at - 1].trim_ascii(), &text[at..]);
            if masks.is_secret_encoded(named, style.cookie) {
                let length = value.iter().position(|byte| style.after_value.contains(byte));
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
                let next = value.iter().position(|byte| style.before_name.contains(byte));
                at += next.unwrap_or(value.len());
            }
        }
    }
    sink.copy(&text[copied..]);
}
