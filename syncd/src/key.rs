//! The API key: read from a file that only its owner can read, never shown.
//!
//! Invariants: a key never reaches a log, an error message, a URL or a `Debug`
//! output; its memory is wiped when it is dropped.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest key file, in bytes; keys have 64.
const KEY_FILE_BYTES: u64 = 4_096;
/// Permissions that let everybody read or change the file.
const OTHERS: u32 = 0o006;

/// A key as it is sent to the API.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Zeroizing<String>);

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be opened or read.
    #[error("api.key_file: {}: {source}; write the key of a node into it (nwaf-api key create --scope node)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Everybody on the host may read or change it.
    #[error("api.key_file: {}: mode {mode:04o} lets every user of the host use the key; run: chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else than one key.
    #[error("api.key_file: {}: {reason}; the file must hold one key and nothing else", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl KeyError {
    /// Whether the remedy is a permission and not the content.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Read { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Content { .. } => false,
        }
    }
}

impl ApiKey {
    /// Reads a key; spaces and line ends around it are dropped.
    ///
    /// # Errors
    /// See [`KeyError`]. The mode is checked on the opened file, so that it
    /// cannot be exchanged between check and reading.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Read { path: path.into(), source };
        let refuse = |reason| KeyError::Content { path: path.into(), reason };
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Err(KeyError::Open { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(KEY_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > KEY_FILE_BYTES {
            return Err(refuse("it is longer than 4,096 bytes"));
        }
        let key = text.trim();
        if key.is_empty() {
            return Err(refuse("it is empty"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("the key has spaces, line ends or characters beyond ASCII"));
        }
        Ok(Self(Zeroizing::new(key.to_owned())))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let (_dir, path) = file("  secret-1\n", 0o640);
        let key = ApiKey::read(&path).unwrap();
        assert_eq!(key.expose(), "secret-1");
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn a_key_everybody_can_read_is_refused_with_the_remedy() {
        let (_dir, path) = file("secret-1", 0o604);
        let refused = ApiKey::read(&path).unwrap_err();
        assert!(refused.is_permission());
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        for content in ["", "\n", "two words", "a\nb", "schl\u{fc}ssel", &"k".repeat(4_097)] {
            let (_dir, path) = file(content, 0o600);
            let refused = ApiKey::read(&path).unwrap_err();
            assert!(matches!(refused, KeyError::Content { .. }), "{content:?}: {refused}");
        }
        let missing = ApiKey::read(Path::new("/nonexistent/key")).unwrap_err();
        assert!(!missing.is_permission());
    }
}
