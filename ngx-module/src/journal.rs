//! The attack journal: one line for each request that was blocked or observed.
//!
//! The event loop makes a line when a request is over and puts it into a bounded backlog; a
//! thread writes what has come together every [`INTERVAL`], and once more when the worker
//! ends. What the file cannot take is counted and told once a minute, and nobody waits for it.
//!
//! Invariants: no file is touched by the event loop; secrets are hidden before a line is
//! in the backlog; clients that are shut out cost a line an interval (`ipc::events::flood`).

#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc::events::backlog::{Backlog, Batch};
use ipc::events::file::JournalFile;
use ipc::events::flood::{Course, Floods, Told, flooding};
use ipc::events::line::{Entry, Origin, Writer};
use ipc::events::mask::{Masks, without_open_number};
use policy::{Action, Reason, Verdict};

use crate::directives::{Checked, DirError, inspect_dir, size};
use crate::ffi::facts::now_ms;
use crate::ffi::request::Request;
use crate::ffi::{lines, log, os};
use crate::guard::guard;
use crate::judgement::{Judgement, Outcome};
use crate::worker::{self, locked};
use crate::zone::Counter;

/// How often lines are written.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often trouble is told.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// The same after a panic of the thread.
const INTERVAL_AFTER_PANIC: Duration = Duration::from_secs(5);
/// Bytes that may wait: at least 64 lines of any length, and what an attack of 20,000 requests
/// a second brings in an interval.
const BACKLOG_MAX: usize = 1 << 20;
/// From here on the thread is woken.
const BACKLOG_HIGH: usize = BACKLOG_MAX / 2;
/// Bytes of a file unless told otherwise, and their range.
const SIZE: usize = 64 << 20;
const SIZE_MIN: usize = 64 << 10;

/// `nwaf_journal DIR [max_size=SIZE]`
#[derive(Debug, Clone)]
pub struct JournalConf {
    /// Absolute.
    pub dir: PathBuf,
    /// Bytes each file may have.
    pub max: u64,
}

impl JournalConf {
    /// Checks the directive's values. The second part is a warning about what is not there yet.
    ///
    /// # Errors
    /// Values that can never be right, or a directory everybody may write to.
    pub fn parse(value: &str, option: Option<&str>) -> Checked<Self> {
        const RANGE: &str = "max_size must be 64k or more, as max_size=64m";
        if !value.starts_with('/') {
            return Err("must be an absolute path; nginx's prefix differs between packages".into());
        }
        let max = match option {
            None => SIZE,
            Some(option) => option
                .strip_prefix("max_size=")
                .and_then(size)
                .filter(|bytes| *bytes >= SIZE_MIN)
                .ok_or(RANGE)?,
        };
        let dir = PathBuf::from(value);
        let warning = match inspect_dir(&dir, "name the directory of the journal") {
            Ok(_) => None,
            Err(DirError::Refused(why)) => return Err(why),
            Err(why @ DirError::Io(_)) => Some(format!(
                "{why}; create it for the user of nginx's workers: until then lines are \
                 dropped and counted"
            )),
        };
        Ok((Self { dir, max: max as u64 }, warning))
    }
}

/// What the event loop and the thread share.
struct Desk {
    writer: Writer,
    origin: Origin,
    masks: Masks,
    backlog: Backlog,
    floods: Floods<Last>,
}

/// Where lines come together; `None` where there is no journal.
static DESK: Mutex<Option<Desk>> = Mutex::new(None);
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);
static IS_ON: AtomicBool = AtomicBool::new(false);

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Whether there is a journal.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// What is kept of the last request of a client that is shut out.
#[derive(Debug, Default)]
struct Last {
    time_ms: u64,
    request_time_ms: u64,
    status: u16,
    action: Action,
    deciding: Option<Reason>,
    block_type: u8,
    country: Option<[u8; 2]>,
    request_id: Short<32>,
    method: Short<16>,
    host: Short<64>,
    target: Short<192>,
    session: u64,
    generation: Option<u64>,
}

