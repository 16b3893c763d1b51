//! The program in a folder of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn nwaf_api(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nwaf-api"));
    command.args(arguments).current_dir(directory);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NWAF_")) {
        command.env_remove(name);
    }
    command.env("NWAF_API_DATABASE", format!("sqlite://{}/s.db", directory.display()));
    command
}

pub fn run(directory: &Path, arguments: &[&str]) -> Output {
    nwaf_api(directory, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running daemon; killed when it goes out of scope.
pub struct Daemon {
    child: Child,
    pub address: String,
    log: std::path::PathBuf,
}

impl Daemon {
    pub fn start(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("log");
        command.env("NWAF_API_LISTEN", "127.0.0.1:0");
        command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
        let mut daemon = Self { child: command.spawn().unwrap(), address: String::new(), log };
        daemon.address = daemon.logged("listening on ");
        daemon
    }

    /// The rest of the line with `start`, once it is logged.
    pub fn logged(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let found = log.lines().find_map(|line| line.split_once(start));
            if let Some((_, rest)) = found {
                return rest.trim().to_owned();
            }
            assert!(Instant::now() < deadline, "{start:?} is not logged: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Status and everything after it of one request.
    pub fn request(&self, method: &str, path: &str, key: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer[9..12].parse().unwrap();
        (status, answer)
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The exit code, within `most`.
    pub fn end(&mut self, most: Duration) -> Option<i32> {
        let deadline = Instant::now() + most;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the daemon did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
