//! A real PostgreSQL server in a folder of its own.
//!
//! Invariants: the server listens on a loopback address and a port of this process and
//! on a socket in its folder; its files belong to the user `postgres` when the tests run
//! as root (the server refuses root); whatever ends the test process, the server ends and
//! its folder goes; nothing waits for a time. Durability against a loss of power is switched
//! off; `kill -9` loses nothing that way, because the kernel keeps what was written.
//!
//! Questions are asked with `psql`: the harness has no SQL driver.

use std::net::SocketAddrV4;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::folder::set_mode;
use crate::process::{Process, read, signal_pid};
use crate::wait::{PATIENCE, eventually};
use crate::{Folder, artifacts, net};

mod keeper;
mod pair;
mod script;

pub use pair::{Frozen, Pair};
pub use script::{Script, script};

use keeper::Keeper;

/// The role, and the database, of the product.
pub const ROLE: &str = "nwaf";
/// Its password.
pub const PASSWORD: &str = "nwaf-secret";
/// The role that replicates.
pub const REPLICATOR: &str = "replicator";
/// Its password.
pub const REPLICATOR_PASSWORD: &str = "replicator-secret";

/// What every server of the tests has in its `postgresql.conf`.
///
/// `wal_keep_size`: without it `pg_rewind` misses segments. `full_page_writes` stays on:
/// `pg_rewind` needs it. The times let a broken replication be noticed within seconds.
const SETTINGS: &str = "
wal_level = replica
max_wal_senders = 4
max_replication_slots = 4
hot_standby = on
hot_standby_feedback = on
wal_keep_size = 256MB
max_slot_wal_keep_size = 1GB
wal_sender_timeout = 5s
wal_receiver_timeout = 5s
wal_retrieve_retry_interval = 200ms
max_connections = 60
shared_buffers = 32MB
fsync = off
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
";

/// Who may connect, and how. The socket lies in a folder nobody else can enter.
const HBA: &str = "\
local all all trust
local replication all trust
host all all 127.0.0.0/8 scram-sha-256
host replication replicator 127.0.0.0/8 scram-sha-256
";

/// The server's process.
enum Running {
    /// It does not run.
    No,
    /// Started here.
    Child(Process),
    /// Started by a script, and nobody's child.
    Daemon(Daemon),
}

/// A server: its data folder, and its process while it runs.
pub struct Postgres {
    running: Running,
    address: SocketAddrV4,
    data: PathBuf,
    // Before the folder: it must have finished when the folder goes.
    _keeper: Keeper,
    folder: Folder,
}

