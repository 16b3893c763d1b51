//! The filter that sees a request's body as nginx reads it.
//!
//! nginx hands every piece of a body to a chain of filters, the last of which keeps
//! it in memory or in a temporary file. It does so for HTTP/1.x and HTTP/2, with and
//! without `Content-Length`, chunks already decoded, and whoever asked for the body.
//! This filter looks at the pieces as they pass and leaves them alone. Where the body
//! is sent on while it is read (`request_body_no_buffering`), it lets nothing pass
//! before the verdict if the client has announced a length; of a stream without one
//! the piece that completes it waits for the verdict.
//!
//! Nothing here waits: nginx calls again when more has come.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t,
    ngx_create_temp_buf, ngx_http_block_reading, ngx_http_request_body_filter_pt,
    ngx_http_request_t, ngx_http_top_request_body_filter, ngx_int_t,
};

use super::edge;
use super::request::Request;
use crate::body::{self, Body, Gathered};
use crate::guard::guard;
use crate::judgement::{Failure, Judgement};
use crate::phase::{self, Moment, Step};

/// The filter after this one; written while a configuration is read, before any request.
static mut NEXT: ngx_http_request_body_filter_pt = None;

/// No memory, or a fault outside of judging: what is known of the body cannot be trusted.
const FAILED: u16 = NGX_HTTP_INTERNAL_SERVER_ERROR as u16;

/// Puts the filter first. nginx forgets all filters when it reads a configuration
/// again, so this happens once for each.
pub(super) fn install() {
    // SAFETY: nginx reads configurations and serves requests in one thread.
    unsafe {
        (&raw mut NEXT).write((&raw const ngx_http_top_request_body_filter).read());
        (&raw mut ngx_http_top_request_body_filter).write(Some(filter));
    }
}

/// What to do with the pieces at hand.
enum Course {
    /// The next filter gets them.
    Pass,
    /// They were taken; the next filter gets nothing yet.
    Hold,
    /// The next filter gets what was held back, and then `rest`; `last` where
    /// what was held back is all there is.
    Release { held: Vec<u8>, last: bool, rest: *mut ngx_chain_t },
    /// The request ends with this status.
    Refuse(u16),
}

extern "C" fn filter(raw: *mut ngx_http_request_t, input: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx calls with the request it works on; the view ends with this call.
    let request = unsafe { Request::new(raw) };
    let Some(request) = request.filter(|request| request.is_main() && !input.is_null()) else {
        return next(raw, input);
    };
    match edge(Course::Refuse(FAILED), || look(request, input)) {
        Course::Pass => next(raw, input),
        Course::Hold => next(raw, ptr::null_mut()),
        // SAFETY: as above; the rest is null or the pieces nginx has handed to us.
        Course::Release { held, last, rest } => match unsafe { release(raw, &held, last, rest) } {
            Some(chain) => next(raw, chain),
            None => FAILED as ngx_int_t,
        },
        Course::Refuse(status) => {
            // SAFETY: as above; nginx is reading the body, so there is a place for it.
            unsafe { end(raw) };
            status as ngx_int_t
        }
    }
}

/// Calls the next filter.
fn next(raw: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: `install` wrote the place before any request; the arguments are
    // nginx's own, or a chain that `release` made.
    unsafe {
        match (&raw const NEXT).read() {
            Some(next) => next(raw, chain),
            None => NGX_OK as ngx_int_t,
        }
    }
}

fn look(request: Request<'_>, input: *mut ngx_chain_t) -> Course {
    let judgement = match request.judgement() {
        Some(judgement) => judgement,
        // Something reads the body before a location is chosen.
        None => match guarded(request, || phase::decide(request, Moment::First)) {
            Step::Refuse(status) => return Course::Refuse(status),
            Step::Go => match request.judgement() {
                Some(judgement) => judgement,
                None => return Course::Pass,
            },
        },
    };
    let gathered = match judgement.body.replace(Body::Done) {
        Body::Done => return Course::Pass,
        Body::Arriving(gathered) => gathered,
        Body::Unseen if body::is_wanted(request, judgement) => {
            Gathered::new(request.location().body_limit(), request.may_hold_body())
        }
        Body::Unseen => return Course::Pass,
    };
    gather(request, judgement, gathered, input)
}

/// Takes pieces of a body that is wanted, and judges it once it is complete or
/// longer than what is judged.
fn gather(
    request: Request<'_>,
    judgement: &Judgement,
    mut gathered: Gathered,
    input: *mut ngx_chain_t,
) -> Course {
    // SAFETY: nginx has handed the chain to us; it lives until the filter ends.
    let pieces = unsafe { Pieces::of(input) };
    let (mut length, mut last, mut only, mut several) = (0, false, &[][..], false);
    for piece in pieces {
        let Some(bytes) = piece.bytes() else {
            let step = guarded(request, || body::give_up(request, judgement, Failure::BodyInFile));
            return Course::after(step, gathered, false, input);
        };
        last |= piece.is_last();
        if !bytes.is_empty() {
            several |= !only.is_empty();
            only = bytes;
            length += bytes.len();
        }
    }
    let complete = last || gathered.overflows_with(length);
    if complete && gathered.is_empty() && !several {
        let limit = request.location().body_limit();
        let part = &only[..length.min(limit)];
        let step = guarded(request, || body::decide(request, judgement, part, length > limit));
        return Course::after(step, gathered, last, ptr::null_mut());
    }
    for piece in pieces {
        if gathered.take(piece.bytes().unwrap_or_default()).is_err() {
            return Course::Refuse(FAILED);
        }
        if gathered.held {
            piece.consume();
        }
    }
    if complete {
        let (part, overflown) = gathered.judged();
        let step = guarded(request, || body::decide(request, judgement, part, overflown));
        return Course::after(step, gathered, last, ptr::null_mut());
    }
    let held = gathered.held;
    *judgement.body.borrow_mut() = Body::Arriving(gathered);
    if held { Course::Hold } else { Course::Pass }
}

