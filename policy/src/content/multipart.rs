//! The parts of a multipart body that are sent in an encoding of their own.
//!
//! Only what such a part holds becomes text here. Everything else, file names, plain
//! parts, what stands between and behind them, is found in the body as it was sent.
//!
//! Readers do not agree on what a boundary is: some ask for a line of its own, some
//! (Django) take it in the middle of a line, and which of several counts is anybody's guess. So
//! nobody asks for boundaries here. A header line is one wherever it stands, and what it
//! announces is decoded from the next empty line up to the next such header; the few
//! bytes too many that are decoded behind the end of a part hide nothing.
//!
//! Invariant: the result is at most four times as long as the text.

use super::{Types, names, sniff};

/// What header lines have said since the last empty line.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    base64: bool,
    quoted: bool,
    wide: bool,
    /// Where the first line is that has said any of this.
    at: usize,
    last: Field,
}

/// The field a header line belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    Encoding,
    Type,
    #[default]
    Other,
}

impl Field {
    /// The field whose name is at the end of a text: before it there may be blanks, or
    /// a boundary without a line end.
    fn at_end(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii_end();
        let ends_with = |name: &[u8]| {
            text.split_at_checked(text.len().wrapping_sub(name.len()))
                .is_some_and(|(_, end)| end.eq_ignore_ascii_case(name))
        };
        if ends_with(b"content-transfer-encoding") {
            Some(Self::Encoding)
        } else if ends_with(b"content-type") {
            Some(Self::Type)
        } else {
            None
        }
    }
}

/// The content of a part, as far as it has been seen.
#[derive(Debug, Clone, Copy)]
struct Content {
    head: Head,
    from: usize,
    /// Behind the last empty line.
    piece: usize,
}

/// Appends the decoded contents of all parts with a `Content-Transfer-Encoding` of
/// `base64` or `quoted-printable`, or in UTF-16, each with a line end behind it; `false`, with
/// `out` untouched, where there is none. Says in `types` what the parts' contents seem
/// to be. O(length).
///
/// Lines end in LF, with or without CR.
pub(super) fn decode(text: &[u8], types: &mut Types, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let all_wide = types.wide;
    let (mut head, mut content) = (Head::default(), None::<Content>);
    // Nothing but blanks has come since an empty line.
    let mut fresh = false;
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', text).map(|end| end + 1);
    for end in ends.chain([text.len()]) {
        let line = &text[begin..end];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // What is said of all parts holds from the first one on.
            head.wide |= all_wide && (content.is_none() || head.says_something());
            if head.says_something() {
                let next = Content { head, from: end, piece: end };
                if let Some(content) = content.replace(next) {
                    content.end(text, head.at, out);
                }
            } else if let Some(content) = &mut content {
                content.end_piece(text, begin, out);
                content.piece = end;
            }
            head = Head::default();
            fresh = true;
        } else {
            if fresh && line.iter().any(|byte| *byte > b' ') {
                *types = types.and(sniff(line));
                fresh = false;
            }
            head.read(line, begin, types);
        }
        begin = end;
    }
    if let Some(content) = content {
        content.end(text, text.len(), out);
    }
    out.len() > start
}

impl Content {
    /// Ends what stands between two empty lines. One of them may be none elsewhere, and
    /// what is above it no content, so base64 begins anew behind each.
    fn end_piece(&self, text: &[u8], to: usize, out: &mut Vec<u8>) {
        if self.head.base64 {
            base64(&text[self.piece..to], out);
            out.push(b'\n');
        }
    }

    fn end(&self, text: &[u8], to: usize, out: &mut Vec<u8>) {
        let to = to.max(self.piece);
        let content = &text[self.from..to];
        self.end_piece(text, to, out);
        if self.head.base64 && self.piece > self.from {
            base64(content, out);
            out.push(b'\n');
        }
        if self.head.quoted {
            quoted_printable(content, out);
            out.push(b'\n');
        }
        if self.head.wide {
            // Its ASCII, in either order of bytes and wherever a character begins.
            out.extend(content.iter().filter(|byte| **byte != 0));
            out.push(b'\n');
        }
    }
}

