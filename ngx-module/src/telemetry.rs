//! The traffic ring: a record of every judged request, for behavioural analysis.
//!
//! The master opens the ring before it starts workers, which inherit the memory. A worker
//! writes when a request is over and waits for nobody: what is not read in time is
//! overwritten, and the reader knows how much.
//!
//! Nothing can be done about the moment in which somebody shortens the file: what is written
//! then ends the worker. The next one finds out and goes without.
//!
//! Invariants: no lock, system call or allocation for a request; a ring that cannot be
//! opened is a warning, never a failed start.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwapOption, Cache};
use ipc::events::ring::{Ring, SIZE_MAX, SIZE_MIN};
use ipc::events::traffic::{Encoder, Traffic};
use policy::{Action, Host, HostLists};

use crate::directives::{Checked, DirError, inspect_dir, size};
use crate::ffi::facts::now_ms;
use crate::ffi::log;
use crate::ffi::request::Request;
use crate::judgement::{Judgement, Outcome};
use crate::worker;
use crate::zone::Counter;

/// Bytes of a ring unless told otherwise: some ten thousand requests.
const SIZE: usize = 8 << 20;

/// `nwaf_telemetry PATH [size=SIZE]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConf {
    /// Absolute.
    pub path: PathBuf,
    /// Bytes of the ring.
    pub size: usize,
}

impl TelemetryConf {
    /// Checks the directive's values. The second part is a warning about what is not there yet.
    ///
    /// # Errors
    /// Values that can never be right, or a place where anybody could put another file.
    pub fn parse(value: &str, option: Option<&str>) -> Checked<Self> {
        const RANGE: &str = "size must be a power of two from 1m to 1g, as size=8m";
        let path = PathBuf::from(value);
        if !path.is_absolute() || value.ends_with('/') {
            return Err("must be the absolute path of a file".to_owned());
        }
        let size = match option {
            None => SIZE,
            Some(option) => option
                .strip_prefix("size=")
                .and_then(size)
                .filter(|size| size.is_power_of_two() && (SIZE_MIN..=SIZE_MAX).contains(size))
                .ok_or(RANGE)?,
        };
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            return Err("is not a regular file; remove it or name another one".to_owned());
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        let warning = match inspect_dir(dir, "name a file in a directory") {
            Ok(_) => None,
            Err(DirError::Refused(why)) => return Err(format!("its directory {why}")),
            Err(why @ DirError::Io(_)) => {
                Some(format!("its directory {why}; nothing is recorded until a reload finds it"))
            }
        };
        Ok((Self { path, size }, warning))
    }
}

/// The ring of the configuration in force; set by the master, inherited by workers.
static RING: ArcSwapOption<Ring> = ArcSwapOption::const_empty();
/// Whether this worker has one.
static IS_ON: AtomicBool = AtomicBool::new(false);

struct Desk {
    ring: Cache<&'static ArcSwapOption<Ring>, Option<Arc<Ring>>>,
    encoder: Encoder,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// Opens the ring of a configuration that comes into force; the one before is kept where it is
/// the same.
pub fn open(conf: Option<&TelemetryConf>) {
    let Some(conf) = conf else { return RING.store(None) };
    let is_same =
        |ring: &Ring| ring.size() == conf.size && ring.is_at(&conf.path) && ring.is_whole();
    if RING.load().as_deref().is_some_and(is_same) {
        return;
    }
    match Ring::open(&conf.path, conf.size) {
        Ok(ring) => RING.store(Some(Arc::new(ring))),
        Err(why) => {
            RING.store(None);
            log::cycle(
                log::Level::Error,
                format_args!(
                    "nwaf: the ring {} cannot be opened: {why}; no traffic is recorded \
                     until the next reload",
                    conf.path.display()
                ),
            );
        }
    }
}

/// Writes no further where somebody has shortened the file, for that would end the worker. For
/// the thread that follows snapshots, and for a worker that begins: the one
/// before may have ended of just this.
pub fn look() {
    if RING.load().as_deref().is_some_and(|ring| !ring.is_whole()) {
        RING.store(None);
        IS_ON.store(false, Ordering::Relaxed);
        log::cycle(
            log::Level::Error,
            format_args!(
                "nwaf: the file of nwaf_telemetry was shortened while it was in use; no traffic \
                 is recorded until the next reload, which makes another one"
            ),
        );
    }
}

/// A worker begins.
pub fn start() {
    look();
    IS_ON.store(RING.load().is_some(), Ordering::Relaxed);
    DESK.set(Some(Desk { ring: Cache::new(&RING), encoder: Encoder::default() }));
}

/// Whether requests are recorded.
#[inline]
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Records a main request that is over, unless it is none of the analysis's business.
#[inline]
pub fn record(request: Request<'_>, judgement: &Judgement) {
    if is_on() && is_wanted(request, judgement) {
        write(request, judgement);
    }
}

/// Whether it was judged, not white-listed, and its host is not in `nwaf_rmq_host_exclude`.
fn is_wanted(request: Request<'_>, judgement: &Judgement) -> bool {
    let is_judged = !matches!(judgement.outcome(), Outcome::Failed(_));
    if !is_judged || judgement.action.get() == Action::Bypass {
        return false;
    }
    let host = request.host();
    // As for the verdict: an address has many spellings.
    let literal = (host.first() == Some(&b'[')).then(|| Host::normalise(host));
    let host = Host::normalised(literal.as_deref().unwrap_or(host));
    let lists = worker::ask(|in_force, _| in_force.host_lists(host));
    lists.is_some_and(|lists| !lists.has(HostLists::NOT_QUEUED))
}

fn write(request: Request<'_>, judgement: &Judgement) {
    DESK.with_borrow_mut(|desk| {
        let Some(Desk { ring, encoder }) = desk else { return };
        let Some(ring) = ring.load().as_deref() else { return };
        let kept = judgement.kept.borrow();
        let record = encoder.encode(
            &request.main_conf().masks,
            &Traffic {
                time_ms: now_ms(),
                request_time_ms: request.elapsed_ms(),
                action: judgement.action.get(),
                block_type: judgement.block_type() as u8,
                status: request.status(),
                address: judgement.address.get(),
                host: request.host(),
                method: request.method(),
                target: request.target(),
                headers: &request.headers(),
                body: kept.as_ref().map(|kept| kept.shown()),
            },
        );
        if ring.write(record) {
            worker::count(Counter::TelemetryRecords);
        }
    });
}
