//! Undoing the `Content-Encoding` of a body, so that rules see what the site will.
//!
//! What is decoded is judged beside what was sent, so a wrong header hides nothing. Checksums
//! are not compared: who reads the body gets this text or an error. Where a body cannot be
//! decoded whole, what came out is judged and the [`Gap`] says why there is no more.
//!
//! Invariants: never more than the asked number of bytes comes out, nor more than
//! [`RATIO`] times what was sent beyond [`RATIO_FROM`]; time follows what goes in and comes out; buffers
//! are kept between requests, up to [`BUFFER_KEPT`].

use std::ops::ControlFlow;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_IGNORE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::limits::{BUFFER_KEPT, ENCODINGS, RATIO, RATIO_FROM};
use crate::request::Headers;

/// Why a body could not be decoded whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// An encoding that is not known, or more than [`ENCODINGS`] of them.
    Unknown,
    /// It is not what its header says, or ends too early, or goes on behind its end.
    Broken,
    /// It becomes longer than what may come out.
    TooLong,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'d> {
    /// What came out; `None` where nothing had to be, or could be, undone.
    pub text: Option<&'d [u8]>,
    /// Why that is not everything.
    pub gap: Option<Gap>,
}

/// Decodes bodies, one at a time.
#[derive(Default)]
pub struct Decoder {
    /// About 10 KiB; made for the first body that needs it.
    inflate: Option<Box<DecompressorOxide>>,
    text: Vec<u8>,
    spare: Vec<u8>,
}

/// A coding that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Unknown,
}

/// The codings applied last, in order.
#[derive(Debug, Default)]
struct Applied {
    last: [Option<Coding>; ENCODINGS],
    /// There were others before them.
    more: bool,
}

impl Decoder {
    /// Undoes what the `Content-Encoding` lines of a request say was done to its body:
    /// `gzip`, `x-gzip`, `deflate` (with and without the header of zlib), `identity`. At most
    /// `limit` bytes come out.
    ///
    /// Nothing is allocated for a body without an encoding, nor, once the buffers are
    /// there, for one with.
    pub fn decode(&mut self, headers: &dyn Headers, sent: &[u8], limit: usize) -> Outcome<'_> {
        let applied = Applied::read(headers);
        if sent.is_empty() || applied.last.iter().all(Option::is_none) {
            return Outcome { text: None, gap: None };
        }
        for buffer in [&mut self.text, &mut self.spare] {
            buffer.clear();
            buffer.shrink_to(BUFFER_KEPT);
        }
        let most = limit.min(sent.len().saturating_mul(RATIO).max(RATIO_FROM));
        let mut gap = applied.more.then_some(Gap::Unknown);
        let mut undone = false;
        let inflate = self.inflate.get_or_insert_default();
        for coding in applied.last.into_iter().rev().flatten() {
            let undo = match coding {
                Coding::Gzip => gunzip,
                Coding::Deflate => deflate,
                Coding::Unknown => {
                    gap = Some(gap.unwrap_or(Gap::Unknown));
                    break;
                }
            };
            let outcome = if undone {
                self.spare.clear();
                let outcome = undo(inflate, &self.text, &mut self.spare, most);
                std::mem::swap(&mut self.text, &mut self.spare);
                outcome
            } else {
                undo(inflate, sent, &mut self.text, most)
            };
            undone = true;
            if let Err(why) = outcome {
                gap = Some(why);
            }
        }
        Outcome { text: undone.then_some(&self.text), gap }
    }
}

impl Applied {
    fn read(headers: &dyn Headers) -> Self {
        let mut applied = Self::default();
        headers.visit(&mut |name, value| {
            if name.eq_ignore_ascii_case(b"content-encoding") {
                value.split(|byte| *byte == b',').for_each(|token| applied.add(token));
            }
            ControlFlow::Continue(())
        });
        applied
    }