/// Decides; after a panic, `nwaf_on_error` does.
fn guarded(request: Request<'_>, decide: impl FnOnce() -> Step) -> Step {
    guard(decide).unwrap_or_else(|panic| {
        guard(|| phase::after_panic(request, &panic))
            .unwrap_or_else(|_| phase::last_resort(request))
    })
}

impl Course {
    /// What a decision means for what was held back.
    fn after(step: Step, gathered: Gathered, last: bool, rest: *mut ngx_chain_t) -> Self {
        match step {
            Step::Refuse(status) => Self::Refuse(status),
            Step::Go if gathered.held && !gathered.is_empty() => {
                Self::Release { held: gathered.into_bytes(), last, rest }
            }
            Step::Go => Self::Pass,
        }
    }
}

/// The pieces of a chain, while the filter has them.
#[derive(Clone, Copy)]
struct Pieces<'c>(Option<&'c ngx_chain_t>);

impl Pieces<'_> {
    /// # Safety
    /// `chain` must be null or a chain of nginx that lives, with its buffers, for the
    /// lifetime of the result, and is changed by nobody but [`Piece::consume`].
    unsafe fn of(chain: *const ngx_chain_t) -> Self {
        // SAFETY: by this function's contract.
        Self(unsafe { chain.as_ref() })
    }
}

impl<'c> Iterator for Pieces<'c> {
    type Item = Piece<'c>;

    fn next(&mut self) -> Option<Piece<'c>> {
        let link = self.0?;
        // SAFETY: by the contract of `of`; the last link points to null.
        self.0 = unsafe { link.next.as_ref() };
        Some(Piece(link))
    }
}

/// One buffer of a body.
#[derive(Clone, Copy)]
struct Piece<'c>(&'c ngx_chain_t);

impl<'c> Piece<'c> {
    /// Its bytes, perhaps none; `None` where they are in a file only.
    fn bytes(self) -> Option<&'c [u8]> {
        // SAFETY: by the contract of `Pieces::of` a link has a buffer, and a buffer in
        // memory has its bytes between `pos` and `last`.
        unsafe {
            let buffer = &*self.0.buf;
            let in_memory = buffer.temporary() != 0 || buffer.memory() != 0 || buffer.mmap() != 0;
            if in_memory && buffer.pos < buffer.last {
                let length = buffer.last.offset_from_unsigned(buffer.pos);
                return Some(std::slice::from_raw_parts(buffer.pos, length));
            }
            (in_memory || buffer.in_file() == 0).then_some(&[])
        }
    }

    /// Whether the body ends with it.
    fn is_last(self) -> bool {
        // SAFETY: as in `bytes`.
        unsafe { (*self.0.buf).last_buf() != 0 }
    }

    /// Marks its bytes as taken, so that nginx may use their memory again.
    fn consume(self) {
        // SAFETY: as in `bytes`; nobody holds a reference to the buffer.
        unsafe {
            let buffer = self.0.buf;
            (*buffer).pos = (*buffer).last;
        }
    }
}

/// A chain with what was held back, copied to the request's own memory, in front
/// of `rest`; `None` where nginx is out of memory.
///
/// # Safety
/// `raw` must be the request nginx works on, `held` not empty, `rest` null or a chain of it.
unsafe fn release(
    raw: *mut ngx_http_request_t,
    held: &[u8],
    last: bool,
    rest: *mut ngx_chain_t,
) -> Option<*mut ngx_chain_t> {
    // SAFETY: by this function's contract; the new buffer has room for the bytes.
    unsafe {
        let pool = (*raw).pool;
        let buffer: *mut ngx_buf_t = ngx_create_temp_buf(pool, held.len());
        let link = ngx_alloc_chain_link(pool);
        if buffer.is_null() || link.is_null() {
            return None;
        }
        (*buffer).last.copy_from_nonoverlapping(held.as_ptr(), held.len());
        (*buffer).last = (*buffer).last.add(held.len());
        (*buffer).set_last_buf(u32::from(last));
        (*buffer).set_flush((*raw).request_body_no_buffering());
        (*link).buf = buffer;
        (*link).next = rest;
        Some(link)
    }
}

/// Makes a request that is refused in the middle of its body one without a body: an
/// error page gets none of it, and what still comes is never taken for a request.
///
/// # Safety
/// `raw` must be the main request nginx works on, while it reads its body.
unsafe fn end(raw: *mut ngx_http_request_t) {
    // SAFETY: by this function's contract.
    unsafe {
        let r = &mut *raw;
        // As nginx itself does for bodies that turn out to be too large.
        r.set_keepalive(0);
        r.set_lingering_close(1);
        r.read_event_handler = Some(ngx_http_block_reading);
        // An error page may be asked from an upstream, which is told this length.
        r.headers_in.content_length_n = 0;
        r.headers_in.set_chunked(0);
        r.set_reading_body(0);
        if let Some(body) = r.request_body.as_mut() {
            body.bufs = ptr::null_mut();
        }
    }
}
