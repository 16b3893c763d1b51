//! Commands that work on the database and end: keys, sessions.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Failure;
use crate::cli::{Command, KeyCommand, SessionCommand};
use crate::config::Config;
use crate::key::{self, Digest, Scope};
use crate::service::now_ms;
use crate::store::{KeyRow, Mode, Sqlite, Store, StoreError};

/// Opens the configured database; creates it, readable for its owner only, unless
/// the read-only mode is on.
///
/// # Errors
/// The file cannot be created or opened.
pub async fn open(config: &Config) -> Result<Sqlite, Failure> {
    let path = &config.database;
    let mode = if config.ro_mode {
        Mode::ReadOnly
    } else {
        create(path)?;
        Mode::ReadWrite { now_ms: u64::try_from(now_ms()).unwrap_or_default() }
    };
    check(path, !config.ro_mode)?;
    Sqlite::open(path, mode).await.map_err(|source| in_database(config, source))
}

/// SQLite says "cannot open" to everything; the system says why.
fn check(path: &Path, writes: bool) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::Setup(format!(
            "database: {:?} is a directory; name a file in it",
            path.display().to_string()
        )));
    }
    match std::fs::OpenOptions::new().read(true).write(writes).open(path) {
        Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            let what = "the database cannot be opened; give this user the right to it";
            Err(Failure::Io { what, source })
        }
        // A file that is missing in read-only mode is for SQLite to name.
        _ => Ok(()),
    }
}

/// SQLite itself would create the file with the rights of the umask.
fn create(path: &Path) -> Result<(), Failure> {
    let created = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    match created {
        Ok(_) => Ok(()),
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) if why.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Failure::Io { what: "the database cannot be created", source: why })
        }
        Err(why) => Err(Failure::Setup(format!(
            "database: {:?} cannot be created: {why}; create its directory, or name another place",
            path.display().to_string()
        ))),
    }
}

/// Names the database in an error.
pub fn in_database(config: &Config, source: StoreError) -> Failure {
    Failure::Store { path: config.database.display().to_string(), source }
}

/// Runs a command.
///
/// # Errors
/// The database does not answer; the command asks for what cannot be.
pub async fn run(config: &Config, command: Command) -> Result<(), Failure> {
    let writes = !matches!(command, Command::Key { command: KeyCommand::List });
    if writes && config.ro_mode {
        let reason = "ro_mode is on; run the command on the primary server";
        return Err(Failure::Refused(reason.to_owned()));
    }
    let store = open(config).await?;
    let outcome = on_store(config, &store, command).await;
    store.close().await;
    outcome
}

async fn on_store(config: &Config, store: &dyn Store, command: Command) -> Result<(), Failure> {
    let failed = |why| in_database(config, why);
    match command {
        Command::Key { command: KeyCommand::Create { name, scope } } => {
            key::check_name(&name).map_err(Failure::Refused)?;
            let key = key::generate().map_err(|why| Failure::Refused(why.to_string()))?;
            match store.add_key(row(&name, scope, &key)).await {
                Err(StoreError::KeyExists) => Err(Failure::Refused(format!(
                    "a key with the name {name:?} exists; revoke it or choose another name"
                ))),
                Err(why) => Err(failed(why)),
                Ok(()) => {
                    println!("{}", *key);
                    Ok(())
                }
            }
        }
        Command::Key { command: KeyCommand::List } => {
            for key in store.keys().await.map_err(failed)? {
                let created = crate::http::rfc3339(key.created_ms);
                println!("{}\t{}\t{created}", key.name, key.scope.name());
            }
            Ok(())
        }
        Command::Key { command: KeyCommand::Revoke { name } } => {
            if store.remove_key(&name).await.map_err(failed)? {
                println!("revoked {name}");
                return Ok(());
            }
            let reason = format!("there is no key with the name {name:?}; see nwaf-api key list");
            Err(Failure::Refused(reason))
        }
        Command::Session { command: SessionCommand::Renew } => {
            let now = u64::try_from(now_ms()).unwrap_or_default();
            let revision = store.renew_session(now).await.map_err(failed)?;
            println!("session {} generation {}", revision.session, revision.generation);
            Ok(())
        }
    }
}

fn row(name: &str, scope: Scope, key: &str) -> KeyRow {
    let digest = Digest::of_key(key).into_string();
    KeyRow { name: name.to_owned(), scope, digest, created_ms: now_ms() }
}

/// Name of the key that comes from a file.
const BOOTSTRAP_NAME: &str = "bootstrap";

/// Creates the first admin key from the content of a file, if the file is there and
/// the key is not. A new content replaces the key of an older one.
///
/// # Errors
/// The file cannot be read, or holds nothing that could be a key.
pub async fn bootstrap(config: &Config, store: &dyn Store, path: &Path) -> Result<(), Failure> {
    const VARIABLE: &str = "NWAF_API_BOOTSTRAP_KEY_FILE";
    let text = match std::fs::read_to_string(path) {
        Ok(text) => zeroize::Zeroizing::new(text),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(why) => {
            let what = "the file of NWAF_API_BOOTSTRAP_KEY_FILE cannot be read";
            return Err(Failure::Io { what, source: why });
        }
    };
    let key = text.trim();
    if key.chars().count() < key::BOOTSTRAP_CHARS_MIN || key.chars().any(char::is_whitespace) {
        return Err(Failure::Setup(format!(
            "{VARIABLE}: {}: the content is no key; write one line of at least {} characters without spaces",
            path.display(),
            key::BOOTSTRAP_CHARS_MIN
        )));
    }
    let failed = |why| in_database(config, why);
    let keys = store.keys().await.map_err(failed)?;
    let row = row(BOOTSTRAP_NAME, Scope::Admin, key);
    if let Some(found) = keys.iter().find(|found| found.digest == row.digest) {
        if found.scope == Scope::Admin {
            return Ok(());
        }
        return Err(Failure::Setup(format!(
            "{VARIABLE}: the key exists as {:?} with the scope {}; write another key into the file",
            found.name,
            found.scope.name()
        )));
    }
    if config.ro_mode {
        tracing::warn!("ro_mode is on: the key of {VARIABLE} is not created");
        return Ok(());
    }
    if store.remove_key(BOOTSTRAP_NAME).await.map_err(failed)? {
        tracing::warn!("the key {BOOTSTRAP_NAME:?} is replaced by the one in {}", path.display());
    }
    store.add_key(row).await.map_err(failed)?;
    tracing::info!("the admin key {BOOTSTRAP_NAME:?} was created from {}", path.display());
    Ok(())
}
