//! The escapes of JSON, undone wherever they stand.
//!
//! A flat pass over the whole text and no parser: text that no parser would take is
//! decoded too, so that a missing bracket hides nothing from a site that forgives it.
//!
//! Invariant: the result is not longer than the text.

/// Appends the text with its escapes undone; `false`, with `out` untouched, where it has
/// none. O(length).
///
/// `\uXXXX` becomes UTF-8, two of them that are a surrogate pair one character, a
/// surrogate alone U+FFFD. `\b`, `\f`, `\n`, `\r`, `\t` are what RFC 8259 says; any other
/// byte behind a backslash stands for itself, as readers do that forgive it. A `\u`
/// without four digits and a backslash at the end stay.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(mut at) = memchr::memchr(b'\\', raw) else { return false };
    let mut rest = raw;
    loop {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        rest = &escape[undo(escape, out)..];
        match memchr::memchr(b'\\', rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    true
}

/// Appends what the escape at the beginning of `text` stands for, and says how long it is.
fn undo(text: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(byte) = text.get(1) else {
        out.push(b'\\');
        return 1;
    };
    let plain = match byte {
        b'u' => return undo_unit(text, out),
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => *other,
    };
    out.push(plain);
    2
}

fn undo_unit(text: &[u8], out: &mut Vec<u8>) -> usize {
    let Some(first) = unit(text) else {
        out.push(b'\\');
        return 1;
    };
    let second = || unit(&text[6..]).filter(|second| (0xdc00..0xe000).contains(second));
    let (code, length) = match first {
        0xd800..=0xdbff => match second() {
            Some(second) => (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12),
            None => (first, 6),
        },
        _ => (first, 6),
    };
    super::push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), out);
    length
}

/// The number of the `\uXXXX` that `text` begins with.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &str) -> String {
        let mut out = Vec::new();
        if unescape(raw.as_bytes(), &mut out) {
            String::from_utf8(out).unwrap()
        } else {
            raw.into()
        }
    }

    #[test]
    fn escapes_of_every_kind() {
        for (raw, expected) in [
            (r#"{"a":"plain"}"#, r#"{"a":"plain"}"#),
            (r#"\u0065vil \u0045VIL \u00E9"#, "evil EVIL é"),
            (r"\ud83d\ude00 \uD83D\uDE00", "😀 😀"),
            (r"\/etc\/passwd \\ \b\f\n\r\t", "/etc/passwd \\ \u{8}\u{c}\n\r\t"),
            (r#"\" \' \e \x41"#, r#"" ' e x41"#),
            // An escaped backslash begins no escape.
            (r"\\u0041 \\\u0041", r"\u0041 \A"),
            // Surrogates alone, and in the wrong order.
            (r"\ud83d! \ude00 \ud83d\u0041", "\u{fffd}! \u{fffd} \u{fffd}A"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\u12 \u12g4 \u", r"\u12 \u12g4 \u"),
            (r"\u+041", r"\u+041"),
            ("end\\", "end\\"),
            (r#"{"broken: [\u0065"#, r#"{"broken: [e"#),
        ] {
            assert_eq!(plain(raw), expected, "{raw}");
        }
    }
}
