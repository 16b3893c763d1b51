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
    ngx_http_get_indexed_variable, ngx_http_request_t, ngx_list_part_t, ngx_pool_cleanup_add,
    ngx_pool_cleanup_pt, ngx_table_elt_t,
};

use policy::request::Visitor;

use super::log::{self, Level};
use super::{bytes, edge, hooks, module};
use crate::directives::{LocationConf, MainConf};
use crate::judgement::Judgement;

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

    fn get(&self) -> &'r ngx_http_request_t {
        // SAFETY: by the contract of `new` the request lives for `'r`.
        unsafe { self.raw.as_ref() }
    }

    /// Whether this is what the client sent, and not a part that nginx asks itself for.
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

    /// The host nginx chose the server by: lower case, no port, no trailing dot;
    /// empty where the client named none.
    pub fn host(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        unsafe { bytes(&self.get().headers_in.server) }
    }

    /// The target as the client sent it: path and query, before any decoding or rewriting.
    pub fn target(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        unsafe { bytes(&self.get().unparsed_uri) }
    }

    /// All header lines.
    pub fn headers(&self) -> Headers<'r> {
        Headers(&self.get().headers_in.headers.part)
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
        // SAFETY: the pool gives memory aligned for any type that needs up to 16
        // bytes; it lives until the request ends, after `'r`.
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
        // SAFETY: the index was registered while the configuration was read; the
        // value lives in the request's pool.
        let value = unsafe {
            ngx_http_get_indexed_variable(self.raw.as_ptr(), hooks::request_id_index()).as_ref()
        };
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

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(self.0).unwrap_or("-"))
    }
}

/// The header lines of a request, repeated ones repeated.
///
/// Lines with hash 0 are shown too. nginx's modules use that value for "removed",
/// but a client can choose a name whose hash comes out as 0 and would so hide a
/// line from the rules that the upstream still receives.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'r>(&'r ngx_list_part_t);

impl policy::request::Headers for Headers<'_> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        let mut part = Some(self.0);
        while let Some(lines) = part {
            // SAFETY: a list's part has `nelts` elements of the list's type, and
            // their strings live as long as the request.
            let found = unsafe {
                let elements = lines.elts.cast::<ngx_table_elt_t>();
                let elements = match lines.nelts {
                    0 => &[],
                    count => std::slice::from_raw_parts(elements, count),
                };
                elements.iter().map(|line| (bytes(&line.key), bytes(&line.value)))
            };
            for (name, value) in found {
                if visitor(name, value).is_break() {
                    return;
                }
            }
            // SAFETY: the list of parts ends in null.
            part = unsafe { lines.next.as_ref() };
        }
    }
}
