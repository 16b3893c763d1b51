//! The life of one worker: which snapshot is in force, and the thread that changes it.
//!
//! The first snapshot is loaded before the worker takes its first connection.
//! After that one background thread looks for another one every [`INTERVAL`],
//! verifies it beside the event loop and puts it in force with one atomic store;
//! a request sees the old one or the new one, never a mixture. The event loop
//! keeps the one it asked last until its next request; the thread releases it then.
//!
//! A worker that starts while the file in force is missing or refused takes the
//! one before it, and goes on looking for a better one: a reload or a killed
//! worker must not end the protection that a bad file alone cannot end.
//!
//! Invariants: only workers have the thread, and it is joined before they end;
//! it takes no signals; what it is refused never replaces what is in force.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwapOption, Cache, Guard};
use ipc::snapshot::{CURRENT, Event, Follower, PREVIOUS, Snapshot, SnapshotError, Trust};
use policy::text::Scratch;

use crate::directives::{DirError, SnapshotDir, trust_of};
use crate::ffi::{log, os};
use crate::guard::guard;
use crate::zone::{Counter, Slot, Table};

/// How often a worker looks for another snapshot: far below the second the
/// product promises, and one `stat` each time.
const INTERVAL: Duration = Duration::from_millis(50);
/// The same after a panic of the thread, so that a fault cannot fill the log.
const INTERVAL_AFTER_PANIC: Duration = Duration::from_secs(5);
/// Numbers for [`Table::complain`] where there is no file to name.
const NO_FILE: u64 = 1;

static ACTIVE: ArcSwapOption<Snapshot> = ArcSwapOption::const_empty();
static SLOT: OnceLock<&'static Slot> = OnceLock::new();
/// Counts of a worker that found no room in the table, and of the master.
static NO_SLOT: Slot = Slot::new();
/// Why the newest snapshot is not in force; `None` where it is.
static REFUSAL: Mutex<Option<String>> = Mutex::new(None);
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    table: Option<&'static Table>,
}

/// What the event loop needs to ask the policy.
struct Desk {
    /// The snapshot asked last: as long as it is in force, asking takes no atomic write.
    active: Cache<&'static ArcSwapOption<Snapshot>, Option<Arc<Snapshot>>>,
    /// Buffers for decoding, kept so that they are allocated once.
    scratch: Scratch,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// Asks the snapshot in force; `None` where there is none. No lock, no system call.
#[inline]
pub fn ask<T>(question: impl FnOnce(&Snapshot, &mut Scratch) -> T) -> Option<T> {
    DESK.with_borrow_mut(|desk| {
        let desk = desk.get_or_insert_with(|| Desk {
            active: Cache::new(&ACTIVE),
            scratch: Scratch::default(),
        });
        let snapshot = desk.active.load().as_deref()?;
        Some(question(snapshot, &mut desk.scratch))
    })
}

/// The snapshot in force, for those who ask rarely.
pub fn active() -> Guard<Option<Arc<Snapshot>>> {
    ACTIVE.load()
}

/// Adds one to a counter of this worker.
#[inline]
pub fn count(counter: Counter) {
    slot().count(counter);
}

/// Why the newest snapshot is not in force.
pub fn refusal() -> Option<String> {
    locked(&REFUSAL).clone()
}

#[inline]
fn slot() -> &'static Slot {
    SLOT.get().copied().unwrap_or(&NO_SLOT)
}

