//! A safe view of one request of nginx.
//!
//! nginx owns the memory and calls us from one thread; while a handler runs,
//! nothing of what is read here changes. A view lives only inside such a call.

use std::ffi::c_void;
use std::fmt::{self, Arguments};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::NonNull;

use nginx_sys::{
    ngx_http_core_module, ngx_http_core_srv_conf_t, ngx_http_get_indexed_variable,
    ngx_http_request_t, ngx_pool_cleanup_add, ngx_pool_cleanup_pt,
};

use super::headers::Headers;
use super::log::{self, Level};
use super::{POOL_ALIGNMENT, bytes, edge, module};
use crate::directives::{LocationConf, MainConf};
use crate::judgement::{Identity, Judgement};
use crate::phase::without_dots;

/// A request while nginx has handed it to us.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    raw: NonNull<ngx_http_request_t>,
    lifetime: PhantomData<&'r ngx_http_request_t>,
}

/// Marks our entry in a pool's cleanup list. Entries are found again by this
/// address, so it is taken in one place only: a compiler may give a function several.
static FORGET: ngx_pool_cleanup_pt = Some(forget);

/// The request is over, and its judgement too.
extern "C" fn forget(judgement: *mut c_void) {
    // SAFETY: nginx calls once, with the memory that `remember` filled.
    edge((), || unsafe { judgement.cast::<Judgement>().drop_in_place() });
}

impl<'r> Request<'r> {
    /// # Safety
    /// `raw` must be the request nginx is working on, and `'r` must end before
    /// control goes back to nginx.
    pub(super) unsafe fn new(raw: *mut ngx_http_request_t) -> Option<Self> {
        NonNull::new(raw).map(|raw| Self { raw, lifetime: PhantomData })
    }

