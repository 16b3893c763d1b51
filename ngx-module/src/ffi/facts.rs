//! What is known of a request when it is over.

use nginx_sys::{ngx_cached_time, ngx_http_core_module, ngx_http_core_srv_conf_t};

use super::bytes;
use super::request::Request;

/// Milliseconds since 1970, as nginx knows them without asking the system.
#[inline]
pub fn now_ms() -> u64 {
    // SAFETY: nginx sets the pointer before it serves anybody; the event loop, which calls
    // this, is the one that writes what it points to.
    unsafe { ngx_cached_time.as_ref() }
        .map_or(0, |time| (time.sec as u64).saturating_mul(1000).saturating_add(time.msec as u64))
}

impl<'r> Request<'r> {
    /// The status of the answer, as access logs show it; 0 where there is none.
    pub fn status(&self) -> u16 {
        let raw = self.get();
        let status = if raw.err_status != 0 { raw.err_status } else { raw.headers_out.status };
        u16::try_from(status).unwrap_or(0)
    }

    /// How long nginx has worked on it, in milliseconds.
    pub fn elapsed_ms(&self) -> u64 {
        let raw = self.get();
        let start = (raw.start_sec as u64).saturating_mul(1000) + raw.start_msec as u64;
        // The clock may have been set back.
        now_ms().saturating_sub(start)
    }

    /// As in `HTTP/1.1`; empty for HTTP/0.9.
    pub fn protocol(&self) -> &'r [u8] {
        // SAFETY: a string of the request, which lives for `'r`.
        unsafe { bytes(&self.get().http_protocol) }
    }

    /// The first `server_name` of the server, as the configuration has it.
    pub fn server(&self) -> &'r [u8] {
        // SAFETY: nginx gives each request the configuration of its server, which lives
        // as long as its cycle.
        unsafe {
            let index = (&raw const ngx_http_core_module.ctx_index).read();
            let core = (*self.get().srv_conf.add(index)).cast::<ngx_http_core_srv_conf_t>();
            bytes(&(*core).server_name)
        }
    }
}
