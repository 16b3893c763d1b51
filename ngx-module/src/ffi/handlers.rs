//! What nginx calls for a request.

use nginx_sys::{
    NGX_DECLINED, NGX_ERROR, NGX_HTTP_DELETE, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK, NGX_OK, ngx_buf_t,
    ngx_chain_t, ngx_http_discard_request_body, ngx_http_output_filter, ngx_http_request_t,
    ngx_http_send_header, ngx_int_t, ngx_palloc, ngx_pcalloc, ngx_str_t,
};

use super::request::Request;
use super::{bytes, edge, shared};
use crate::bans_page::{self, Bans, Method};
use crate::directives::MainConf;
use crate::guard::guard;
use crate::phase::{self, Moment, Step};
use crate::zone::Table;
use crate::{metrics, status};

const JSON: &str = "application/json";

/// The handler that nginx asks first in REWRITE.
pub(super) extern "C" fn decide_first(raw: *mut ngx_http_request_t) -> ngx_int_t {
    decide(raw, Moment::First)
}

/// The handler that nginx asks last in PREACCESS.
pub(super) extern "C" fn decide_last(raw: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx calls with the request it works on; the view ends with this call.
    let request = unsafe { Request::new(raw) };
    // Nearly always; reads two words and cannot panic.
    if request.is_some_and(|request| request.is_decided()) {
        return NGX_DECLINED as ngx_int_t;
    }
    decide(raw, Moment::Last)
}

#[inline]
fn decide(raw: *mut ngx_http_request_t, moment: Moment) -> ngx_int_t {
    // SAFETY: nginx calls with the request it works on; the view ends with this call.
    let Some(request) = (unsafe { Request::new(raw) }) else { return NGX_ERROR as ngx_int_t };
    let step = guard(|| phase::decide(request, moment)).unwrap_or_else(|panic| {
        guard(|| phase::after_panic(request, &panic))
            .unwrap_or_else(|_| phase::last_resort(request))
    });
    match step {
        Step::Go => NGX_DECLINED as ngx_int_t,
        // As a status from a phase: `error_page` applies, the body is discarded.
        Step::Refuse(status) => status as ngx_int_t,
    }
}

/// The content handler of `nwaf_status`.
pub(super) extern "C" fn status(raw: *mut ngx_http_request_t) -> ngx_int_t {
    report(raw, JSON, status::json)
}

/// The content handler of `nwaf_metrics`.
pub(super) extern "C" fn metrics(raw: *mut ngx_http_request_t) -> ngx_int_t {
    report(raw, metrics::CONTENT_TYPE, metrics::text)
}

/// Answers GET and HEAD with what `write` writes.
fn report(
    raw: *mut ngx_http_request_t,
    content_type: &'static str,
    write: fn(&MainConf, Option<&Table>) -> String,
) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    // SAFETY: nginx calls with the request it works on; the view ends with this call.
    let Some(request) = (unsafe { Request::new(raw) }) else { return FAILED };
    edge(FAILED, || {
        // SAFETY: as above.
        if unsafe { (*raw).method } & (NGX_HTTP_GET | NGX_HTTP_HEAD) as usize == 0 {
            return NGX_HTTP_NOT_ALLOWED as ngx_int_t;
        }
        let text = write(request.main_conf(), shared::table());
        // SAFETY: as above.
        unsafe { answer(raw, NGX_HTTP_OK as u16, content_type, text.as_bytes()) }
    })
}

/// The content handler of `nwaf_bans`.
pub(super) extern "C" fn bans(raw: *mut ngx_http_request_t) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    // SAFETY: nginx calls with the request it works on; the view ends with this call.
    let Some(request) = (unsafe { Request::new(raw) }) else { return FAILED };
    edge(FAILED, || {
        let (place, conf) = (request.location(), request.main_conf());
        let Some(page) = place.bans else { return FAILED };
        let zone = conf.limit_zone.as_ref();
        let bans = Bans { zone, ipv6_prefix: conf.zone.unwrap_or_default().ipv6_prefix };
        // SAFETY: as above.
        let (method, query) = unsafe {
            let method = match (*raw).method as u32 {
                NGX_HTTP_GET | NGX_HTTP_HEAD => Method::List,
                NGX_HTTP_DELETE => Method::Lift,
                _ => Method::Other,
            };
            (method, bytes(&(*raw).args))
        };
        let (status, text) = bans_page::answer(page, method, query, bans);
        // SAFETY: as above.
        unsafe { answer(raw, status, JSON, text.as_bytes()) }
    })
}

/// Answers a request.
///
/// # Safety
/// `raw` must be a request in its content phase.
unsafe fn answer(
    raw: *mut ngx_http_request_t,
    status: u16,
    content_type: &'static str,
    text: &[u8],
) -> ngx_int_t {
    // SAFETY: by this function's contract the request, its pool and its output
    // are ours; the text is copied to the pool, which lives until it was sent.
    unsafe {
        let r = &mut *raw;
        let discarded = ngx_http_discard_request_body(raw);
        if discarded != NGX_OK as ngx_int_t {
            return discarded;
        }
        let copy = ngx_palloc(r.pool, text.len()).cast::<u8>();
        let buffer = ngx_pcalloc(r.pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
        if copy.is_null() || buffer.is_null() {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
        copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
        (*buffer).pos = copy;
        (*buffer).last = copy.add(text.len());
        (*buffer).set_memory(1);
        (*buffer).set_last_buf(u32::from(r.main == raw));
        (*buffer).set_last_in_chain(1);

        r.headers_out.status = status.into();
        r.headers_out.content_length_n = text.len() as i64;
        let name = content_type.split(';').next().unwrap_or(content_type);
        let data = content_type.as_ptr().cast_mut();
        r.headers_out.content_type = ngx_str_t { len: content_type.len(), data };
        // Shorter where there are parameters, which tells nginx to add none.
        r.headers_out.content_type_len = name.len();
        let sent = ngx_http_send_header(raw);
        if sent == NGX_ERROR as ngx_int_t || sent > NGX_OK as ngx_int_t || r.header_only() != 0 {
            return sent;
        }
        let mut chain = ngx_chain_t { buf: buffer, next: std::ptr::null_mut() };
        ngx_http_output_filter(raw, &mut chain)
    }
}
