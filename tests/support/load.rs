//! Visitors in the background: keep-alive connections that count what they get.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::{Client, Visit};
use crate::wait::{PATIENCE, eventually};

/// Failures that are kept word for word; further ones are only counted.
const FAILURES_KEPT: usize = 20;
/// Rest between two requests of a visitor, so that a test of correctness does
/// not become a test of the machine: at most 1,000 requests a second each.
const REST: Duration = Duration::from_millis(1);

/// What the visitors got.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
}

impl Tally {
    /// All answers.
    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Fails the test unless every request was answered with one of `expected`.
    ///
    /// # Panics
    /// With what was seen.
    pub fn assert_only(&self, expected: &[u16]) {
        assert_eq!(self.failed, 0, "requests without an answer: {:?}", self.failures);
        let others: Vec<_> = self.statuses.iter().filter(|(s, _)| !expected.contains(s)).collect();
        assert!(others.is_empty(), "only {expected:?} were expected: {others:?}");
        assert!(self.answers() > 0, "the load sent nothing");
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_KEPT);
    }
}

/// Running visitors.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `visitors`, each repeating `visits` over one connection, and waits
    /// until each of them has had an answer.
    ///
    /// # Panics
    /// When nothing is answered.
    pub fn start(address: impl Into<SocketAddr>, visitors: usize, visits: &[Visit]) -> Self {
        let (address, stop) = (address.into(), Arc::new(AtomicBool::new(false)));
        let answered = Arc::new(AtomicU64::new(0));
        let requests: Vec<_> = visits.iter().map(Visit::bytes).collect();
        let threads = (0..visitors)
            .map(|_| {
                let (stop, answered) = (stop.clone(), answered.clone());
                let requests = requests.clone();
                std::thread::spawn(move || visit(address, &requests, &stop, &answered))
            })
            .collect();
        let load = Self { stop, answered, threads };
        load.await_more(visitors as u64);
        load
    }

    /// Waits until `count` more requests have been answered.
    ///
    /// # Panics
    /// When they are not.
    pub fn await_more(&self, count: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        eventually(PATIENCE, "answers to the load", || {
            (self.answered.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    /// Stops the visitors and adds up what they got.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for thread in self.threads.drain(..) {
            tally.add(thread.join().expect("a visitor does not panic"));
        }
        tally
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn visit(
    address: SocketAddr,
    requests: &[Vec<u8>],
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Tally {
    let (mut client, mut tally) = (Client::new(address), Tally::default());
    for request in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match client.send(request) {
            Ok(response) => *tally.statuses.entry(response.status).or_default() += 1,
            Err(why) => {
                tally.failed += 1;
                if tally.failures.len() < FAILURES_KEPT {
                    tally.failures.push(why.to_string());
                }
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(REST);
    }
    tally
}
