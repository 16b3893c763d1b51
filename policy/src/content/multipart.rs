//! The parts of a multipart body that are sent in an encoding of their own.
//!
//! Only what such a part holds becomes text here. Everything else, file names, plain
//! parts, what stands between and behind them, is found in the body as it was sent, so a
//! boundary that is read differently elsewhere hides nothing of it.
//!
//! Invariant: the result is at most twice as long as the text.

use super::{Types, names, sniff};

/// What the header lines of a part have said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    base64: bool,
    quoted: bool,
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

/// Where in the body a line is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before the first part.
    Outside,
    /// Among the header lines of a part.
    Head(Head),
    /// In its content, which began here.
    Content(Head, usize),
}

/// Appends the decoded contents of all parts with a `Content-Transfer-Encoding` of
/// `base64` or `quoted-printable`, each with a line end behind it; `false`, with `out`
/// untouched, where there is none. Says in `types` what the parts' contents seem to be. O(length).
///
/// A part begins behind a line of `--` and the boundary; of `--` alone where the boundary
/// is not known, is in no line, or another one is declared inside. Lines end in LF, with or
/// without CR. The last part ends with the body.
pub(super) fn decode(
    text: &[u8],
    boundary: Option<&[u8]>,
    types: &mut Types,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    let found = walk(text, boundary, types, out);
    if !found && boundary.is_some() {
        walk(text, None, types, out);
    }
    out.len() > start
}

/// Whether there was any part.
fn walk(text: &[u8], mut boundary: Option<&[u8]>, types: &mut Types, out: &mut Vec<u8>) -> bool {
    let mut place = Place::Outside;
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', text).map(|end| end + 1);
    for end in ends.chain([text.len()]) {
        let line = &text[begin..end];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let delimits = line
            .strip_prefix(b"--")
            .is_some_and(|name| boundary.is_none_or(|boundary| name.starts_with(boundary)));
        if delimits {
            if let Place::Content(head, from) = place {
                head.decode(&text[from..begin], out);
            }
            place = Place::Head(Head::default());
        } else if let Place::Head(head) = &mut place {
            if line.is_empty() {
                *types = types.and(sniff(&text[end..]));
                place = Place::Content(*head, end);
            } else if head.read(line, types) {
                boundary = None;
            }
        }
        begin = end;
    }
    if let Place::Content(head, from) = place {
        head.decode(&text[from..], out);
    }
    !matches!(place, Place::Outside)
}

impl Head {
    /// Reads a header line, or one that goes on with the line before; `true` where a
    /// boundary of its own is declared.
    fn read(&mut self, line: &[u8], types: &mut Types) -> bool {
        let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
        if !goes_on {
            let name = line.split(|byte| *byte == b':').next().unwrap_or(line).trim_ascii();
            self.last = if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                Field::Encoding
            } else if name.eq_ignore_ascii_case(b"content-type") {
                Field::Type
            } else {
                Field::Other
            };
        }
        match self.last {
            Field::Encoding => {
                self.base64 |= names(line, b"base64");
                self.quoted |= names(line, b"quoted-printable");
                false
            }
            Field::Type => {
                *types = types.and(Types::named(line));
                names(line, b"boundary")
            }
            Field::Other => false,
        }
    }

    fn decode(self, content: &[u8], out: &mut Vec<u8>) {
        if self.base64 {
            base64(content, out);
            out.push(b'\n');
        }
        if self.quoted {
            quoted_printable(content, out);
            out.push(b'\n');
        }
    }
}

/// Decodes as the most forgiving reader does: what is not in the alphabet is passed over,
/// `=` ends a group, and the last group need not be whole.
fn base64(content: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u32, 0);
    for byte in content {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                count = 0;
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
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

    fn parts(text: &str, boundary: Option<&str>) -> (String, Types) {
        let (mut out, mut types) = (Vec::new(), Types::default());
        let any = decode(text.as_bytes(), boundary.map(str::as_bytes), &mut types, &mut out);
        assert_eq!(any, !out.is_empty());
        (String::from_utf8(out).unwrap(), types)
    }

    #[test]
    fn encoded_parts_are_decoded() {
        let body = "preamble\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nplain\r\n\
            --b\r\ncontent-transfer-encoding : BASE64\r\n\r\nZXZp\r\nbD0x\r\n\
            --b\r\nContent-Transfer-Encoding:\r\n quoted-printable\r\n\r\n=65v=\r\nil=3D1 = \r\n\
            --b--\r\nepilogue";
        let decoded = "evil=1\nevil=1 \n";
        for body in [body.to_owned(), body.replace("\r\n", "\n")] {
            for boundary in [Some("b"), None, Some("other")] {
                let (text, types) = parts(&body, boundary);
                assert_eq!(
                    text.replace("\r\n", "\n").trim_end(),
                    decoded.trim_end(),
                    "{boundary:?}"
                );
                assert_eq!(types, Types::default());
            }
        }
    }

    #[test]
    fn ends_lines_and_alphabets_that_are_wrong_hide_nothing() {
        let head = "--b\nContent-Transfer-Encoding: base64\n\n";
        for (content, expected) in [
            ("ZXZpbD0x", "evil=1\n"),
            ("Z!X\n\nZp--\n-bD0x\n--b\n", "evil=1\n"),
            ("ZXZpbA==ZXZpbA==", "evilevil\n"),
            ("ZXZpbD", "evil\n"),
            // The line of another boundary is content.
            ("ZXZp\n--bD0\n--c", "evi\n"),
            ("ZX\n--Zp\nbD0x\n--b", "evil=1\n"),
        ] {
            assert_eq!(parts(&format!("{head}{content}"), Some("b")).0, expected, "{content}");
        }
        let inner = "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\
            Content-Transfer-Encoding: base64\n\nZXZp\n--c--\n--b--";
        assert_eq!(parts(inner, Some("b")).0, "evi\n");
    }

    #[test]
    fn parts_say_what_they_are() {
        let of = |part: &str| parts(&format!("--b\n{part}"), Some("b")).1;
        assert!(of("Content-Type: application/json\n\nx").json);
        assert!(of("Content-Type:\n text/xml\n\nx").xml);
        assert!(of("\n\n {\"a\":1}").json);
        assert!(of("A: b\n\n<a>").xml);
        assert_eq!(of("A: json\n\nxml"), Types::default());
    }
}
