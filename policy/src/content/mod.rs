//! The forms in which a body is searched, by what its sender and its first byte say it is.
//!
//! | what it is | forms beside the body as sent |
//! |---|---|
//! | anything | decoded like a form: `%xx`, and `+` as a space |
//! | JSON | its escapes undone |
//! | XML | references as characters, CDATA sections joined, comments gone |
//! | multipart | the contents of parts in base64, quoted-printable or UTF-16 |
//! | UTF-16, UTF-32 | as UTF-8, and from that the forms of JSON and XML |
//!
//! A body is JSON, XML or multipart where any `Content-Type` line names it, and JSON or XML
//! also where its first byte behind blanks says so, whatever the line says: a wrong type is no
//! way to hide. All forms are made from the body, none from another form but for UTF-16 and
//! UTF-32.
//!
//! Invariants: a form is only ever added, so what is found in a body as sent is found
//! whatever it is said to be; each takes time that follows the body's length and at most
//! four times its memory.

mod json;
mod multipart;
mod xml;

use std::ops::ControlFlow;

use crate::request::Headers;
use crate::text::{Coding, Decoded, decode};

/// What a body may be, beside a form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Types {
    json: bool,
    xml: bool,
    parts: bool,
    /// Characters of two or four bytes.
    wide: bool,
}

/// What is known about the body of one request, and the buffers for it.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// What the header lines say; found out by the first form that is asked for.
    declared: Option<Types>,
    /// The body as sent, and with its encodings undone.
    texts: [Text; 2],
}

/// The forms of one text.
#[derive(Debug, Default)]
struct Text {
    /// What it is; known once a form beside that of forms was asked for.
    types: Option<Types>,
    form: Decoded,
    wide: Decoded,
    parts: Decoded,
    /// Of the text, and where that is wide, of its UTF-8.
    json: [Decoded; 2],
    xml: [Decoded; 2],
}

/// Beginnings of the names of character sets with characters of two or four bytes.
const WIDE: [&[u8]; 6] = [b"utf-16", b"utf16", b"utf-32", b"utf32", b"ucs-", b"ucs2"];

impl Types {
    /// What a line of `Content-Type` names, anywhere in it.
    fn named(line: &[u8]) -> Self {
        Self {
            json: names(line, b"json"),
            xml: names(line, b"xml"),
            parts: names(line, b"multipart/"),
            wide: WIDE.iter().any(|name| names(line, name)),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            json: self.json | other.json,
            xml: self.xml | other.xml,
            parts: self.parts | other.parts,
            wide: self.wide | other.wide,
        }
    }
}

impl Contents {
    /// Forgets the last request.
    pub(crate) fn begin(&mut self) {
        // Nothing else is known where this is not.
        if self.declared.take().is_some() {
            self.texts.iter_mut().for_each(Text::begin);
        }
    }

    /// Whether `hit` holds for any form of a body, as sent or as `decoded`.
    pub(crate) fn any_form(
        &mut self,
        headers: &dyn Headers,
        sent: &[u8],
        decoded: Option<&[u8]>,
        mut hit: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let declared = *self.declared.get_or_insert_with(|| declared(headers));
        let raws = [Some(sent), decoded];
        self.texts
            .iter_mut()
            .zip(raws)
            .any(|(text, raw)| raw.is_some_and(|raw| text.any_form(raw, declared, &mut hit)))
    }
}

impl Text {
    fn begin(&mut self) {
        self.types = None;
        let Self { types: _, form, wide, parts, json, xml } = self;
        let escaped = json.iter_mut().chain(xml);
        [form, wide, parts].into_iter().chain(escaped).for_each(Decoded::forget);
    }

    fn any_form(
        &mut self,
        raw: &[u8],
        declared: Types,
        hit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool {
        if hit(raw) || self.form.of(|out| decode(raw, Coding::Form, out)).is_some_and(&mut *hit) {
            return true;
        }
        let wide = self.wide.of(|out| narrow(raw, out));
        let types = self.types.get_or_insert_with(|| {
            wide.map_or(Types::default(), sniff).and(sniff(raw)).and(declared)
        });
        let parts = if types.parts {
            self.parts.of(|out| multipart::decode(raw, types, out))
        } else {
            None
        };
        if wide.is_some_and(&mut *hit) || parts.is_some_and(&mut *hit) {
            return true;
        }
        // What looks wide need not be: two bytes before the first part are nothing to its readers.
        [Some(raw), wide].into_iter().zip(self.json.iter_mut().zip(&mut self.xml)).any(
            |(plain, (json, xml))| {
                plain.is_some_and(|plain| {
                    types.json && json.of(|out| json::unescape(plain, out)).is_some_and(&mut *hit)
                        || types.xml && xml.of(|out| xml::decode(plain, out)).is_some_and(&mut *hit)
                })
            },
        )
    }
}

/// What the header lines say that a body is.
fn declared(headers: &dyn Headers) -> Types {
    let mut types = Types::default();
    headers.visit(&mut |name, value| {
        if name.eq_ignore_ascii_case(b"content-type") {
            types = types.and(Types::named(value));
        }
        ControlFlow::Continue(())
    });
    types
}

/// What a text is by its first byte behind a byte order mark and blanks.
fn sniff(text: &[u8]) -> Types {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let first = text.iter().find(|byte| **byte > b' ');
    Types {
        json: matches!(first, Some(b'{' | b'[' | b'"')),
        xml: matches!(first, Some(b'<')),
        ..Types::default()
    }
}

/// Appends a text that is UTF-16 or UTF-32 by its mark, or by the zeros beside its first
/// character, as UTF-8; `false`, with `out` untouched, where it is neither.
fn narrow(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let long: Option<fn([u8; 4]) -> u32> = match raw {
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=0x7f, ..] => Some(u32::from_be_bytes),
        [0xff, 0xfe, 0, 0, ..] | [1..=0x7f, 0, 0, 0, ..] => Some(u32::from_le_bytes),
        _ => None,
    };
    if let Some(unit) = long {
        for four in raw.chunks_exact(4) {
            let code = unit([four[0], four[1], four[2], four[3]]);
            push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), out);
        }
        return true;
    }
    let unit: fn([u8; 2]) -> u16 = match raw {
        [0xfe, 0xff, ..] | [0, 1..=0x7f, ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] | [1..=0x7f, 0, ..] => u16::from_le_bytes,
        _ => return false,
    };
    let units = raw.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    for character in char::decode_utf16(units) {
        push(character.unwrap_or(char::REPLACEMENT_CHARACTER), out);
    }
    true
}

