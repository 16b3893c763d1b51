//! Why the program ends without having done its work, and errors with all their causes.

use store::StoreError;

use crate::config::{Config, ConfigError};
use crate::tls;

/// Why the program ends without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// See [`ConfigError`].
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that the configuration names.
    #[error("{0}")]
    Setup(String),
    /// See [`tls::TlsError`].
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The database cannot be used.
    #[error("the database {database}: {source}")]
    Store {
        /// Which one, without a password.
        database: String,
        /// Why.
        source: StoreError,
    },
    /// An address cannot be listened on.
    #[error("{place}: cannot listen on {address}: {source}")]
    Listen {
        /// Key of the configuration.
        place: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A command asks for what cannot be.
    #[error("{0}")]
    Refused(String),
    /// The system refuses something.
    #[error("{what}: {source}")]
    Io {
        /// What.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Failure {
    /// Names the configured database in an error.
    pub fn store(config: &Config, source: StoreError) -> Self {
        Self::Store { database: config.database.to_string(), source }
    }

    /// As `sysexits.h` has them.
    pub fn exit_code(&self) -> u8 {
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

/// An error and its causes on one line. Many errors spell their cause themselves; it is not
/// said twice.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("it is gone");
        let error = Failure::Io { what: "a file cannot be read", source: cause };
        assert_eq!(with_causes(&error), "a file cannot be read: it is gone");
        let cause = StoreError::Unavailable("connection refused".into());
        let failure = Failure::Store { database: "sqlite://x".to_owned(), source: cause };
        assert_eq!(
            with_causes(&failure),
            "the database sqlite://x: the store does not answer: connection refused"
        );
    }
}
