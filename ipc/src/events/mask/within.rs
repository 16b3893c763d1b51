//! Secrets inside of text whose form is not known, or is the form of what is around it: JSON
//! in a parameter or in a JSON string, a query in an address in a parameter, GraphQL, YAML.
//!
//! Wherever `=` or `:` stands, percent-encoded perhaps, what is before it may be a
//! name and what is after it its value, both in quotes of any spelling or in none.
//!
//! Invariant: linear in the text. A name is looked for backwards, up to the `=` or `:` before;
//! what is passed to find the end of a value is never looked at again.

use std::ops::Range;

use super::Masks;
use super::names::NAME_MAX;
use super::numbers;

/// Quotes, brackets and escapes between a name and its `=`, in bytes.
const WRAP_MAX: usize = 16;

/// The first secret in `text` that begins in `from..until`: a card number, the value of a name
/// that is a secret's, or who asks for an address.
pub fn next_secret(masks: &Masks, text: &[u8], from: usize, until: usize) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        at = next_special(&text[..until], at)?;
        let found = match text[at] {
            byte @ (b':' | b'=') => after_name(masks, text, from..at, at + 1, byte == b':'),
            b'3' if at > from && text[at - 1] == b'%' => match text.get(at + 1) {
                Some(b'A' | b'a') => after_name(masks, text, from..at - 1, at + 2, true),
                Some(b'D' | b'd') => after_name(masks, text, from..at - 1, at + 2, false),
                _ => None,
            },
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        at = match text[at].is_ascii_digit() {
            false => at + 1,
            true => match numbers::card_number(text, at) {
                Ok(number) => return Some(number),
                Err(next) => next,
            },
        };
    }
}

