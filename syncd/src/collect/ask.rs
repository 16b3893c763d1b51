//! Asking one endpoint: by long poll, by plain poll, or by the vendor's calls.
//!
//! A held long poll is accompanied by a cheap call to the same endpoint every
//! few seconds, because a server that hangs cannot be told from one that has no
//! news; and, while another endpoint than the first is active, by probes of the
//! first.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::info;
use wire::v2::{AgentReport, Bundle, BundleContent, Revision};

use super::client::AskError;
use super::fetch::{self, Fetched, Way};
use super::{BELIEVED, Collector, HEARTBEAT_MAX, Known, WAIT, behind, v1, v2};
use crate::config::Dialect;
use crate::key::ApiKey;
use crate::metrics;
use crate::store::Store;

/// Who is asked, with what.
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) client: Client,
    pub(super) urls: Vec<Url>,
    pub(super) key: ApiKey,
    /// Where the last good bundle is, which deltas are applied to.
    pub(super) store: Arc<Store>,
}

/// One answer of an endpoint.
#[derive(Debug)]
pub(super) enum Answer {
    New { fetched: Fetched, ordered: bool, settled: bool },
    Same,
    Returned,
}

/// What became of a v1 content when it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was not the last one that was refused.
    No,
    /// It was, and stays so.
    Still,
    /// It was, and has been the same for so long that it is meant.
    Settled,
}

impl Api {
    /// Sends a report to an endpoint.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn report(&self, to: usize, report: &AgentReport) -> Result<(), AskError> {
        v2::report(&self.client, &self.urls[to], &self.key, report).await
    }

    pub(super) async fn bundle(
        &self,
        from: usize,
        known: &Known,
        wait: Duration,
    ) -> Result<Option<Fetched>, AskError> {
        fetch::newest(self, from, known, wait).await
    }

    async fn content(&self, from: usize) -> Result<BundleContent, AskError> {
        v1::content(&self.client, &self.urls[from], &self.key).await
    }

    /// Whether the first endpoint could be returned to.
    async fn probe(&self, by_v1: bool, running: &Known) -> Result<(), String> {
        if by_v1 {
            let settings = v1::settings(&self.client, &self.urls[0], &self.key).await;
            return settings.map(drop).map_err(|why| why.to_string());
        }
        let answer = self.bundle(0, running, Duration::ZERO).await;
        match answer.map(|fetched| fetched.map(|fetched| fetched.bundle)) {
            Ok(Some(bundle)) if Some(bundle.revision) < running.revision => {
                Err(behind(bundle.revision, running.revision))
            }
            Ok(Some(bundle)) if Some(bundle.revision) == running.revision => {
                Err("it has another content under the revision that runs".into())
            }
            Ok(Some(bundle)) if bundle.content.digest() != bundle.digest => {
                Err("the digest of its bundle does not match".into())
            }
            Ok(_) => Ok(()),
            Err(why) => Err(why.to_string()),
        }
    }
}

impl Collector {
    /// Asks one endpoint in the way it understands.
    pub(super) async fn ask(&mut self, index: usize, known: &Known) -> Result<Answer, AskError> {
        let now = Instant::now();
        let v1 = match self.dialect {
            Dialect::V1 => true,
            Dialect::V2 => false,
            Dialect::Auto => self.v1_until[index].is_some_and(|until| until > now),
        };
        let expected = self.endpoints.known(index, known, now);
        let plain = self.plain_until.is_some_and(|until| until > now);
        let holds = !v1 && !plain && self.endpoints.is_proven(index) && expected.revision.is_some();
        if !holds && self.endpoints.probe_at(now).is_some_and(|at| at <= now) {
            let result = self.api.probe(self.probes_by_v1(), known).await;
            if self.endpoints.probed(result, Instant::now()) {
                return Ok(Answer::Returned);
            }
        }
        if v1 {
            return self.poll_v1(index, known).await;
        }
        let answer = if holds {
            self.hold(index, &expected, known).await
        } else {
            let bundle = self.api.bundle(index, &expected, Duration::ZERO).await;
            bundle.and_then(|bundle| answer(bundle, expected.revision))
        };
        match answer {
            Ok(answer) => {
                self.v1_until[index] = None;
                Ok(answer)
            }
            Err(AskError::NoSuchCall { message }) if self.dialect == Dialect::Auto => {
                self.without_v2(index, known, message).await
            }
            Err(why) => Err(why),
        }
    }