    pub(super) fn get(&self) -> &'r ngx_http_request_t {
        // SAFETY: by the contract of `new` the request lives for `'r`.
        unsafe { self.raw.as_ref() }
    }

    /// Whether this is what the client sent, and not a part that nginx asks itself for.
    #[inline]
    pub fn is_main(&self) -> bool {
        self.get().main == self.raw.as_ptr()
    }

    /// The request this one is a part of, or itself.
    pub fn main(&self) -> Self {
        match NonNull::new(self.get().main) {
            Some(raw) => Self { raw, lifetime: PhantomData },
            None => *self,
        }
    }

    /// What tells it from the other parts of its main request.
    pub fn identity(&self) -> Identity {
        Identity(self.raw.as_ptr() as usize)
    }

    /// The directives in force where the request is now.
    #[inline]
    pub fn location(&self) -> &'r LocationConf {
        // SAFETY: nginx gives each request one configuration per module, which
        // `hooks::create_location` made and which lives as long as its cycle.
        unsafe { &*(*self.get().loc_conf.add(module::index())).cast::<LocationConf>() }
    }

    /// The directives of the `http` block.
    pub fn main_conf(&self) -> &'r MainConf {
        // SAFETY: as in `location`, made by `hooks::create_main`.
        unsafe { &*(*self.get().main_conf.add(module::index())).cast::<MainConf>() }
    }

    /// The client's address as realip left it; IPv4-mapped ones are IPv4.
    /// `None` for a unix socket.
    #[inline]
    pub fn address(&self) -> Option<IpAddr> {
        // SAFETY: a connection has a socket address of the size of its family,
        // 0 bytes long and perhaps null for a unix socket without a name.
        unsafe {
            let address = (*self.get().connection).sockaddr;
            if address.is_null() {
                return None;
            }
            match i32::from((*address).sa_family) {
                libc::AF_INET => {
                    let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                    Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
                }
                libc::AF_INET6 => {
                    let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                    Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)).to_canonical())
                }
                _ => None,
            }
        }
    }

    /// The same as realip of this location will leave it.
    #[cold]
    pub fn foreseen_address(&self) -> Option<IpAddr> {
        match self.main_conf().realip {
            // SAFETY: nginx works on the request, which is in a location.
            Some(realip) => unsafe { realip.foresee(self.raw.as_ptr(), || self.address()) },
            None => self.address(),
        }
    }

    /// What tells the client's address from the one realip puts in its place:
    /// both stay in nginx's memory while the request lives.
    #[inline]
    pub fn peer(&self) -> Option<Identity> {
        // SAFETY: a request has a connection.
        Some(Identity(unsafe { (*self.get().connection).sockaddr } as usize))
    }

    /// The host as nginx's `$host`: the one it chose the server by, in lower case
    /// and without port, else the server's name. No dot at the end; empty where
    /// neither is there.
    #[inline]
    pub fn host(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        let host = unsafe { bytes(&self.get().headers_in.server) };
        // nginx cuts one dot, but not where another one follows in the port.
        if host.is_empty() { self.server_name() } else { without_dots(host) }
    }

    /// What a request that names no host is for; empty where the server has no
    /// name of its own.
    #[cold]
    fn server_name(&self) -> &'r [u8] {
        // SAFETY: nginx gives each request the configuration of its server, which
        // lives as long as its cycle.
        let name = unsafe {
            let index = (&raw const ngx_http_core_module.ctx_index).read();
            let core = (*self.get().srv_conf.add(index)).cast::<ngx_http_core_srv_conf_t>();
            bytes(&(*core).server_name)
        };
        match name {
            // "Any" and a regular expression are no names.
            b"_" | [b'~', ..] => &[],
            name => without_dots(name.strip_prefix(b".").unwrap_or(name)),
        }
    }

    /// The value of the `Host` line where it is not plainly what [`Self::host`]
    /// says: the target may name another host.
    #[inline]
    pub fn other_host_line(&self) -> Option<&'r [u8]> {
        let headers = &self.get().headers_in;
        // SAFETY: a line of the request or null; it lives for `'r`, as its strings do.
        let line = unsafe { &headers.host.as_ref()?.value };
        // nginx took the host from this line, and copies only to change the case.
        if line.data == headers.server.data {
            return None;
        }
        // SAFETY: as above.
        let (line, host) = unsafe { (bytes(line), bytes(&headers.server)) };
        let same = line.split_at_checked(host.len()).is_some_and(|(name, rest)| {
            matches!(rest, [] | [b':', ..]) && name.eq_ignore_ascii_case(host)
        });
        (!same).then_some(line)
    }

    /// The method as the client sent it.
    pub fn method(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        unsafe { bytes(&self.get().method_name) }
    }

    /// The target as the client sent it: path and query, before any decoding or rewriting.
    pub fn target(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        unsafe { bytes(&self.get().unparsed_uri) }
    }

    /// Whether the body is passed on while it is read, and can wait for its verdict:
    /// a client that has announced a length sends it all. One that has not may be
    /// waiting for an answer before it sends more, as in gRPC.
    pub fn may_hold_body(&self) -> bool {
        self.get().request_body_no_buffering() != 0 && self.get().headers_in.chunked() == 0
    }

    /// All header lines.
    pub fn headers(&self) -> Headers<'r> {
        Headers::new(&self.get().headers_in.headers.part)
    }

    /// Whether the place the request is in has decided about it, in REWRITE, for
    /// the address it still has. `false` may also mean that nginx has forgotten.
    #[inline]
    pub fn is_decided(&self) -> bool {
        // SAFETY: what is in our place was put there by `remember` or `judgement`.
        let known = unsafe { (*self.get().ctx.add(module::index())).cast::<Judgement>().as_ref() };
        known.is_some_and(|judgement| judgement.peer.get() == self.peer())
    }

    /// What is known about the main request. nginx forgets it in an internal
    /// redirect; the pool does not.
    pub fn judgement(&self) -> Option<&'r Judgement> {
        let main = self.main().get();
        let forget = FORGET.map(|f| f as usize);
        // SAFETY: `ctx` has one place for each module. What is in ours was put
        // there by `remember`, or is found in the pool under our own mark; both
        // point to a judgement that lives as long as the pool, which outlives `'r`.
        unsafe {
            let place = main.ctx.add(module::index());
            if (*place).is_null() {
                let mut entry = (*main.pool).cleanup;
                while let Some(cleanup) = entry.as_ref() {
                    if cleanup.handler.map(|f| f as usize) == forget {
                        *place = cleanup.data;
                        break;
                    }
                    entry = cleanup.next;
                }
            }
            (*place).cast::<Judgement>().as_ref()
        }
    }

    /// Keeps a judgement with the main request; `None` where nginx is out of memory.
    pub fn remember(&self, judgement: Judgement) -> Option<&'r Judgement> {
        let main = self.main().get();
        const { assert!(align_of::<Judgement>() <= POOL_ALIGNMENT) };
        // SAFETY: the pool's memory is aligned as was asserted; it lives until the
        // request ends, after `'r`.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(main.pool, size_of::<Judgement>()).as_mut()?;
            let memory = cleanup.data.cast::<Judgement>();
            memory.write(judgement);
            cleanup.handler = FORGET;
            *main.ctx.add(module::index()) = cleanup.data;
            memory.as_ref()
        }
    }

    /// `$request_id`, made now if nobody asked for it before.
    pub fn id(&self) -> Id<'r> {
        let value = self.main_conf().request_id.and_then(|index| {
            // SAFETY: the index was registered while the configuration of the
            // request was read; the value lives in the request's pool.
            unsafe { ngx_http_get_indexed_variable(self.raw.as_ptr(), index).as_ref() }
        });
        Id(value.filter(|value| value.not_found() == 0).map_or(b"-", |value| value.as_bytes()))
    }

    /// Writes a line to the error log; nginx adds client, server, request and host.
    pub fn log(&self, level: Level, text: Arguments<'_>) {
        // SAFETY: a connection has a log while its request lives.
        unsafe { log::write((*self.get().connection).log, level, text) }
    }
}

/// The id of a request: hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Id<'r>(&'r [u8]);

impl<'r> Id<'r> {
    /// The digits.
    pub fn as_bytes(&self) -> &'r [u8] {
        self.0
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.0).unwrap_or("-"))
    }
}
