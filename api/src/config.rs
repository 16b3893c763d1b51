//! `api.toml` and its environment overrides.
//!
//! Precedence: environment, file, default. Unknown keys in the file are errors with
//! line and column; unknown variables are not, other programs share the prefix.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use axum::http::Uri;
use serde::Deserialize;

use crate::database::Database;
use crate::peers::{self, PEERS_MAX};
use crate::tls::Files;

/// Where the file is looked for when no `--config` is given.
pub const DEFAULT_PATH: &str = "/etc/nwaf/api.toml";
/// Largest body of a write: room for some two million addresses.
pub const BODY_LIMIT_BYTES: usize = 64 << 20;
/// Days the action log is kept.
const RETENTION_DAYS: u32 = 365;
/// Longest retention, in days: a hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;
/// Smallest useful body limit, in bytes.
const BODY_LIMIT_MIN: usize = 1 << 10;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the API listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where metrics are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The database.
    pub database: Database,
    /// Every write is refused with 503.
    pub ro_mode: bool,
    /// Days the action log is kept; 0 keeps it for ever.
    pub events_retention_days: u32,
    /// Largest body of a write, in bytes.
    pub body_limit: usize,
    /// Certificate and key, where the main listener speaks TLS.
    pub tls: Option<Files>,
    /// Base URLs of the other servers of the installation.
    pub peers: Vec<Uri>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; the text has line and column.
    #[error("the configuration {path} is wrong: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A value has no meaning.
    #[error("{place}: {value:?}: {reason}; {remedy}")]
    Value {
        /// The key or variable.
        place: String,
        /// What was given.
        value: String,
        /// Why it is refused.
        reason: String,
        /// What would be accepted.
        remedy: &'static str,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    metrics_listen: Option<String>,
    database: Option<String>,
    #[serde(alias = "RO_MODE")]
    ro_mode: Option<bool>,
    events_retention_days: Option<u32>,
    body_limit: Option<u64>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    peers: Option<Vec<String>>,
}

impl Config {
    /// Reads `path`, or the default place, where no file means defaults.
    ///
    /// `variable` looks up an environment variable.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        path: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let place = path.unwrap_or(Path::new(DEFAULT_PATH));
        let file = match std::fs::read_to_string(place) {
            Ok(text) => toml::from_str(&text).map_err(|source| ConfigError::Parse {
                path: place.to_owned(),
                source: Box::new(source),
            })?,
            Err(why) if path.is_none() && why.kind() == std::io::ErrorKind::NotFound => {
                File::default()
            }
            Err(source) => return Err(ConfigError::Read { path: place.to_owned(), source }),
        };
        Self::build(file, variable)
    }

    fn build(file: File, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        // The environment's text, or the file's with the name it has there.
        let pick = |name: &str, from_file: Option<String>| {
            let upper = format!("NWAF_API_{}", name.to_ascii_uppercase());
            match variable(&upper) {
                Some(value) => Some((upper, value)),
                None => from_file.map(|value| (name.to_owned(), value)),
            }
        };
        let address = "write ADDRESS:PORT, for example 127.0.0.1:8080 or [::1]:8080";
        let listen = pick("listen", file.listen)
            .map(|given| parse(given, address))
            .transpose()?
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
        let metrics_listen = pick("metrics_listen", file.metrics_listen)
            .filter(|(_, value)| !value.is_empty())
            .map(|given| parse(given, address))
            .transpose()?;
        let (place, url) = pick("database", file.database).unwrap_or_else(|| {
            ("database".into(), "sqlite:///var/lib/nwaf/api/settings.db".into())
        });
        let database = database(place, &url)?;
        let ro_mode = pick("ro_mode", file.ro_mode.map(|on| on.to_string()))
            .map(|given| parse(given, "write true or false"))
            .transpose()?
            .unwrap_or(false);
        let days = "write a number of days, 0-36500; 0 keeps the log for ever";
        let events_retention_days = limited(
            pick("events_retention_days", file.events_retention_days.map(|n| n.to_string())),
            RETENTION_DAYS,
            0..=RETENTION_DAYS_MAX,
            days,
        )?;
        let body_limit = limited(
            pick("body_limit", file.body_limit.map(|n| n.to_string())),
            BODY_LIMIT_BYTES,
            BODY_LIMIT_MIN..=wire::v2::BUNDLE_BYTES,
            "write a number of bytes, 1024-268435456",
        )?;
        let path = |path: PathBuf| path.display().to_string();
        let certificate = pick("tls_cert", file.tls_cert.map(path)).filter(|(_, p)| !p.is_empty());
        let key = pick("tls_key", file.tls_key.map(path)).filter(|(_, p)| !p.is_empty());
        let tls = tls(certificate, key)?;
        let peers = peers(pick("peers", file.peers.map(|peers| peers.join(","))))?;
        Ok(Self {
            listen,
            metrics_listen,
            database,
            ro_mode,
            events_retention_days,
            body_limit,
            tls,
            peers,
        })
    }

    /// The configuration as a file that means the same, but for passwords, which it has not.
    pub fn to_toml(&self) -> String {
        let text = |value: String| toml::Value::String(value).to_string();
        let mut lines = vec![format!("listen = {}", text(self.listen.to_string()))];
        if let Some(address) = self.metrics_listen {
            lines.push(format!("metrics_listen = {}", text(address.to_string())));
        }
        lines.push(format!("database = {}", text(self.database.to_string())));
        lines.push(format!("ro_mode = {}", self.ro_mode));
        lines.push(format!("events_retention_days = {}", self.events_retention_days));
        lines.push(format!("body_limit = {}", self.body_limit));
        if let Some(Files { certificate, key }) = &self.tls {
            lines.push(format!("tls_cert = {}", text(certificate.display().to_string())));
            lines.push(format!("tls_key = {}", text(key.display().to_string())));
        }
        let peers: Vec<String> = self.peers.iter().map(|peer| text(peer.to_string())).collect();
        lines.push(format!("peers = [{}]", peers.join(", ")));
        lines.join("\n") + "\n"
    }
}

