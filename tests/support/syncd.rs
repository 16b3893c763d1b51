//! A running `nwaf-syncd`.

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::folder::set_mode;
use crate::http::{Client, Visit};
use crate::process::Process;
use crate::{artifacts, net};

/// syncd: its folder, and its process while it runs.
pub struct Syncd {
    folder: PathBuf,
    status: SocketAddrV4,
    process: Option<Process>,
}

impl Syncd {
    /// Starts one that publishes into `snapshot`, and waits until it has.
    ///
    /// # Panics
    /// When nothing is published.
    pub fn start(folder: &Path, snapshot: &Path, endpoints: &[String], key: &str) -> Self {
        let folder = folder.join("syncd");
        std::fs::create_dir_all(&folder).expect("a folder for syncd");
        let (key_file, status) = (folder.join("node.key"), net::free());
        std::fs::write(&key_file, key).expect("the key is written");
        set_mode(&key_file, 0o600);
        let config = format!(
            "status_listen = \"{status}\"\nnode = \"test\"\n\n[api]\nendpoints = {endpoints:?}\n\
             key_file = {:?}\npoll_interval = 1\n\n[snapshot]\ndir = {:?}\n",
            key_file.display().to_string(),
            snapshot.display().to_string(),
        );
        std::fs::write(folder.join("syncd.toml"), config).expect("syncd.toml is written");
        let mut syncd = Self { folder, status, process: None };
        syncd.run();
        let current = snapshot.join(ipc::snapshot::CURRENT);
        let process = syncd.process.as_mut().expect("syncd was just started");
        process.await_ready(|| current.is_file().then_some(()));
        syncd
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn run(&mut self) {
        let mut command = Command::new(artifacts::program("nwaf-syncd"));
        command.arg("--config").arg(self.folder.join("syncd.toml"));
        self.process = Some(Process::start("nwaf-syncd", command, &self.folder.join("syncd.log")));
    }

    /// Ends it without warning, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("syncd runs").stop(Signal::KILL);
    }

    /// What it says about itself; nothing while it does not answer.
    pub fn status(&self) -> Option<Value> {
        let request = Visit::new(self.status, "/status").bytes();
        serde_json::from_slice(&Client::new(self.status).send(&request).ok()?.body).ok()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        crate::process::read(&self.folder.join("syncd.log"))
    }
}