/// Whether a word in lower case is anywhere in a line, in whatever case. O(length).
fn names(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn push(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(content_type: &[&str], body: &[u8]) -> Vec<String> {
        let headers: Vec<_> = content_type.iter().map(|value| ("Content-Type", value)).collect();
        let mut contents = Contents::default();
        let mut all = || {
            let mut seen = Vec::new();
            contents.any_form(&headers, body, None, |form| {
                seen.push(String::from_utf8_lossy(form).into_owned());
                false
            });
            seen
        };
        let seen = all();
        assert_eq!(all(), seen, "as remembered");
        seen
    }

    #[test]
    fn a_type_adds_its_form_and_takes_none_away() {
        let body = br"\u0041&#66;%43";
        let plain = [r"\u0041&#66;%43", r"\u0041&#66;C"];
        assert_eq!(forms(&[], body), plain);
        assert_eq!(forms(&["text/plain"], body), plain);
        let json = [&plain[..], &["A&#66;%43"]].concat();
        for named in ["application/json", "text/JSON; charset=utf-8", "application/problem+json"] {
            assert_eq!(forms(&[named], body), json, "{named}");
        }
        let xml = [&plain[..], &[r"\u0041B%43"]].concat();
        for named in ["text/xml", "application/xml", "Application/SOAP+XML"] {
            assert_eq!(forms(&[named], body), xml, "{named}");
        }
        // Two lines: both.
        assert_eq!(forms(&["text/xml", "text/json"], body).len(), 4);
    }

    #[test]
    fn a_first_byte_says_it_too() {
        for body in [r#"{"a":"\u0041"}"#, r#"["\u0041"]"#, r#""\u0041""#, "\u{feff} \n{\\u0041"] {
            let seen = forms(&["text/plain"], body.as_bytes());
            assert!(seen[1].contains('A') && seen.len() == 2, "{seen:?}");
        }
        assert_eq!(forms(&["application/json"], b" <a>&#65;")[1], " <a>A");
        assert_eq!(forms(&[], b"x{\\u0041").len(), 1);
    }

    #[test]
    fn utf_16_is_read_in_both_orders() {
        let wide = |text: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(order).collect()
        };
        for order in [u16::to_be_bytes, u16::to_le_bytes] {
            for mark in ["", "\u{feff}"] {
                let seen = forms(&[], &wide(&format!("{mark}<a>&#65;é😀"), order));
                assert_eq!(seen[1..], [format!("{mark}<a>&#65;é😀"), format!("{mark}<a>Aé😀")]);
            }
        }
        // A pair that is cut, and a byte too many.
        let seen = forms(&[], b"\xfe\xff\xd8\x3d\x00a\x00");
        assert_eq!(seen[1], "\u{feff}\u{fffd}a");
    }

    #[test]
    fn utf_32_is_read_in_both_orders() {
        let text = "\u{feff}{\"a\":\"\\u0065é😀\"}";
        for order in [u32::to_be_bytes, u32::to_le_bytes] {
            for text in [text, &text[3..]] {
                let wide: Vec<u8> = text.chars().flat_map(|c| order(c.into())).collect();
                let seen = forms(&[], &wide);
                assert_eq!(seen[1], text);
                assert_eq!(seen.last(), Some(&text.replace("\\u0065", "e")));
            }
        }
        // No character, and what is left of one.
        assert_eq!(forms(&[], b"\0\0\0{\0\x11\0\0\0\0")[1], "{\u{fffd}");
    }

    #[test]
    fn what_only_looks_wide_is_read_as_it_is_too() {
        let part = "--b\r\nContent-Type: application/json\r\n\r\n{\"a\":\"\\u0065vil\"}\r\n--b--";
        for start in ["x\0", "x\0\0\0", "\0x"] {
            let body = format!("{start}\r\n{part}");
            let seen = forms(&["multipart/form-data; boundary=b"], body.as_bytes());
            assert!(seen.iter().any(|form| form.contains("\"evil\"")), "{seen:?}");
        }
    }

    #[test]
    fn json_inside_parts_is_json() {
        let body = b"--b\r\nContent-Type: application/json\r\n\r\n{\"a\":\"\\u0065vil\"}\r\n--b--";
        let seen = forms(&["multipart/form-data; boundary=b"], body);
        assert!(seen.iter().any(|form| form.contains("\"evil\"")), "{seen:?}");
    }
}
