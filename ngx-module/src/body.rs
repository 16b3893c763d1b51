//! Bodies: whose are looked at, and what is kept of them until they are judged.
//!
//! A body is looked at where something reads it: the filter in `ffi::body` sees it
//! on its way into nginx's buffers, for `proxy_pass` and every other reader alike.
//! nginx buffers a body before it passes it on, so the verdict comes first. Where
//! it would not (`proxy_request_buffering off`, gRPC), the filter holds back a body of
//! announced length until it is judged. A stream of unknown length flows, for its
//! sender may wait for an answer to what was sent so far; only its end waits for the
//! verdict, so that a site gets no refused body as a whole.
//!
//! Invariants: a body is judged once, by its first `nwaf_body_limit` bytes; a
//! request that is decided without its body never waits for it; a body that comes
//! in one piece is not copied, and of any other no more is kept than the limit
//! (held back: and what one read of nginx brings beyond it). What passes is what was
//! sent, whatever was decoded for judging it.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::TryReserveError;

use policy::encoding::{Decoder, Gap, Outcome as Decoded};
use policy::{Action, Host};

use crate::directives::{BodyOverflow, Mode};
use crate::ffi::request::Request;
use crate::judgement::{Failure, Judgement, Outcome};
use crate::phase::{self, Step, without_dots};
use crate::{record, worker};

thread_local! {
    /// Kept so that its buffers are allocated once.
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// What was read of a body.
#[derive(Debug, Clone, Copy)]
pub struct Read<'b> {
    /// As it was sent.
    pub sent: &'b [u8],
    /// With its `Content-Encoding` undone, where it has one.
    pub decoded: Option<&'b [u8]>,
}

/// What has become of a request's body.
#[derive(Debug)]
pub enum Body {
    /// No part of it has come, or there is none.
    Unseen,
    /// It is on its way.
    Arriving(Gathered),
    /// It was judged, or nobody wants to know it.
    Done,
}

/// What is kept of a body that comes in pieces.
#[derive(Debug)]
pub struct Gathered {
    bytes: Vec<u8>,
    /// Bytes that have come, kept or not.
    arrived: usize,
    /// Bytes that are judged.
    limit: usize,
    /// Whether nobody else has seen the bytes yet.
    pub held: bool,
}

impl Gathered {
    /// Nothing yet, of a body of which `limit` bytes are judged.
    pub fn new(limit: usize, held: bool) -> Self {
        Self { bytes: Vec::new(), arrived: 0, limit, held }
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.arrived == 0
    }

    /// Whether `more` bytes make it longer than what is judged.
    pub fn overflows_with(&self, more: usize) -> bool {
        self.arrived + more > self.limit
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// No memory; the body is as it was.
    pub fn take(&mut self, piece: &[u8]) -> Result<(), TryReserveError> {
        let room = self.limit.saturating_sub(self.bytes.len());
        let kept = if self.held { piece } else { &piece[..piece.len().min(room)] };
        self.bytes.try_reserve(kept.len())?;
        self.bytes.extend_from_slice(kept);
        self.arrived += piece.len();
        Ok(())
    }

    /// What is judged, and whether that is only a part.
    pub fn judged(&self) -> (&[u8], bool) {
        (&self.bytes[..self.bytes.len().min(self.limit)], self.arrived > self.limit)
    }

    /// What was held back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Whether the body of a main request is to be looked at, here and now.
pub fn is_wanted(request: Request<'_>, judgement: &Judgement) -> bool {
    if request.location().mode() == Mode::Off || judgement.refused.get() || !is_open(judgement) {
        return false;
    }
    let asked = worker::ask(|in_force, scratch| {
        if !in_force.policy.needs_body() {
            return false;
        }
        let no_headers: Vec<(&str, &str)> = Vec::new();
        let mut reads = |host: &[u8]| {
            let view = policy::Request::new(Host::normalised(host), request.target(), &no_headers);
            scratch.begin();
            in_force.reads_body(request.method(), view.host, view.url, scratch)
        };
        let host = request.host();
        // As for the verdict: an address has many spellings, and a request may name two hosts.
        let literal = (host.first() == Some(&b'[')).then(|| Host::normalise(host));
        reads(literal.as_deref().unwrap_or(host))
            || request
                .other_host_line()
                .is_some_and(|line| reads(without_dots(&Host::normalise(line))))
    });
    asked.unwrap_or(false)
}

/// Whether the body could still change what happens: nothing has decided, and judging works.
fn is_open(judgement: &Judgement) -> bool {
    match judgement.outcome() {
        Outcome::Clean => true,
        Outcome::Found => judgement.verdict().action == Action::Observe,
        Outcome::Failed(_) => false,
    }
}

/// Decides about a main request by what was read of its body; `overflown` where
/// that is only the first part. What cannot be decoded is a part that was not judged, too.
pub fn decide(request: Request<'_>, judgement: &Judgement, bytes: &[u8], overflown: bool) -> Step {
    let conf = request.location();
    // If judging panics, that is what stays.
    judgement.fail(Failure::Panic);
    #[cfg(feature = "fault-injection")]
    phase::fault(request, b"body panic");
    let gap = DECODER.with_borrow_mut(|decoder| {
        let Decoded { text: decoded, gap } =
            decoder.decode(&request.headers(), bytes, conf.body_limit());
        phase::judge(request, judgement, Some(Read { sent: bytes, decoded }));
        // What nobody here can read could be read by others, with the secrets in it.
        let shown = if gap == Some(Gap::Unknown) { &[] } else { decoded.unwrap_or(bytes) };
        record::keep_body(judgement, shown, overflown || gap.is_some());
        gap
    });
    let step = phase::apply(request, conf, judgement);
    let unjudged = match (overflown, gap) {
        (true, _) => Failure::BodyTooLong,
        (false, Some(Gap::TooLong)) => Failure::DecodedTooLong,
        (false, Some(Gap::Unknown | Gap::Broken)) => Failure::Undecodable,
        (false, None) => return step,
    };
    let blocks = step == Step::Go
        && conf.mode() == Mode::On
        && conf.body_overflow() == BodyOverflow::Block
        && is_open(judgement);
    if !blocks {
        return step;
    }
    judgement.fail(unjudged);
    phase::apply(request, conf, judgement)
}

/// Decides about a main request whose body cannot be looked at.
#[cold]
pub fn give_up(request: Request<'_>, judgement: &Judgement, why: Failure) -> Step {
    judgement.fail(why);
    phase::apply(request, request.location(), judgement)
}
