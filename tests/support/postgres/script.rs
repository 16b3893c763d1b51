//! The operator's scripts (`scripts/pg-*`), run on servers of the tests as an operator would.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Postgres, REPLICATOR};
use crate::artifacts;

/// What a script came to.
#[derive(Debug)]
pub struct Script {
    /// Its exit code.
    pub status: i32,
    /// What it said.
    pub said: String,
    /// What it complained about.
    pub complained: String,
    /// How long it took.
    pub took: Duration,
}

impl Script {
    /// Runs a script with these words only.
    ///
    /// # Panics
    /// When it cannot be started, or is ended by a signal.
    pub fn run(command: &mut Command) -> Self {
        let began = Instant::now();
        let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            status: output.status.code().expect("an exit code"),
            said: text(&output.stdout),
            complained: text(&output.stderr),
            took: began.elapsed(),
        }
    }

    /// The script must have succeeded.
    ///
    /// # Panics
    /// When it has not, with what it wrote.
    pub fn done(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.said, self.complained);
        self
    }

    /// The script must have refused with this code, naming all of `words`.
    ///
    /// # Panics
    /// When it has not, with what it wrote.
    pub fn refused(self, status: i32, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{}{}", self.said, self.complained);
        for word in words {
            assert!(self.complained.contains(word), "no {word:?} in: {}", self.complained);
        }
        self
    }
}

/// The command of a script.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(artifacts::project().join("scripts").join(name));
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

impl Postgres {
    /// A place for a server: address, folder, passwords; the scripts make the data.
    pub fn vacant() -> Self {
        Self::prepare("a")
    }

    /// Runs a script on this server, with its passwords and `words`.
    ///
    /// # Panics
    /// As [`Script::run`].
    pub fn script(&self, name: &str, words: &[&str]) -> Script {
        let mut command = script(name);
        command.arg("--data").arg(&self.data).arg("--log").arg(self.log_file());
        command.arg("--bin").arg(artifacts::postgres());
        command.arg("--passwords").arg(self.password_file());
        command.args(["--replication-role", REPLICATOR]).args(words);
        Script::run(&mut command)
    }

    /// The words with which a script puts a server in its place.
    pub fn place(&self) -> Vec<String> {
        let (address, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let sockets = self.sockets().display().to_string();
        ["--listen", &address, "--port", &port, "--sockets", &sockets].map(str::to_owned).to_vec()
    }

    /// Runs `pg-primary` on this server, and takes over what it started.
    ///
    /// # Panics
    /// When it fails.
    pub fn make_primary(&mut self, words: &[&str]) -> Script {
        let place = self.place();
        let place = place.iter().map(String::as_str);
        let nets = ["--api", "127.0.0.0/8", "--peer", "127.0.0.0/8"];
        let words: Vec<&str> = place.chain(nets).chain(words.iter().copied()).collect();
        let script = self.script("pg-primary", &words).done();
        self.adopt();
        script
    }

    /// Runs `pg-replica` on this server, and takes over what it started.
    ///
    /// # Panics
    /// When it fails.
    pub fn make_replica(&mut self, primary: &Self, words: &[&str]) -> Script {
        let (place, primary) = (self.place(), primary.address().to_string());
        let place = place.iter().map(String::as_str);
        let words: Vec<&str> =
            place.chain(["--primary", &primary]).chain(words.iter().copied()).collect();
        let script = self.script("pg-replica", &words).done();
        self.adopt();
        script
    }
}
