//! Everything that touches nginx's memory. The only place of this crate with `unsafe`.
//!
//! | file | does |
//! |---|---|
//! | [`module`] | the tables nginx looks up when it loads the library |
//! | [`commands`] | directives: nginx's arguments -> `directives` |
//! | [`settings`] | directives that are settings of the API: nginx's words -> `policy` |
//! | [`hooks`] | configuration and process life |
//! | [`handlers`] | phases and the status page |
//! | [`body`] | the filter that sees the body as it arrives |
//! | [`request`], [`headers`] | a safe view of a request, and its memory |
//! | [`facts`] | what is known of a request when it is over |
//! | [`events`] | directives of the records, and the moment they are made |
//! | [`realip`] | the address a location's realip will find |
//! | [`variables`] | `$nwaf_*` |
//! | [`shared`], [`limit_zone`] | the shared zones: of the workers, and of limits and bans |
//! | [`log`], [`lines`] | the error log, and how lines of another thread get there |
//! | [`os`] | signals, processes, time |
//!
//! Rules: each function nginx calls goes through [`edge`]; what these files give
//! to the rest of the crate is safe to use without knowing nginx.

#![allow(unsafe_code)]

use crate::guard::guard;

mod body;
mod commands;
mod events;
pub mod facts;
mod handlers;
mod headers;
mod hooks;
pub mod limit_zone;
pub mod lines;
pub mod log;
mod module;
pub mod os;
pub mod realip;
pub mod request;
mod settings;
pub mod shared;
mod variables;

/// What nginx aligns memory of its pools to, in bytes: `NGX_ALIGNMENT`, a word.
const POOL_ALIGNMENT: usize = size_of::<std::ffi::c_ulong>();

/// Runs what nginx called. A panic becomes one error line with its place, and the answer `failed`.
#[inline]
fn edge<T, F: FnOnce() -> T>(failed: T, body: F) -> T {
    #[cfg(feature = "fault-injection")]
    let body = || {
        fault::<F>();
        body()
    };
    guard(body).unwrap_or_else(|panic| {
        log::cycle(log::Level::Error, format_args!("nwaf: panic at {panic}"));
        failed
    })
}

/// Lets tests prove that a panic goes no further than this: panics where the environment's
/// `NWAF_FAULT` names the function that `F` is written in, as `hooks::start_process`.
#[cfg(feature = "fault-injection")]
fn fault<F>() {
    let wanted = std::env::var("NWAF_FAULT").unwrap_or_default();
    let place = std::any::type_name::<F>();
    let here = place.strip_prefix(concat!(env!("CARGO_CRATE_NAME"), "::")).unwrap_or(place);
    let here = here.strip_prefix("ffi::").unwrap_or(here);
    let here = here.split_once("::{{closure}}").map_or(here, |(here, _)| here);
    assert!(wanted.is_empty() || here != wanted, "a panic in {wanted}");
}

/// The bytes of an nginx string.
///
/// # Safety
/// `text` must be empty, or point to `len` bytes that live and do not change for `'a`.
unsafe fn bytes<'a>(text: &nginx_sys::ngx_str_t) -> &'a [u8] {
    if text.len == 0 || text.data.is_null() {
        return &[];
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(text.data, text.len) }
}
