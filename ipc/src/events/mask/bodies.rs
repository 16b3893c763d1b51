//! Bodies, by what they look like: clients send JSON under any `Content-Type`.

use super::Masks;
use super::forms;
use super::sink::Sink;

/// Longest boundary of a multipart body (RFC 2046, section 5.1.1) with its dashes.
const BOUNDARY_MAX: usize = 72;

/// A body or its beginning.
pub fn body(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    let trimmed = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).trim_ascii_start();
    match trimmed {
        [b'{' | b'[' | b'"', ..] => json(masks, sink, text),
        [b'<', ..] => xml(masks, sink, text),
        [b'-', b'-', ..] => multipart(masks, sink, text),
        _ => forms::form(masks, sink, text),
    }
}

fn json(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    let (mut copied, mut at) = (0, 0);
    while let Some(quote) = find(text, at, b'"') {
        let close = end_of_string(text, quote);
        let colon = skip_space(text, close);
        at = close;
        if text.get(colon) != Some(&b':') {
            continue;
        }
        let value = skip_space(text, colon + 1);
        at = value;
        let name = text.get(quote + 1..close - 1).unwrap_or_default();
        if value < text.len() && masks.is_secret_json(name) {
            sink.copy(&text[copied..value]);
            // In quotes, so that it stays JSON.
            sink.copy(b"\"");
            sink.hide();
            sink.copy(b"\"");
            at = end_of_value(text, value);
            copied = at;
            if !sink.is_whole() {
                return;
            }
        }
    }
    sink.copy(&text[copied..]);
}

/// Where the string that begins with the quote at `at` is over.
fn end_of_string(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// Where the JSON value that begins at `at` is over.
fn end_of_value(text: &[u8], at: usize) -> usize {
    let (mut at, mut depth) = (at, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return at + depth,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn xml(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    let (mut copied, mut at) = (0, 0);
    while let Some(open) = find(text, at, b'<') {
        if matches!(text.get(open + 1), Some(b'/' | b'!' | b'?')) {
            at = open + 2;
            continue;
        }
        let (name, end_of_name) = word(text, open + 1);
        at = end_of_name;
        // Attributes, up to the end of the tag.
        let mut is_empty = false;
        loop {
            at = skip_space(text, at);
            match text.get(at) {
                None => break,
                Some(b'>') => {
                    at += 1;
                    break;
                }
                Some(b'/') => {
                    is_empty = true;
                    at += 1;
                }
                Some(b'=' | b'"' | b'\'' | b'<') => at += 1,
                Some(_) => {
                    let (attribute, end) = word(text, at);
                    at = skip_space(text, end.max(at + 1));
                    if text.get(at) != Some(&b'=') {
                        continue;
                    }
                    let value = skip_space(text, at + 1);
                    let (from, to, next) = match text.get(value) {
                        Some(quote @ (b'"' | b'\'')) => {
                            let to = find(text, value + 1, *quote).unwrap_or(text.len());
                            (value + 1, to, (to + 1).min(text.len()))
                        }
                        _ => {
                            let to = word(text, value).1;
                            (value, to, to)
                        }
                    };
                    if from < to && masks.is_secret(attribute) {
                        sink.copy(&text[copied..from]);
                        sink.hide();
                        copied = to;
                    }
                    at = next.max(at + 1);
                }
            }
        }
        if !is_empty && at < text.len() && masks.is_secret(name) {
            // Whatever the element has in it, up to where an element ends.
            let rest = &text[at..];
            let length = rest.windows(2).position(|two| two == b"</").unwrap_or(rest.len());
            sink.copy(&text[copied..at]);
            sink.hide();
            at += length;
            copied = at;
        }
        if !sink.is_whole() {
            return;
        }
    }
    sink.copy(&text[copied.min(text.len())..]);
}

/// The name at `at`, and where it is over.
fn word(text: &[u8], at: usize) -> (&[u8], usize) {
    let rest = text.get(at..).unwrap_or_default();
    let over = |byte: &u8| byte.is_ascii_whitespace() || b"=\"'<>/".contains(byte);
    let length = rest.iter().position(over).unwrap_or(rest.len());
    (&rest[..length], at.min(text.len()) + length)
}

fn multipart(masks: &Masks, sink: &mut Sink<'_>, text: &[u8]) {
    let first = text.trim_ascii_start();
    let line = first.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(first.len());
    let boundary = &first[..line.min(BOUNDARY_MAX)];
    let (mut copied, mut at) = (0, text.len() - first.len() + line);
    while at < text.len() {
        let part = &text[at..];
        let length = find_text(part, boundary).unwrap_or(part.len());
        let part = &part[..length];
        // The blank line after the part's headers, with either kind of line ends.
        let blank = (0..part.len()).find_map(|at| match &part[at..] {
            [b'\r', b'\n', b'\r', b'\n', ..] => Some((at, at + 4)),
            [b'\n', b'\n', ..] => Some((at, at + 2)),
            _ => None,
        });
        if let Some((headers, data)) = blank {
            let value = without_line_end(&part[data..]).len();
            if value > 0 && name_of_part(&part[..headers]).is_some_and(|n| masks.is_secret(n)) {
                sink.copy(&text[copied..at + data]);
                sink.hide();
                copied = at + data + value;
            }
        }
        if !sink.is_whole() {
            return;
        }
        at += length + boundary.len();
    }
    sink.copy(&text[copied..]);
}

/// The `name` in a part's headers, quoted or not.
fn name_of_part(headers: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"name=";
    let at = (0..headers.len()).find(|at| {
        let named = headers.get(*at..at + NAME.len());
        named.is_some_and(|text| text.eq_ignore_ascii_case(NAME))
            // And not `filename=`.
            && at.checked_sub(1).is_none_or(|at| matches!(headers[at], b' ' | b';' | b'\t'))
    })?;
    let value = &headers[at + NAME.len()..];
    let (value, end): (_, &[u8]) = match value {
        [b'"', rest @ ..] => (rest, b"\""),
        _ => (value, b"; \r\n"),
    };
    let length = value.iter().position(|byte| end.contains(byte)).unwrap_or(value.len());
    Some(&value[..length])
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

fn find(text: &[u8], from: usize, wanted: u8) -> Option<usize> {
    Some(from + text.get(from..)?.iter().position(|byte| *byte == wanted)?)
}

/// Where `wanted`, of at most [`BOUNDARY_MAX`] bytes, begins.
fn find_text(text: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn skip_space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at.min(text.len()) + (rest.len() - rest.trim_ascii_start().len())
}