fn database(place: String, url: &str) -> Result<Database, ConfigError> {
    Database::parse(url).map_err(|(reason, value)| ConfigError::Value {
        place,
        value,
        reason,
        remedy: "write sqlite://PATH, for example sqlite:///var/lib/nwaf/api/settings.db, \
                 or postgres://USER:PASSWORD@HOST:PORT/NAME with special characters as %XX",
    })
}

/// Both files or none.
fn tls(
    certificate: Option<(String, String)>,
    key: Option<(String, String)>,
) -> Result<Option<Files>, ConfigError> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some((_, certificate)), Some((_, key))) => {
            Ok(Some(Files { certificate: certificate.into(), key: key.into() }))
        }
        (Some((place, value)), None) | (None, Some((place, value))) => Err(ConfigError::Value {
            place,
            value,
            reason: "certificate and key belong together".to_owned(),
            remedy: "give tls_cert and tls_key, or neither",
        }),
    }
}

/// URLs, in the environment with commas between.
fn peers(given: Option<(String, String)>) -> Result<Vec<Uri>, ConfigError> {
    let Some((place, value)) = given else { return Ok(Vec::new()) };
    let wrong = |value: &str, reason: String| ConfigError::Value {
        place: place.clone(),
        value: value.to_owned(),
        reason,
        remedy: "write at most 16 like http://10.0.0.2:8080; where the other server speaks TLS, its metrics_listen",
    };
    let urls = value.split(',').map(str::trim).filter(|url| !url.is_empty());
    let peers: Vec<Uri> = urls
        .map(|url| peers::parse(url).map_err(|reason| wrong(url, reason)))
        .collect::<Result<_, _>>()?;
    if peers.len() > PEERS_MAX {
        return Err(wrong(&value, format!("there are {} of them", peers.len())));
    }
    Ok(peers)
}

fn parse<T: FromStr<Err: Display>>(
    (place, value): (String, String),
    remedy: &'static str,
) -> Result<T, ConfigError> {
    value.parse().map_err(|why: T::Err| ConfigError::Value {
        reason: why.to_string(),
        place,
        value: value.clone(),
        remedy,
    })
}

fn limited<T: FromStr<Err: Display> + PartialOrd + Display>(
    given: Option<(String, String)>,
    default: T,
    range: std::ops::RangeInclusive<T>,
    remedy: &'static str,
) -> Result<T, ConfigError> {
    let Some((place, value)) = given else { return Ok(default) };
    let number: T = parse((place.clone(), value.clone()), remedy)?;
    if range.contains(&number) {
        return Ok(number);
    }
    let reason = format!("not within {}-{}", range.start(), range.end());
    Err(ConfigError::Value { place, value, reason, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let look = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let file = toml::from_str(text).map_err(|source| ConfigError::Parse {
            path: "test".into(),
            source: Box::new(source),
        })?;
        Config::build(file, look)
    }

    #[test]
    fn environment_beats_file_beats_default() {
        let config = built(
            "listen = '127.0.0.2:1'\nRO_MODE = true\ndatabase = 'sqlite://a.db'",
            &[
                ("NWAF_API_LISTEN", "[::1]:0"),
                ("NWAF_API_BODY_LIMIT", "2048"),
                ("NWAF_API_PORT", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "[::1]:0");
        assert!(config.ro_mode && config.metrics_listen.is_none());
        assert_eq!(config.body_limit, 2048);
        assert_eq!(config.database, Database::Sqlite("a.db".into()));
        assert_eq!(built(&config.to_toml(), &[]).unwrap(), config);
        let default = built("", &[]).unwrap();
        assert_eq!(default.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(default.database, Database::Sqlite("/var/lib/nwaf/api/settings.db".into()));
    }

    #[test]
    fn bad_values_name_place_and_remedy() {
        let unknown = built("listen = '127.0.0.1:1'\nlisten_on = 2", &[]).unwrap_err().to_string();
        assert!(unknown.contains("line 2, column 1") && unknown.contains("listen_on"), "{unknown}");
        for (text, part) in [
            ("listen = 'localhost'", "listen"),
            ("database = 'postgres://u:secret@h:x/d'", "postgres://u:...@h:x/d"),
            ("database = 'mysql://x'", "sqlite://PATH"),
            ("database = 'sqlite://'", "no path"),
            ("database = 'sqlite://:memory:'", "forgets"),
            ("body_limit = 1", "1024"),
            ("events_retention_days = 40000", "36500"),
            ("ro_mode = 'yes'", "line 1"),
        ] {
            let why = built(text, &[]).unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains("secret"), "{text}: {why}");
        }
        let why = built("", &[("NWAF_API_RO_MODE", "yes")]).unwrap_err().to_string();
        assert!(why.contains("NWAF_API_RO_MODE"), "{why}");
    }
}
