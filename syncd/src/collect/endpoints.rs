//! Which endpoint is asked next: failover, return to the first, delays.
//!
//! A state machine without I/O; time and randomness come in as arguments or
//! through `Backoff`. One *cycle* asks each endpoint at most once, beginning
//! with the active one; when all of them failed, there is a pause.
//!
//! Invariants: only a usable answer makes its endpoint the active one; the first endpoint
//! is returned to only after [`PROBES`] good probes in a row that span
//! [`PROBE_SPAN`], or when the active one fails; a pause is never longer than
//! the poll interval, unless every endpoint asked for more by `Retry-After`.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use wire::v2::Bundle;

use super::Known;

/// Time between probes of the first endpoint while another one is active.
pub const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Good probes in a row before the first endpoint is returned to.
pub const PROBES: u32 = 3;
/// Least time between the first and the last of them.
pub const PROBE_SPAN: Duration = Duration::from_secs(30);
/// Longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Shortest ceiling of a pause after a cycle that failed.
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// What is known about one endpoint.
#[derive(Debug, Clone, Default)]
pub struct Endpoint {
    /// When it last gave a usable answer.
    pub last_ok: Option<Instant>,
    /// What went wrong last; empty again after a usable answer.
    pub last_error: Option<String>,
    /// Whether the last answer was usable, so that a long poll may be held there.
    pub proven: bool,
    /// The bundle it gave that was refused, and until when it is not fetched again.
    refused: Option<(Known, Option<Instant>)>,
    not_before: Option<Instant>,
}

/// What a failure means for the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another endpoint is to be asked at once.
    Other,
    /// Every endpoint failed in this cycle: wait so long first.
    Pause(Duration),
}

/// All endpoints in the order of the configuration.
#[derive(Debug)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    active: usize,
    candidate: usize,
    /// Failures since the cycle began.
    failed: usize,
    failovers: u64,
    probes: Probes,
    backoff: Backoff,
}

/// Probes of the first endpoint.
#[derive(Debug, Default)]
struct Probes {
    last: Option<Instant>,
    good: u32,
    since: Option<Instant>,
}

impl Endpoints {
    /// `count` endpoints of which nothing is known; `ceiling` is the longest pause.
    pub fn new(count: usize, ceiling: Duration) -> Self {
        debug_assert!(count > 0, "a configuration has an endpoint");
        Self {
            list: vec![Endpoint::default(); count],
            active: 0,
            candidate: 0,
            failed: 0,
            failovers: 0,
            probes: Probes::default(),
            backoff: Backoff::new(ceiling),
        }
    }

