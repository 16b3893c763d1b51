//! Encodings of bodies: made by another library, cut, joined, wrong, and too long.

use std::io::Write as _;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use policy::encoding::{Decoder, Gap, Outcome};
use policy::limits::{RATIO, RATIO_FROM};
use proptest::prelude::*;

const TEXT: &[u8] = b"a=1&evil=1&a=1&a=1&a=1&a=1&text that shrinks, that shrinks, that shrinks";
const LIMIT: usize = 128 << 10;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn raw(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What comes out, and why not more; asked twice of one decoder.
fn decoded(lines: &[&str], sent: &[u8], limit: usize) -> (Option<Vec<u8>>, Option<Gap>) {
    let headers: Vec<_> = lines.iter().map(|value| ("Content-Encoding", value)).collect();
    let mut decoder = Decoder::default();
    let mut once = || {
        let Outcome { text, gap } = decoder.decode(&headers, sent, limit);
        (text.map(<[u8]>::to_vec), gap)
    };
    let first = once();
    assert_eq!(once(), first, "a decoder that was used before");
    first
}

fn whole(text: &[u8]) -> (Option<Vec<u8>>, Option<Gap>) {
    (Some(text.to_vec()), None)
}

#[test]
fn every_encoding_and_every_spelling() {
    for (lines, sent) in [
        (&["gzip"][..], gzip(TEXT)),
        (&["X-GZip"], gzip(TEXT)),
        (&[" , gzip ,"], gzip(TEXT)),
        (&["identity, gzip"], gzip(TEXT)),
        (&["gzip", "identity"], gzip(TEXT)),
        (&["deflate"], zlib(TEXT)),
        (&["DEFLATE"], raw(TEXT)),
        (&["gzip, deflate"], zlib(&gzip(TEXT))),
        (&["gzip", "deflate"], raw(&gzip(TEXT))),
        (&["deflate,gzip"], gzip(&raw(TEXT))),
        (&["gzip,identity,gzip"], gzip(&gzip(TEXT))),
    ] {
        assert_eq!(decoded(lines, &sent, LIMIT), whole(TEXT), "{lines:?}");
    }
    for lines in [&[][..], &["identity"], &[""], &["identity", "IDENTITY"]] {
        assert_eq!(decoded(lines, &gzip(TEXT), LIMIT), (None, None), "{lines:?}");
    }
    assert_eq!(decoded(&["br"], b"", LIMIT), (None, None), "nothing is nothing in any encoding");
}

#[test]
fn what_is_unknown_is_said_after_what_is_known_was_undone() {
    let unknown = Some(Gap::Unknown);
    for (lines, sent, text) in [
        (&["br"][..], TEXT.to_vec(), None),
        (&["zstd"], TEXT.to_vec(), None),
        (&["gzip;q=1"], gzip(TEXT), None),
        (&["gzip, br"], gzip(TEXT), None),
        (&["br, gzip"], gzip(TEXT), Some(TEXT.to_vec())),
        (&["gzip, gzip, gzip"], gzip(&gzip(&gzip(TEXT))), Some(gzip(TEXT))),
    ] {
        assert_eq!(decoded(lines, &sent, LIMIT), (text, unknown), "{lines:?}");
    }
}

#[test]
fn members_headers_and_what_follows() {
    let mut dressed = GzBuilder::new()
        .filename("name")
        .comment("comment")
        .extra(vec![0, 1, 2])
        .write(Vec::new(), Compression::default());
    dressed.write_all(TEXT).unwrap();
    assert_eq!(decoded(&["gzip"], &dressed.finish().unwrap(), LIMIT), whole(TEXT));
    // A checksum of the header, which that library does not write.
    let mut checked = gzip(TEXT);
    checked[3] |= 2;
    checked.splice(10..10, [7, 7]);
    assert_eq!(decoded(&["gzip"], &checked, LIMIT), whole(TEXT));
    let joined = [gzip(b"ev"), vec![0; 9], gzip(b""), gzip(b"il=1"), vec![0]].concat();
    assert_eq!(decoded(&["gzip"], &joined, LIMIT), whole(b"evil=1"));
    // Checksums are not compared.
    let mut wrong = gzip(TEXT);
    let end = wrong.len();
    wrong[end - 8..].fill(7);
    assert_eq!(decoded(&["gzip"], &wrong, LIMIT), whole(TEXT));
    let broken = |text: &[u8]| (Some(text.to_vec()), Some(Gap::Broken));
    assert_eq!(
        decoded(&["gzip"], &[gzip(TEXT), b"&more=1".to_vec()].concat(), LIMIT),
        broken(TEXT)
    );
    assert_eq!(decoded(&["deflate"], &[zlib(TEXT), b"x".to_vec()].concat(), LIMIT), broken(TEXT));
    // A member looks back into no other one: three bytes from one byte ago, by fixed codes.
    let reference = [&gzip(b"evil")[..], &gzip(b"")[..10], &[0x03, 0x02, 0x00], &[0; 8]].concat();
    assert_eq!(decoded(&["gzip"], &reference, LIMIT), broken(b"evil"));
    for (line, sent) in [("gzip", zlib(TEXT)), ("deflate", gzip(TEXT)), ("gzip", TEXT.to_vec())] {
        assert_eq!(decoded(&[line], &sent, LIMIT).1, Some(Gap::Broken), "{line}");
    }
}

#[test]
fn of_a_cut_body_what_is_there_comes_out() {
    for (line, sent) in [("gzip", gzip(TEXT)), ("deflate", zlib(TEXT)), ("deflate", raw(TEXT))] {
        let mut longest = 0;
        for cut in 1..sent.len() {
            let (text, gap) = decoded(&[line], &sent[..cut], LIMIT);
            let text = text.expect("was tried");
            assert!(TEXT.starts_with(&text), "{line} {cut}");
            assert_eq!(gap, Some(Gap::Broken), "{line} {cut}");
            longest = longest.max(text.len());
        }
        // Only the trailer is missing.
        assert!(longest > TEXT.len() / 2, "{line}: {longest}");
    }
}

/// Zlib to one reader, bare deflate to another, with a text each.
#[test]
fn what_can_be_read_in_two_ways_is_read_in_both() {
    let inner = raw(b"evil=1 evil=1 evil=1");
    // 78 01: a header of zlib, or a stored block of 0x101 bytes whose length goes on
    // with what zlib takes for a stored block of 0xfefe bytes.
    let mut sent = vec![0x78, 0x01, 0x01, 0xfe, 0xfe, 0x01, 0x01];
    sent.resize(5 + 0x101, b'-');
    sent.extend_from_slice(&inner);
    sent.resize(7 + 0xfefe, b'-');
    sent.extend_from_slice(&[0; 4]);
    let (text, gap) = decoded(&["deflate"], &sent, LIMIT);
    let text = text.expect("comes out");
    assert!(policy::text::contains(&text, b"evil=1"));
    assert_eq!(text.len(), 0xfefe + 0x101 + 20);
    assert_eq!(gap, None);
}

#[test]
fn no_more_comes_out_than_was_asked_for() {
    type Encode = fn(&[u8]) -> Vec<u8>;
    for (line, encode) in [("gzip", gzip as Encode), ("deflate", zlib), ("deflate", raw)] {
        // Regular enough to shrink, within the ratio.
        let text: Vec<u8> = (0..30_000u32).flat_map(|n| (n / 7).to_string().into_bytes()).collect();
        let sent = encode(&text);
        assert!(text.len() < sent.len() * RATIO);
        let exact = decoded(&[line], &sent, text.len());
        assert!(exact == whole(&text), "exactly as much as is allowed");
        for limit in [1, 100, 5_000, text.len() - 1] {
            let (part, gap) = decoded(&[line], &sent, limit);
            assert!(part.as_deref() == Some(&text[..limit]), "{limit}");
            assert_eq!(gap, Some(Gap::TooLong));
        }
        // A bomb, whatever the limit.
        let bomb = encode(&vec![b'x'; 40 << 20]);
        assert!((40 << 20) / bomb.len() > 900);
        let (part, gap) = decoded(&[line], &bomb, 16 << 20);
        assert_eq!(part.map(|part| part.len()), Some(bomb.len() * RATIO));
        assert_eq!(gap, Some(Gap::TooLong));
        // What is small may be as regular as it likes.
        let small = vec![b'x'; RATIO_FROM];
        assert!(decoded(&[line], &encode(&small), 16 << 20) == whole(&small));
        let (part, gap) = decoded(&[line], &encode(&[&small[..], b"x"].concat()), 16 << 20);
        assert_eq!((part.map(|part| part.len()), gap), (Some(RATIO_FROM), Some(Gap::TooLong)));
    }
    let twice = gzip(&gzip(&vec![b'x'; 8 << 20]));
    let (part, gap) = decoded(&["gzip, gzip"], &twice, 16 << 20);
    assert_eq!((part.map(|part| part.len()), gap), (Some(RATIO_FROM), Some(Gap::TooLong)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn text_comes_back(text: Vec<u8>, second: bool) {
        let sent = gzip(&text);
        let (sent, line) = if second { (zlib(&sent), "gzip, deflate") } else { (sent, "gzip") };
        prop_assert_eq!(decoded(&[line], &sent, LIMIT), whole(&text));
    }

    #[test]
    fn noise_ends_within_the_limit(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        start in 0usize..4,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        limit in 1usize..5_000,
    ) {
        let mut sent = [noise.clone(), gzip(&noise), zlib(&noise), raw(&noise)][start].clone();
        for (at, byte) in changes {
            if !sent.is_empty() {
                let at = at.index(sent.len());
                sent[at] = byte;
            }
        }
        for line in ["gzip", "deflate", "gzip, deflate", "deflate, gzip"] {
            let (text, _) = decoded(&[line], &sent, limit);
            prop_assert!(text.is_none_or(|text| text.len() <= limit));
        }
    }
}