impl Postgres {
    /// Starts a server with an empty database `nwaf` of the role `nwaf`.
    ///
    /// # Panics
    /// When PostgreSQL is not installed (the message says what to install), or does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut server = Self::prepare("a");
        server.run_tool(
            server
                .tool("initdb")
                .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"])
                .args(["--no-sync", "--data-checksums", "-D"])
                .arg(&server.data),
        );
        server.own(&server.data.join("pg_hba.conf"), HBA);
        server.configure("");
        server.start_again();
        server.sql(&format!("create role {ROLE} login password '{PASSWORD}'"));
        server.sql(&format!(
            "create role {REPLICATOR} login replication password '{REPLICATOR_PASSWORD}'"
        ));
        server.sql(&format!("create database {ROLE} owner {ROLE}"));
        server
    }

    /// One server for all tests of this binary that need only a database.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    pub fn shared() -> &'static Self {
        // A static is never dropped; the keeper ends the server with the process.
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// A folder, an address and no data yet.
    fn prepare(data: &str) -> Self {
        let folder = Folder::new();
        let data = folder.path().join(data);
        let server = Self {
            running: Running::No,
            address: net::free(),
            data,
            _keeper: Keeper::of(folder.path()),
            folder,
        };
        let home = server.folder.path();
        give(home);
        // Scripts start the server as its user, who cannot write what root has created.
        server.own(&server.log_file(), "");
        let sockets = server.folder.create("sock");
        give(&sockets);
        set_mode(&sockets, 0o700);
        server.own(
            &home.join("pgpass"),
            &format!("*:*:*:{ROLE}:{PASSWORD}\n*:*:*:{REPLICATOR}:{REPLICATOR_PASSWORD}\n"),
        );
        server
    }

    /// The address of the database `nwaf`, for `api.toml`.
    pub fn url(&self) -> String {
        self.url_of(ROLE)
    }

    /// The address of another database of this server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{PASSWORD}@{}/{database}", self.address)
    }

    /// The address of a new, empty database, which ends with the server.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn fresh_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{ROLE}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("create database {name} owner {ROLE}"));
        self.url_of(&name)
    }

    /// Asks the database `nwaf` (before it is there: `postgres`) as superuser. Columns of the
    /// answer are separated by `|`, rows by line ends.
    ///
    /// # Panics
    /// When the statement fails, with what the server said.
    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|why| panic!("{statement}: {why}"))
    }

    /// The same; what the server said when it refused.
    ///
    /// # Errors
    /// The message of the server, with its SQLSTATE.
    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        self.psql(ROLE, statement).or_else(|why| {
            // 3D000: invalid_catalog_name, the database is still to be created.
            if why.contains("3D000") || why.contains(&format!("database \"{ROLE}\" does not")) {
                self.psql("postgres", statement)
            } else {
                Err(why)
            }
        })
    }

    fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let output = self
            .tool("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-U", "postgres"])
            .args(["-p", &self.address.port().to_string(), "-d", database, "-c", statement, "-h"])
            .arg(self.sockets())
            .output()
            .expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Whether it follows another server, and so refuses writes.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn is_replica(&self) -> bool {
        self.sql("select pg_is_in_recovery()") == "t"
    }

    /// Address and port.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder with the server's socket.
    pub fn sockets(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// A file with the passwords of the roles, as `PGPASSFILE` wants it.
    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("pgpass")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        read(&self.log_file())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("postgres.log")
    }

    /// The process id of the server; nothing while it does not run.
    pub fn pid(&self) -> Option<u32> {
        match &self.running {
            Running::No => None,
            Running::Child(process) => Some(process.pid()),
            Running::Daemon(daemon) => Some(daemon.pid()),
        }
    }

    /// Starts it with the data that is there, and waits until it answers.
    ///
    /// # Panics
    /// When it runs already, or does not become ready.
    pub fn start_again(&mut self) {
        assert!(self.pid().is_none(), "the server runs already");
        // After kill -9 the children of the dead server may hold its memory for a moment.
        let (process, _) = eventually(PATIENCE, "PostgreSQL's start", || {
            let before = self.log().len();
            let mut command = self.tool("postgres");
            command.arg("-D").arg(&self.data);
            let mut process = Process::start("postgres", command, &self.log_file());
            let ready = eventually(PATIENCE, "PostgreSQL ready", || {
                process
                    .ended()
                    .map(|_| false)
                    .or_else(|| self.is_ready(process.pid()).then_some(true))
            });
            if ready.0 {
                return Some(process);
            }
            let why = self.log().split_off(before);
            assert!(why.contains("still in use"), "PostgreSQL does not start:\n{why}");
            None
        });
        self.running = Running::Child(process);
    }

    /// Whether the server with this process id accepts connections: the eighth line of its
    /// pid file says so, which is what `pg_ctl` looks at.
    fn is_ready(&self, pid: u32) -> bool {
        let file = read(&self.data.join("postmaster.pid"));
        let mut lines = file.lines();
        lines.next().is_some_and(|first| first.trim() == pid.to_string())
            && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    /// Takes over the server that a script has started on this data folder, or learns that it
    /// has stopped it.
    ///
    /// # Panics
    /// When it is being started and does not become ready.
    pub fn adopt(&mut self) {
        // A server that stops removes the file; one that was killed leaves it.
        let file = self.data.join("postmaster.pid");
        let pid = read(&file).lines().next().and_then(|line| line.trim().parse().ok());
        // A value that knows a process ends it when it goes, so the one that is there stays.
        if pid != self.pid() {
            let daemon = pid.map(Daemon::with_pid).filter(Daemon::is_running);
            if let Some(daemon) = &daemon {
                let ready = || self.is_ready(daemon.pid()).then_some(());
                eventually(PATIENCE, "PostgreSQL ready", ready);
            }
            self.running = daemon.map_or(Running::No, Running::Daemon);
        }
    }

    /// Stops it in order: connections are ended, everything is written.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends it as the loss of its machine would: every process of it at once, also one that
    /// is frozen and would otherwise send what it still holds. Nothing of it is left after.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill9(&mut self) {
        let pid = self.pid().expect("the server runs");
        // While it is stopped it starts no further ones.
        signal_pid(pid, Signal::STOP);
        let children = crate::process::children(pid);
        signal_pid(pid, Signal::KILL);
        for child in children {
            signal_pid(child, Signal::KILL);
        }
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        match std::mem::replace(&mut self.running, Running::No) {
            Running::No => {}
            Running::Child(mut process) => {
                process.stop(signal);
            }
            Running::Daemon(daemon) => {
                let pid = daemon.pid();
                daemon.stop(signal);
                // Whoever buries it may be slow, and a new server refuses to start until then.
                eventually(PATIENCE, "the burial of PostgreSQL", || {
                    (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
                });
            }
        }
    }

    /// Freezes the whole server: it accepts connections and never answers.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) -> Frozen {
        let pid = self.pid().expect("the server runs");
        let mut pids = crate::process::children(pid);
        pids.insert(pid);
        Frozen::of(pids)
    }

    /// Appends to `postgresql.conf` what this server needs, and `more`. Later lines win.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, more: &str) {
        let file = self.data.join("postgresql.conf");
        let text = format!(
            "{}{SETTINGS}listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{}'\n{more}\n",
            read(&file),
            self.address.ip(),
            self.address.port(),
            self.sockets().display(),
        );
        self.own(&file, &text);
    }

    /// A program of PostgreSQL, run as the user the server runs as.
    ///
    /// # Panics
    /// When PostgreSQL is not installed; the message says what to install.
    pub fn tool(&self, name: &str) -> Command {
        let bin = artifacts::postgres();
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
            command.arg(bin.join(name));
            command
        } else {
            Command::new(bin.join(name))
        };
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.folder.path())
            .env("PGPASSFILE", self.password_file());
        command
    }

    fn run_tool(&self, command: &mut Command) {
        let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        assert!(
            output.status.success(),
            "{command:?}: {}{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }

    /// Writes a file that only the server's user may read.
    fn own(&self, path: &Path, text: &str) {
        std::fs::write(path, text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        set_mode(path, 0o600);
        give(path);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Fast, without writing what nobody reads again; the keeper waits and removes.
        if let Some(pid) = self.pid() {
            signal_pid(pid, Signal::QUIT);
        }
    }
}

/// Gives a file to the user the servers run as.
///
/// # Panics
/// When there is no such user; the message says what to install.
pub fn give(path: &Path) {
    static OWNER: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = read(Path::new("/etc/passwd"));
        let line = users.lines().find(|line| line.starts_with("postgres:")).expect(
            "the user postgres; run scripts/install-packages, or apt-get install postgresql",
        );
        let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((numbers.next().expect("a user id"), numbers.next().expect("a group id")))
    });
    if let Some((user, group)) = *OWNER {
        chown(path, Some(user), Some(group)).expect("root may");
    }
}
