//! What a body holds, read character by character.

/// A document with its references as characters, CDATA sections joined, comments and
/// processing instructions gone.
pub fn xml(raw: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let rest = &raw[at..];
        if let Some((inside, length)) = between(rest, b"<![CDATA[", b"]]>") {
            plain.extend_from_slice(inside);
            at += length;
        } else if let Some((_, length)) = between(rest, b"<!--", b"-->") {
            at += length;
        } else if let Some((_, length)) = between(rest, b"<?", b"?>") {
            at += length;
        } else if let Some((character, length)) = reference(rest) {
            plain.extend_from_slice(character.to_string().as_bytes());
            at += length;
        } else {
            plain.push(raw[at]);
            at += 1;
        }
    }
    plain
}

/// What is between two marks, and the length of all three.
fn between<'t>(text: &'t [u8], begin: &[u8], end: &[u8]) -> Option<(&'t [u8], usize)> {
    let inside = text.strip_prefix(begin)?;
    let length = (0..inside.len()).find(|at| inside[*at..].starts_with(end))?;
    Some((&inside[..length], begin.len() + length + end.len()))
}

fn reference(text: &[u8]) -> Option<(char, usize)> {
    let (inside, length) = between(text, b"&", b";")?;
    let inside = std::str::from_utf8(inside).ok()?;
    let character = match inside {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        number => {
            let digits = number.strip_prefix('#')?;
            let (digits, radix) = match digits.strip_prefix(['x', 'X']) {
                Some(digits) => (digits, 16),
                None => (digits, 10),
            };
            // The parser of numbers takes a sign.
            if !digits.chars().all(|digit| digit.is_digit(radix)) {
                return None;
            }
            char::from_u32(u32::from_str_radix(digits, radix).ok()?).filter(|c| *c != '\0')?
        }
    };
    Some((character, length))
}
