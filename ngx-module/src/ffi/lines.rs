//! Lines of the thread that follows snapshots, on their way into the error log.
//!
//! nginx's log belongs to the thread that serves. Told to reopen its logs, nginx closes
//! a descriptor and may give its number to the next client: a line that another thread
//! is about to write would reach that client instead of the log. A log that goes to
//! syslog has one socket and one state, and in a single process a new configuration
//! takes the log's memory away. So the thread leaves its lines here, and a timer of the
//! event loop writes them. It costs a worker twenty looks at one word a second.
//!
//! Invariants: the thread never touches nginx's memory for a line; a request neither
//! waits here nor looks; no more than [`LINES_MAX`] lines wait, further ones are counted.

use std::cell::Cell;
use std::fmt::Arguments;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nginx_sys::{ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_event_t, ngx_msec_t};

use super::edge;
use super::log::{self, Level};

/// Milliseconds between two looks: how old a line may be when it is written.
const INTERVAL: ngx_msec_t = 50;
/// Lines that wait; in one interval the thread has a handful at most.
const LINES_MAX: usize = 64;

thread_local! {
    /// Whether this is a thread that leaves its lines here.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// What waits.
struct Waiting {
    lines: Vec<(Level, String)>,
    left_out: u64,
}

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { lines: Vec::new(), left_out: 0 });
/// Whether anything waits: what the event loop looks at.
static ANY: AtomicBool = AtomicBool::new(false);

/// The timer, and a connection that is none: nginx's debugging log names one for each event.
static mut TIMER: MaybeUninit<ngx_event_t> = MaybeUninit::zeroed();
static mut NO_CONNECTION: MaybeUninit<ngx_connection_t> = MaybeUninit::zeroed();

/// From now on lines of this thread are left here.
pub fn leave_from_here() {
    LEAVES.set(true);
}

/// Whether lines of this thread are left here. While a thread ends they are, too.
pub(super) fn are_left() -> bool {
    LEAVES.try_with(Cell::get).unwrap_or(true)
}

/// Leaves a line for the event loop.
#[cold]
pub(super) fn leave(level: Level, text: Arguments<'_>) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    if waiting.lines.len() < LINES_MAX {
        waiting.lines.push((level, text.to_string()));
    } else {
        waiting.left_out += 1;
    }
    ANY.store(true, Ordering::Release);
}

/// Writes what waits. For the thread that serves.
pub fn write() {
    if !ANY.swap(false, Ordering::AcqRel) {
        return;
    }
    let (lines, left_out) = {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.left_out))
    };
    for (level, line) in lines {
        log::put(level, format_args!("{line}"));
    }
    if left_out != 0 {
        log::cycle(Level::Warn, format_args!("nwaf: {left_out} lines were left out here"));
    }
}

/// Starts the timer. For a process that serves, once, before it does.
pub fn start() {
    // SAFETY: nginx calls us in one thread, its timers are ready before modules like
    // this one start; all zero bytes are an event and a connection that nobody uses.
    unsafe {
        let connection = (&raw mut NO_CONNECTION).cast::<ngx_connection_t>();
        (*connection).fd = -1;
        let timer = (&raw mut TIMER).cast::<ngx_event_t>();
        (*timer).handler = Some(look);
        (*timer).data = connection.cast();
        // A worker that shuts down does not wait for it.
        (*timer).set_cancelable(1);
        arm(timer);
    }
}

extern "C" fn look(timer: *mut ngx_event_t) {
    edge((), write);
    // SAFETY: nginx calls with the timer that `start` filled in, which has run out.
    unsafe { arm(timer) };
}

/// # Safety
/// `timer` must be the event that `start` filled in, not running.
unsafe fn arm(timer: *mut ngx_event_t) {
    // SAFETY: by this function's contract; the cycle and its log are the current ones.
    unsafe {
        (*timer).log = (*ngx_cycle).log;
        ngx_add_timer(timer, INTERVAL);
    }
}