impl Head {
    fn says_something(&self) -> bool {
        self.base64 || self.quoted || self.wide
    }

    /// Reads a header line, or one that goes on with the line before.
    fn read(&mut self, line: &[u8], at: usize, types: &mut Types) {
        let before = self.says_something();
        let named = memchr::memchr_iter(b':', line).find_map(|end| Field::at_end(&line[..end]));
        let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
        if let Some(field) = named {
            self.last = field;
        } else if !goes_on {
            self.last = Field::Other;
        }
        match self.last {
            Field::Encoding => {
                self.base64 |= names(line, b"base64");
                self.quoted |= names(line, b"quoted-printable");
            }
            Field::Type => {
                let named = Types::named(line);
                self.wide |= named.wide;
                *types = types.and(Types { wide: false, ..named });
            }
            Field::Other => {}
        }
        if !before {
            self.at = at;
        }
    }
}

/// Decodes as the most forgiving reader does: what is not in the alphabet is passed over,
/// and the last group need not be whole. An `=` ends a group that it completes and is
/// passed over anywhere else, as Python's `base64` does.
fn base64(content: &[u8], out: &mut Vec<u8>) {
    // Of a group of four characters: how many there are, and how many `=` behind them.
    let (mut bits, mut group, mut pads) = (0_u32, 0, 0);
    for byte in content {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                pads += 1;
                if group >= 2 && group + pads >= 4 {
                    (group, pads) = (0, 0);
                }
                continue;
            }
            _ => continue,
        };
        pads = 0;
        bits = bits << 6 | u32::from(value);
        group = (group + 1) % 4;
        match group {
            2 => out.push((bits >> 4) as u8),
            3 => out.push((bits >> 2) as u8),
            0 => out.push(bits as u8),
            _ => {}
        }
    }
}

/// Undoes `=XX` and line ends behind `=`; any other `=` stays.
fn quoted_printable(content: &[u8], out: &mut Vec<u8>) {
    let mut rest = content;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, mark) = rest.split_at(at);
        out.extend_from_slice(before);
        let digit = |at: usize| char::from(*mark.get(at)?).to_digit(16);
        rest = if let (Some(high), Some(low)) = (digit(1), digit(2)) {
            out.push((high << 4 | low) as u8);
            &mark[3..]
        } else if let Some(end) = line_end(&mark[1..]) {
            &mark[1 + end..]
        } else {
            out.push(b'=');
            &mark[1..]
        };
    }
    out.extend_from_slice(rest);
}

