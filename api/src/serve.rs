//! The daemon: listeners, signals, background work, and an end within five seconds.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use store::Role;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::Failure;
use crate::command;
use crate::config::{Config, ConfigError};
use crate::database;
use crate::http::{self, App, Live};
use crate::listen;
use crate::peers::Peers;
use crate::service::{Service, now_ms};
use crate::tls::Tls;
use crate::upkeep;

/// How long requests may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(4);
/// How long closing the database may take after that.
const CLOSE: Duration = Duration::from_millis(800);
/// How often old entries of the action log are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(3_600);
/// Entries that are forgotten in one transaction: writes need not wait for more.
const FORGET_BATCH: u32 = 1_000;
/// How often gauges are set and histograms tidied.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);
/// Bounds of the request duration histogram, in seconds.
const DURATION_BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Log lines go to stderr; `RUST_LOG` chooses which.
pub fn init_log() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .init();
}

/// Serves until TERM or INT. `reload` reads the configuration again on HUP.
///
/// # Errors
/// The database does not open, an address cannot be listened on.
pub async fn run(
    config: Config,
    reload: impl Fn() -> Result<Config, ConfigError> + Send + 'static,
) -> Result<(), Failure> {
    let store = database::open(&config).await?;
    if let Some(path) = std::env::var_os("NWAF_API_BOOTSTRAP_KEY_FILE") {
        command::bootstrap(&config, &*store, Path::new(&path)).await?;
    }
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    listen::raise_descriptor_limit();
    let listener = bind("listen", config.listen).await?;
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(bind("metrics_listen", address).await?),
        None => None,
    };
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("nwaf_api_request_duration_seconds".into()),
            &DURATION_BUCKETS,
        )
        .map_err(|why| Failure::Refused(why.to_string()))?
        .build_recorder();
    let metrics_handle = metrics.handle();
    metrics::set_global_recorder(metrics).map_err(|why| Failure::Refused(why.to_string()))?;
    http::describe_metrics();

    let (stop, stopped) = watch::channel(false);
    let service = Service::new(store);
    let peers =
        Arc::new(if config.peers.is_empty() { Peers::default() } else { Peers::expected() });
    let app = App::new(Arc::clone(&service), Arc::clone(&peers), live(&config), stopped.clone());
    let app = Arc::new(app);
    let (retention, retention_days) = watch::channel(config.events_retention_days);

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&service).follow(stopped.clone()));
    if !config.ro_mode {
        tasks.spawn(upkeep::attacks(Arc::clone(&app), retention_days.clone()));
        tasks.spawn(upkeep::bans(Arc::clone(&app), stopped.clone()));
        tasks.spawn(forget(Arc::clone(&app), retention_days));
    }
    if !config.peers.is_empty() {
        let following = peers.follow(config.peers.clone(), Arc::clone(&service), stopped.clone());
        tasks.spawn(following);
    }
    tasks.spawn(watch_metrics(Arc::clone(&app), metrics_handle.clone()));
    if let Some(listener) = metrics_listener {
        tracing::info!("metrics are served on {}", local(&listener, config.listen));
        let router = http::machine_router(Arc::clone(&app), move || metrics_handle.render());
        tasks.spawn(listen::serve(listener, None, router, stopped.clone()));
    }
    load(&service).await;
    tracing::info!("listening on {}", local(&listener, config.listen));

    let router = http::router(Arc::clone(&app));
    let server = tokio::spawn(listen::serve(listener, tls.clone(), router, stopped.clone()));
    wait_for_end(config, reload, &app, &retention, tls.as_ref()).await?;
    // Long polls answer at once; what still runs after the drain is cut.
    let _ = stop.send(true);
    match tokio::time::timeout(DRAIN, server).await {
        Ok(_) => tracing::info!("every request is answered"),
        Err(_) => tracing::warn!("ended with requests unanswered after {} s", DRAIN.as_secs()),
    }
    tasks.shutdown().await;
    if tokio::time::timeout(CLOSE, service.store().close()).await.is_err() {
        tracing::warn!("the database was not closed in time; the next start tidies it");
    }
    Ok(())
}

