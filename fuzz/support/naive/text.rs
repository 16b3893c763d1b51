//! The forms of a text, worked out from the beginning each time.

/// Percent-decoding, once; `plus` says whether `+` is a space.
pub fn decoded(mut raw: &[u8], plus: bool) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        raw = match raw {
            [] => return plain,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits: String = [*high, *low].map(char::from).iter().collect();
                plain.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                rest
            }
            [b'+', rest @ ..] if plus => {
                plain.push(b' ');
                rest
            }
            [byte, rest @ ..] => {
                plain.push(*byte);
                rest
            }
        }
    }
}

/// A path up to its raw `#`.
pub fn without_fragment(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'#').next().unwrap_or(path)
}

/// The path a server looks up: decoded, then its segments walked one by one.
/// Only for paths that begin with a slash after decoding.
pub fn served(path: &[u8]) -> Vec<u8> {
    let plain = decoded(without_fragment(path), false);
    let segments: Vec<&[u8]> = plain.split(|byte| *byte == b'/').collect();
    let mut place: Vec<&[u8]> = Vec::new();
    for segment in &segments {
        match *segment {
            b"" | b"." => {}
            b".." => {
                place.pop();
            }
            name => place.push(name),
        }
    }
    let mut resolved = Vec::new();
    for name in &place {
        resolved.push(b'/');
        resolved.extend_from_slice(name);
    }
    // A folder stays a folder.
    if matches!(segments.last(), Some(&(b"" | b"." | b".."))) || place.is_empty() {
        resolved.push(b'/');
    }
    resolved
}
