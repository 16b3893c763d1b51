//! Encoded bodies: a line with the `Content-Encoding`, then the body.
//!
//! Against another library's reading of headers, members and ends.
#![no_main]

use std::io::Read as _;

use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder, ZlibDecoder};
use libfuzzer_sys::fuzz_target;
use policy::encoding::{Decoder, Gap, Outcome};

const LIMIT: usize = 10_000;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut decoder = Decoder::default();
    for line in [line, b"gzip", b"deflate", b"gzip, deflate"] {
        let headers = vec![("Content-Encoding", line)];
        let once = decoder.decode(&headers, body, LIMIT);
        let first = (once.text.map(<[u8]>::to_vec), once.gap);
        assert!(first.0.as_ref().is_none_or(|text| text.len() <= LIMIT));
        let again = decoder.decode(&headers, body, LIMIT);
        assert_eq!((again.text.map(<[u8]>::to_vec), again.gap), first, "a decoder that was used");
    }
    let mut text = Vec::new();
    if MultiGzDecoder::new(body).read_to_end(&mut text).is_ok() && text.len() <= LIMIT {
        let headers = vec![("Content-Encoding", "gzip")];
        check(&text, decoder.decode(&headers, body, LIMIT), body);
    }
    text.clear();
    let mut zlib = ZlibDecoder::new(body);
    if zlib.read_to_end(&mut text).is_ok()
        && zlib.total_in() == body.len() as u64
        && text.len() <= LIMIT
    {
        let headers = vec![("Content-Encoding", "deflate")];
        check(&text, decoder.decode(&headers, body, LIMIT), body);
    }
    let level = Compression::new(u32::from(line.len() as u8 % 10));
    let mut packed = Vec::new();
    GzEncoder::new(body, level).read_to_end(&mut packed).expect("a slice is read");
    let headers = vec![("Content-Encoding", "gzip")];
    let ours = decoder.decode(&headers, &packed, LIMIT);
    assert_eq!(ours, Outcome { text: Some(body), gap: None });
});

/// What that library takes comes out, unless it is broken: it takes references to what
/// is before the beginning, for zeros, which RFC 1951 forbids.
fn check(text: &[u8], ours: Outcome<'_>, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let decoded = ours.text.expect("was tried");
    // Behind it stands what the second reading of `deflate` made of it, if anything.
    let same = match ours.gap {
        Some(Gap::Broken) => text.starts_with(decoded) || decoded.starts_with(text),
        _ => decoded.starts_with(text),
    };
    assert!(same, "{ours:?} of {body:?} should be {text:?}");
}
