//! What an operator can ask this process: state as JSON, numbers for Prometheus.
//!
//! The driver is the only writer. Nothing secret is part of the status, and the
//! listener can change nothing. A connection gets one answer and [`CONNECTION`] of
//! time, and there are at most [`CONNECTIONS_MAX`]: strangers cost little.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use wire::v2::Revision;

use crate::metrics;
use crate::publish::Published;

/// Longest time from accepting a connection to its end.
const CONNECTION: Duration = Duration::from_secs(10);
/// Connections at the same time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Pause after a connection could not be accepted, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The one word for how this node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateWord {
    /// No endpoint has been asked to the end yet.
    Starting,
    /// What runs is what the API has.
    Synced,
    /// No endpoint gives an answer that is not older than what runs, or the disk
    /// takes no snapshot; what ran goes on.
    Stale,
    /// The API has something that was refused; what ran goes on.
    Refused,
    /// The API does not accept the key; what ran goes on.
    Unauthorised,
}

/// What the driver knows.
#[derive(Debug, Default)]
pub struct Status {
    /// What runs.
    pub published: Option<Published>,
    /// The endpoints in the order of the configuration.
    pub endpoints: Vec<EndpointStatus>,
    /// Index of the active endpoint.
    pub active: usize,
    /// Whether a first round is over, with or without success.
    pub asked: bool,
    /// Whether the last cycle found no endpoint.
    pub failing: bool,
    /// What the API says about the key, where it does not accept it.
    pub unauthorised: Option<String>,
    /// Whether the newest the active endpoint has is refused.
    pub refused: bool,
    /// Why the disk did not take the last snapshot.
    pub disk_error: Option<String>,
    /// When an endpoint last confirmed that what runs is what it has.
    pub confirmed: Option<Instant>,
    /// Bundles refused.
    pub refusals: u64,
    /// Bundles that came by what had changed.
    pub deltas: u64,
    /// Bundles that came as a whole because that could not be had or used.
    pub delta_fallbacks: u64,
    /// Changes of the active endpoint.
    pub failovers: u64,
    /// The last refusal.
    pub last_refusal: Option<LastRefusal>,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Its base address.
    pub url: String,
    /// What went wrong last; empty after a good answer.
    pub last_error: Option<String>,
    /// When it last gave a good answer.
    pub last_ok: Option<Instant>,
}

/// A bundle that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct LastRefusal {
    /// Its session.
    pub session: u64,
    /// Its generation.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub at: String,
}

impl LastRefusal {
    /// A refusal that happens now.
    pub fn now(revision: Revision, reason: String) -> Self {
        let Revision { session, generation } = revision;
        Self { session, generation, reason, at: rfc3339(SystemTime::now()) }
    }
}

impl Status {
    /// The one word.
    pub fn word(&self) -> StateWord {
        if self.unauthorised.is_some() {
            StateWord::Unauthorised
        } else if !self.asked {
            StateWord::Starting
        } else if self.failing || self.disk_error.is_some() {
            StateWord::Stale
        } else if self.refused {
            StateWord::Refused
        } else {
            StateWord::Synced
        }
    }
}

/// The status, shared between the driver and the listener.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Status>>);

impl Shared {
    /// The status; hold it only for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Status> {
        // Plain data is never half written in a way that matters here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status as it is shown.
#[derive(Debug, Serialize)]
struct View {
    state: StateWord,
    version: &'static str,
    session: Option<u64>,
    generation: Option<u64>,
    published_at: Option<String>,
    endpoint: Option<String>,
    endpoints: Vec<EndpointView>,
    refusals: u64,
    deltas: u64,
    delta_fallbacks: u64,
    failovers: u64,
    last_refusal: Option<LastRefusal>,
    last_error: Option<String>,
    age_seconds: Option<u64>,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    url: String,
    last_error: Option<String>,
    last_ok: Option<String>,
}

impl View {
    fn of(status: &Status) -> Self {
        let now = Instant::now();
        let wall = |at: Instant| rfc3339(SystemTime::now() - (now - at));
        let revision = status.published.as_ref().map(|published| published.running.revision);
        Self {
            state: status.word(),
            version: env!("CARGO_PKG_VERSION"),
            session: revision.map(|revision| revision.session),
            generation: revision.map(|revision| revision.generation),
            published_at: status.published.as_ref().map(|published| rfc3339(published.at)),
            endpoint: status.endpoints.get(status.active).map(|endpoint| endpoint.url.clone()),
            endpoints: status
                .endpoints
                .iter()
                .map(|endpoint| EndpointView {
                    url: endpoint.url.clone(),
                    last_error: endpoint.last_error.clone(),
                    last_ok: endpoint.last_ok.map(wall),
                })
                .collect(),
            refusals: status.refusals,
            deltas: status.deltas,
            delta_fallbacks: status.delta_fallbacks,
            failovers: status.failovers,
            last_refusal: status.last_refusal.clone(),
            last_error: status.disk_error.clone().or_else(|| status.unauthorised.clone()),
            age_seconds: status.confirmed.map(|at| (now - at).as_secs()),
        }
    }
}

/// Serves `/`, `/status` and `/metrics` until `stop` says so.
pub async fn serve(listener: TcpListener, shared: Shared, mut stop: watch::Receiver<bool>) {
    let router = Router::new()
        .route("/", get(status))
        .route("/status", get(status))
        .route("/metrics", get(numbers))
        .with_state(shared);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = select! {
            // A sender that is gone means the same.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                warn!(error = %why, "the status listener takes no connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            let connection = builder
                .keep_alive(false)
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // Whoever broke off or was too slow is not told.
            let _ = timeout(CONNECTION, connection).await;
            drop(place);
        });
    }
}

async fn status(State(shared): State<Shared>) -> Json<View> {
    Json(View::of(&shared.lock()))
}

async fn numbers(State(shared): State<Shared>) -> impl IntoResponse {
    {
        let status = shared.lock();
        let age = status.confirmed.map(|at| at.elapsed());
        metrics::health(status.unauthorised.is_none(), age);
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::page())
}

fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_what_an_operator_must_look_at_first() {
        let mut status = Status::default();
        assert_eq!(status.word(), StateWord::Starting);
        status.asked = true;
        assert_eq!(status.word(), StateWord::Synced);
        status.refused = true;
        assert_eq!(status.word(), StateWord::Refused);
        status.failing = true;
        assert_eq!(status.word(), StateWord::Stale);
        status.unauthorised = Some("401".into());
        assert_eq!(status.word(), StateWord::Unauthorised);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed_and_others_are_served() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        use tokio::net::TcpStream;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, Shared::default(), stopped));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        asking.write_all(b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("\"starting\""), "{answer}");
        for mut connection in silent {
            assert_eq!(connection.read(&mut [0]).await.unwrap_or(0), 0);
        }
        stop.send(true).unwrap();
        serving.await.unwrap();
    }

    #[test]
    fn times_are_shown_for_people() {
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
        let shown = serde_json::to_value(View::of(&Status::default())).unwrap();
        assert_eq!(shown["state"], "starting");
        assert!(shown["generation"].is_null() && shown["age_seconds"].is_null());
    }
}
