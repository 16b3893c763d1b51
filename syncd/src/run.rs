//! The driver: collect -> refuse or accept -> compile -> publish, for ever.
//!
//! Everything that changes state happens here, one step after the other.
//! Collecting may be interrupted by a command at any time; publishing is not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};
use wire::v2::{Bundle, Revision};

use crate::collect::client::{self, ClientError};
use crate::collect::fetch::Way;
use crate::collect::{Collected, Collector, Known};
use crate::config::{Config, ConfigError};
use crate::key::{ApiKey, KeyError};
use crate::metrics;
use crate::publish::{self, PublishError, Published};
use crate::refuse::{self, Refusal, Terms};
use crate::report::{self, Reports};
use crate::status::{EndpointStatus, LastRefusal, Shared, serve};
use crate::store::{Store, StoreError};

/// How long a node with nothing to publish waits for the first endpoint.
pub const FIRST_ANSWER: Duration = Duration::from_secs(30);

/// How long an operator's wish for a drastic bundle stands.
pub const FORCE_STANDS: Duration = Duration::from_secs(60);

/// What the operator wants of the running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read configuration and key again.
    Reload,
    /// Accept the next bundle, however drastic it is, if it comes soon.
    Force,
    /// End.
    Stop,
}

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The status listener.
    #[error("status_listen: {address}: {source}; choose an address and port that are free")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing on disk and nobody to ask.
    #[error(
        "no endpoint answered within {FIRST_ANSWER:?}, and {dir} holds no policy to go on with; \
         last error: {last}"
    )]
    Unavailable {
        /// The directory.
        dir: String,
        /// The last error of the first endpoint that has one.
        last: String,
    },
}

/// Reads the configuration again; the same way as at the start.
pub type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// Runs until [`Command::Stop`], or until nobody can send commands any more.
///
/// # Errors
/// See [`RunError`]; after the start only [`RunError::Unavailable`].
pub async fn run(
    config: Config,
    load: Load,
    commands: mpsc::Receiver<Command>,
) -> Result<(), RunError> {
    metrics::install();
    let store = Arc::new(Store::open(&config.snapshot_dir)?);
    let key = ApiKey::read(&config.key_file)?;
    let client = client::build(&config.endpoints)?;
    let collector = Collector::new(&config, client, key, Arc::clone(&store));
    let status = Shared::default();
    let (stop, stopped) = watch::channel(false);
    let (reports, reporter) = report::channel(config.node.clone());
    let mut tasks = JoinSet::new();
    if let Some(address) = config.status_listen {
        let failed = |source| RunError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        // Tests and scripts that ask for port 0 read the port here.
        info!("listening on {}", listener.local_addr().map_err(failed)?);
        let (status, stopped) = (status.clone(), stopped.clone());
        tasks.spawn(serve(listener, status, stopped));
    }
    tasks.spawn(reporter.run());
    warn_plaintext(&config);

    let driver = Driver {
        config,
        load,
        store,
        collector,
        reports,
        status,
        published: None,
        forced: None,
        heard: false,
        greet: true,
    };
    let result = driver.drive(commands).await;
    // The reporter ends with the driver's side of its channel.
    let _ = stop.send(true);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(1), ended).await.is_err() {
        tasks.abort_all();
    }
    result
}

struct Driver {
    config: Config,
    load: Load,
    store: Arc<Store>,
    collector: Collector,
    reports: Reports,
    status: Shared,
    published: Option<Published>,
    /// Until when the operator wants the next bundle, however drastic it is.
    forced: Option<Instant>,
    /// An endpoint has given any meaningful answer.
    heard: bool,
    /// All endpoints are to be asked at once.
    greet: bool,
}

