//! The life of one worker: which policy, bans and countries are in force, and the thread
//! that changes them.
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
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwapOption, Cache, Guard};
use country::{Code, Countries};
use ipc::snapshot::{
    BANS, Bans, Beside, CURRENT, Event, Follower, LimitBans, LimitInForce, PREVIOUS, Snapshot,
    SnapshotError, Trust,
};
use policy::text::Scratch;
use policy::{Action, BlockType, Host, HostLists, Limit};

use crate::countries::Watch;
use crate::directives::{CountryFile, DirError, SnapshotDir, trust_of};
use crate::ffi::{lines, log, os};
use crate::guard::guard;
use crate::local::{Local, Rest};
use crate::telemetry;
use crate::zone::{Counter, Slot, Table};

/// How often a worker looks for another snapshot: far below the second the
/// product promises, and one `stat` each time.
const INTERVAL: Duration = Duration::from_millis(50);
/// The same after a panic of the thread, so that a fault cannot fill the log.
const INTERVAL_AFTER_PANIC: Duration = Duration::from_secs(5);
/// Numbers for [`Table::complain`] where there is no file to name.
pub const NO_FILE: u64 = 1;
/// The same where a file that was refused is gone by now: that it is gone is news of its own.
pub const GONE: u64 = 2;

static ACTIVE: ArcSwapOption<InForce> = ArcSwapOption::const_empty();
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

/// A policy, and the bans and countries beside it: changed together, so that a request
/// takes one look.
pub struct InForce {
    /// The policy.
    pub policy: Arc<Snapshot>,
    /// The bans; none where no file of bans was ever seen.
    pub bans: Option<Arc<Bans>>,
    /// Seconds since 1970 at which the monotonic clock began, as the wall clock
    /// said when the bans came: they end by this, however the wall clock is set later.
    pub clock_base: u64,
    /// The country database; none where none is named, or none could be read.
    pub countries: Option<Arc<Countries>>,
    /// Settings of nginx's configuration that the policy does not give; none where it
    /// gives all of them.
    pub local: Option<Arc<Snapshot>>,
    /// Whether any rule of the policy asks for a country.
    asks_country: bool,
}

impl InForce {
    /// The country of an address.
    pub fn country_of(&self, address: Option<IpAddr>) -> Option<Code> {
        self.countries.as_deref()?.of(address?)
    }

    /// The same for a request that is judged: not looked up where no rule asks for it.
    #[inline]
    pub fn country_for_rules(&self, address: Option<IpAddr>) -> Option<Code> {
        if self.asks_country { self.country_of(address) } else { None }
    }

    /// The entries of `nwaf_limit` in force.
    pub fn limits(&self) -> Vec<Limit> {
        // Either the policy has any, or what is local.
        let mut limits = self.policy.limits();
        limits.extend(self.local.iter().flat_map(|local| local.limits()));
        limits
    }

    /// The entry of `nwaf_limit` that a request counts for if it is blocked.
    pub fn limit_for(&self, verdict: &policy::Verdict, host: Host<'_>) -> Option<LimitInForce> {
        let counts = verdict.counts && verdict.action == Action::Block;
        if !counts {
            return None;
        }
        let local = || self.local.as_ref().and_then(|local| local.limit(host));
        self.policy.limit(host).or_else(local)
    }

    /// The host lists that hold for a host, local ones included.
    pub fn host_lists(&self, host: Host<'_>) -> HostLists {
        let lists = self.policy.host_lists(host);
        self.local.as_ref().map_or(lists, |local| lists.with(local.host_lists(host)))
    }

    /// Whether the body of a request may be read, as [`Snapshot::reads_body`].
    pub fn reads_body(
        &self,
        method: &[u8],
        host: Host<'_>,
        url: &[u8],
        scratch: &mut Scratch,
    ) -> bool {
        self.policy.reads_body(method, host, url, scratch)
            && self.local.as_ref().is_none_or(|local| local.reads_body(method, host, url, scratch))
    }

    /// What the clock of the bans says, in seconds since 1970: the time of a request.
    #[inline]
    pub fn now(&self) -> u64 {
        self.clock_base + os::monotonic_s()
    }