/// The length of blanks and a line end that `text` begins with.
fn line_end(text: &[u8]) -> Option<usize> {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
    (text.get(blanks) == Some(&b'\n')).then_some(blanks + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Types) {
        let (mut out, mut types) = (Vec::new(), Types::default());
        let any = decode(text.as_bytes(), &mut types, &mut out);
        assert_eq!(any, !out.is_empty());
        (String::from_utf8_lossy(&out).into_owned(), types)
    }

    #[test]
    fn encoded_parts_are_decoded() {
        let body = "preamble\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nplain\r\n\
            --b\r\ncontent-transfer-encoding : BASE64\r\n\r\nZXZp\r\nbD0x\r\n\
            --b\r\nContent-Transfer-Encoding:\r\n quoted-printable\r\n\r\n=65v=\r\nil=3D1 = \r\n\
            --b--\r\nepilogue";
        for body in [body.to_owned(), body.replace("\r\n", "\n")] {
            let (text, types) = parts(&body);
            assert!(text.starts_with("evil=1"), "{text}");
            assert!(text.contains("\nevil=1 --b--"), "{text}");
            assert_eq!(types, Types::default());
        }
    }

    #[test]
    fn ends_lines_and_alphabets_that_are_wrong_hide_nothing() {
        let head = "--b\nContent-Transfer-Encoding: base64\n\n";
        for (content, expected) in [
            ("ZXZpbD0x", "evil=1\n"),
            ("Z!X\n\nZp--\n-bD0x\n--b\n", "evil=1"),
            ("ZXZpbA==ZXZpbA==", "evilevil\n"),
            ("ZXZpbD", "evil\n"),
            ("ZX\n--Zp\nbD0x\n--b", "evil=1"),
            // Pads that end nothing (Python's base64).
            ("Z=XZpbD0x", "evil=1\n"),
            ("ZX=ZpbD0x", "evil=1\n"),
            ("=ZXZpbA==", "evil\n"),
        ] {
            let text = parts(&format!("{head}{content}")).0;
            assert!(text.contains(expected), "{content}: {text}");
        }
    }

    #[test]
    fn where_a_part_begins_is_nobodys_guess() {
        let (name, encoding) =
            ("Content-Disposition: form-data; name=a", "Content-Transfer-Encoding: base64");
        for body in [
            // Django takes a boundary anywhere in a line, and a header directly behind it.
            format!("x--b\r\n{encoding}\r\n{name}\r\n\r\nZXZpbA==\r\n--b--\r\n"),
            format!("--b{encoding}\r\n{name}\r\n\r\nZXZpbA==\r\n--b--\r\n"),
            format!("--b:b{encoding}\r\n{name}\r\n\r\nZXZpbA==\r\n--b:b--\r\n"),
            format!("--b\r\n {encoding}\r\n{name}\r\n\r\nZXZpbA==\r\n--b--\r\n"),
            // LF LF is no empty line for it.
            format!("--b\r\nA: b\n\nc\r\n{encoding}\r\n{name}\r\n\r\nZXZpbA==\r\n--b--"),
            format!("--b\r\n{name}\r\n{encoding}\r\nA: b\n\nc\r\n\r\nZXZpbA==\r\n--b--"),
            // A part behind one that looks as if it went on.
            format!("--b\r\n{encoding}\r\n\r\nZ\r\n--b\r\n{encoding}\r\n\r\nZXZpbA==\r\n--b--"),
        ] {
            let text = parts(&body).0;
            assert!(text.contains("evil"), "{body}: {text}");
        }
    }

    #[test]
    fn wide_parts_are_read_in_both_orders() {
        for order in [u16::to_be_bytes, u16::to_le_bytes] {
            let wide: Vec<u8> = "evil".encode_utf16().flat_map(order).collect();
            let wide = String::from_utf8(wide).unwrap();
            for charset in ["UTF-16LE", "utf16", "\"ucs-2\""] {
                let head = format!("--b\r\nContent-Type: text/plain; charset={charset}\r\n\r\n");
                let (text, types) = parts(&format!("{head}{wide}\r\n--b--"));
                assert!(text.contains("evil") && types == Types::default(), "{text}");
            }
            let (mut out, mut types) = (Vec::new(), Types { wide: true, ..Types::default() });
            let body = format!("--b\r\nA: b\r\n\r\n{wide}\r\n--b--");
            assert!(decode(body.as_bytes(), &mut types, &mut out));
            assert!(String::from_utf8(out).unwrap().contains("evil"));
            assert_eq!(parts(&body).0, "");
        }
    }

    #[test]
    fn parts_say_what_they_are() {
        let of = |part: &str| parts(&format!("--b\n{part}")).1;
        assert!(of("Content-Type: application/json\n\nx").json);
        assert!(of("Content-Type:\n text/xml\n\nx").xml);
        assert!(of("\n\n {\"a\":1}").json);
        assert!(of("A: b\n\n<a>").xml);
        assert_eq!(of("A: json\n\nxml"), Types::default());
    }
}
