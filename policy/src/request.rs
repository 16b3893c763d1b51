//! What the policy asks of a request. The module fills it from nginx, tests from a table.

use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::Host;

/// Is shown name and value of a header, and says whether it wants another one.
pub type Visitor<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// The header lines of a request, in the order received, repeated ones repeated.
pub trait Headers {
    /// Calls `visitor` with name and value of each header until it breaks.
    fn visit(&self, visitor: &mut Visitor<'_>);
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (name, value) in self {
            if visitor(name.as_ref(), value.as_ref()).is_break() {
                return;
            }
        }
    }
}

/// A borrowed view of one request.
///
/// A field that the request does not have is `None`: a rule that names such a
/// field does not apply, whatever its operators say.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// When it came, in seconds since 1970; bans end by it.
    pub time: u64,
    /// The method as sent; methods are case-sensitive (RFC 9110, section 9.1).
    pub method: &'a [u8],
    /// The client, after realip; `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// The host nginx resolved, normalised; empty where there is none.
    pub host: Host<'a>,
    /// The path as sent, before decoding, without the query.
    pub url: &'a [u8],
    /// The query as sent, with its leading `?`; `None` without a `?`.
    pub args: Option<&'a [u8]>,
    /// All header lines.
    pub headers: &'a dyn Headers,
    /// The part of the body that was read for analysis; `None` where none was read.
    pub body: Option<&'a [u8]>,
    /// The same with its `Content-Encoding` undone, by an [`encoding::Decoder`](crate::encoding::Decoder);
    /// `None` where it has none. Looked at only beside a `body`.
    pub decoded_body: Option<&'a [u8]>,
    /// ISO 3166-1 alpha-2 code of the client's country in upper case, where known.
    pub country: Option<[u8; 2]>,
}

impl<'a> Request<'a> {
    /// A GET for a target, from nowhere and at the beginning of time; what else
    /// is known is put in with `..Request::new(..)`.
    pub fn new(host: Host<'a>, target: &'a [u8], headers: &'a dyn Headers) -> Self {
        let (url, args) = Self::split_target(target);
        Self {
            time: 0,
            method: b"GET",
            address: None,
            host,
            url,
            args,
            headers,
            body: None,
            decoded_body: None,
            country: None,
        }
    }

    /// Splits a request target into path and query (with its `?`). The path of
    /// `http://host?query` is `/`, as nginx serves it.
    pub fn split_target(target: &'a [u8]) -> (&'a [u8], Option<&'a [u8]>) {
        // Targets are short; a plain loop beats a search that prepares itself.
        match target.iter().position(|byte| *byte == b'?') {
            Some(0) => (b"/", Some(target)),
            Some(at) => (&target[..at], Some(&target[at..])),
            None => (target, None),
        }
    }
}

/// The zones of the specification that a header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderClass {
    /// `Cookie`
    Cookie,
    /// `User-Agent`
    UserAgent,
    /// `Referer`
    Referer,
    /// Every other header.
    Other,
}

impl HeaderClass {
    /// The class of a header name, compared without regard to case. O(1).
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"cookie") => Self::Cookie,
            10 if name.eq_ignore_ascii_case(b"user-agent") => Self::UserAgent,
            7 if name.eq_ignore_ascii_case(b"referer") => Self::Referer,
            _ => Self::Other,
        }
    }
}
