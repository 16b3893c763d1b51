//! The site behind nginx: answers everything with 200 and an account of what arrived.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::artifacts;
use crate::folder::set_mode;
use crate::process::Process;

/// A running `nwaf-echo` on a unix socket.
pub struct Upstream {
    _process: Process,
    socket: PathBuf,
}

impl Upstream {
    /// Starts it with its socket and log in `folder`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(folder: &Path) -> Self {
        let socket = folder.join("echo.sock");
        let mut command = Command::new(artifacts::program("nwaf-echo"));
        command.arg(format!("unix:{}", socket.display()));
        let mut process = Process::start("nwaf-echo", command, &folder.join("echo.log"));
        process.await_ready(|| std::os::unix::net::UnixStream::connect(&socket).ok());
        set_mode(&socket, 0o666);
        Self { _process: process, socket }
    }

    /// What goes into `proxy_pass` or `server` of an `upstream`.
    pub fn nginx_address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}
