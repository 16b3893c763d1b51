//! The command line of `nwaf-syncd`: arguments, logging, signals, exit codes.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use syncd::config::{Config, ConfigError};
use syncd::key::{ApiKey, KeyError};
use syncd::run::{Command, RunError, run};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// Time to end after TERM before the process ends anyway. Ending in the middle
/// is safe: files are replaced as a whole.
const DRAIN: Duration = Duration::from_secs(4);

const FAILURE: u8 = 1;
const UNAVAILABLE: u8 = 69;
const NO_PERMISSION: u8 = 77;
const BAD_CONFIG: u8 = 78;

/// Keeps one nginx host's nwaf snapshot equal to the policy of the API.
///
/// Signals: TERM and INT end, HUP reads configuration and key again, USR2
/// accepts the next bundle however drastic it is.
#[derive(Debug, Parser)]
#[command(name = "nwaf-syncd", version)]
struct Arguments {
    /// Configuration file [default: /etc/nwaf/syncd.toml, where there is one]
    #[arg(long, value_name = "FILE", env = "NWAF_SYNCD_CONFIG")]
    config: Option<PathBuf>,
    /// Check configuration and key file, then end
    #[arg(long)]
    check_config: bool,
    /// Print the configuration in effect, without secrets, then end
    #[arg(long, conflicts_with = "check_config")]
    dump_config: bool,
}

fn main() -> ExitCode {
    // Before anything can open a TLS connection. Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = Arguments::parse();
    let load = |file: Option<&Path>| Config::load(file, |name| std::env::var(name).ok());
    let config = match load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(why) => return end(config_code(&why), why),
    };
    if arguments.dump_config {
        print!("{}", config.dump());
        return ExitCode::SUCCESS;
    }
    if let Err(why) = ApiKey::read(&config.key_file) {
        return end(key_code(&why), why);
    }
    if arguments.check_config {
        println!("the configuration is good");
        return ExitCode::SUCCESS;
    }
    start_logging();
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(why) => return end(FAILURE, why),
    };
    let file = arguments.config;
    let result = runtime.block_on(async {
        let (sender, commands) = mpsc::channel(8);
        let (stopping, mut stopped) = mpsc::channel::<()>(1);
        let signals = tokio::spawn(forward(Signals::new()?, sender, stopping));
        let driver = run(config, Box::new(move || load(file.as_deref())), commands);
        let drained = async {
            if stopped.recv().await.is_some() {
                tokio::time::sleep(DRAIN).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = driver => result,
            () = drained => {
                tracing::warn!("ended before a snapshot was published");
                Ok(())
            }
        };
        signals.abort();
        io::Result::Ok(result)
    });
    // A compilation that still runs must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => end(run_code(&why), why),
        Err(why) => end(FAILURE, why),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    force: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            force: signal(SignalKind::user_defined2())?,
        })
    }
}

/// Turns signals into commands. `stopping` tells of an end although the driver
/// may be too busy to hear of it.
async fn forward(
    mut signals: Signals,
    commands: mpsc::Sender<Command>,
    stopping: mpsc::Sender<()>,
) {
    loop {
        let command = tokio::select! {
            _ = signals.terminate.recv() => Command::Stop,
            _ = signals.interrupt.recv() => Command::Stop,
            _ = signals.reload.recv() => Command::Reload,
            _ = signals.force.recv() => Command::Force,
        };
        if command == Command::Stop {
            // Full means that it was said before.
            let _ = stopping.try_send(());
        }
        // Where eight commands wait already, one more of them changes nothing.
        let _ = commands.try_send(command);
    }
}

fn start_logging() {
    // The verifier logs each refused certificate again; we say it once, with the endpoint.
    let default = "info,rustls_platform_verifier=off";
    let filter = EnvFilter::try_from_env("NWAF_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

fn config_code(why: &ConfigError) -> u8 {
    if why.is_permission() { NO_PERMISSION } else { BAD_CONFIG }
}

fn key_code(why: &KeyError) -> u8 {
    if why.is_permission() { NO_PERMISSION } else { BAD_CONFIG }
}

fn run_code(why: &RunError) -> u8 {
    match why {
        RunError::Key(why) => key_code(why),
        RunError::Store(why) if why.is_permission() => NO_PERMISSION,
        RunError::Listen { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            NO_PERMISSION
        }
        RunError::Store(_) | RunError::Listen { .. } | RunError::Client(_) => FAILURE,
        RunError::Unavailable { .. } => UNAVAILABLE,
    }
}

fn end(code: u8, why: impl Display) -> ExitCode {
    eprintln!("nwaf-syncd: {why}");
    ExitCode::from(code)
}
