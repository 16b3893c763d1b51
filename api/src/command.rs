//! Commands that work on the database and end: keys, WAF ids, sessions.

use std::path::Path;

use store::{Action, DEFAULT_WAF, KeyRow, Role, Scope, Store, StoreError, WafState};

use crate::Failure;
use crate::cli::{Command, KeyCommand, SessionCommand, WafCommand};
use crate::config::Config;
use crate::database;
use crate::key::{self, Digest};
use crate::service::now_ms;

/// Runs a command.
///
/// # Errors
/// The database does not answer; the command asks for what cannot be.
pub async fn run(config: &Config, command: Command) -> Result<(), Failure> {
    let only_reads = matches!(
        command,
        Command::Key { command: KeyCommand::List }
            | Command::Waf { command: WafCommand::List }
            | Command::Backup { .. }
    );
    if !only_reads && config.ro_mode {
        let reason = "ro_mode is on; run the command on the primary server";
        return Err(Failure::Refused(reason.to_owned()));
    }
    if let Command::Backup { into } = &command {
        database::backup(config, into).await?;
        println!("copied into {}", into.display());
        return Ok(());
    }
    let store = database::open(config).await?;
    let outcome = match command {
        Command::Backup { .. } => Ok(()),
        Command::Key { command } => on_keys(config, &*store, command).await,
        Command::Waf { command } => on_wafs(config, &*store, command).await,
        Command::Session { command: SessionCommand::Renew } => renew(config, &*store).await,
    };
    store.close().await;
    outcome
}

async fn on_keys(config: &Config, store: &dyn Store, command: KeyCommand) -> Result<(), Failure> {
    let failed = |why| Failure::store(config, why);
    match command {
        KeyCommand::Create { name, scope, waf } => {
            key::check_name("key", &name).map_err(Failure::Refused)?;
            let waf = find_waf(config, store, &waf).await?;
            let key = key::generate().map_err(|why| Failure::Refused(why.to_string()))?;
            match store.add_key(row(&name, waf.id, scope, &key), action(&name)).await {
                Err(StoreError::Exists) => Err(Failure::Refused(format!(
                    "a key with the name {name:?} exists; revoke it or choose another name"
                ))),
                Err(why @ StoreError::TooManyKeys) => {
                    Err(Failure::Refused(format!("{why}; revoke those that are not needed")))
                }
                Err(why) => Err(failed(why)),
                Ok(()) => {
                    println!("{}", *key);
                    Ok(())
                }
            }
        }
        KeyCommand::List => {
            let wafs = store.pulse().await.map_err(failed)?;
            for key in store.keys().await.map_err(failed)?.1 {
                let waf = wafs.waf(key.waf).map_or("-", |waf| waf.name.as_str());
                let created = crate::http::rfc3339(key.created_ms);
                println!("{}\t{}\t{created}\t{waf}", key.name, key.scope.name());
            }
            Ok(())
        }
        KeyCommand::Revoke { name } => {
            if store.remove_key(&name, None, action(&name)).await.map_err(failed)? {
                println!("revoked {name}");
                return Ok(());
            }
            let reason = format!("there is no key with the name {name:?}; see nwaf-api key list");
            Err(Failure::Refused(reason))
        }
    }
}

async fn on_wafs(config: &Config, store: &dyn Store, command: WafCommand) -> Result<(), Failure> {
    let failed = |why| Failure::store(config, why);
    match command {
        WafCommand::Create { name } => {
            key::check_name("WAF id", &name).map_err(Failure::Refused)?;
            let now = u64::try_from(now_ms()).unwrap_or_default();
            match store.add_waf(&name, now).await {
                Err(StoreError::Exists) => {
                    Err(Failure::Refused(format!("a WAF id with the name {name:?} exists")))
                }
                Err(why @ StoreError::TooManyWafs) => {
                    Err(Failure::Refused(format!("{why}; remove those that are not needed")))
                }
                Err(why) => Err(failed(why)),
                Ok(id) => {
                    println!(
                        "created {name} ({id}); give it keys with nwaf-api key create --waf {name}"
                    );
                    Ok(())
                }
            }
        }
        WafCommand::List => {
            for waf in store.pulse().await.map_err(failed)?.wafs {
                println!("{}\t{}\t{}", waf.id, waf.name, waf.revision);
            }
            Ok(())
        }
        WafCommand::Remove { name, yes } => {
            let waf = find_waf(config, store, &name).await?;
            if waf.name == DEFAULT_WAF {
                let reason = format!("{DEFAULT_WAF:?} is there in every installation and stays");
                return Err(Failure::Refused(reason));
            }
            if !yes {
                return Err(Failure::Refused(format!(
                    "this removes the policy, the keys and every record of {name:?} for ever; \
                     if that is meant, add --yes"
                )));
            }
            store.remove_waf(waf.id).await.map_err(failed)?;
            println!("removed {name}");
            Ok(())
        }
    }
}

async fn renew(config: &Config, store: &dyn Store) -> Result<(), Failure> {
    let failed = |why| Failure::store(config, why);
    let now = u64::try_from(now_ms()).unwrap_or_default();
    store.renew_sessions(now).await.map_err(failed)?;
    for waf in store.pulse().await.map_err(failed)?.wafs {
        let wire::v2::Revision { session, generation } = waf.revision;
        println!("session {session} generation {generation} of {}", waf.name);
    }
    Ok(())
}

async fn find_waf(config: &Config, store: &dyn Store, name: &str) -> Result<WafState, Failure> {
    let pulse = store.pulse().await.map_err(|why| Failure::store(config, why))?;
    pulse.wafs.into_iter().find(|waf| waf.name == name).ok_or_else(|| {
        Failure::Refused(format!("there is no WAF id {name:?}; see nwaf-api waf list"))
    })
}

fn row(name: &str, waf: store::WafId, scope: Scope, key: &str) -> KeyRow {
    let digest = Digest::of_key(key).into_string();
    KeyRow { name: name.to_owned(), waf, scope, digest, created_ms: now_ms() }
}

/// An entry of the action log about a key, of whoever may run this program.
fn action(name: &str) -> Action {
    Action {
        at_ms: now_ms(),
        author: "nwaf-api".to_owned(),
        call: "keys".to_owned(),
        before: "null".to_owned(),
        after: serde_json::json!({ "name": name }).to_string(),
        ..Action::default()
    }
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
    let failed = |why| Failure::store(config, why);
    let (_, keys) = store.keys().await.map_err(failed)?;
    let waf = find_waf(config, store, DEFAULT_WAF).await?;
    let row = row(BOOTSTRAP_NAME, waf.id, Scope::Admin, key);
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
    let is_replica = matches!(store.pulse().await.map_err(failed)?.role, Role::Replica { .. });
    if config.ro_mode || is_replica {
        tracing::warn!("the database takes no writes: the key of {VARIABLE} is not created");
        return Ok(());
    }
    if store.remove_key(BOOTSTRAP_NAME, None, action(BOOTSTRAP_NAME)).await.map_err(failed)? {
        tracing::warn!("the key {BOOTSTRAP_NAME:?} is replaced by the one in {}", path.display());
    }
    store.add_key(row, action(BOOTSTRAP_NAME)).await.map_err(failed)?;
    tracing::info!("the admin key {BOOTSTRAP_NAME:?} was created from {}", path.display());
    Ok(())
}
