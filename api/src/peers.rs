//! Other servers of the installation: whether one of them was promoted past this one.
//!
//! A primary that comes back after another server was promoted in its place would take
//! writes that nobody keeps, and show a policy that is not in force any more. Each server
//! asks the others for their role; one that sees a primary of the same system on a newer
//! timeline is *fenced*: it serves nothing until its database is that primary's replica.
//! Who cannot be asked says nothing: a server alone goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use store::{History, Pulse};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::service::Service;

/// How often others are asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 4 << 10;
/// Most peers of a server.
pub const PEERS_MAX: usize = 16;

/// A newer primary is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another server was promoted: it is on timeline {newest}, this one on {ours}")]
pub struct Fenced {
    ours: u32,
    newest: u32,
}

/// What is known of the others.
#[derive(Debug, Default)]
pub struct Peers {
    /// The newest primary that was seen.
    newest: Mutex<Option<History>>,
    /// Nobody knows yet whether there is a newer one.
    is_unasked: AtomicBool,
    is_fenced: AtomicBool,
}

/// The answer of `/role`.
#[derive(Deserialize)]
struct Answer {
    role: String,
    system: Option<String>,
    timeline: Option<u32>,
}

impl Peers {
    /// Others will be asked: until they were, writes are not taken.
    pub fn expected() -> Self {
        Self { is_unasked: AtomicBool::new(true), ..Self::default() }
    }

    /// Whether everybody was asked once, and had time to answer.
    pub fn were_asked(&self) -> bool {
        !self.is_unasked.load(Ordering::Relaxed)
    }

    /// Whether [`Self::check`] failed last.
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Relaxed)
    }

    /// # Errors
    /// A newer primary of the same system is known.
    pub fn check(&self, pulse: &Pulse) -> Result<(), Fenced> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let fenced = match (&pulse.history, &*newest) {
            (Some(ours), Some(newest))
                if ours.system == newest.system && ours.timeline < newest.timeline =>
            {
                Some(Fenced { ours: ours.timeline, newest: newest.timeline })
            }
            _ => None,
        };
        if self.is_fenced.swap(fenced.is_some(), Ordering::Relaxed) != fenced.is_some() {
            match fenced {
                Some(why) => tracing::error!(
                    "nothing is served: {why}; bring this database back as its replica"
                ),
                None => tracing::warn!("the database is no old primary any more: calls are served"),
            }
        }
        fenced.map_or(Ok(()), Err)
    }

    /// Takes note of a primary.
    pub fn saw(&self, history: History) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest
            .as_ref()
            .is_none_or(|known| known.system != history.system || known.timeline < history.timeline)
        {
            *newest = Some(history);
        }
    }

    /// Asks `others`, URLs like `http://10.0.0.2:8080`, until `stop` turns true.
    pub async fn follow(
        self: Arc<Self>,
        others: Vec<Uri>,
        service: Arc<Service>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let mut asking = tokio::task::JoinSet::new();
            for other in others.clone() {
                asking.spawn(tokio::time::timeout(PATIENCE, ask(other)));
            }
            while let Some(asked) = asking.join_next().await {
                if let Ok(Ok(Some(history))) = asked {
                    self.saw(history);
                }
            }
            if let Ok(pulse) = service.pulse().await {
                let _ = self.check(&pulse);
            }
            self.is_unasked.store(false, Ordering::Relaxed);
        }
    }
}

/// Understands the base URL of a peer.
///
/// # Errors
/// Says what it should be.
pub fn parse(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.parse().map_err(|why| format!("this is no URL: {why}"))?;
    if uri.scheme_str() != Some("http")
        || uri.port_u16().is_none()
        || uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
        || !matches!(uri.path(), "" | "/")
    {
        return Err("a peer is named by scheme, host and port alone".to_owned());
    }
    Ok(uri)
}

/// The history of a peer, where it is a primary.
async fn ask(peer: Uri) -> Option<History> {
    let answer = request(&peer).await;
    let answer =
        answer.inspect_err(|why| tracing::debug!(%peer, error = %why, "a peer did not answer"));
    let Answer { role, system, timeline } = serde_json::from_slice(&answer.ok()?).ok()?;
    match (role.as_str(), system, timeline) {
        ("primary" | "read_only", Some(system), Some(timeline)) => {
            Some(History { system, timeline })
        }
        _ => None,
    }
}

async fn request(peer: &Uri) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let authority = peer.authority().ok_or("no host")?.as_str();
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let request = Request::get("/role").header(header::HOST, authority).body(Body::empty())?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let body = axum::body::to_bytes(Body::new(response.into_body()), ANSWER_BYTES).await?;
        Ok(body.to_vec())
    };
    let answer = answered.await;
    driving.abort();
    answer
}

#[cfg(test)]
mod tests {
    use store::Role;

    use super::*;

    fn pulse(history: Option<(&str, u32)>) -> Pulse {
        let history = history.map(|(system, timeline)| History { system: system.into(), timeline });
        Pulse { role: Role::Primary, history, keys_version: 1, wafs: vec![] }
    }

    #[test]
    fn only_an_older_timeline_of_the_same_system_is_fenced() {
        let peers = Peers::default();
        assert_eq!(peers.check(&pulse(Some(("a", 1)))), Ok(()));
        peers.saw(History { system: "a".into(), timeline: 2 });
        assert_eq!(peers.check(&pulse(Some(("a", 1)))), Err(Fenced { ours: 1, newest: 2 }));
        assert!(peers.is_fenced());
        for ours in [None, Some(("a", 2)), Some(("a", 3)), Some(("b", 1))] {
            assert_eq!(peers.check(&pulse(ours)), Ok(()), "{ours:?}");
            assert!(!peers.is_fenced());
        }
        // What is older than known changes nothing.
        peers.saw(History { system: "a".into(), timeline: 1 });
        assert!(peers.check(&pulse(Some(("a", 1)))).is_err());
    }

    #[test]
    fn peers_are_named_plainly() {
        parse("http://10.0.0.2:8080").unwrap();
        parse("http://[::1]:8080/").unwrap();
        for wrong in [
            "10.0.0.2:8080",
            "https://a:1",
            "http://a",
            "http://a:1/nw-api/",
            "http://",
            "http://u:p@a:1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
