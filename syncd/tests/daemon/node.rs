//! One nginx host's `nwaf-syncd` with a directory of its own.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ipc::snapshot::{CURRENT, Snapshot, Trust};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use wire::v2::Revision;

pub const KEY: &str = "integration-test-key";
/// Longest time any condition may take; a failing test ends here.
const PATIENCE: Duration = Duration::from_secs(25);

pub struct Node {
    pub home: TempDir,
    child: Option<Child>,
    log: PathBuf,
}

impl Node {
    /// A node that is not started yet; polls every second.
    pub fn prepare(endpoints: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log");
        let node = Self { home, child: None, log };
        node.write_key(KEY);
        node.write_config(endpoints);
        node
    }

    pub fn start(endpoints: &[&str]) -> Self {
        let mut node = Self::prepare(endpoints);
        node.restart();
        node
    }

    pub fn write_key(&self, key: &str) {
        let path = self.home.path().join("key");
        let mut options = File::options();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
        file.write_all(key.as_bytes()).unwrap();
    }

    pub fn write_config(&self, endpoints: &[&str]) {
        let home = self.home.path().display();
        let text = format!(
            "status_listen = \"127.0.0.1:0\"\nnode = \"test\"\n[api]\nendpoints = {endpoints:?}\n\
             key_file = \"{home}/key\"\npoll_interval = 1\n[snapshot]\ndir = \"{home}/snapshot\"\n"
        );
        fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.home.path().join("syncd.toml")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.home.path().join("snapshot")
    }

    /// Starts the process; an older one must have ended.
    pub fn restart(&mut self) {
        fs::write(&self.log, "").unwrap();
        let mut command = command(&self.config());
        // Both: a process that outlives a failed test must not hold the tester's output open.
        command.stdout(self.log_file()).stderr(self.log_file());
        self.child = Some(command.spawn().unwrap());
    }

    fn log_file(&self) -> Stdio {
        File::options().append(true).open(&self.log).unwrap().into()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Signals the process and waits for its end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().unwrap();
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > Duration::from_secs(5) {
                self.child = Some(child);
                panic!("no end within 5 s of {signal:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Polls until `condition` holds.
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the snapshot in force says it is.
    pub fn in_force(&self) -> Option<Revision> {
        let trust = Trust { owner: rustix::process::geteuid().as_raw() };
        let meta = Snapshot::open(&self.snapshots().join(CURRENT), trust).ok()?.meta();
        Some(Revision { session: meta.session, generation: meta.generation })
    }

    pub fn until_in_force(&self, revision: Revision) {
        self.until(&format!("{revision} in force"), || self.in_force() == Some(revision));
    }

    /// The snapshot is in force and the daemon has said so: before, its state
    /// is still the one it started with.
    pub fn until_synced(&self, revision: Revision) {
        self.until_in_force(revision);
        self.until_state("synced");
    }

    pub fn until_state(&self, state: &str) {
        self.until(&format!("state {state}"), || self.status()["state"] == state);
    }

    pub fn status(&self) -> serde_json::Value {
        self.get("/status").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Body of a page of the status listener, once it listens.
    pub fn get(&self, path: &str) -> Option<String> {
        let log = self.log();
        let address = log.split("listening on ").nth(1)?.split_whitespace().next()?;
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.split_once("\r\n\r\n")?.1.to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked"), "{log}");
            assert!(!log.contains(KEY), "the key is in the log: {log}");
        }
    }
}

/// The program with an environment that holds nothing of the tester's.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nwaf-syncd"));
    command.env_clear().arg("--config").arg(config).stdin(Stdio::null());
    command
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