    /// Decides about a request.
    #[inline]
    pub fn evaluate(
        &self,
        limit_bans: Option<&dyn LimitBans>,
        request: &policy::Request<'_>,
        scratch: &mut Scratch,
    ) -> policy::Verdict {
        let (bans, local) = (self.bans.as_deref(), self.local.as_deref());
        let beside = Beside { bans, limit_bans, local };
        self.policy.evaluate(&beside, request, scratch)
    }
}

/// What the event loop needs to ask the policy.
struct Desk {
    /// What was asked last: as long as it is in force, asking takes no atomic write.
    active: Cache<&'static ArcSwapOption<InForce>, Option<Arc<InForce>>>,
    /// Buffers for decoding, kept so that they are allocated once.
    scratch: Scratch,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// Asks what is in force; `None` where nothing is. No lock, no system call.
#[inline]
pub fn ask<T>(question: impl FnOnce(&InForce, &mut Scratch) -> T) -> Option<T> {
    DESK.with_borrow_mut(|desk| {
        let desk = desk.get_or_insert_with(|| Desk {
            active: Cache::new(&ACTIVE),
            scratch: Scratch::default(),
        });
        let in_force = desk.active.load().as_deref()?;
        Some(question(in_force, &mut desk.scratch))
    })
}

/// What is in force, for those who ask rarely.
pub fn active() -> Guard<Option<Arc<InForce>>> {
    ACTIVE.load()
}

/// Adds one to a counter of this worker.
#[inline]
pub fn count(counter: Counter) {
    slot().count(counter);
}

/// Adds one to the requests of this worker that were refused, by what decided.
pub fn count_block(by: BlockType) {
    slot().count(Counter::Blocked);
    slot().blocked(by);
}

/// Adds to a counter of this worker that several threads add to.
pub fn add(counter: Counter, count: u64) {
    slot().add(counter, count);
}

/// Why the newest snapshot is not in force.
pub fn refusal() -> Option<String> {
    locked(&REFUSAL).clone()
}

#[inline]
fn slot() -> &'static Slot {
    SLOT.get().copied().unwrap_or(&NO_SLOT)
}

/// Begins a worker's life: takes a slot, loads the snapshot and the country
/// database, starts following.
pub fn start(
    dir: SnapshotDir,
    countries: Option<CountryFile>,
    local: Option<Arc<Local>>,
    table: Option<&'static Table>,
) {
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
    let mut pursuit = Pursuit {
        dir,
        file,
        followers: None,
        dir_told: false,
        bans: None,
        countries: countries.map(|file| Watch::new(&file, table)),
        local: local.map(Rest::new),
        table,
        retired: Vec::new(),
    };
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
    /// `None` until the directory exists and may be trusted.
    followers: Option<Followers>,
    /// The state of the missing directory has been reported.
    dir_told: bool,
    /// The bans in force, with their clock.
    bans: Option<(Arc<Bans>, u64)>,
    /// The country database, where one is named.
    countries: Option<Watch>,
    /// The settings of nginx's configuration, where there are any.
    local: Option<Rest>,
    table: Option<&'static Table>,
    /// Not in force any more; the event loop may still hold them, and must not be
    /// the one that unmaps them.
    retired: Vec<Arc<InForce>>,
}

/// What follows the files of a directory.
struct Followers {
    policy: Follower<Snapshot>,
    bans: Follower<Bans>,
    /// Whose files are believed.
    trust: Trust,
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
        lines::leave_from_here();
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
                self.followers = None;
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
        self.retired.retain(|retired| Arc::strong_count(retired) > 1);
        let found = self.find();
        // These first, so that a policy that comes with them finds them.
        self.look_for_bans();
        self.look_for_countries();
        telemetry::look();
        match found {
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
        if self.followers.is_none() {
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
            let dir = &self.dir.path;
            let (policy, bans) = (Follower::new(dir, trust), Follower::new(dir, trust));
            self.followers = Some(Followers { policy, bans, trust });
        }
        match self.followers.as_mut().map(|followers| followers.policy.poll()) {
            None | Some(Event::Unchanged) => Found::Nothing,
            Some(Event::Loaded(snapshot)) => Found::Loaded(snapshot),
            Some(Event::Refused(why)) => Found::Refused(why.to_string()),
            Some(Event::Missing) => Found::Missing,
        }
    }

