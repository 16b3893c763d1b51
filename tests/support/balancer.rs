//! The balancer that is handed to operators, in front of two APIs.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use crate::http::{Client, Visit};
use crate::process::{Process, read};
use crate::{artifacts, net};

/// An nginx with `nginx-conf/balancer/nwaf-api.conf`.
pub struct Balancer {
    address: SocketAddrV4,
    // Ends with the value.
    _process: Process,
}

impl Balancer {
    /// Starts one for a primary and its backup.
    ///
    /// # Panics
    /// When nginx does not take the configuration, or does not answer.
    pub fn start(folder: &Path, primary: SocketAddrV4, backup: SocketAddrV4) -> Self {
        Self::with(folder, primary, backup, &[])
    }

    /// The same with `changes` of the file: what it must hold, and what takes its place.
    ///
    /// # Panics
    /// As [`Balancer::start`].
    pub fn with(
        folder: &Path,
        primary: SocketAddrV4,
        backup: SocketAddrV4,
        changes: &[(&str, &str)],
    ) -> Self {
        let folder = folder.join("balancer");
        std::fs::create_dir_all(folder.join("tmp")).expect("a folder for the balancer");
        let address = net::free();
        let example = artifacts::project().join("nginx-conf/balancer/nwaf-api.conf");
        let mut text = read(&example);
        // Only what depends on the machine is another.
        let changes = changes.iter().map(|(from, to)| (*from, (*to).to_owned()));
        let places = [
            ("10.0.0.1:8080", primary.to_string()),
            ("10.0.0.2:8080", backup.to_string()),
            ("10.0.0.10:8080", address.to_string()),
            ("/var/log/nginx/nwaf-api.log", folder.join("access.log").display().to_string()),
        ];
        for (from, to) in changes.chain(places) {
            assert!(text.contains(from), "{from} is not in {}", example.display());
            text = text.replace(from, &to);
        }
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {}/tmp/{kind};\n", folder.display()))
            .concat();
        // Two workers: what one learns of a dead server, the other must know.
        let text = format!(
            "worker_processes 2;\ndaemon off;\npid {0}/nginx.pid;\nerror_log {0}/error.log;\n\
             events {{}}\nhttp {{\n{temporary}{text}}}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).expect("nginx.conf is written");
        let log = folder.join("output.log");
        let nginx = || {
            let mut command = Command::new(artifacts::nginx());
            command.arg("-p").arg(&folder).arg("-c").arg(&file);
            command.arg("-e").arg(folder.join("error.log"));
            command
        };
        let test = nginx().arg("-t").output().expect("nginx -t runs");
        let said = String::from_utf8_lossy(&test.stderr);
        assert!(test.status.success() && !said.contains("[warn]"), "nginx -t: {said}");
        let mut process = Process::start("the balancer", nginx(), &log);
        process.await_ready(|| Client::new(address).send(&Visit::new(address, "/").bytes()).ok());
        Self { address, _process: process }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}
