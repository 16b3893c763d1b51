//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::key::Scope;

/// The settings API of nwaf: takes changes from operators, hands the policy to nodes.
#[derive(Debug, Parser)]
#[command(name = "nwaf-api", version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// Configuration file [default: /etc/nwaf/api.toml, which may be missing]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Read the configuration, say whether it is fine, and end
    #[arg(long, conflicts_with = "dump_config")]
    pub check_config: bool,
    /// Print the configuration in force, defaults and environment included, and end
    #[arg(long)]
    pub dump_config: bool,
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Commands that work on the database and end.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list and revoke keys
    Key {
        /// What to do
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Mark the database as restored from a backup
    Session {
        /// What to do
        #[command(subcommand)]
        command: SessionCommand,
    },
}

/// Commands on keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it; it cannot be shown again
    Create {
        /// A name for the key, as it appears in the action log
        #[arg(long)]
        name: String,
        /// What the key may do: admin, node or read
        #[arg(long)]
        scope: Scope,
    },
    /// List names, scopes and times of creation
    List,
    /// Revoke a key, at once
    Revoke {
        /// Its name
        name: String,
    },
}

/// Commands on the session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Begin a new session, so that nodes take the restored policy
    Renew,
}
