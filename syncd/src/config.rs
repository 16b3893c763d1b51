//! `syncd.toml` and its environment: what an operator chooses, checked once.
//!
//! Invariants: a [`Config`] that exists is usable; an unknown key is an error
//! with line and column; every key can be given by an environment variable,
//! which wins over the file; no secret is part of the configuration.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs, io};

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Where the configuration is looked for.
pub const DEFAULT_FILE: &str = "/etc/nwaf/syncd.toml";
/// Most endpoints; each of them is asked in a cycle that finds none alive.
pub const ENDPOINTS_MAX: usize = 16;
/// Longest poll interval, in seconds: a node that hears of changes later is of no use.
pub const POLL_INTERVAL_MAX: u64 = 3_600;
/// Longest name of a node, in characters; the API's limit.
pub const NODE_CHARS: usize = 128;

/// Everything an operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Base addresses of the API, the first is the primary; each ends in a slash.
    pub endpoints: Vec<Url>,
    /// File with the API key.
    pub key_file: PathBuf,
    /// Time between polls that are not long polls, and the longest backoff.
    pub poll_interval: Duration,
    /// Which calls the API is asked with.
    pub dialect: Dialect,
    /// Where snapshots are published and the last good bundle is kept.
    pub snapshot_dir: PathBuf,
    /// Where status and metrics are served; nowhere where absent.
    pub status_listen: Option<SocketAddr>,
    /// Name of this host in reports.
    pub node: String,
}

/// Which calls the API is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// v2, and v1 where an API has no v2 and nothing ordered runs yet.
    #[default]
    Auto,
    /// Only the vendor's calls: polling, without an order of changes.
    V1,
    /// Only bundles.
    V2,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML, or has an unknown key or a value of a wrong type.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where, with line and column.
        message: String,
    },
    /// A value has no meaning.
    #[error("{key}: {value:?}: {reason}; {remedy}")]
    Value {
        /// Name of the key, or of the environment variable it came from.
        key: String,
        /// The refused value.
        value: String,
        /// Why.
        reason: String,
        /// What would be accepted.
        remedy: String,
    },
}

impl ConfigError {
    /// Whether the remedy is a permission and not the content.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    fn value(key: &str, value: impl fmt::Display, reason: &str, remedy: &str) -> Self {
        let value = value.to_string();
        Self::Value { key: key.into(), value, reason: reason.into(), remedy: remedy.into() }
    }
}

