//! `nwaf-api`: takes changes of the policy from operators and hands it to nodes.
//!
//! Exit codes: 0 done, 1 failure, 2 usage, 69 the database does not answer, 77 no
//! permission, 78 configuration.

#![forbid(unsafe_code)]

mod cli;
mod command;
mod config;
mod database;
mod http;
mod key;
mod listen;
mod peers;
mod serve;
mod service;
#[cfg(test)]
mod tests;
mod tls;
mod upkeep;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use config::{Config, ConfigError};
use store::StoreError;

/// Why the program ends without having done its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that the configuration names.
    #[error("{0}")]
    Setup(String),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("the database {database}: {source}")]
    Store { database: String, source: StoreError },
    #[error("{place}: cannot listen on {address}: {source}")]
    Listen { place: &'static str, address: std::net::SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

impl Failure {
    /// Names the configured database in an error.
    fn store(config: &Config, source: StoreError) -> Self {
        Self::Store { database: config.database.to_string(), source }
    }

    fn exit_code(&self) -> u8 {
        const FAILURE: u8 = 1;
        const UNAVAILABLE: u8 = 69;
        const NO_PERMISSION: u8 = 77;
        const CONFIG: u8 = 78;
        match self {
            Self::Config(ConfigError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                NO_PERMISSION
            }
            Self::Config(_) | Self::Setup(_) | Self::Tls(_) => CONFIG,
            Self::Listen { source, .. } | Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => NO_PERMISSION,
                _ => FAILURE,
            },
            Self::Store { source: StoreError::NoPermission(_), .. } => NO_PERMISSION,
            Self::Store { source: StoreError::NoDatabase(_), .. } => CONFIG,
            Self::Store { .. } => UNAVAILABLE,
            Self::Refused(_) => FAILURE,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut message = failure.to_string();
            let mut cause = std::error::Error::source(&failure).and_then(|inner| inner.source());
            while let Some(inner) = cause {
                message = format!("{message}: {inner}");
                cause = inner.source();
            }
            eprintln!("nwaf-api: {message}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let config = Config::load(cli.config.as_deref(), variable)?;
    if cli.check_config {
        println!("the configuration is fine");
        return Ok(());
    }
    if cli.dump_config {
        print!("{}", config.to_toml());
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { what: "the runtime cannot start", source })?;
    match cli.command {
        Some(command) => runtime.block_on(command::run(&config, command)),
        None => {
            serve::init_log();
            let reload = move || Config::load(cli.config.as_deref(), variable);
            let outcome = runtime.block_on(serve::run(config, reload));
            // A blocking task that is still busy must not delay the end.
            runtime.shutdown_background();
            outcome
        }
    }
}
