//! The installation of these tests: two PostgreSQL servers, an API on each, a balancer.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::api::KEY;
use support::http::{Client, Response, Visit};
use support::wait::{PATIENCE, eventually};
use support::{Api, Balancer, Folder, Pair, Postgres};

/// Ends from the front to the back.
pub struct Site {
    pub balancer: Balancer,
    /// The API at the primary.
    pub first: Api,
    /// The API at the replica.
    pub second: Api,
    pub pair: Pair,
    pub folder: Folder,
}

/// Session and generation of a policy.
pub type Revision = (u64, u64);

impl Site {
    /// Servers that know each other (`peers`).
    pub fn start() -> Self {
        Self::with(Pair::start(), true, &[])
    }

    /// With a pair that is there, with or without peers, and with changes of the balancer.
    pub fn with(pair: Pair, has_peers: bool, changes: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let prepare =
            |name: &str, server: &Postgres| Api::prepare(folder.path(), name, &server.url(), "");
        let mut first = prepare("first", &pair.primary);
        let mut second = prepare("second", &pair.replica);
        if has_peers {
            first.configure(&pair.primary.url(), &peers(&second));
            second.configure(&pair.replica.url(), &peers(&first));
        }
        first.run();
        // A replica gets the tables from its primary, as it gets everything.
        pair.in_step();
        second.run();
        let balancer = Balancer::with(folder.path(), first.address(), second.address(), changes);
        let site = Self { balancer, first, second, pair, folder };
        site.await_role(&site.first, "primary");
        site.await_role(&site.second, "replica");
        site
    }

    /// Waits until an API says that it has this role; how long that took.
    pub fn await_role(&self, api: &Api, role: &str) -> Duration {
        let what = format!("the role {role}, now {:?}, log:\n{}", api.role(), api.log());
        eventually(PATIENCE, &what, || (api.role().as_deref() == Some(role)).then_some(())).1
    }

    /// A call through the balancer, with the key.
    pub fn call(&self, name: &str, fields: Value) -> Response {
        call(self.balancer.address(), name, fields)
    }

    /// Puts `count` addresses on the block list through the balancer.
    pub fn write(&self, count: usize) -> Response {
        self.call("set_dyn_bl", block_list(count))
    }

    /// Waits until a write through the balancer is taken; its revision and how long it took.
    pub fn await_write(&self, count: usize) -> (Revision, Duration) {
        eventually(PATIENCE, "a write through the balancer", || {
            let answer = self.write(count);
            (answer.status == 200).then(|| written(&answer))
        })
    }

    /// The number of entries of the block list through the balancer.
    pub fn entries(&self) -> usize {
        let answer = self.call("get_dyn_bl", json!({}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        entries(&answer)
    }

    /// Waits until the second API shows a revision.
    pub fn await_revision(&self, revision: Revision) -> Duration {
        let seen = || (revision_of(self.second.address()) == Some(revision)).then_some(());
        eventually(PATIENCE, "the revision on the replica", seen).1
    }
}

/// The line of `api.toml` that names the other server.
pub fn peers(other: &Api) -> String {
    format!("peers = [\"http://{}\"]", other.address())
}

/// A request body that replaces the block list by `count` addresses.
pub fn block_list(count: usize) -> Value {
    let entries: Vec<String> = (1..=count).map(|n| format!("192.0.2.{n}")).collect();
    json!({"set": {"active": "true", "bl": entries}})
}

/// A call with the key to any server.
pub fn call(address: SocketAddrV4, name: &str, fields: Value) -> Response {
    try_call(address, name, fields).expect("an answer")
}

/// The same where there may be no answer.
pub fn try_call(address: SocketAddrV4, name: &str, mut fields: Value) -> Option<Response> {
    fields["key"] = json!(KEY);
    let visit = Visit::new(address, &format!("/nw-api/{name}"))
        .method("POST")
        .header("Content-Type", "application/json")
        .body(fields.to_string());
    Client::new(address).send(&visit.bytes()).ok()
}

/// The revision a write was answered with.
pub fn written(answer: &Response) -> Revision {
    let json = answer.json();
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {json}"));
    (number("session"), number("generation"))
}

/// The revision a server shows; nothing while it serves none.
pub fn revision_of(address: SocketAddrV4) -> Option<Revision> {
    let answer = try_call(address, "get_dyn_bl", json!({}))?;
    let number = |name: &str| answer.header(name)?.parse().ok();
    Some((number("x-nw-session")?, number("x-nw-generation")?))
}

/// The entries in an answer of `get_dyn_bl`.
pub fn entries(answer: &Response) -> usize {
    answer.text().lines().filter(|line| line.contains("192.0.2.")).count()
}

/// What a reader sees who asks again and again.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers by status; 0 is none.
    pub statuses: std::collections::BTreeMap<u16, u64>,
    /// The longest an answer took.
    pub slowest: Duration,
    /// Revisions in the order they were shown, each once in a row.
    pub revisions: Vec<Revision>,
}

/// A reader in a thread of its own.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

impl Reader {
    /// Reads the block list at `address` until it is stopped.
    pub fn start(address: SocketAddrV4) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = try_call(address, "get_dyn_bl", json!({}));
                seen.slowest = seen.slowest.max(began.elapsed());
                let status = answer.as_ref().map_or(0, |answer| answer.status);
                *seen.statuses.entry(status).or_default() += 1;
                let number = |name: &str| answer.as_ref()?.header(name)?.parse::<u64>().ok();
                if let (Some(session), Some(generation)) =
                    (number("x-nw-session"), number("x-nw-generation"))
                    && seen.revisions.last() != Some(&(session, generation))
                {
                    seen.revisions.push((session, generation));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// Stops it, and says what it saw.
    pub fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("stopped once").join().expect("the reader does not panic")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// Every answer was the data.
    pub fn assert_always_served(&self) {
        assert_eq!(self.statuses.keys().copied().collect::<Vec<_>>(), [200], "{:?}", self.statuses);
    }
}
