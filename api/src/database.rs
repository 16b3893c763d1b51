//! Which database the configuration names, and opening it.

use std::fmt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::Store;
use store_postgres::Postgres;
use store_sqlite::Sqlite;
use zeroize::Zeroizing;

use crate::Failure;
use crate::config::Config;
use crate::service::now_ms;

/// A database by its place. Shown without a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// The URL of a database on a server.
    Postgres(Secret),
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl Database {
    /// Understands a URL.
    ///
    /// # Errors
    /// What is wrong, and how much of the URL may be repeated.
    pub fn parse(url: &str) -> Result<Self, (String, String)> {
        let wrong = |reason: &str, shown: &str| Err((reason.to_owned(), shown.to_owned()));
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return match store_postgres::check_url(url) {
                Ok(()) => Ok(Self::Postgres(Secret(Zeroizing::new(url.to_owned())))),
                Err(reason) => wrong(&reason, &without_password(url)),
            };
        }
        match url.strip_prefix("sqlite://") {
            None => wrong("this is not the URL of a database", &without_password(url)),
            Some("") => wrong("there is no path after sqlite://", url),
            Some(path) if path.starts_with(':') => wrong("a database in memory forgets", url),
            Some(path) => Ok(Self::Sqlite(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => f.write_str(&without_password(&url.0)),
        }
    }
}

/// The URL with `...` in the place of passwords, in its front and in its query.
fn without_password(url: &str) -> String {
    let (front, query) = url.split_once('?').map_or((url, None), |(a, b)| (a, Some(b)));
    let mut shown = match (front.find("://"), front.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let user = front[scheme + 3..at].split(':').next().unwrap_or_default();
            let has_password = front[scheme + 3..at].contains(':');
            let secret = if has_password { ":..." } else { "" };
            format!("{}{user}{secret}{}", &front[..scheme + 3], &front[at..])
        }
        _ => front.to_owned(),
    };
    for (n, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if n == 0 { '?' } else { '&' });
        let name = pair.split('=').next().unwrap_or_default();
        if name.contains("pass") {
            shown.push_str(name);
            shown.push_str("=...");
        } else {
            shown.push_str(pair);
        }
    }
    shown
}

/// Opens the configured database. Creates a file, readable for its owner only, and the
/// schema, unless the read-only mode is on.
///
/// # Errors
/// The file cannot be created or opened; the server cannot be used.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    let now_ms = u64::try_from(now_ms()).unwrap_or_default();
    match &config.database {
        Database::Sqlite(path) => {
            let mode = if config.ro_mode {
                store_sqlite::Mode::ReadOnly
            } else {
                create(path)?;
                create(&store_sqlite::events_path(path))?;
                store_sqlite::Mode::ReadWrite { now_ms }
            };
            check(path, !config.ro_mode)?;
            let store =
                Sqlite::open(path, mode).await.map_err(|why| Failure::store(config, why))?;
            Ok(Arc::new(store))
        }
        Database::Postgres(url) => {
            let mode = if config.ro_mode {
                store_postgres::Mode::ReadOnly
            } else {
                store_postgres::Mode::ReadWrite { now_ms }
            };
            let store = Postgres::open(&url.0, mode).await;
            Ok(Arc::new(store.map_err(|why| Failure::store(config, why))?))
        }
    }
}

/// Copies the configured database into a new file, readable for its owner only.
///
/// # Errors
/// It is no file; the new file exists or cannot be written.
pub async fn backup(config: &Config, into: &Path) -> Result<(), Failure> {
    let Database::Sqlite(path) = &config.database else {
        return Err(Failure::Refused(format!(
            "{} is copied by PostgreSQL's own tools: pg_dump, pg_basebackup",
            config.database
        )));
    };
    check(path, false)?;
    let store = Sqlite::open(path, store_sqlite::Mode::ReadOnly);
    let store = store.await.map_err(|why| Failure::store(config, why))?;
    let created = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(into);
    created.map_err(|why| {
        Failure::Refused(format!("{} cannot be created: {why}; name a new file", into.display()))
    })?;
    let copied = store.backup(into).await;
    store::Store::close(&store).await;
    copied.map_err(|why| Failure::store(config, why))
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
        Err(why) if why.kind() == std::io::ErrorKind::NotFound && !writes => {
            Err(Failure::Setup(format!(
                "database: {:?} does not exist, and is not created where nothing is written; \
                 name the file, or start nwaf-api once without ro_mode",
                path.display().to_string()
            )))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://nwaf:s3cret@db:5432/nwaf", "postgres://nwaf:...@db:5432/nwaf"),
            ("postgres://nwaf:a@b:c@db/nwaf", "postgres://nwaf:...@db/nwaf"),
            ("postgres://nwaf@db/nwaf?sslmode=require", "postgres://nwaf@db/nwaf?sslmode=require"),
            (
                "postgres:///nwaf?host=%2Frun&password=s3cret",
                "postgres:///nwaf?host=%2Frun&password=...",
            ),
        ] {
            let database = Database::parse(url).unwrap();
            assert_eq!(database.to_string(), shown);
            assert!(!format!("{database:?}").contains("s3cret"));
        }
        for wrong in [
            "postgres://u:s3cret@h:port/d",
            "mysql://u:s3cret@h/d",
            "postgres://u:s3cret@h/d?sslmode=maybe",
        ] {
            let (reason, shown) = Database::parse(wrong).unwrap_err();
            assert!(!reason.contains("s3cret") && !shown.contains("s3cret"), "{reason} {shown}");
        }
    }
}
