//! Getting policies from the API: which endpoint, which dialect, when.
//!
//! [`Collector::next`] is one step and says what came of it. It may be dropped
//! at any await without harm: state changes only between awaits.

mod ask;
pub mod client;
pub mod endpoints;
pub mod fetch;
pub mod v1;
pub mod v2;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error, info, warn};
use wire::v2::{Bundle, Revision};

use crate::config::{Config, Dialect};
use crate::key::{ApiKey, KeyError};
use crate::metrics;
use crate::refuse::Refusal;
use crate::store::Store;
pub use ask::Api;
use ask::{Answer, Refused};
use client::{AskError, FIRST_BYTE};
use endpoints::{Endpoints, Next};
use fetch::{Fetched, Way};

/// How long a long poll is held; below the API's limit of 60 s.
pub const WAIT: Duration = Duration::from_secs(25);
/// Longest time between the cheap calls that accompany a long poll.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);
/// How long a v1 content that lost nearly everything must stay the same before it is
/// taken for meant: v1 cannot say that somebody asked for it.
const SETTLES: Duration = Duration::from_secs(60);
/// How long a missing v2, or a missing long poll, is believed before it is tried again.
const BELIEVED: Duration = Duration::from_secs(60);

/// What runs now, as far as collecting has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Its place in history.
    pub revision: Option<Revision>,
    /// Digest of its content, where it is known.
    pub digest: Option<String>,
    /// Whether the bundle is kept on disk, so that deltas can be applied to it.
    pub kept: bool,
    /// An operator of this node wants whatever the API has, also of an older session.
    pub any_session: bool,
}

impl Known {
    /// Whether a revision goes back behind what runs.
    fn forbids(&self, found: Revision) -> bool {
        self.revision.is_some_and(|running| {
            found < running && !(self.any_session && found.session < running.session)
        })
    }
}

/// What one step gave. Endpoints are named by their index in the configuration.
#[derive(Debug)]
pub enum Collected {
    /// A bundle that is not what runs.
    Bundle {
        /// Who gave it.
        from: usize,
        /// The bundle, not yet checked.
        bundle: Box<Bundle>,
        /// How it came.
        way: Way,
        /// Whether its revision has an order; v1 has none.
        ordered: bool,
        /// Whether it was refused before and has been the same ever since.
        settled: bool,
    },
    /// The endpoint has nothing newer.
    Current {
        /// Who said so.
        from: usize,
        /// Whether this confirms what runs, and not a refused bundle.
        confirmed: bool,
    },
    /// The endpoint gave something older than what runs.
    Behind {
        /// Who gave it.
        from: usize,
        /// What it gave.
        revision: Revision,
        /// Whether it was said before.
        again: bool,
    },
    /// The key is not accepted.
    Unauthorised {
        /// Who said so.
        from: usize,
        /// In which words.
        message: String,
    },
    /// An endpoint failed.
    Failed {
        /// Whether it was the last one of this cycle.
        all: bool,
    },
    /// The first endpoint is the active one again.
    Returned,
}

/// Asks the endpoints of one configuration.
#[derive(Debug)]
pub struct Collector {
    api: Arc<Api>,
    key_file: PathBuf,
    dialect: Dialect,
    poll_interval: Duration,
    endpoints: Endpoints,
    /// Nothing is asked before.
    pause: Option<Instant>,
    /// The last long poll came back without news and too early.
    early: bool,
    /// Until when long polls are not tried, because they came back too early twice.
    plain_until: Option<Instant>,
    /// Until when each endpoint is taken for one without v2.
    v1_until: Vec<Option<Instant>>,
    /// Digest of a v1 content that was refused, and from when on it counts as settled.
    refused_digest: Option<(String, Option<Instant>)>,
    /// The kind of error that was logged last for each endpoint.
    logged: Vec<Option<&'static str>>,
}

impl Collector {
    /// A collector for a configuration; nothing is asked yet.
    pub fn new(config: &Config, client: Client, key: ApiKey, store: Arc<Store>) -> Self {
        let count = config.endpoints.len();
        let api = Arc::new(Api { client, urls: config.endpoints.clone(), key, store });
        Self {
            api,
            key_file: config.key_file.clone(),
            dialect: config.dialect,
            poll_interval: config.poll_interval,
            endpoints: Endpoints::new(count, config.poll_interval),
            pause: None,
            early: false,
            plain_until: None,
            v1_until: vec![None; count],
            refused_digest: None,
            logged: vec![None; count],
        }
    }

    /// Who is asked, for reports.
    pub fn api(&self) -> Arc<Api> {
        Arc::clone(&self.api)
    }

    /// What is known about the endpoints.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Address of an endpoint.
    pub fn url(&self, index: usize) -> &Url {
        &self.api.urls[index]
    }

    /// Whether reports can be sent to an endpoint.
    pub fn takes_reports(&self, index: usize) -> bool {
        self.dialect != Dialect::V1 && self.v1_until[index].is_none()
    }

    /// A bundle was put in force.
    pub fn accepted(&mut self) {
        self.endpoints.forget_refusals();
        self.refused_digest = None;
    }

