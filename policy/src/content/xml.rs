//! The references of XML, and text that its markup cuts.
//!
//! A flat pass over the whole text and no parser: entities that a document declares
//! itself stay as they are, and nothing has to be well-formed.
//!
//! Invariant: the result is not longer than the text.

use memchr::memmem::find;

/// Appends the text as a reader of XML puts it together; `false`, with `out` untouched,
/// where nothing has to be done. O(length).
///
/// Character references and the five predefined entities become characters; the marks of
/// a CDATA section go and what is between them stays as it is; comments and processing
/// instructions go. A reference to a character that XML does not have stays, as does what has no end.
pub(super) fn decode(raw: &[u8], out: &mut Vec<u8>) -> bool {
    // Most documents are tags and text: searches that stop nowhere.
    let has_marks = memchr::memchr(b'&', raw).is_some()
        || find(raw, b"<!").is_some()
        // Most begin with <?xml, which cuts no text.
        || raw.get(2..).is_some_and(|rest| find(rest, b"<?").is_some());
    if !has_marks {
        return false;
    }
    // Up to where the text was copied, and up to where it was looked at.
    let (mut copied, mut at) = (0, 0);
    let mut marks = Marks { sections: true, comments: true, instructions: true };
    while let Some(found) = memchr::memchr2(b'&', b'<', &raw[at..]) {
        at += found;
        let Some((plain, length)) = marks.read(&raw[at..]) else {
            at += 1;
            continue;
        };
        out.extend_from_slice(&raw[copied..at]);
        match plain {
            Plain::Text(text) => out.extend_from_slice(text),
            Plain::Character(character) => super::push(character, out),
        }
        at += length;
        copied = at;
    }
    if copied > 0 {
        out.extend_from_slice(&raw[copied..]);
    }
    copied > 0
}

/// What a mark stands for.
enum Plain<'t> {
    Text(&'t [u8]),
    Character(char),
}

/// Which marks may still have an end: once one has none, none further on has. So each
/// end is looked for in vain once, and the time is linear.
struct Marks {
    sections: bool,
    comments: bool,
    instructions: bool,
}

impl Marks {
    /// What the mark that `text` begins with stands for, and how long it is.
    fn read<'t>(&mut self, text: &'t [u8]) -> Option<(Plain<'t>, usize)> {
        const SECTION: (&[u8], &[u8]) = (b"<![CDATA[", b"]]>");
        const COMMENT: (&[u8], &[u8]) = (b"<!--", b"-->");
        const INSTRUCTION: (&[u8], &[u8]) = (b"<?", b"?>");
        match text {
            [b'&', ..] => {
                let (character, length) = reference(text)?;
                Some((Plain::Character(character), length))
            }
            [b'<', b'!', b'[', ..] => {
                let (inside, length) = between(text, SECTION, &mut self.sections)?;
                Some((Plain::Text(inside), length))
            }
            [b'<', b'!', b'-', ..] => {
                let (_, length) = between(text, COMMENT, &mut self.comments)?;
                Some((Plain::Text(b""), length))
            }
            [b'<', b'?', ..] => {
                let (_, length) = between(text, INSTRUCTION, &mut self.instructions)?;
                Some((Plain::Text(b""), length))
            }
            _ => None,
        }
    }
}

/// What is between two marks, and the length of all; clears `ends` where the second is missing.
fn between<'t>(
    text: &'t [u8],
    (begin, end): (&[u8], &[u8]),
    ends: &mut bool,
) -> Option<(&'t [u8], usize)> {
    let inside = text.strip_prefix(begin).filter(|_| *ends)?;
    let length = find(inside, end);
    *ends = length.is_some();
    let length = length?;
    Some((&inside[..length], begin.len() + length + end.len()))
}

/// The character of the reference that `text` begins with, and the reference's length.
fn reference(text: &[u8]) -> Option<(char, usize)> {
    let inside = text.strip_prefix(b"&")?;
    for (name, character) in
        [(&b"lt;"[..], '<'), (b"gt;", '>'), (b"amp;", '&'), (b"quot;", '"'), (b"apos;", '\'')]
    {
        if inside.starts_with(name) {
            return Some((character, 1 + name.len()));
        }
    }
    let number = inside.strip_prefix(b"#")?;
    let (digits, radix) = match number {
        [b'x' | b'X', digits @ ..] => (digits, 16),
        digits => (digits, 10),
    };
    let mut code = 0_u32;
    for (count, byte) in digits.iter().enumerate() {
        if let Some(digit) = char::from(*byte).to_digit(radix) {
            code = code.saturating_mul(radix).saturating_add(digit);
        } else if *byte == b';' && count > 0 {
            let length = text.len() - digits.len() + count + 1;
            return char::from_u32(code).filter(|c| *c != '\0').map(|c| (c, length));
        } else {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &str) -> String {
        let mut out = Vec::new();
        if decode(raw.as_bytes(), &mut out) { String::from_utf8(out).unwrap() } else { raw.into() }
    }

    #[test]
    fn references_sections_and_comments() {
        for (raw, expected) in [
            ("<a>plain</a>", "<a>plain</a>"),
            ("&lt;script&gt; &amp;amp; &quot;&apos;", "<script> &amp; \"'"),
            ("&#101;v&#x69;l &#X69; &#x1F600; &#0000101;", "evil i 😀 e"),
            // No characters, no references, no ends.
            (
                "&#0; &#xD800; &#x110000; &#99999999999999;",
                "&#0; &#xD800; &#x110000; &#99999999999999;",
            ),
            ("&#; &#x; &#101 &#x6g; &own; & &", "&#; &#x; &#101 &#x6g; &own; & &"),
            ("e<![CDATA[vi]]>l <![CDATA[<b>&amp;</b>]]>", "evil <b>&amp;</b>"),
            ("<![CDATA[a]]><![CDATA[b]]>", "ab"),
            ("ev<!-- x -->il <![CDATA[<!--]]>&#101;<!-- -->", "evil <!--e"),
            (
                "<![CDATA[open &#101; <!-- open <![CDATA[ x ]]",
                "<![CDATA[open e <!-- open <![CDATA[ x ]]",
            ),
            ("<!-- open &lt;", "<!-- open <"),
            ("ev<?x y?>il <?open &lt;", "evil <?open <"),
            // What stands inside one is no mark.
            ("<?x <!-- ?>&#101;vil<?x --> ?>", "evil"),
            ("<?x <![CDATA[ ?>&#101;vil<?x ]]> ?>", "evil"),
            ("<!-- <? -->&#101;vil<!-- ?> -->", "evil"),
            ("<?xml version='1.0'?><a/>", "<?xml version='1.0'?><a/>"),
        ] {
            assert_eq!(plain(raw), expected, "{raw}");
        }
    }

    #[test]
    fn ends_that_are_missing_are_looked_for_once() {
        // Quadratic, this would take minutes.
        for mark in ["<![CDATA[", "<!--", "<?", "&#1", "&"] {
            let raw = mark.repeat(1 << 18);
            assert!(!decode(raw.as_bytes(), &mut Vec::new()), "{mark}");
        }
    }
}
