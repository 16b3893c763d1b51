//! nginx's error log.

use std::fmt::Arguments;

use nginx_sys::{
    NGX_LOG_EMERG, NGX_LOG_ERR, NGX_LOG_INFO, NGX_LOG_NOTICE, NGX_LOG_WARN, ngx_conf_log_error,
    ngx_conf_t, ngx_cycle, ngx_log_t, ngx_uint_t,
};
use std::mem::MaybeUninit;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{lines, shared};

/// The levels this module uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The configuration is refused.
    Emerg,
    /// Something was blocked or has failed.
    Error,
    /// Something is odd, and nginx goes on.
    Warn,
    /// Something changed as it should.
    Notice,
    /// The same, of what changes all the time.
    Info,
}

impl Level {
    fn number(self) -> ngx_uint_t {
        (match self {
            Self::Emerg => NGX_LOG_EMERG,
            Self::Error => NGX_LOG_ERR,
            Self::Warn => NGX_LOG_WARN,
            Self::Notice => NGX_LOG_NOTICE,
            Self::Info => NGX_LOG_INFO,
        }) as ngx_uint_t
    }
}

/// Writes a line that belongs to no request; one of the background thread waits for
/// the event loop, see [`lines`].
pub fn cycle(level: Level, text: Arguments<'_>) {
    if matches!(level, Level::Emerg | Level::Error | Level::Warn) {
        remember(text);
    }
    if lines::are_left() { lines::leave(level, text) } else { put(level, text) }
}

/// Writes a line that was remembered already. For the thread that serves.
pub(super) fn put(level: Level, text: Arguments<'_>) {
    // SAFETY: `ngx_cycle` is set before nginx reads a configuration, and this thread
    // is the one that changes it and its log.
    unsafe { write((*ngx_cycle).log, level, text) }
}

/// Keeps a line as the last error, for the status of every worker.
#[cold]
pub fn remember(text: Arguments<'_>) {
    if let Some(table) = shared::table() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        table.last_error().write(&text.to_string(), now_ms);
    }
}

/// Writes a line to `log`.
///
/// # Safety
/// `log` must be a log of nginx that is in use.
pub(super) unsafe fn write(log: *mut ngx_log_t, level: Level, text: Arguments<'_>) {
    // SAFETY: by this function's contract.
    if level.number() > unsafe { (*log).log_level } {
        return;
    }
    let mut buffer = [const { MaybeUninit::uninit() }; ngx::log::LOG_BUFFER_SIZE];
    let line = ngx::log::write_fmt(&mut buffer, text);
    // SAFETY: by this function's contract; the line is copied.
    unsafe { ngx::log::log_error(level.number(), log, 0, line) }
}

/// Writes a line about the configuration; nginx adds file and line number.
///
/// # Safety
/// `cf` must be the configuration being read.
pub(super) unsafe fn conf(cf: *mut ngx_conf_t, level: Level, text: Arguments<'_>) {
    let mut buffer = [const { MaybeUninit::uninit() }; ngx::log::LOG_BUFFER_SIZE];
    let line = ngx::log::write_fmt(&mut buffer, text);
    // SAFETY: by this function's contract; `%*s` takes a length and that many bytes.
    unsafe {
        ngx_conf_log_error(level.number(), cf, 0, c"%*s".as_ptr(), line.len(), line.as_ptr());
    }
}