/// Begins a worker's life: takes a slot, loads the snapshot, starts following.
pub fn start(dir: SnapshotDir, table: Option<&'static Table>) {
    let claimed = table.and_then(|table| table.claim(std::process::id(), os::is_alive));
    match claimed {
        // A process starts once; a second start would keep the first slot.
        Some(claimed) => drop(SLOT.set(claimed)),
        None => log::cycle(
            log::Level::Warn,
            format_args!(
                "nwaf: no free slot in nwaf_workers; nwaf_status does not show this worker"
            ),
        ),
    }
    let file = dir.path.join(CURRENT);
    let mut pursuit =
        Pursuit { dir, file, follower: None, dir_told: false, table, retired: Vec::new() };
    pursuit.look_guarded();

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // The thread inherits the mask: signals stay with nginx.
    let spawned = os::with_signals_blocked(|| {
        thread::Builder::new().name("nwaf-follow".to_owned()).spawn(move || pursuit.run(&stopped))
    });
    match spawned {
        Ok(thread) => *locked(&RUNNING) = Some(Running { stop, thread, table }),
        Err(why) => log::cycle(
            log::Level::Error,
            format_args!(
                "nwaf: cannot start the thread that follows snapshots: {why}; \
                 this worker keeps the one it started with"
            ),
        ),
    }
}

/// Ends a worker's life: joins the thread and gives the slot back.
pub fn stop() {
    let Some(running) = locked(&RUNNING).take() else { return };
    running.stop.store(true, Ordering::Release);
    running.thread.thread().unpark();
    // A panic of the thread was caught and reported inside it.
    let _ = running.thread.join();
    ACTIVE.store(None);
    // Called by the thread that serves requests.
    DESK.set(None);
    if let (Some(table), Some(slot)) = (running.table, SLOT.get()) {
        table.release(slot);
    }
}

/// Looking for snapshots, with what has been said about them already.
struct Pursuit {
    dir: SnapshotDir,
    /// The file in force.
    file: PathBuf,
    /// With whose snapshots are believed; `None` until the directory exists and
    /// may be trusted.
    follower: Option<(Follower, Trust)>,
    /// The state of the missing directory has been reported.
    dir_told: bool,
    table: Option<&'static Table>,
    /// Not in force any more; the event loop may still hold them, and must not be
    /// the one that unmaps them.
    retired: Vec<Arc<Snapshot>>,
}

/// What a look found.
enum Found {
    Nothing,
    Loaded(Arc<Snapshot>),
    Refused(String),
    Missing,
}

impl Pursuit {
    fn run(mut self, stop: &AtomicBool) {
        loop {
            thread::park_timeout(INTERVAL);
            if stop.load(Ordering::Acquire) {
                return;
            }
            if os::is_exiting() {
                slot().exiting();
            }
            if !self.look_guarded() {
                // Start over: what the follower remembers may be half true.
                self.follower = None;
                thread::park_timeout(INTERVAL_AFTER_PANIC);
            }
        }
    }

    /// Looks once; `false` where that panicked.
    fn look_guarded(&mut self) -> bool {
        let result = guard(|| self.look());
        if let Err(panic) = &result {
            count(Counter::Errors);
            log::cycle(
                log::Level::Error,
                format_args!("nwaf: panic at {panic}; the snapshot in force stays"),
            );
        }
        result.is_ok()
    }

    fn look(&mut self) {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        match self.find() {
            Found::Nothing => {}
            Found::Loaded(snapshot) => self.activate(snapshot),
            Found::Refused(why) => self.refuse(why),
            Found::Missing => self.lose(),
        }
        if ACTIVE.load().is_none() {
            let now_s = since_1970().as_secs();
            if self.table.is_none_or(|table| table.tell_missing(now_s)) {
                log::cycle(
                    log::Level::Error,
                    format_args!(
                        "nwaf: no snapshot is in force, nwaf_on_error decides about every \
                         request: {} {}",
                        self.file.display(),
                        refusal().as_deref().unwrap_or("does not exist"),
                    ),
                );
            }
        }
    }

    fn find(&mut self) -> Found {
        if self.follower.is_none() {
            let trust = match self.dir.trust.map_or_else(|| trust_of(&self.dir.path), Ok) {
                Ok(trust) => trust,
                Err(_) if self.dir_told => return Found::Nothing,
                Err(why) => {
                    self.dir_told = true;
                    return match why {
                        DirError::Io(why) if why.kind() == io::ErrorKind::NotFound => {
                            Found::Missing
                        }
                        DirError::Io(why) => Found::Refused(why.to_string()),
                        DirError::Refused(why) => Found::Refused(format!("its directory {why}")),
                    };
                }
            };
            self.follower = Some((Follower::new(self.dir.path.clone(), trust), trust));
        }
        match self.follower.as_mut().map(|(follower, _)| follower.poll()) {
            None | Some(Event::Unchanged) => Found::Nothing,
            Some(Event::Loaded(snapshot)) => Found::Loaded(snapshot),
            Some(Event::Refused(why)) => Found::Refused(why.to_string()),
            Some(Event::Missing) => Found::Missing,
        }
    }

