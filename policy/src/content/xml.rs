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
/// a CDATA section go and what is between them stays as it is; comments go. A reference
/// to a character that XML does not have stays, as do sections and comments without an end.
pub(super) fn decode(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(mut at) = memchr::memchr2(b'&', b'<', raw) else { return false };
    let start = out.len();
    // Once one has no end, none further on has: looked for once, so that the time is linear.
    let (mut sections, mut comments) = (true, true);
    let (mut rest, mut differs) = (raw, false);
    loop {
        let (before, mark) = rest.split_at(at);
        out.extend_from_slice(before);
        let length = if let Some(inside) = mark.strip_prefix(b"<![CDATA[")
            && sections
        {
            let end = find(inside, b"]]>");
            sections = end.is_some();
            end.map(|end| {
                out.extend_from_slice(&inside[..end]);
                b"<![CDATA[".len() + end + b"]]>".len()
            })
        } else if let Some(inside) = mark.strip_prefix(b"<!--")
            && comments
        {
            let end = find(inside, b"-->");
            comments = end.is_some();
            end.map(|end| b"<!--".len() + end + b"-->".len())
        } else {
            reference(mark).map(|(character, length)| {
                super::push(character, out);
                length
            })
        };
        differs |= length.is_some();
        rest = &mark[length.unwrap_or_else(|| {
            out.push(mark[0]);
            1
        })..];
        match memchr::memchr2(b'&', b'<', rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    if !differs {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(rest);
    true
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
        ] {
            assert_eq!(plain(raw), expected, "{raw}");
        }
    }

    #[test]
    fn ends_that_are_missing_are_looked_for_once() {
        // Quadratic, this would take minutes.
        for mark in ["<![CDATA[", "<!--", "&#1", "&"] {
            let raw = mark.repeat(1 << 18);
            assert!(!decode(raw.as_bytes(), &mut Vec::new()), "{mark}");
        }
    }
}