/// Loads every policy ahead of the nodes, and says how that went.
async fn load(service: &Arc<Service>) {
    let pulse = match service.pulse().await {
        Ok(pulse) => pulse,
        // Still worth serving: the answers say what is wrong.
        Err(why) => return tracing::error!(error = %why, "no policy can be served"),
    };
    let role = if matches!(pulse.role, Role::Primary) { "primary" } else { "replica" };
    for waf in &pulse.wafs {
        match service.tenant(waf.id).current().await {
            Ok(current) => tracing::info!(
                waf = waf.name,
                role,
                revision = %current.revision,
                rules = current.state.rules.len(),
                block_list = current.state.block_list.len(),
                "the policy is loaded"
            ),
            Err(why) => {
                tracing::error!(error = %why, waf = waf.name, "the policy cannot be served");
            }
        }
    }
}

/// Returns at TERM or INT; takes a new configuration at HUP.
async fn wait_for_end(
    mut config: Config,
    reload: impl Fn() -> Result<Config, ConfigError>,
    app: &App,
    retention: &watch::Sender<u32>,
    tls: Option<&Tls>,
) -> Result<(), Failure> {
    let hook = |kind| {
        signal(kind).map_err(|source| Failure::Io { what: "a signal cannot be caught", source })
    };
    let (mut term, mut int) = (hook(SignalKind::terminate())?, hook(SignalKind::interrupt())?);
    let mut hup = hook(SignalKind::hangup())?;
    let opened_read_only = config.ro_mode;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => match reload() {
                Ok(new) => {
                    let new = take_over(&config, new, opened_read_only);
                    if let (Some(tls), Some(files)) = (tls, &new.tls)
                        && let Err(why) = tls.reload(files)
                    {
                        tracing::error!(error = %why, "the configuration stays as it was");
                        continue;
                    }
                    config = new;
                    app.set_live(live(&config));
                    retention.send_replace(config.events_retention_days);
                    tracing::info!("the configuration was read again");
                }
                Err(why) => tracing::error!(error = %why, "the configuration stays as it was"),
            },
        }
    }
}

/// The new configuration, with the old values of what cannot change in a running process.
fn take_over(old: &Config, mut new: Config, opened_read_only: bool) -> Config {
    let keep = |name: &str, differs: bool| {
        if differs {
            tracing::warn!("{name} changed; it takes effect after a restart");
        }
    };
    keep("listen", old.listen != new.listen);
    keep("metrics_listen", old.metrics_listen != new.metrics_listen);
    keep("peers", old.peers != new.peers);
    keep("TLS", old.tls.is_some() != new.tls.is_some());
    keep("database", old.database != new.database);
    // The database itself was opened for reading only.
    keep("ro_mode", opened_read_only && !new.ro_mode);
    new.ro_mode |= opened_read_only;
    new.listen = old.listen;
    new.metrics_listen = old.metrics_listen;
    new.database.clone_from(&old.database);
    new.peers.clone_from(&old.peers);
    if old.tls.is_some() != new.tls.is_some() {
        new.tls.clone_from(&old.tls);
    }
    new
}

fn live(config: &Config) -> Live {
    Live { read_only: config.ro_mode, body_limit: config.body_limit }
}

async fn bind(place: &'static str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|source| Failure::Listen { place, address, source })
}

fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

/// Forgets old entries of the action log, now and then.
async fn forget(app: Arc<App>, mut days: watch::Receiver<u32>) {
    const DAY_MS: i64 = 86_400_000;
    loop {
        let keep_days = *days.borrow_and_update();
        if keep_days > 0 && app.is_keeper() {
            let before = now_ms() - i64::from(keep_days) * DAY_MS;
            forget_before(&app.service, before).await;
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_INTERVAL) => {}
            changed = days.changed() => if changed.is_err() { return },
        }
    }
}

async fn forget_before(service: &Service, before_ms: i64) {
    let mut forgotten = 0;
    loop {
        match service.store().forget_actions(before_ms, FORGET_BATCH).await {
            Ok(count) => {
                forgotten += count;
                if count < u64::from(FORGET_BATCH) {
                    break;
                }
            }
            Err(why) => return tracing::warn!(error = %why, "the action log was not tidied"),
        }
    }
    if forgotten > 0 {
        tracing::info!(count = forgotten, "old entries of the action log are forgotten");
    }
}

async fn watch_metrics(app: Arc<App>, handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_INTERVAL);
    loop {
        ticks.tick().await;
        let role = app.service.role();
        let read_only = app.live().read_only || matches!(role, Role::Replica { .. });
        metrics::gauge!("nwaf_api_read_only").set(f64::from(u8::from(read_only)));
        if let Role::Replica { lag_ms: Some(lag_ms) } = role {
            metrics::gauge!("nwaf_api_replica_lag_seconds").set(lag_ms as f64 / 1_000.0);
        }
        handle.run_upkeep();
    }
}
