//! The few things of the process and its system that have no safe name.

use std::io;
use std::mem::MaybeUninit;

/// Whether a process exists. One that belongs to somebody else does.
pub fn is_alive(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is not delivered, the call only asks.
    let found = unsafe { libc::kill(pid, 0) } == 0;
    found || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether nginx is letting this worker end, gracefully or not.
pub fn is_exiting() -> bool {
    // SAFETY: flags of type sig_atomic_t, which nginx sets from signal handlers
    // and which are read in one piece.
    unsafe {
        (&raw const nginx_sys::ngx_exiting).read_volatile() != 0
            || (&raw const nginx_sys::ngx_quit).read_volatile() != 0
            || (&raw const nginx_sys::ngx_terminate).read_volatile() != 0
    }
}

/// The number nginx gave to this worker, from 0; its successor has the same.
pub fn worker_number() -> usize {
    // SAFETY: a plain word that is set before a worker begins.
    unsafe { (&raw const nginx_sys::ngx_worker).read() }
}

/// Milliseconds of the monotonic clock when nginx last looked at it, at the latest
/// when this event came. For the event loop.
#[inline]
pub fn monotonic_ms() -> u64 {
    // SAFETY: a plain word that only the event loop, which calls this, writes.
    unsafe { (&raw const nginx_sys::ngx_current_msec).read_volatile() as u64 }
}

/// The same in seconds.
#[inline]
pub fn monotonic_s() -> u64 {
    monotonic_ms() / 1000
}

/// Ends this process as `kill -9` does.
#[cfg(feature = "fault-injection")]
pub fn die() -> ! {
    // SAFETY: the call has no conditions; the process does not see its end.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    std::process::abort()
}

/// Numbers that nobody can foresee.
pub fn random() -> [u64; 3] {
    let mut numbers = [0_u64; 3];
    // SAFETY: the call writes at most as many bytes as the numbers have. It fails in no
    // system that nginx runs on; then the address below is the only secret.
    let written = unsafe {
        libc::getrandom(numbers.as_mut_ptr().cast(), size_of_val(&numbers), libc::GRND_NONBLOCK)
    };
    if usize::try_from(written) != Ok(size_of_val(&numbers)) {
        numbers[0] ^= (&raw const numbers).addr() as u64 ^ monotonic_now_s();
    }
    numbers
}

/// Seconds of the same clock now. For any thread.
pub fn monotonic_now_s() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in `now`; this clock exists wherever nginx uses it.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64
}

/// Runs `body` with every signal blocked; threads it starts inherit that.
pub fn with_signals_blocked<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the mask was filled in by the call below.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
        }
    }
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: both calls fill in the sets they are given; they fail only for
    // invalid arguments.
    let restore = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        Restore(before.assume_init())
    };
    let result = body();
    drop(restore);
    result
}

/// Milliseconds since 1970 as RFC 3339 in UTC; empty for a year beyond reckoning.
pub fn utc(ms: u64) -> String {
    let Ok(seconds) = libc::time_t::try_from(ms / 1000) else { return String::new() };
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: gmtime_r fills in `parts` unless it returns null.
    let parts = unsafe {
        if libc::gmtime_r(&seconds, parts.as_mut_ptr()).is_null() {
            return String::new();
        }
        parts.assume_init()
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        i64::from(parts.tm_year) + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
        ms % 1000
    )
}