    /// A bundle was refused: it is not fetched again from there before the
    /// endpoint has another one. A `damaged` one is fetched again after a while,
    /// and another endpoint is asked first.
    pub fn refused(&mut self, from: usize, bundle: &Bundle, why: &Refusal) {
        let now = Instant::now();
        let retry = why.is_damage().then(|| now + BELIEVED);
        self.endpoints.refused(from, bundle, retry);
        if why.is_damage() {
            self.fail(from, "invalid", why.to_string(), None);
        } else {
            let settles = matches!(why, Refusal::Loss { .. }).then(|| now + SETTLES);
            self.refused_digest = Some((bundle.digest.clone(), settles));
        }
    }

    /// What is known about a v1 content of this digest.
    fn refused_content(&self, digest: &str, now: Instant) -> Refused {
        match &self.refused_digest {
            Some((refused, Some(at))) if refused == digest && *at <= now => Refused::Settled,
            Some((refused, _)) if refused == digest => Refused::Still,
            _ => Refused::No,
        }
    }

    /// An endpoint gave what runs.
    pub fn matched(&mut self, from: usize) {
        self.endpoints.matched(from);
    }

    /// What was accepted could not be published: fetch it again after a pause.
    pub fn postpone(&mut self) {
        self.pause_for(jittered(self.poll_interval));
    }

    /// Forgets refusals and pauses, so that everything is fetched again now.
    pub fn restart(&mut self) {
        self.accepted();
        self.pause = None;
        self.plain_until = None;
        self.v1_until.fill(None);
        self.endpoints.hurry();
    }

    /// Asks all endpoints at once; the newest answer wins. For the start, when
    /// no endpoint deserves more trust than another.
    pub async fn everyone(&mut self, known: &Known) -> Collected {
        if self.dialect == Dialect::V1 {
            return self.next(known).await;
        }
        let mut asked = JoinSet::new();
        let running = known.revision;
        for index in 0..self.api.urls.len() {
            let api = self.api();
            let known = known.clone();
            asked.spawn(async move { (index, api.bundle(index, &known, Duration::ZERO).await) });
        }
        let mut best: Option<(Revision, usize, Option<Fetched>)> = None;
        let mut deadline = Instant::now() + client::BODY_BASE;
        while let Ok(Some(joined)) = timeout_at(deadline, asked.join_next()).await {
            let Ok((index, answer)) = joined else { continue };
            // Whoever has not answered now gets the time of one hanging endpoint.
            if answer.is_ok() && best.is_none() {
                deadline = deadline.min(Instant::now() + FIRST_BYTE);
            }
            let (revision, fetched) = match (answer, running) {
                (Ok(Some(fetched)), _) => (fetched.bundle.revision, Some(fetched)),
                (Ok(None), Some(revision)) => (revision, None),
                (Ok(None), None) => continue,
                (Err(why @ AskError::Unauthorised { .. }), _) => {
                    let text = why.to_string();
                    self.log_failure(index, why.kind(), &text);
                    self.endpoints.noted(index, text);
                    continue;
                }
                // The first step after this one says what is wrong with the dialect.
                (Err(AskError::NoSuchCall { .. }), _) => continue,
                (Err(why), _) => {
                    self.note_failure(index, &why);
                    continue;
                }
            };
            debug!(endpoint = %self.api.urls[index], %revision, "endpoint answered");
            let newer = best.as_ref().is_none_or(|(other, at, _)| {
                revision > *other || (revision == *other && index < *at)
            });
            if newer {
                best = Some((revision, index, fetched));
            }
        }
        match best {
            Some((_, from, Some(fetched))) => {
                self.settle(from, Ok(Answer::New { fetched, ordered: true, settled: false }), known)
            }
            Some((_, from, None)) => self.settle(from, Ok(Answer::Same), known),
            None => self.next(known).await,
        }
    }

    /// One step: waits for a pause to end, asks one endpoint, says what came of it.
    pub async fn next(&mut self, known: &Known) -> Collected {
        let index = loop {
            if let Some(at) = self.pause {
                sleep_until(at).await;
                self.pause = None;
            }
            match self.endpoints.candidate(Instant::now()) {
                Ok(index) => break index,
                Err(wait) => self.pause_for(wait),
            }
        };
        let start = Instant::now();
        let answer = self.ask(index, known).await;
        metrics::polled(start.elapsed());
        self.settle(index, answer, known)
    }