    /// Puts other bans in force where there are any. Bans that are missing or
    /// refused change nothing: those in force end by themselves.
    fn look_for_bans(&mut self) {
        let Some(followers) = &mut self.followers else { return };
        match followers.bans.poll() {
            Event::Unchanged | Event::Missing => {}
            Event::Loaded(bans) => {
                let (count, generation) = (bans.counts().addresses, bans.meta().generation);
                let clock_base = since_1970().as_secs().saturating_sub(os::monotonic_now_s());
                self.bans = Some((bans, clock_base));
                self.exchange_beside();
                slot().banned(generation);
                log::cycle(
                    log::Level::Info,
                    format_args!("nwaf: {count} bans of generation {generation} are in force"),
                );
            }
            Event::Refused(why) => {
                slot().count(Counter::Refusals);
                let file = self.dir.path.join(BANS);
                if self.table.is_none_or(|table| table.complain_about_bans(number_of_file(&file))) {
                    log::cycle(
                        log::Level::Warn,
                        format_args!(
                            "nwaf: bans {} refused: {why}; those before them stay until they end",
                            file.display()
                        ),
                    );
                }
            }
        }
    }

    /// Puts another country database in force where there is one.
    fn look_for_countries(&mut self) {
        if self.countries.as_mut().is_some_and(Watch::look) {
            self.exchange_beside();
        }
    }

    /// Puts what lies beside the policy in force, where there is a policy.
    fn exchange_beside(&mut self) {
        let policy = ACTIVE.load().as_deref().map(|active| Arc::clone(&active.policy));
        if let Some(policy) = policy {
            self.exchange(policy);
        }
    }

    /// Puts a policy and what lies beside it in force.
    fn exchange(&mut self, policy: Arc<Snapshot>) {
        let (bans, clock_base) = match &self.bans {
            Some((bans, clock_base)) => (Some(Arc::clone(bans)), *clock_base),
            None => (None, 0),
        };
        let countries = self.countries.as_ref().and_then(Watch::in_force);
        let local = self.local.as_mut().and_then(|local| local.beside(policy.given()));
        let asks_country = policy.asks_country();
        let in_force = InForce { policy, bans, clock_base, countries, local, asks_country };
        let in_force = Arc::new(in_force);
        self.retired.extend(ACTIVE.swap(Some(in_force)));
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
        self.exchange(snapshot);
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
        if self.is_news(number_of_file(&self.file)) {
            log::cycle(
                log::Level::Warn,
                format_args!("nwaf: snapshot {} refused: {why}; {instead}", self.file.display()),
            );
        }
        *locked(&REFUSAL) = Some(why);
    }

    /// The file has gone; what is in force stays, for a gap in publishing is no new policy.
    fn lose(&mut self) {
        let kept = ACTIVE.load().as_deref().map(|active| active.policy.meta());
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
            let generation = kept.policy.meta().generation;
            return format!("the previous one (generation {generation}) stays");
        }
        let Some(Followers { trust, .. }) = self.followers else {
            return "there is none before it".to_owned();
        };
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

/// The number of a published file, which is no link.
fn number_of_file(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).as_ref().map_or(GONE, number_of)
}

/// A number that differs between a file and its successor.
pub fn number_of(meta: &Metadata) -> u64 {
    let mut hasher = DefaultHasher::new();
    (meta.dev(), meta.ino(), meta.len(), meta.mode(), meta.uid()).hash(&mut hasher);
    (meta.mtime(), meta.mtime_nsec()).hash(&mut hasher);
    // 0, NO_FILE and GONE have a meaning.
    hasher.finish().max(GONE + 1)
}

/// What the wall clock says.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A lock whose holder panicked is as good as any: the values are whole.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