    fn activate(&mut self, snapshot: Arc<Snapshot>) {
        self.put_in_force(snapshot);
        *locked(&REFUSAL) = None;
        if let Some(table) = self.table {
            table.content();
        }
    }

    fn put_in_force(&mut self, snapshot: Arc<Snapshot>) {
        let (meta, counts) = (snapshot.meta(), snapshot.counts());
        self.retired.extend(ACTIVE.swap(Some(snapshot)));
        let now_ms = u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        slot().activated(meta.session, meta.generation, now_ms);
        log::cycle(
            log::Level::Notice,
            format_args!(
                "nwaf: generation {} of session {} is in force: \
                 {} addresses, {} hosts, {} rules",
                meta.generation, meta.session, counts.addresses, counts.hosts, counts.rules
            ),
        );
    }

    /// The file in force cannot be used; what was in force before it stays, or
    /// comes back where this worker has just started.
    fn refuse(&mut self, why: String) {
        slot().count(Counter::Refusals);
        let instead = self.instead();
        if self.is_news(number_of(&self.file).unwrap_or(NO_FILE)) {
            log::cycle(
                log::Level::Warn,
                format_args!("nwaf: snapshot {} refused: {why}; {instead}", self.file.display()),
            );
        }
        *locked(&REFUSAL) = Some(why);
    }

    /// The file has gone; what is in force stays, for a gap in publishing is no new policy.
    fn lose(&mut self) {
        let kept = ACTIVE.load().as_deref().map(Snapshot::meta);
        let told = match kept {
            Some(kept) => format!(
                "does not exist any more; generation {} stays until the worker ends",
                kept.generation
            ),
            None => {
                let told = format!("does not exist; {}", self.instead());
                if ACTIVE.load().is_none() {
                    return; // `look` speaks about that
                }
                *locked(&REFUSAL) = Some("does not exist".to_owned());
                told
            }
        };
        if self.is_news(NO_FILE) {
            log::cycle(
                log::Level::Warn,
                format_args!("nwaf: snapshot {} {told}", self.file.display()),
            );
        }
    }

    /// Sees to it that something is in force instead of a file that cannot be
    /// used, and says what it is.
    fn instead(&mut self) -> String {
        if let Some(kept) = ACTIVE.load().as_deref() {
            return format!("the previous one (generation {}) stays", kept.meta().generation);
        }
        let Some((_, trust)) = self.follower else { return "there is none before it".to_owned() };
        match Snapshot::open(&self.dir.path.join(PREVIOUS), trust) {
            Ok(previous) => {
                let generation = previous.meta().generation;
                self.put_in_force(Arc::new(previous));
                format!("{PREVIOUS} (generation {generation}) is in force instead")
            }
            Err(SnapshotError::Io(why)) if why.kind() == io::ErrorKind::NotFound => {
                "there is none before it".to_owned()
            }
            Err(why) => format!("{PREVIOUS} cannot be used either: {why}"),
        }
    }

    /// Whether this worker is the one to complain about the file with this number.
    fn is_news(&self, file: u64) -> bool {
        self.table.is_none_or(|table| table.complain(file))
    }
}

/// A number that differs between a file and its successor.
fn number_of(path: &Path) -> Option<u64> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let mut hasher = DefaultHasher::new();
    (meta.dev(), meta.ino(), meta.len(), meta.mode(), meta.uid()).hash(&mut hasher);
    (meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
    // 0 and NO_FILE have a meaning.
    Some(hasher.finish().max(NO_FILE + 1))
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A lock whose holder panicked is as good as any: the values are whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