impl Driver {
    async fn drive(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), RunError> {
        let store = Arc::clone(&self.store);
        // Disk first, network second.
        let started = spawn_blocking(move || publish::start(&store)).await;
        self.set_published(started.unwrap_or(None));
        let give_up = Instant::now() + FIRST_ANSWER;
        loop {
            self.show();
            let known = self.known();
            let greet = self.greet;
            let collected = select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Reload) => { self.reload(); continue }
                    Some(Command::Force) => { self.force(); continue }
                    Some(Command::Stop) | None => {
                        info!("stopping");
                        return Ok(());
                    }
                },
                () = sleep_until(give_up), if self.published.is_none() && !self.heard => {
                    return Err(self.unavailable());
                }
                () = sleep_until(self.forced.unwrap_or(give_up)), if self.forced.is_some() => {
                    warn!("no bundle came to be accepted by force, drastic ones are refused again");
                    self.forced = None;
                    continue;
                }
                collected = async {
                    if greet {
                        self.collector.everyone(&known).await
                    } else {
                        self.collector.next(&known).await
                    }
                } => collected,
            };
            self.greet = false;
            self.handle(collected).await;
        }
    }

    async fn handle(&mut self, collected: Collected) {
        let answered = !matches!(collected, Collected::Failed { .. });
        {
            let mut status = self.status.lock();
            status.asked |= answered;
            if answered && !matches!(collected, Collected::Behind { .. }) {
                status.failing = false;
            }
            if !matches!(collected, Collected::Unauthorised { .. } | Collected::Failed { .. }) {
                status.unauthorised = None;
            }
        }
        self.heard |= answered;
        match collected {
            Collected::Bundle { from, bundle, way, ordered, settled } => {
                self.count(way);
                let forced = self.forced.is_some_and(|until| until > Instant::now());
                let terms = Terms { ordered, forced, settled, checked: way == Way::Delta };
                self.apply(from, Arc::new(*bundle), way, terms).await;
            }
            Collected::Current { from, confirmed } => {
                if confirmed {
                    self.confirm(from);
                }
            }
            Collected::Behind { from, revision, again } => {
                if !again
                    && let Some(running) = self.published.as_ref().map(|p| p.running.revision)
                    && let Err(why) = refuse::order(revision, running)
                {
                    self.refuse(from, revision, &why);
                }
                // Somebody else may still have what runs or something newer.
            }
            Collected::Unauthorised { message, .. } => {
                self.status.lock().unauthorised = Some(message);
            }
            Collected::Failed { all } => {
                let mut status = self.status.lock();
                if all && !status.failing {
                    status.failing = true;
                    status.asked = true;
                    let age = status.confirmed.map(|at| at.elapsed().as_secs());
                    let stays = if self.published.is_some() {
                        "no endpoint gives a usable answer, what runs stays"
                    } else {
                        "no endpoint gives a usable answer, and nothing is in force yet"
                    };
                    warn!(age_seconds = age, "{stays}");
                }
            }
            Collected::Returned => {}
        }
    }

    async fn apply(&mut self, from: usize, bundle: Arc<Bundle>, way: Way, terms: Terms) {
        let running = self.published.as_ref().map(|published| published.running.clone());
        if let Some(running) = &running
            && terms.ordered
            && running.revision == bundle.revision
            && running.digest.as_ref().is_none_or(|digest| *digest == bundle.digest)
        {
            self.collector.matched(from);
            return self.confirm(from);
        }
        let start = Instant::now();
        let store = Arc::clone(&self.store);
        let task = {
            let (bundle, running) = (Arc::clone(&bundle), running.clone());
            spawn_blocking(move || publish::publish(&store, &bundle, running.as_ref(), terms))
        };
        let result = match task.await {
            Ok(result) => result,
            Err(why) => {
                // Compiling ended in a panic: a bug, and no reason to stop serving.
                error!(revision = %bundle.revision, error = %why, "publishing broke off");
                Err(PublishError::Disk(io::Error::other("publishing broke off")))
            }
        };
        match result {
            Ok(published) => {
                metrics::applied(start.elapsed(), way);
                self.accept(from, published, running.map(|r| r.revision), start);
            }
            Err(PublishError::Refused(why)) => {
                self.collector.refused(from, &bundle, &why);
                self.refuse(from, bundle.revision, &why);
            }
            Err(PublishError::Disk(why)) => {
                let text = PublishError::Disk(why).to_string();
                metrics::not_published();
                self.collector.postpone();
                let mut status = self.status.lock();
                if status.disk_error.is_none() {
                    error!(revision = %bundle.revision, error = %text, "not published");
                }
                status.disk_error = Some(text);
            }
        }
    }

    fn count(&self, way: Way) {
        metrics::delta(way);
        let mut status = self.status.lock();
        match way {
            Way::Whole => {}
            Way::Delta => status.deltas += 1,
            Way::Instead(_) => status.delta_fallbacks += 1,
        }
    }

    fn accept(
        &mut self,
        from: usize,
        published: Published,
        before: Option<Revision>,
        start: Instant,
    ) {
        let revision = published.running.revision;
        if before.is_some_and(|before| before.session != revision.session) {
            let before = before.unwrap_or_default();
            warn!(
                %before, %revision,
                "accepted another session: the API was restored, promoted or set up anew"
            );
        }
        let took = start.elapsed();
        info!(
            %revision,
            entries = published.running.size,
            bytes = published.bytes,
            ms = took.as_millis() as u64,
            "published"
        );
        if self.forced.take().is_some() {
            warn!(%revision, "accepted by force of the operator");
        }
        self.collector.accepted();
        self.set_published(Some(published));
        self.confirm(from);
    }

    /// What runs is what an endpoint has.
    fn confirm(&mut self, from: usize) {
        if self.forced.take().is_some() {
            warn!("what runs is what the API has, there is nothing to force");
        }
        {
            let mut status = self.status.lock();
            status.confirmed = Some(Instant::now());
            status.refused = false;
            status.disk_error = None;
        }
        if let Some(published) = &self.published {
            self.report(from, published.running.revision, None);
        }
    }

    fn refuse(&mut self, from: usize, revision: Revision, why: &Refusal) {
        let reason = why.to_string();
        let endpoint = self.collector.url(from);
        error!(%revision, %endpoint, %reason, "bundle refused, what runs stays");
        metrics::refused(why.kind());
        {
            let mut status = self.status.lock();
            status.refusals += 1;
            status.refused = true;
            status.last_refusal = Some(LastRefusal::now(revision, reason.clone()));
        }
        self.report(from, revision, Some(&reason));
    }

    fn report(&self, to: usize, revision: Revision, reason: Option<&str>) {
        if self.collector.takes_reports(to) {
            self.reports.say(self.collector.api(), to, revision, reason);
        }
    }

    fn known(&self) -> Known {
        let running = self.published.as_ref().map(|published| &published.running);
        Known {
            revision: running.map(|running| running.revision),
            digest: running.and_then(|running| running.digest.clone()),
            kept: running.is_some_and(|running| running.digest.is_some()),
            any_session: self.forced.is_some(),
        }
    }

    fn set_published(&mut self, published: Option<Published>) {
        if let Some(published) = &published {
            metrics::running(published);
        }
        self.status.lock().published.clone_from(&published);
        self.published = published;
    }

    /// Brings the endpoints' state into the status.
    fn show(&self) {
        let endpoints = self.collector.endpoints();
        let active = endpoints.active();
        let mut status = self.status.lock();
        status.active = active;
        status.endpoints.clear();
        for (index, endpoint) in endpoints.iter().enumerate() {
            metrics::endpoint(index, endpoint.proven, index == active);
            status.endpoints.push(EndpointStatus {
                url: self.collector.url(index).to_string(),
                last_error: endpoint.last_error.clone(),
                last_ok: endpoint.last_ok,
            });
        }
        status.failovers = endpoints.failovers();
    }

    /// Takes over another configuration, or keeps the old one as a whole.
    fn reload(&mut self) {
        let loaded = (self.load)().map_err(|why| why.to_string()).and_then(|config| {
            let key = ApiKey::read(&config.key_file).map_err(|why| why.to_string())?;
            let client = client::build(&config.endpoints).map_err(|why| why.to_string())?;
            Ok((config, client, key))
        });
        let (mut config, client, key) = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                error!(error = %why, "not reloaded, the old configuration stays");
                return;
            }
        };
        if config.snapshot_dir != self.config.snapshot_dir {
            warn!("snapshot.dir changes with the next start");
            config.snapshot_dir.clone_from(&self.config.snapshot_dir);
        }
        if config.status_listen != self.config.status_listen {
            warn!("status_listen changes with the next start");
            config.status_listen = self.config.status_listen;
        }
        warn_plaintext(&config);
        self.reports.rename(config.node.clone());
        self.collector = Collector::new(&config, client, key, Arc::clone(&self.store));
        self.config = config;
        self.greet = true;
        info!("configuration and key read again");
    }

    fn force(&mut self) {
        warn!(
            seconds = FORCE_STANDS.as_secs(),
            "the next bundle is accepted however drastic it is"
        );
        self.forced = Some(Instant::now() + FORCE_STANDS);
        self.collector.restart();
    }

    fn unavailable(&self) -> RunError {
        let last = self.collector.endpoints().iter().find_map(|e| e.last_error.clone());
        RunError::Unavailable {
            dir: self.store.dir().display().to_string(),
            last: last.unwrap_or_else(|| "none answered".into()),
        }
    }
}

fn warn_plaintext(config: &Config) {
    for endpoint in config.plaintext_endpoints() {
        warn!(%endpoint, "the key travels unencrypted; use https beyond this host");
    }
}

#[cfg(test)]
mod tests;
