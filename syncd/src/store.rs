//! The directory of the snapshots: whose it is, and the last good bundle in it.
//!
//! | file | is |
//! |---|---|
//! | `current.nws`, `previous.nws` | what nginx maps; written by `ipc` |
//! | `bundle.json` | the bundle `current.nws` was compiled from |
//! | `refused.nws` | a `current.nws` that could not be used, kept for inspection |
//! | `syncd.lock` | held while a syncd works on the directory |
//!
//! Invariants: one syncd per directory; `bundle.json` is replaced as a whole and
//! only by a bundle that was accepted and compiled.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ipc::snapshot::CURRENT;
use wire::v2::{BUNDLE_BYTES, Bundle};

const BUNDLE: &str = "bundle.json";
const UNFINISHED: &str = ".bundle.json.tmp";
const REFUSED: &str = "refused.nws";
const LOCK: &str = "syncd.lock";

/// The directory, locked for this process.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// The lock lives as long as the file is open.
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be made, read or written.
    #[error("snapshot.dir: {}: {source}; it must be a directory this user may write to", path.display())]
    Io {
        /// The directory or a file in it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Anybody could put a snapshot there.
    #[error("snapshot.dir: {}: mode {mode:04o} lets every user write; run: chmod o-w {}", path.display(), path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another syncd works on it.
    #[error("snapshot.dir: {}: another nwaf-syncd works on it; stop that one or choose another directory", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the remedy is a permission.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ),
            Self::Open { .. } => true,
            Self::Busy { .. } => false,
        }
    }
}

impl Store {
    /// Takes a directory, making it (mode 0755, so that nginx may read) where
    /// there is none.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: dir.into(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(io)?;
        let mode = fs::metadata(dir).map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o002 != 0 {
            return Err(StoreError::Open { path: dir.into(), mode });
        }
        let path = dir.join(LOCK);
        let opened =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(&path);
        let lock = opened.map_err(|source| StoreError::Io { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { path: dir.into() }),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The last good bundle, not yet checked; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or is no bundle.
    pub fn read(&self) -> io::Result<Option<Bundle>> {
        let file = match File::open(self.dir.join(BUNDLE)) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        let mut bytes = Vec::new();
        file.take(BUNDLE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    /// Keeps a bundle; afterwards it survives a loss of power.
    ///
    /// # Errors
    /// Any error of the file system; the bundle kept before is then still there.
    pub fn write(&self, bundle: &Bundle) -> io::Result<()> {
        let unfinished = self.dir.join(UNFINISHED);
        let written = self.write_unfinished(&unfinished, bundle).and_then(|()| {
            fs::rename(&unfinished, self.dir.join(BUNDLE))?;
            File::open(&self.dir)?.sync_all()
        });
        if written.is_err() {
            // A full disk must not also keep the useless part of a file.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Puts a snapshot that cannot be used out of the way, so that publishing
    /// does not make it the previous one.
    ///
    /// # Errors
    /// Any error of the file system but that there is nothing to put away.
    pub fn put_away(&self) -> io::Result<()> {
        match fs::rename(self.dir.join(CURRENT), self.dir.join(REFUSED)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        }
    }

    fn write_unfinished(&self, path: &Path, bundle: &Bundle) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o640).open(path)?;
        let mut writer = BufWriter::new(file);
        serde_json::to_writer(&mut writer, bundle)?;
        writer.flush()?;
        writer.get_ref().sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::v2::{BundleContent, Revision};

    fn bundle(generation: u64) -> Bundle {
        Bundle::seal(Revision { session: 1, generation }, 0, BundleContent::default())
    }

    #[test]
    fn a_bundle_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("a/b")).unwrap();
        assert_eq!(store.read().unwrap(), None);
        store.write(&bundle(1)).unwrap();
        store.write(&bundle(2)).unwrap();
        assert_eq!(store.read().unwrap(), Some(bundle(2)));
        let mode = fs::metadata(store.dir().join(BUNDLE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn a_torn_bundle_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for text in ["", "{", "{}", "[]", "\0\0\0"] {
            fs::write(dir.path().join(BUNDLE), text).unwrap();
            assert!(store.read().is_err(), "{text:?}");
        }
    }

    #[test]
    fn two_of_us_do_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Busy { .. })));
        drop(first);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_everybody_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = Store::open(dir.path()).unwrap_err();
        assert!(refused.is_permission());
        assert!(refused.to_string().contains("chmod o-w"));
    }
}
