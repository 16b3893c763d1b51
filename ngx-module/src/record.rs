//! What is recorded of requests that are over, and what must be kept of them until then.
//!
//! Invariants: a main request is recorded at most once, in nginx's log phase; nothing is
//! kept where nothing is recorded.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::mem;

use ipc::events::line;
use policy::Action;

use crate::directives::MainConf;
use crate::ffi::request::Request;
use crate::journal;
use crate::judgement::{Judgement, Outcome};
use crate::telemetry;

/// Bytes of a body that are kept: what is shown of it, and a little more, so that a card
/// number at the end is known for what it is.
const KEPT_MAX: usize = line::BODY_MAX + 128;
/// Buffers that wait for the next body.
const BUFFERS_MAX: usize = 64;

thread_local! {
    /// Bodies come and go; their buffers stay.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The beginning of a body that was judged.
#[derive(Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Whether the body is longer.
    is_cut: bool,
}

impl Kept {
    fn new(body: &[u8], is_cut: bool) -> Self {
        let mut bytes =
            BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(KEPT_MAX));
        let part = &body[..body.len().min(KEPT_MAX)];
        bytes.clear();
        bytes.extend_from_slice(part);
        Self { bytes, is_cut: is_cut || part.len() < body.len() }
    }

    /// The bytes, and whether there are more.
    pub fn shown(&self) -> (&[u8], bool) {
        (&self.bytes, self.is_cut)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let buffer = mem::take(&mut self.bytes);
        // Fails only while the thread ends.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            if buffers.len() < BUFFERS_MAX {
                buffers.push(buffer);
            }
        });
    }
}

/// A body was judged: keeps its beginning for those who will want it.
pub fn keep_body(judgement: &Judgement, body: &[u8], is_cut: bool) {
    // One that is too long may be refused for that yet.
    let is_hit = is_cut || judgement.outcome() != Outcome::Clean;
    if telemetry::is_on() || (is_hit && journal::is_on()) {
        *judgement.kept.borrow_mut() = Some(Kept::new(body, is_cut));
    }
}

/// A main request is over.
#[inline]
pub fn finished(request: Request<'_>) {
    let Some(judgement) = request.judgement() else { return };
    #[cfg(feature = "fault-injection")]
    crate::phase::fault(request, b"log panic");
    telemetry::record(request, judgement);
    if matches!(judgement.action.get(), Action::Block | Action::Observe) {
        journal::record(request, judgement);
    }
}

/// A worker begins.
pub fn start(conf: &MainConf) {
    telemetry::start();
    if let Some(journal) = &conf.journal {
        journal::start(journal, conf.masks.clone());
    }
}

/// A worker ends.
pub fn stop() {
    journal::stop();
}
