//! Any bytes as a JSON string, and back.
//!
//! Requests hold bytes that are no text. A byte that is not UTF-8 is written as the
//! four characters `\xNN`; so that this means one thing only, a backslash before an
//! `x` is written as `\x5c`. Everything else stands for itself.
//!
//! Invariants: the output is a valid JSON string (RFC 8259, section 7) without
//! control characters; [`bytes_of`] gives back what was written, up to the cut.

/// Appends `text` in quotes, of which the inside takes at most `limit` bytes; `false` where
/// that was too little and the end is missing. Linear.
pub fn string(out: &mut Vec<u8>, text: &[u8], limit: usize) -> bool {
    out.push(b'"');
    let whole = inside(out, text, out.len().saturating_add(limit));
    out.push(b'"');
    whole
}

/// Appends characters until `out` would grow beyond `end`.
fn inside(out: &mut Vec<u8>, text: &[u8], end: usize) -> bool {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(character) = rest.chars().next() {
            // Nearly everything stands for itself and is copied as one piece.
            let run = rest.bytes().take_while(|byte| is_plain(*byte)).count();
            if run > 0 {
                let part = run.min(end - out.len());
                out.extend_from_slice(&rest.as_bytes()[..part]);
                if part < run {
                    return false;
                }
                rest = &rest[run..];
                continue;
            }
            rest = &rest[character.len_utf8()..];
            let mut buffer = [0; 6];
            let escaped = escape(character, rest.starts_with('x'), &mut buffer);
            if out.len() + escaped.len() > end {
                return false;
            }
            out.extend_from_slice(escaped);
        }
        for byte in chunk.invalid() {
            let escaped = [b'\\', b'\\', b'x', digit(byte >> 4), digit(byte & 15)];
            if out.len() + escaped.len() > end {
                return false;
            }
            out.extend_from_slice(&escaped);
        }
    }
    true
}

/// Whether a byte is a character that needs no escape.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn escape(character: char, x_follows: bool, buffer: &mut [u8; 6]) -> &[u8] {
    match character {
        '"' => b"\\\"",
        '\\' if x_follows => b"\\\\x5c",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        // C1 too: terminals obey it.
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
            let code = character as u8;
            *buffer = [b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code & 15)];
            buffer
        }
        other => {
            let length = other.encode_utf8(buffer).len();
            &buffer[..length]
        }
    }
}

fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value & 15)]
}

/// Appends a number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The bytes that a parsed JSON string of this crate stands for.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let coded = match rest {
            [b'\\', b'x', high, low, ..] => nibble(*high).zip(nibble(*low)),
            _ => None,
        };
        match coded {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[4..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn nibble(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &[u8], limit: usize) -> (String, bool) {
        let mut out = Vec::new();
        let whole = string(&mut out, text, limit);
        (String::from_utf8(out).expect("UTF-8"), whole)
    }

    #[test]
    fn what_looks_like_an_escape_is_told_from_one() {
        for (text, expected) in [
            (&b"plain"[..], r#""plain""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\\x41", r#""\\x5cx41""#),
            (b"\xff", r#""\\xff""#),
            (b"\\\xff", r#""\\\\xff""#),
            (b"\r\n\x00\x7f", r#""\r\n\u0000\u007f""#),
            ("ж\u{85}".as_bytes(), "\"ж\\u0085\""),
        ] {
            assert_eq!(written(text, 100), (expected.to_owned(), true), "{text:?}");
        }
        assert_eq!(written(b"abcd", 3), ("\"abc\"".to_owned(), false));
        assert_eq!(written("ж".as_bytes(), 1), ("\"\"".to_owned(), false));
        assert_eq!(written(b"a\xff", 5), ("\"a\"".to_owned(), false));
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for value in [0, 9, 10, 1234567890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (json, whole) = written(&text, usize::MAX - 10_000);
            prop_assert!(whole);
            let parsed: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(bytes_of(&parsed), text);
        }

        #[test]
        fn escapes_come_back(text in "[x\\\\a5cf\"]{0,40}") {
            let (json, _) = written(text.as_bytes(), 10_000);
            let parsed: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(bytes_of(&parsed), text.as_bytes());
        }

        #[test]
        fn a_cut_leaves_a_beginning(text in proptest::collection::vec(any::<u8>(), 0..60), limit in 0..60usize) {
            let (json, whole) = written(&text, limit);
            prop_assert!(json.len() <= limit + 2);
            let parsed: String = serde_json::from_str(&json).unwrap();
            let back = bytes_of(&parsed);
            prop_assert!(text.starts_with(&back));
            prop_assert_eq!(whole, back.len() == text.len());
        }
    }
}
