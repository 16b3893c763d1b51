//! The folder of one test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A temporary folder that nginx's workers may enter; kept if the test fails.
pub struct Folder {
    inner: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    /// An empty folder below the system's temporary one (short, for unix sockets).
    ///
    /// # Panics
    /// When it cannot be created.
    #[expect(
        clippy::new_without_default,
        reason = "it creates a folder, it is not a neutral value"
    )]
    pub fn new() -> Self {
        let inner = tempfile::Builder::new().prefix("nwaf-").tempdir().expect("a temporary folder");
        let path = inner.path().to_owned();
        // Workers run as another user when the tests run as root.
        set_mode(&path, 0o755);
        Self { inner: Some(inner), path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a folder inside, with mode 755.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn create(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).expect("a folder inside the temporary folder");
        set_mode(&path, 0o755);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(inner) = self.inner.take()
        {
            eprintln!("the test's files are kept in {}", inner.keep().display());
        }
    }
}

/// Sets the permissions of a file or folder.
///
/// # Panics
/// When the system refuses.
pub fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .unwrap_or_else(|why| panic!("chmod {mode:o} {}: {why}", path.display()));
}

/// Lets nginx's workers write to a folder: they run as another user when the tests run as root.
///
/// # Panics
/// When it cannot.
pub fn give_to_workers(dir: &Path) {
    if rustix::process::geteuid().is_root() {
        let nobody = std::fs::read_to_string("/etc/passwd").expect("is readable");
        let line = nobody.lines().find(|line| line.starts_with("nobody:")).expect("nobody");
        let uid = line.split(':').nth(2).and_then(|uid| uid.parse().ok()).expect("a number");
        std::os::unix::fs::chown(dir, Some(uid), None).expect("root may");
    }
    set_mode(dir, 0o755);
}