/// The file as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    status_listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default)]
    api: ApiSection,
    #[serde(default)]
    snapshot: SnapshotSection,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiSection {
    endpoints: Option<Vec<String>>,
    key_file: Option<PathBuf>,
    poll_interval: Option<u64>,
    dialect: Option<Dialect>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotSection {
    dir: Option<PathBuf>,
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] where there is one, then the environment.
    ///
    /// `env` returns the value of a variable; an empty value counts as absent.
    ///
    /// # Errors
    /// See [`ConfigError`]. A file that was asked for must exist.
    pub fn load(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // The environment alone may be enough.
            Err(why) if file.is_none() && why.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        };
        let document: Document = toml::from_str(&text).map_err(|why| ConfigError::Syntax {
            path: path.into(),
            message: why.to_string().trim_end().to_owned(),
        })?;
        Self::from_parts(document, |name| env(name).filter(|value| !value.is_empty()))
    }

    fn from_parts(
        document: Document,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        // The name under which a value came in, for messages.
        let pick = |name: &'static str, key: &'static str, written: Option<String>| match env(name)
        {
            Some(value) => (name, Some(value)),
            None => (key, written),
        };
        let Document { status_listen, node, api, snapshot } = document;

        let from_env = env("NWAF_API_ENDPOINTS")
            .map(|list| list.split(',').map(|url| url.trim().to_owned()).collect());
        let key = if from_env.is_some() { "NWAF_API_ENDPOINTS" } else { "api.endpoints" };
        let endpoints = endpoints(key, from_env.or(api.endpoints).unwrap_or_default())?;

        let (key, value) = pick(
            "NWAF_API_KEY_FILE",
            "api.key_file",
            api.key_file.map(|path| path.to_string_lossy().into_owned()),
        );
        let key_file = value.ok_or_else(|| {
            ConfigError::value(
                key,
                "",
                "it is missing",
                "name the file that holds the API key of this node",
            )
        })?;

        let (key, value) = pick(
            "NWAF_API_POLL_INTERVAL",
            "api.poll_interval",
            api.poll_interval.map(|seconds| seconds.to_string()),
        );
        let value = value.unwrap_or_else(|| "5".into());
        let poll_interval =
            value.parse().ok().filter(|seconds| (1..=POLL_INTERVAL_MAX).contains(seconds));
        let poll_interval = poll_interval.map(Duration::from_secs).ok_or_else(|| {
            ConfigError::value(key, &value, "it is out of range", "write seconds, 1 to 3600")
        })?;

        let dialect = match env("NWAF_API_DIALECT").as_deref() {
            None => api.dialect.unwrap_or_default(),
            Some("auto") => Dialect::Auto,
            Some("v1") => Dialect::V1,
            Some("v2") => Dialect::V2,
            Some(other) => {
                let (reason, remedy) = ("there is no such dialect", "write auto, v1 or v2");
                return Err(ConfigError::value("NWAF_API_DIALECT", other, reason, remedy));
            }
        };

        let snapshot_dir = env("NWAF_SNAPSHOT_DIR")
            .map(PathBuf::from)
            .or(snapshot.dir)
            .unwrap_or_else(|| "/var/lib/nwaf/snapshot".into());

        let (key, value) = pick("NWAF_STATUS_LISTEN", "status_listen", status_listen);
        let status_listen = value
            .map(|text| {
                text.parse().map_err(|_| {
                    let remedy = "write ADDRESS:PORT, for example 127.0.0.1:8090";
                    ConfigError::value(key, text, "it is not an address with a port", remedy)
                })
            })
            .transpose()?;

        let (key, value) = pick("NWAF_NODE", "node", node);
        let node = value.unwrap_or_else(hostname);
        if node.is_empty()
            || node.chars().count() > NODE_CHARS
            || node.chars().any(char::is_control)
        {
            let reason = "the name of a node has 1 to 128 characters and no control characters";
            return Err(ConfigError::value(key, node, reason, "choose another name"));
        }

        let key_file = key_file.into();
        Ok(Self { endpoints, key_file, poll_interval, dialect, snapshot_dir, status_listen, node })
    }

    /// The configuration as TOML that [`Config::load`] reads. The key itself is
    /// not part of it.
    pub fn dump(&self) -> String {
        let document = Document {
            status_listen: self.status_listen.map(|address| address.to_string()),
            node: Some(self.node.clone()),
            api: ApiSection {
                endpoints: Some(self.endpoints.iter().map(Url::to_string).collect()),
                key_file: Some(self.key_file.clone()),
                poll_interval: Some(self.poll_interval.as_secs()),
                dialect: Some(self.dialect),
            },
            snapshot: SnapshotSection { dir: Some(self.snapshot_dir.clone()) },
        };
        toml::to_string(&document).expect("names, numbers and paths that came from text are text")
    }

    /// Endpoints that would send the key in the clear over a network.
    pub fn plaintext_endpoints(&self) -> impl Iterator<Item = &Url> {
        self.endpoints.iter().filter(|url| url.scheme() == "http" && !is_loopback(url))
    }
}

/// Checks base addresses and gives each its slash at the end.
fn endpoints(key: &str, texts: Vec<String>) -> Result<Vec<Url>, ConfigError> {
    const REMEDY: &str = "write the base address of the API, for example \
                          \"http://127.0.0.1:8080/nw-api/\"";
    if texts.is_empty() || texts.len() > ENDPOINTS_MAX {
        let reason =
            format!("there are {} endpoints, 1 to {ENDPOINTS_MAX} are needed", texts.len());
        return Err(ConfigError::value(key, texts.join(", "), &reason, REMEDY));
    }
    let mut seen = HashSet::new();
    let mut urls = Vec::with_capacity(texts.len());
    for text in texts {
        let mut url: Url = text.parse().map_err(|why| {
            ConfigError::value(key, &text, &format!("it is not a URL: {why}"), REMEDY)
        })?;
        let reason = if !matches!(url.scheme(), "http" | "https") {
            Some("its scheme is neither http nor https")
        } else if !url.has_host() {
            Some("it names no host")
        } else if !url.username().is_empty() || url.password().is_some() {
            Some("it holds credentials, which belong into api.key_file")
        } else if url.query().is_some() || url.fragment().is_some() {
            Some("it has a query or a fragment")
        } else {
            None
        };
        if let Some(reason) = reason {
            // A password or a key must not come back in the message.
            let host = url.host_str().unwrap_or_default();
            let shown = format!("{}://{host}...", url.scheme());
            return Err(ConfigError::value(key, shown, reason, REMEDY));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        if !seen.insert(url.clone()) {
            return Err(ConfigError::value(key, &text, "it is named twice", "name each API once"));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
