//! The guard every call from nginx passes: a panic of ours ends here.
//!
//! A panic that left an `extern "C"` function would abort the worker and with
//! it every connection it serves.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::Once;

/// Where a panic happened and what it said.
#[derive(Debug)]
pub struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `body`; a panic becomes an error.
///
/// `AssertUnwindSafe` holds because nothing is left half changed: a request's
/// judgement is written in one piece after it was made, the scratch buffers are
/// cleared before each use, and counters are single atomics.
#[inline]
pub fn guard<T>(body: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        // Its text was taken by the hook. A payload may panic while it is dropped, and
        // leave another: that one stays, all others must not add up.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        Panic(LAST.try_with(RefCell::take).unwrap_or_default())
    })
}

/// Keeps panics from being printed to a standard error nobody reads, and their
/// place for the error log. The hook belongs to this module alone: each Rust
/// library that nginx loads has its own.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| set_hook(Box::new(remember)));
}

fn remember(info: &PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("no message");
    let told = match info.location() {
        Some(at) => format!("{}:{}: {text}", at.file(), at.line()),
        None => text.to_owned(),
    };
    // Fails only while the thread ends, when nobody asks any more.
    let _ = LAST.try_with(|last| last.replace(told));
}