    /// Turns an answer into the next state and what the caller is told.
    fn settle(
        &mut self,
        index: usize,
        answer: Result<Answer, AskError>,
        known: &Known,
    ) -> Collected {
        let now = Instant::now();
        let held = self.endpoints.known(index, known, now).revision;
        let polls = self.dialect == Dialect::V1 || self.v1_until[index].is_some();
        let answer = match answer {
            Ok(Answer::Returned) => {
                info!(endpoint = %self.api.urls[0], "the first endpoint is good again, returned to it");
                metrics::failover();
                return Collected::Returned;
            }
            Ok(Answer::New { fetched, ordered: true, .. })
                if known.forbids(fetched.bundle.revision) =>
            {
                let revision = fetched.bundle.revision;
                let again = held == Some(revision);
                self.endpoints.refused(index, &fetched.bundle, None);
                self.fail(index, "rollback_refused", behind(revision, known.revision), None);
                return Collected::Behind { from: index, revision, again };
            }
            Ok(Answer::Same) if !polls && held < known.revision => {
                let revision = held.unwrap_or_default();
                self.fail(index, "rollback_refused", behind(revision, known.revision), None);
                return Collected::Behind { from: index, revision, again: true };
            }
            Ok(answer) => answer,
            Err(AskError::Unauthorised { status, message }) => {
                return self.alarm(index, status, message);
            }
            Err(why) => {
                let text = why.to_string();
                self.fail(index, why.kind(), text, why.retry_after());
                return Collected::Failed { all: self.pause.is_some() };
            }
        };
        let recovered = self.endpoints.iter().nth(index).is_some_and(|e| e.last_error.is_some());
        let before = self.endpoints.active();
        if self.endpoints.answered(index, now) {
            let (from, to) = (&self.api.urls[before], &self.api.urls[index]);
            warn!(%from, %to, "failed over to another endpoint");
            metrics::failover();
        } else if recovered {
            info!(endpoint = %self.api.urls[index], "endpoint answers again");
        }
        self.logged[index] = None;
        if polls || self.plain_until.is_some_and(|until| until > now) {
            self.pause_for(jittered(self.poll_interval));
        }
        match answer {
            Answer::New { fetched: Fetched { bundle, way }, ordered, settled } => {
                metrics::answered(index, "changed");
                Collected::Bundle { from: index, bundle, way, ordered, settled }
            }
            Answer::Same | Answer::Returned => {
                metrics::answered(index, "not_modified");
                // An endpoint whose last bundle is refused says no more than that it
                // still has that one, also where it has the revision that runs.
                let confirmed = if polls {
                    self.refused_digest.is_none()
                } else {
                    held == known.revision && !self.endpoints.is_refused(index, now)
                };
                Collected::Current { from: index, confirmed }
            }
        }
    }

    /// The key is refused: an alarm where the endpoint is the active one, a step of
    /// the cycle where it is not, and another look at the key file.
    fn alarm(&mut self, index: usize, status: u16, message: String) -> Collected {
        let text = AskError::Unauthorised { status, message }.to_string();
        self.log_failure(index, "auth", &text);
        let next = self.endpoints.unauthorised(index, text.clone());
        metrics::answered(index, "auth");
        let other_key = self.reread_key().unwrap_or_else(|why| {
            warn!(error = %why, "the key file cannot be used, the old key stays");
            false
        });
        match next {
            _ if other_key => info!("the key file has another key, trying it"),
            Next::Other => {}
            Next::Pause(pause) if index == self.endpoints.active() => {
                self.pause_for(jittered(pause));
            }
            Next::Pause(pause) => self.pause_for(pause),
        }
        if index != self.endpoints.active() {
            return Collected::Failed { all: self.pause.is_some() };
        }
        Collected::Unauthorised { from: index, message: text }
    }

    /// Takes over another key; `false` where it is the same.
    fn reread_key(&mut self) -> Result<bool, KeyError> {
        let key = ApiKey::read(&self.key_file)?;
        let other = key != self.api.key;
        if other {
            self.api = Arc::new(Api { key, ..Api::clone(&self.api) });
        }
        Ok(other)
    }

    fn fail(
        &mut self,
        index: usize,
        kind: &'static str,
        text: String,
        retry_after: Option<Duration>,
    ) {
        self.log_failure(index, kind, &text);
        metrics::answered(index, kind);
        match self.endpoints.failed(index, text, retry_after, Instant::now()) {
            Next::Other => {}
            Next::Pause(pause) => self.pause_for(pause),
        }
    }

    /// A failure beside the cycle, at the start.
    fn note_failure(&mut self, index: usize, why: &AskError) {
        self.fail(index, why.kind(), why.to_string(), why.retry_after());
        self.pause = None;
    }

    /// One line for each change of an endpoint's state, not for each failed poll.
    fn log_failure(&mut self, index: usize, kind: &'static str, text: &str) {
        let endpoint = &self.api.urls[index];
        let known = self.logged[index].replace(kind) == Some(kind);
        if known {
            debug!(%endpoint, error = %text, "endpoint still fails");
        } else if kind == "auth" {
            error!(%endpoint, error = %text, "what runs stays, but no change arrives from here");
        } else {
            warn!(%endpoint, error = %text, "endpoint failed");
        }
    }

    fn pause_for(&mut self, pause: Duration) {
        self.pause = Some(Instant::now() + pause);
    }
}

fn behind(found: Revision, running: Option<Revision>) -> String {
    let running = running.unwrap_or_default();
    format!("it has revision {found}, older than {running}, which runs")
}

/// 80 to 120 % of a time, so that nodes started together do not ask together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
pub(crate) mod tests;
