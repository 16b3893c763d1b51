//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use store::{DEFAULT_WAF, Scope};

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
    /// Create, list and remove WAF ids: policies of their own in one installation
    Waf {
        /// What to do
        #[command(subcommand)]
        command: WafCommand,
    },
    /// Copy the SQLite database, also of a running server, into a new file
    Backup {
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        into: PathBuf,
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
        /// What the key may do: admin, node, mlc or read
        #[arg(long)]
        scope: Scope,
        /// Name of the WAF id whose policy it opens
        #[arg(long, default_value = DEFAULT_WAF)]
        waf: String,
    },
    /// List names, scopes, times of creation and WAF ids
    List,
    /// Revoke a key, at once
    Revoke {
        /// Its name
        name: String,
    },
}

/// Commands on WAF ids.
#[derive(Debug, Subcommand)]
pub enum WafCommand {
    /// Create a WAF id with an empty policy
    Create {
        /// A name for it
        #[arg(long)]
        name: String,
    },
    /// List numbers, names and revisions (session and generation)
    List,
    /// Remove a WAF id with its policy, keys, nodes and records, for ever
    Remove {
        /// Its name
        name: String,
        /// Say that this is meant
        #[arg(long)]
        yes: bool,
    },
}

/// Commands on the session.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Begin a new session of every WAF id, so that nodes take the restored policy
    Renew,
}
