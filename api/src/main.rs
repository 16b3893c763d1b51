//! `nwaf-api`: takes changes of the policy from operators and hands it to nodes.
//!
//! Exit codes: 0 done, 1 failure, 2 usage, 69 the database does not answer, 77 no
//! permission, 78 configuration.

#![forbid(unsafe_code)]

mod cli;
mod command;
mod config;
mod database;
mod failure;
mod http;
mod key;
mod listen;
mod peers;
mod serve;
mod service;
mod stall;
#[cfg(test)]
mod tests;
mod tls;
mod upkeep;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use config::Config;
use failure::{Failure, with_causes};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("nwaf-api: {}", with_causes(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    // What is not UTF-8 is shown as such by the error of its value, and not passed over.
    let variable = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
    let config = Config::load(cli.config.as_deref(), variable)?;
    if cli.check_config {
        // What a start would stumble over, as far as it can be told without starting.
        config.tls.as_ref().map(tls::Tls::load).transpose()?;
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