    fn add(&mut self, token: &[u8]) {
        let token = token.trim_ascii();
        let is = |name: &[u8]| token.eq_ignore_ascii_case(name);
        if token.is_empty() || is(b"identity") {
            return;
        }
        let coding = if is(b"gzip") || is(b"x-gzip") {
            Coding::Gzip
        } else if is(b"deflate") {
            Coding::Deflate
        } else {
            Coding::Unknown
        };
        self.more |= self.last[0].is_some();
        self.last.rotate_left(1);
        self.last[ENCODINGS - 1] = Some(coding);
    }
}

/// Decodes every member of a gzip file (RFC 1952), with zeros between and behind them.
fn gunzip(
    state: &mut DecompressorOxide,
    input: &[u8],
    out: &mut Vec<u8>,
    most: usize,
) -> Result<(), Gap> {
    /// Checksum and length.
    const TRAILER: usize = 8;
    let mut rest = input;
    loop {
        let data = gzip_data(rest).ok_or(Gap::Broken)?;
        let (read, outcome) = inflate(state, data, out, most, 0);
        outcome?;
        rest = data.get(read + TRAILER..).ok_or(Gap::Broken)?;
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = &rest[zeros..];
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// What follows the header of a gzip member.
fn gzip_data(member: &[u8]) -> Option<&[u8]> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = member else { return None };
    let has = |bit: u8| flags & bit != 0;
    let text = |rest: &'_ [u8]| memchr::memchr(0, rest).map(|end| end + 1);
    let mut at = 0;
    if has(4) {
        at += 2 + usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
    }
    for name in [8, 16] {
        if has(name) {
            at += text(rest.get(at..)?)?;
        }
    }
    if has(2) {
        at += 2;
    }
    rest.get(at..)
}

/// Decodes `deflate`, which some send with the header of zlib, as RFC 9110 says, and
/// some without.
///
/// A body can be made that is something else in either reading. What begins like zlib
/// is therefore read both ways; a true one fails the second at its third byte.
fn deflate(
    state: &mut DecompressorOxide,
    input: &[u8],
    out: &mut Vec<u8>,
    most: usize,
) -> Result<(), Gap> {
    let is_zlib = |head: [u8; 2]| head[0] & 15 == 8 && u16::from_be_bytes(head).is_multiple_of(31);
    let mut whole = |flags| {
        let (read, outcome) = inflate(state, input, out, most, flags);
        outcome.and(if read == input.len() { Ok(()) } else { Err(Gap::Broken) })
    };
    match input {
        [first, second, ..] if is_zlib([*first, *second]) => {
            let zlib = whole(TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_IGNORE_ADLER32);
            match (zlib, whole(0)) {
                (Err(Gap::TooLong), _) | (_, Err(Gap::TooLong)) => Err(Gap::TooLong),
                (zlib, raw) => zlib.or(raw),
            }
        }
        _ => whole(0),
    }
}

/// Appends what one deflate stream holds, until `out` has `most` bytes; says how much of
/// the input it read.
fn inflate(
    state: &mut DecompressorOxide,
    input: &[u8],
    out: &mut Vec<u8>,
    most: usize,
    flags: u32,
) -> (usize, Result<(), Gap>) {
    /// Room that is made at once, at least.
    const STEP: usize = 4096;
    state.init();
    let start = out.len();
    let (mut read, mut end) = (0, start);
    let outcome = loop {
        // One byte beyond the limit: whoever fills it is too long.
        let room = STEP.max((input.len() - read).saturating_mul(4)).max(end - start);
        out.resize(end.saturating_add(room).min(most + 1), 0);
        let (status, took, gave) = decompress(
            state,
            &input[read..],
            &mut out[start..],
            end - start,
            flags | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        read += took;
        end += gave;
        match status {
            _ if end > most => break Err(Gap::TooLong),
            TINFLStatus::Done => break Ok(()),
            TINFLStatus::HasMoreOutput if took + gave > 0 => {}
            _ => break Err(Gap::Broken),
        }
    };
    out.truncate(end.min(most));
    (read, outcome)
}