    /// Changes over to v1, where that cannot put an older policy in force.
    async fn without_v2(
        &mut self,
        index: usize,
        known: &Known,
        message: String,
    ) -> Result<Answer, AskError> {
        if known.revision.is_some_and(|revision| revision.session > 0) {
            let message = format!(
                "{message}; what runs came by v2, and v1 cannot say whether it has something \
                 older; write api.dialect = \"v1\" to change over"
            );
            return Err(AskError::NoSuchCall { message });
        }
        if self.v1_until[index].is_none() {
            info!(endpoint = %self.api.urls[index], "the API has no v2, polling by v1");
        }
        self.v1_until[index] = Some(Instant::now() + BELIEVED);
        self.poll_v1(index, known).await
    }

    /// A long poll with its company.
    async fn hold(
        &mut self,
        index: usize,
        expected: &Known,
        running: &Known,
    ) -> Result<Answer, AskError> {
        let by_v1 = self.probes_by_v1();
        let (api, endpoints) = (&self.api, &mut self.endpoints);
        let start = Instant::now();
        let every = self.poll_interval.min(HEARTBEAT_MAX);
        let mut poll = pin!(api.bundle(index, expected, WAIT));
        let mut heartbeat = pin!(async {
            loop {
                sleep(every).await;
                let first = api.bundle(index, expected, Duration::ZERO).await;
                // One lost packet is no reason to leave.
                let beat = match first {
                    Err(AskError::Slow { .. } | AskError::Transport(_)) => {
                        api.bundle(index, expected, Duration::ZERO).await
                    }
                    other => other,
                };
                if !matches!(beat, Ok(None)) {
                    break beat;
                }
                metrics::heartbeat();
            }
        });
        loop {
            let due = endpoints.probe_at(Instant::now());
            let mut probe = pin!(async {
                match due {
                    Some(at) => {
                        sleep_until(at).await;
                        api.probe(by_v1, running).await
                    }
                    None => pending().await,
                }
            });
            let bundle = select! {
                biased;
                bundle = &mut poll => {
                    let early = matches!(bundle, Ok(None)) && start.elapsed() < WAIT / 2;
                    // Once may be a server that stops; twice is one that cannot hold.
                    if early && self.early {
                        self.plain_until = Some(Instant::now() + BELIEVED);
                    }
                    self.early = early;
                    bundle
                }
                bundle = &mut heartbeat => bundle,
                result = &mut probe => {
                    if endpoints.probed(result, Instant::now()) {
                        return Ok(Answer::Returned);
                    }
                    continue;
                }
            };
            return answer(bundle?, expected.revision);
        }
    }

    /// Whether the first endpoint is one that knows only v1.
    fn probes_by_v1(&self) -> bool {
        self.dialect == Dialect::V1 || self.v1_until[0].is_some()
    }

    async fn poll_v1(&mut self, index: usize, known: &Known) -> Result<Answer, AskError> {
        let content = self.api.content(index).await?;
        let digest = content.digest();
        if known.digest.as_ref() == Some(&digest) {
            self.refused_digest = None;
            self.endpoints.matched(index);
            return Ok(Answer::Same);
        }
        let settled = match self.refused_content(&digest, Instant::now()) {
            Refused::No => false,
            Refused::Settled => true,
            Refused::Still => return Ok(Answer::Same),
        };
        let before = known.revision.filter(|revision| revision.session == 0);
        let generation = before.map_or(1, |revision| revision.generation + 1);
        let bundle = Bundle::seal(Revision { session: 0, generation }, 0, content);
        let fetched = Fetched { bundle: Box::new(bundle), way: Way::Whole };
        Ok(Answer::New { fetched, ordered: false, settled })
    }
}

/// "No news" needs something it is no news to.
fn answer(fetched: Option<Fetched>, expected: Option<Revision>) -> Result<Answer, AskError> {
    match fetched {
        Some(fetched) => Ok(Answer::New { fetched, ordered: true, settled: false }),
        None if expected.is_some() => Ok(Answer::Same),
        None => Err(AskError::Content {
            expected: "a bundle",
            reason: "status 204 although nothing was known yet".into(),
        }),
    }
}