/// The beginning of a text.
#[derive(Debug)]
struct Short<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Short<N> {
    fn of(text: &[u8]) -> Self {
        let part = match text.get(..N) {
            Some(part) if part.len() < text.len() => without_open_number(part),
            _ => text,
        };
        let mut short = Self { bytes: [0; N], length: part.len() };
        short.bytes[..part.len()].copy_from_slice(part);
        short
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Desk {
    fn write(&mut self, entry: &Entry<'_>) {
        let line = self.writer.line(&self.masks, self.origin, entry);
        self.origin.number += 1;
        self.backlog.push(line);
    }

    /// Ends the intervals that are over, or all of them.
    fn end_floods(&mut self, everything: bool) {
        let mut told = Vec::new();
        self.floods.end(os::monotonic_now_s() * 1000, everything, |one| told.push(one));
        for one in &told {
            self.tell(one);
        }
    }

    fn tell(&mut self, told: &Told<Last>) {
        let last = &told.last;
        let client: Option<IpAddr> = told.culprit.and_then(|(client, _)| client);
        let verdict =
            Verdict { action: last.action, deciding: last.deciding, ..Verdict::default() };
        self.write(&Entry {
            time_ms: last.time_ms,
            request_id: last.request_id.get(),
            action: last.action,
            verdict: &verdict,
            block_type: last.block_type,
            error: None,
            client,
            country: last.country.filter(|_| client.is_some()),
            host: last.host.get(),
            server: b"",
            method: last.method.get(),
            target: last.target.get(),
            protocol: b"",
            status: last.status,
            request_time_ms: last.request_time_ms,
            headers: None,
            body: None,
            session: last.session,
            generation: last.generation,
            count: told.count,
        });
    }
}

/// Records a main request that is over and was blocked or observed.
#[cold]
pub fn record(request: Request<'_>, judgement: &Judgement) {
    if !is_on() {
        return;
    }
    let mut desk = locked(&DESK);
    let Some(desk) = desk.as_mut() else { return };
    let action = judgement.action.get();
    let verdict = judgement.verdict();
    let verdict = if action == Action::Observe { verdict.observed() } else { verdict };
    let error = match judgement.outcome() {
        Outcome::Failed(why) => Some(why.as_str()),
        Outcome::Clean | Outcome::Found => None,
    };
    let client = judgement.address.get();
    let active = worker::active();
    let country = active.as_deref().and_then(|active| active.country_of(client));
    let flood = verdict.deciding.and_then(|reason| flooding(reason.source));
    if let Some(source) = flood
        && let Course::Counted(last) = desk.floods.add((client, source), os::monotonic_s() * 1000)
    {
        *last = Last {
            time_ms: now_ms(),
            request_time_ms: request.elapsed_ms(),
            status: request.status(),
            action,
            deciding: verdict.deciding,
            block_type: judgement.block_type() as u8,
            country,
            request_id: Short::of(request.id().as_bytes()),
            method: Short::of(request.method()),
            host: Short::of(request.host()),
            target: Short::of(request.target()),
            session: judgement.session.get(),
            generation: judgement.generation.get(),
        };
        return;
    }
    let kept = judgement.kept.borrow();
    desk.write(&Entry {
        time_ms: now_ms(),
        request_id: request.id().as_bytes(),
        action,
        verdict: &verdict,
        block_type: judgement.block_type() as u8,
        error,
        client,
        country,
        host: request.host(),
        server: request.server(),
        method: request.method(),
        target: request.target(),
        protocol: request.protocol(),
        status: request.status(),
        request_time_ms: request.elapsed_ms(),
        headers: Some(&request.headers()),
        body: kept.as_ref().map(|kept| kept.shown()),
        session: judgement.session.get(),
        generation: judgement.generation.get(),
        count: 1,
    });
    if desk.backlog.len() > BACKLOG_HIGH
        && let Some(running) = locked(&RUNNING).as_ref()
    {
        running.thread.thread().unpark();
    }
}

/// A worker begins: opens its file, and starts the thread that writes.
pub fn start(conf: &JournalConf, masks: Masks) {
    let pid = std::process::id();
    *locked(&DESK) = Some(Desk {
        writer: Writer::default(),
        origin: Origin { started_ms: now_ms(), pid, number: 0 },
        masks,
        backlog: Backlog::new(BACKLOG_MAX),
        floods: Floods::default(),
    });
    // One file for each number that nginx gives to its workers: a reload makes no new ones.
    let path = conf.dir.join(format!("attacks-{}.jsonl", os::worker_number()));
    let mut scribe = Scribe {
        file: JournalFile::new(path, conf.max),
        batch: Batch::default(),
        told: None,
        untold: 0,
        why: None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let spawned = os::with_signals_blocked(|| {
        thread::Builder::new().name("nwaf-journal".to_owned()).spawn(move || scribe.run(&stopped))
    });
    match spawned {
        Ok(thread) => {
            *locked(&RUNNING) = Some(Running { stop, thread });
            IS_ON.store(true, Ordering::Relaxed);
        }
        Err(why) => log::cycle(
            log::Level::Error,
            format_args!("nwaf: cannot start the thread that writes the journal: {why}"),
        ),
    }
}

/// A worker ends: what was recorded is written.
pub fn stop() {
    IS_ON.store(false, Ordering::Relaxed);
    let Some(running) = locked(&RUNNING).take() else { return };
    running.stop.store(true, Ordering::Release);
    running.thread.thread().unpark();
    // A panic of the thread was caught and reported inside it.
    let _ = running.thread.join();
    *locked(&DESK) = None;
}

/// Writes the file.
struct Scribe {
    file: JournalFile,
    batch: Batch,
    /// When trouble was last told.
    told: Option<Instant>,
    /// Lines that were dropped since.
    untold: u64,
    /// Why, as far as the file is to blame.
    why: Option<String>,
}

impl Scribe {
    fn run(&mut self, stop: &AtomicBool) {
        lines::leave_from_here();
        // The operator learns now, and not with the first attack, that there is no place for it.
        if let Err(why) = self.file.look() {
            self.why = Some(why.to_string());
            self.complain(false);
        }
        loop {
            let is_last = stop.load(Ordering::Acquire);
            if let Err(panic) = guard(|| self.turn(is_last)) {
                worker::count(Counter::Errors);
                log::cycle(
                    log::Level::Error,
                    format_args!("nwaf: panic at {panic}; the journal may lack lines"),
                );
                thread::park_timeout(INTERVAL_AFTER_PANIC);
            }
            if is_last {
                return;
            }
            thread::park_timeout(INTERVAL);
        }
    }

    fn turn(&mut self, is_last: bool) {
        if let Some(desk) = locked(&DESK).as_mut() {
            desk.end_floods(is_last);
            desk.backlog.take(&mut self.batch);
        }
        let Batch { lines, count, dropped } = &self.batch;
        let (mut lost, mut trouble) = (*dropped, None);
        if !lines.is_empty() {
            let (written, why) = self.file.write(lines);
            worker::add(Counter::JournalLines, written);
            lost += count - written.min(*count);
            trouble = why;
        } else if self.file.is_open() {
            // Rotated: the next one is begun while there is time.
            trouble = self.file.look().err();
        }
        worker::add(Counter::JournalDropped, lost);
        self.untold += lost;
        if let Some(trouble) = trouble {
            self.why = Some(trouble.to_string());
        }
        if self.untold > 0 || self.why.is_some() {
            self.complain(is_last);
        }
    }

    /// Once a minute, and of what was not told yet when the worker ends.
    fn complain(&mut self, is_last: bool) {
        let is_recent = self.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL);
        if is_recent && !(is_last && self.untold > 0) {
            return;
        }
        let (path, lost): (&Path, _) = (self.file.path(), self.untold);
        let overflow = "lines came faster than they could be written";
        // Trouble that is over by now is still why lines were dropped.
        let why = self.why.take().unwrap_or_else(|| overflow.to_owned());
        log::cycle(
            log::Level::Error,
            format_args!("nwaf: journal {}: {why}; {lost} lines were dropped", path.display()),
        );
        (self.told, self.untold) = (Some(Instant::now()), 0);
    }
}