/// The first digit, `:` or `=`, or one of the two characters between them, at or after `from`.
/// Eight bytes are looked at at once.
fn next_special(text: &[u8], from: usize) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let mut at = from;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let rest = u64::from_le_bytes(*chunk) ^ (EACH * u64::from(b'0'));
        // The lowest byte below 14 (Bit Twiddling Hacks, "hasless"); only higher ones may be
        // marked wrongly.
        let marked = rest.wrapping_sub(EACH * 14) & !rest & (EACH * 128);
        if marked != 0 {
            return Some(at + marked.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let found = text.get(at..)?.iter().position(|byte| matches!(byte, b'0'..=b'='))?;
    Some(at + found)
}

/// What is secret after a `:` or `=`, of which `before` is on the left.
fn after_name(
    masks: &Masks,
    text: &[u8],
    before: Range<usize>,
    after: usize,
    is_colon: bool,
) -> Option<Range<usize>> {
    let value = if masks.is_secret(name(&text[before])) {
        value(text, after, is_colon)
    } else if is_colon {
        user(text, after)?
    } else {
        return None;
    };
    (!value.is_empty()).then_some(value)
}

/// The name that `text` ends with.
fn name(text: &[u8]) -> &[u8] {
    let mut end = text.len();
    let last = end.saturating_sub(WRAP_MAX);
    while end > last {
        match &text[..end] {
            [.., b'%', high, low]
                if matches!(
                    (high, low),
                    (b'2', b'0' | b'2' | b'7') | (b'5', b'C' | b'c' | b'D' | b'd')
                ) =>
            {
                end -= 3;
            }
            [.., b'"' | b'\'' | b'\\' | b']' | b' '] => end -= 1,
            _ => break,
        }
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.$".contains(byte);
    let length = text[..end].iter().rev().take(NAME_MAX).take_while(|byte| is_part(byte)).count();
    let start = end - length;
    // The digits of an escape belong to it.
    let is_escape = start > 0
        && text[start - 1] == b'%'
        && text[start..end].iter().take(2).filter(|byte| byte.is_ascii_hexdigit()).count() == 2;
    &text[if is_escape { start + 2 } else { start }..end]
}

/// The value that begins at `start`.
fn value(text: &[u8], start: usize, is_colon: bool) -> Range<usize> {
    let mut at = start;
    if is_colon {
        loop {
            at += match &text[at..] {
                [b' ' | b'\t' | b'+', ..] => 1,
                [b'%', b'2', b'0', ..] => 3,
                _ => break,
            };
        }
    }
    let from = at;
    loop {
        at += match &text[at..] {
            [b'\\', ..] => 1,
            [b'%', b'5', b'C' | b'c', ..] => 3,
            _ => break,
        };
    }
    let quote = match &text[at..] {
        [b'"' | b'\'', ..] => 1,
        [b'%', b'2', b'2' | b'7', ..] => 3,
        _ => 0,
    };
    if quote > 0 {
        let (opening, inside) = (&text[from..at + quote], at + quote);
        return inside..end_of_quote(text, inside, opening);
    }
    let closing: &[u8] = match &text[from..] {
        [b'[', ..] => b"]",
        [b'{', ..] => b"}",
        [b'%', b'5', b'B' | b'b', ..] => b"%5D",
        [b'%', b'7', b'B' | b'b', ..] => b"%7D",
        _ => return from..end_of_word(text, from, is_colon),
    };
    let length = text[from..]
        .windows(closing.len())
        .position(|window| window.eq_ignore_ascii_case(closing))
        .map_or(text.len() - from, |at| at + closing.len());
    from..from + length
}

/// Where the next `quote` is that no backslash escapes.
fn end_of_quote(text: &[u8], from: usize, quote: &[u8]) -> usize {
    let is_escaped = |before: &[u8]| {
        before.ends_with(b"\\") || before.ends_with(b"%5C") || before.ends_with(b"%5c")
    };
    let rest = &text[from..];
    let mut places = rest.windows(quote.len()).enumerate();
    let end = places.find(|(at, window)| *window == quote && !is_escaped(&rest[..*at]));
    end.map_or(text.len(), |(at, _)| from + at)
}

/// Where a value without quotes is over.
fn end_of_word(text: &[u8], from: usize, is_colon: bool) -> usize {
    let is_end = |rest: &[u8]| match rest {
        [b'\r' | b'\n' | b'"' | b'\'' | b'<' | b'>' | b'&' | b'\\', ..] => true,
        [b',' | b';' | b'}' | b']' | b')', ..] => is_colon,
        [b' ' | b'\t' | b'#', ..] => !is_colon,
        [b'%', high, low, ..] => match (high, low.to_ascii_uppercase()) {
            (b'0', b'A' | b'D') | (b'2', b'2' | b'6' | b'7') | (b'3', b'C' | b'E') => true,
            (b'2', b'9' | b'C') | (b'3', b'B') | (b'5' | b'7', b'D') => is_colon,
            _ => false,
        },
        _ => false,
    };
    (from..text.len()).find(|at| is_end(&text[*at..])).unwrap_or(text.len())
}

/// Name and password before an `@`, where what comes after the `:` is the rest of an address.
fn user(text: &[u8], start: usize) -> Option<Range<usize>> {
    let from = match &text[start..] {
        [b'/', b'/', ..] => start + 2,
        [b'%', b'2', b'F' | b'f', b'%', b'2', b'F' | b'f', ..] => start + 6,
        _ => return None,
    };
    let (mut at, mut end) = (from, None);
    loop {
        match &text[at..] {
            []
            | [
                b'/' | b'?' | b'#' | b'&' | b'"' | b'\'' | b'<' | b'>' | b'\\' | b' ' | b'\r'
                | b'\n',
                ..,
            ]
            | [b'%', b'2', b'F' | b'f' | b'2' | b'6', ..] => break,
            [b'@', ..] | [b'%', b'4', b'0', ..] => end = Some(at),
            _ => {}
        }
        at += 1;
    }
    end.map(|end| from..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_special_is_found_wherever_it_is() {
        for length in 0..40 {
            for at in 0..length {
                for byte in *b"0123456789:=" {
                    let mut text = vec![b'/'; length];
                    text[at] = byte;
                    assert_eq!(next_special(&text, 0), Some(at));
                    assert_eq!(next_special(&text, at), Some(at));
                    assert_eq!(next_special(&text, at + 1), None);
                }
            }
            assert_eq!(next_special(&vec![b'>'; length], 0), None);
            assert_eq!(next_special(&vec![0xb5; length], 0), None);
        }
    }
}