    /// Each endpoint, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.list.iter()
    }

    /// The endpoint that answered last.
    pub fn active(&self) -> usize {
        self.active
    }

    /// How often the active endpoint changed.
    pub fn failovers(&self) -> u64 {
        self.failovers
    }

    /// The endpoint to ask now, or how long all of them want to be left alone.
    pub fn candidate(&mut self, now: Instant) -> Result<usize, Duration> {
        let count = self.list.len();
        let free = |index: &usize| self.list[*index].not_before.is_none_or(|at| at <= now);
        match (0..count).map(|step| (self.candidate + step) % count).find(free) {
            Some(index) => {
                self.candidate = index;
                Ok(index)
            }
            None => {
                let earliest = self.list.iter().filter_map(|endpoint| endpoint.not_before).min();
                Err(earliest.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
            }
        }
    }

    /// Whether a long poll may be held at an endpoint.
    pub fn is_proven(&self, index: usize) -> bool {
        self.list[index].proven
    }

    /// Records a usable answer. `true` where this made another endpoint the active one.
    pub fn answered(&mut self, index: usize, now: Instant) -> bool {
        let endpoint = &mut self.list[index];
        endpoint.last_ok = Some(now);
        endpoint.last_error = None;
        endpoint.proven = true;
        endpoint.not_before = None;
        self.failed = 0;
        self.backoff.reset();
        self.activate(index)
    }

    /// Records that the key was refused and says what to do next.
    ///
    /// Where the active endpoint took the key before, it was revoked: the endpoint
    /// lives and is asked again. Any other endpoint never knew the key; that is a
    /// step of the cycle and makes nothing active.
    pub fn unauthorised(&mut self, index: usize, error: String) -> Next {
        self.noted(index, error);
        if index == self.active && (self.list[index].last_ok.is_some() || self.list.len() == 1) {
            self.failed = 0;
            self.candidate = index;
            return Next::Pause(self.backoff.limit);
        }
        self.step(index)
    }

    /// Records an error beside the cycle.
    pub fn noted(&mut self, index: usize, error: String) {
        let endpoint = &mut self.list[index];
        endpoint.last_error = Some(error);
        endpoint.proven = false;
    }

    /// Records a failure and says what to do next.
    pub fn failed(
        &mut self,
        index: usize,
        error: String,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Next {
        self.noted(index, error);
        self.list[index].not_before = retry_after.map(|wait| now + wait.min(RETRY_AFTER_MAX));
        if index == 0 {
            self.probes = Probes { last: Some(now), ..Probes::default() };
        }
        self.step(index)
    }

    /// One endpoint of this cycle gave nothing usable.
    fn step(&mut self, index: usize) -> Next {
        let count = self.list.len();
        self.candidate = (index + 1) % count;
        self.failed += 1;
        if self.failed < count {
            return Next::Other;
        }
        self.failed = 0;
        self.candidate = self.active;
        Next::Pause(self.backoff.next())
    }

    /// When the first endpoint is to be probed; never while it is the active one.
    pub fn probe_at(&self, now: Instant) -> Option<Instant> {
        let held = self.list[0].not_before.unwrap_or(now);
        (self.active != 0).then(|| self.probes.last.map_or(now, |at| at + PROBE_EVERY).max(held))
    }

    /// Records a probe of the first endpoint; `true` where it is active again.
    pub fn probed(&mut self, result: Result<(), String>, now: Instant) -> bool {
        self.probes.last = Some(now);
        match result {
            Err(error) => {
                self.probes = Probes { last: Some(now), ..Probes::default() };
                self.list[0].last_error = Some(error);
                false
            }
            Ok(()) => {
                self.probes.good += 1;
                let since = *self.probes.since.get_or_insert(now);
                let enough = self.probes.good >= PROBES && now - since >= PROBE_SPAN;
                enough && self.answered(0, now)
            }
        }
    }

    /// Remembers what an endpoint gave and was refused. `retry` is when it is
    /// worth fetching again; without it only another revision is of interest.
    pub fn refused(&mut self, index: usize, bundle: &Bundle, retry: Option<Instant>) {
        let digest = Some(bundle.digest.clone());
        let known = Known { revision: Some(bundle.revision), digest, ..Known::default() };
        self.list[index].refused = Some((known, retry));
    }

    /// What an endpoint is to be asked to differ from: what it gave and was
    /// refused, else what runs.
    pub fn known(&self, index: usize, running: &Known, now: Instant) -> Known {
        match &self.list[index].refused {
            Some((refused, _)) if self.is_refused(index, now) => refused.clone(),
            _ => running.clone(),
        }
    }

    /// Whether [`Self::known`] is a refused bundle.
    pub fn is_refused(&self, index: usize, now: Instant) -> bool {
        let refused = self.list[index].refused.as_ref();
        refused.is_some_and(|(_, retry)| retry.is_none_or(|at| at > now))
    }

    /// An endpoint has what runs, whatever it had before.
    pub fn matched(&mut self, index: usize) {
        self.list[index].refused = None;
    }

    /// The next question is not a long poll: an answer is wanted at once.
    pub fn hurry(&mut self) {
        for endpoint in &mut self.list {
            endpoint.proven = false;
        }
    }

    /// Forgets refusals: something was accepted, or an operator overrides them.
    pub fn forget_refusals(&mut self) {
        for endpoint in &mut self.list {
            endpoint.refused = None;
        }
    }

    fn activate(&mut self, index: usize) -> bool {
        self.candidate = index;
        if index == self.active {
            return false;
        }
        self.active = index;
        self.failovers += 1;
        self.probes.good = 0;
        self.probes.since = None;
        true
    }
}

/// Full jitter: a random part of a ceiling that doubles from 0.2 s up to the limit.
#[derive(Debug)]
struct Backoff {
    limit: Duration,
    ceilings: ExponentialBackoff,
}

impl Backoff {
    fn new(limit: Duration) -> Self {
        let ceilings = ExponentialBuilder::new()
            .with_min_delay(BACKOFF_MIN)
            .with_max_delay(limit)
            .with_factor(2.0)
            .without_max_times()
            .build();
        Self { limit, ceilings }
    }

    fn reset(&mut self) {
        *self = Self::new(self.limit);
    }

    fn next(&mut self) -> Duration {
        self.ceilings.next().unwrap_or(self.limit).min(self.limit).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: Duration = Duration::from_secs(5);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_failure_moves_on_in_the_same_cycle_and_an_answer_stays() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(3, CEILING);
        assert_eq!(endpoints.candidate(now), Ok(0));
        assert_eq!(endpoints.failed(0, "down".into(), None, now), Next::Other);
        assert_eq!(endpoints.candidate(now), Ok(1));
        assert!(endpoints.answered(1, now));
        assert_eq!((endpoints.active(), endpoints.failovers()), (1, 1));
        assert_eq!(endpoints.candidate(now), Ok(1));
        assert!(!endpoints.answered(1, now));
    }

    #[test]
    fn a_cycle_without_an_answer_pauses_and_begins_with_the_active_one() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        endpoints.answered(1, now);
        for _ in 0..64 {
            assert_eq!(endpoints.failed(1, "down".into(), None, now), Next::Other);
            match endpoints.failed(0, "down".into(), None, now) {
                Next::Pause(pause) => assert!(pause <= CEILING, "{pause:?}"),
                Next::Other => panic!("both failed"),
            }
            assert_eq!(endpoints.candidate(now), Ok(1));
        }
        assert_eq!(endpoints.failovers(), 1);
    }

    #[test]
    fn the_first_pause_is_short() {
        for _ in 0..64 {
            let mut endpoints = Endpoints::new(1, CEILING);
            let Next::Pause(pause) = endpoints.failed(0, String::new(), None, Instant::now())
            else {
                panic!("one endpoint is the whole cycle")
            };
            assert!(pause <= BACKOFF_MIN);
        }
    }

    #[test]
    fn the_first_is_returned_to_after_three_good_probes_over_thirty_seconds() {
        let start = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        assert_eq!(endpoints.probe_at(start), None);
        endpoints.failed(0, "down".into(), None, start);
        endpoints.answered(1, start);
        assert_eq!(endpoints.probe_at(start), Some(start + PROBE_EVERY));
        assert!(!endpoints.probed(Ok(()), after(start, 15)));
        assert!(!endpoints.probed(Err("still down".into()), after(start, 30)));
        assert!(!endpoints.probed(Ok(()), after(start, 45)));
        assert!(!endpoints.probed(Ok(()), after(start, 60)));
        // Three in a row, and 30 s between the first and the last.
        assert!(endpoints.probed(Ok(()), after(start, 75)));
        assert_eq!((endpoints.active(), endpoints.failovers()), (0, 2));
        assert_eq!(endpoints.probe_at(after(start, 75)), None);
    }

    #[test]
    fn probes_that_come_too_quickly_do_not_count_as_time() {
        let start = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        endpoints.answered(1, start);
        for second in 0..30 {
            assert!(!endpoints.probed(Ok(()), after(start, second)));
        }
        assert!(endpoints.probed(Ok(()), after(start, 30)));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_its_limit() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        endpoints.failed(0, "busy".into(), Some(Duration::from_secs(20)), now);
        endpoints.failed(1, "busy".into(), Some(Duration::from_secs(9_000)), now);
        assert_eq!(endpoints.candidate(now), Err(Duration::from_secs(20)));
        assert_eq!(endpoints.candidate(after(now, 20)), Ok(0));
        endpoints.failed(0, "down".into(), Some(RETRY_AFTER_MAX * 2), after(now, 20));
        assert_eq!(endpoints.candidate(now + RETRY_AFTER_MAX), Ok(1));
    }

    #[test]
    fn a_refused_key_does_not_fail_over() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        endpoints.answered(0, now);
        assert_eq!(endpoints.unauthorised(0, "401".into()), Next::Pause(CEILING));
        assert_eq!(endpoints.candidate(now), Ok(0));
        assert_eq!(endpoints.failovers(), 0);
        let mut only = Endpoints::new(1, CEILING);
        assert_eq!(only.unauthorised(0, "401".into()), Next::Pause(CEILING));
    }

    #[test]
    fn an_endpoint_that_never_knew_the_key_is_not_failed_over_to() {
        let now = Instant::now();
        let mut endpoints = Endpoints::new(2, CEILING);
        // The first does not know the key from the beginning.
        assert_eq!(endpoints.unauthorised(0, "401".into()), Next::Other);
        assert_eq!(endpoints.candidate(now), Ok(1));
        endpoints.answered(1, now);
        // The good one restarts.
        assert_eq!(endpoints.failed(1, "down".into(), None, now), Next::Other);
        assert_eq!(endpoints.candidate(now), Ok(0));
        assert!(matches!(endpoints.unauthorised(0, "401".into()), Next::Pause(_)));
        assert_eq!((endpoints.active(), endpoints.candidate(now)), (1, Ok(1)));
        assert!(!endpoints.answered(1, now));
    }

    #[test]
    fn a_refused_bundle_is_waited_out_at_the_endpoint_that_gave_it() {
        let now = Instant::now();
        let at = |generation| wire::v2::Revision { session: 1, generation };
        let running = Known { revision: Some(at(4)), ..Known::default() };
        let bad = Bundle::seal(at(5), 0, wire::v2::BundleContent::default());
        let refused = Some(bad.digest.clone());
        let refused = Known { revision: Some(at(5)), digest: refused, ..Known::default() };
        let mut endpoints = Endpoints::new(2, CEILING);
        endpoints.refused(0, &bad, None);
        assert_eq!(endpoints.known(0, &running, now), refused);
        assert_eq!(endpoints.known(1, &running, now), running);
        endpoints.refused(0, &bad, Some(after(now, 60)));
        assert_eq!(endpoints.known(0, &running, after(now, 59)), refused);
        assert_eq!(endpoints.known(0, &running, after(now, 60)), running);
        endpoints.refused(0, &bad, None);
        endpoints.forget_refusals();
        assert_eq!(endpoints.known(0, &running, now), running);
    }
}
