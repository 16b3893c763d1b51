//! `make run`: what it prints works when pasted, and it leaves nothing behind.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use support::artifacts::project;
use support::process::{Process, read, signal_pid};
use support::wait::{PATIENCE, eventually};
use support::{Folder, Visit, alone, net};

/// The demo builds what has changed before it starts.
const BUILD: Duration = Duration::from_secs(1800);

/// A demo of this test: its state and its ports.
struct Demo {
    folder: Folder,
    site: SocketAddrV4,
    api: SocketAddrV4,
}

impl Demo {
    fn new() -> Self {
        let (site, api) = (net::free_on(Ipv4Addr::LOCALHOST), net::free_on(Ipv4Addr::LOCALHOST));
        Self { folder: Folder::new(), site, api }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(project().join("scripts/run-demo"));
        command
            .env("NWAF_RUN_DIR", self.run())
            .env("NWAF_HTTP_PORT", self.site.port().to_string())
            .env("NWAF_API_PORT", self.api.port().to_string());
        command
    }

    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    /// Starts it and waits for `ready`; returns what it printed.
    fn start(&self, log: &str) -> (Process, String) {
        let log = self.folder.path().join(log);
        let mut process = Process::start("make run", self.command(), &log);
        let (said, _) = eventually(BUILD, "ready", || {
            if let Some(status) = process.ended() {
                panic!("it ended with {status}:\n{}", read(&log));
            }
            let said = read(&log);
            (said.contains("\nready\n") && said.contains("Ctrl-C stops")).then_some(said)
        });
        (process, said)
    }

    fn refused(&self, change: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
        let mut command = self.command();
        change(&mut command);
        let Output { status, stderr, .. } = command.output().expect("run-demo runs");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Nothing of it listens or runs any more.
    fn assert_gone(&self) {
        for address in [self.site, self.api] {
            assert!(std::net::TcpStream::connect(address).is_err(), "{address} still answers");
        }
        assert!(processes_naming(&self.run()).is_empty(), "processes were left behind");
        assert!(!self.run().join("echo.sock").exists() && !self.run().join("nginx.pid").exists());
    }
}

#[test]
fn what_it_prints_works_and_nothing_is_left_behind() {
    let _turn = alone();
    let demo = Demo::new();
    let (mut process, said) = demo.start("first.log");
    let key = std::fs::read_to_string(demo.run().join("api.key")).expect("run/api.key");
    assert!(said.contains(&key), "the key is printed");

    let is_command = |line: &&str| line.starts_with("  curl ") || line.starts_with("  tail ");
    let lines: Vec<_> = said.lines().filter(is_command).collect();
    let expected = [
        "HTTP/1.1 200",
        "success",
        "HTTP/1.1 403",
        "HTTP/1.1 200",
        "success",
        "HTTP/1.1 403",
        // A limit of three: the fourth blocked request begins a ban, which is lifted.
        "success",
        "403 403 403 403",
        "HTTP/1.1 403",
        "\"address\":\"192.0.2.7\"",
        "\"lifted\":1",
        "HTTP/1.1 200",
        "\"source\":\"ban_limit\"",
        "L2FkbWlu",
        "success",
        "success",
        "success",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        let answer = match line.starts_with("  tail ") {
            // A thread writes the journal, a moment later.
            true => {
                eventually(PATIENCE, "the attack in the journal", || {
                    Some(pasted(&demo, line)).filter(|answer| answer.contains(expected))
                })
                .0
            }
            false => pasted(&demo, line),
        };
        assert!(answer.contains(expected), "{line}: {expected:?} is not in {answer}");
    }
    for (page, word) in [
        ("/nwaf_metrics", "nwaf_module_zone_bans_made_total 1"),
        ("/nwaf_status", "\"journal_lines\":"),
    ] {
        let answer = Visit::new(demo.site, page).from("127.0.0.1").send();
        assert!(answer.text().contains(word), "{page}: {}", answer.text());
    }
    assert!(demo.run().join("traffic.ring").is_file(), "there is a ring of traffic");

    // Any host and path reaches the upstream, which says what it got.
    let account = Visit::new(demo.site, "/a%2fb?x=\"<>&y=1").host("any.test").send();
    assert_eq!(account.status, 200);
    let account = account.json();
    assert_eq!(
        (&account["host"], &account["client"]),
        (&"any.test".into(), &"198.51.100.99".into())
    );
    assert_eq!(account["uri"], "/a%2fb?x=\"<>&y=1", "{account}");

    let (code, why) = demo.refused(|_| ());
    assert_eq!(code, Some(69), "{why}");
    assert!(why.contains("another make run is using"), "{why}");

    assert_eq!(process.stop(Signal::TERM).code(), Some(0));
    demo.assert_gone();

    // A second run continues the first: same key, same policy.
    let (mut process, said) = demo.start("second.log");
    assert!(said.contains(&key), "the key is kept");

    // When a part dies, the rest is stopped and the part named.
    let syncd = processes_naming(&demo.run().join("syncd.toml"));
    assert_eq!(syncd.len(), 1, "one syncd: {syncd:?}");
    signal_pid(syncd[0], Signal::KILL);
    assert_eq!(process.wait().code(), Some(1));
    assert!(process.output().contains("nwaf-syncd ended on its own"), "{}", process.output());
    demo.assert_gone();
}

#[test]
fn ports_that_cannot_be_used_are_named() {
    let _turn = alone();
    let demo = Demo::new();
    let occupied = std::net::TcpListener::bind(demo.api).expect("the port is free");
    let (code, why) = demo.refused(|_| ());
    assert_eq!(code, Some(69), "{why}");
    assert!(why.contains("NWAF_API_PORT") && why.contains("in use"), "{why}");
    drop(occupied);
    for (value, word) in [("0", "from 1 to 65535"), ("http", "not a port"), ("70000", "65535")] {
        let (code, why) = demo.refused(|command| {
            command.env("NWAF_HTTP_PORT", value);
        });
        assert_eq!(code, Some(78), "{why}");
        assert!(why.contains("NWAF_HTTP_PORT") && why.contains(word), "{why}");
    }
    let (code, why) = demo.refused(|command| {
        command.env("NWAF_HTTP_PORT", demo.api.port().to_string());
    });
    assert_eq!(code, Some(78), "{why}");
    demo.assert_gone();
}

/// Runs a printed line as somebody would who pastes it, once the workers are in step.
fn pasted(demo: &Demo, line: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(line.trim()).output().expect("sh runs");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(generation) = generation(&answer) {
        eventually(PATIENCE, "the change on both workers", || {
            let status = Visit::new(demo.site, "/nwaf_status").from("127.0.0.1").send().json();
            let workers = status["workers"].as_array()?.clone();
            let all = workers.iter().all(|w| w["generation"].as_u64() >= Some(generation));
            (workers.len() == 2 && all).then_some(())
        });
    }
    answer
}

/// The generation that the answer to a write names.
fn generation(answer: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(answer).ok()?["generation"].as_u64()
}

/// Processes with `path` in their command line; the folder of the state is in all of them.
fn processes_naming(path: &Path) -> Vec<u32> {
    let path = path.display().to_string();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| read(Path::new(&format!("/proc/{pid}/cmdline"))).contains(&path))
        .collect()
}
