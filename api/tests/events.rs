//! Attacks and bans through the program itself, on both engines: what was acknowledged
//! survives kill -9, nothing is there twice, and WAF ids see nothing of each other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Postgres;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const PATIENCE: Duration = Duration::from_secs(20);
const ADMIN: &str = "bootstrap-0123456789";

fn nwaf_api(folder: &Path, database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nwaf-api"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NWAF_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).env("NWAF_API_DATABASE", database);
    command
}

/// What a command prints; it must succeed.
fn output(folder: &Path, database: &str, arguments: &[&str]) -> String {
    let done = nwaf_api(folder, database, arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A running daemon; killed when it goes out of scope.
struct Daemon {
    child: Child,
    address: String,
}

impl Daemon {
    fn start(folder: &Path, database: &str) -> Self {
        std::fs::write(folder.join("boot.key"), ADMIN).unwrap();
        let log = folder.join("log");
        let child = nwaf_api(folder, database, &[])
            .env("NWAF_API_LISTEN", "127.0.0.1:0")
            .env("NWAF_API_BOOTSTRAP_KEY_FILE", "boot.key")
            .stderr(std::fs::File::create(&log).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, address: String::new() };
        let deadline = Instant::now() + PATIENCE;
        while daemon.address.is_empty() {
            let text = std::fs::read_to_string(&log).unwrap();
            let found = text.lines().find_map(|line| line.split_once("listening on "));
            daemon.address = found.map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default();
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Status and JSON; `None` where the connection broke.
    fn try_ask(&self, method: &str, path: &str, key: &str, body: &str) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = body.len();
        let head = format!(
            "{method} /nw-api/v2/{path} HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.get(9..12)?.parse().ok()?, serde_json::from_str(body).ok()?))
    }

    fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> Value {
        let (status, value) = self.try_ask(method, path, key, body).unwrap();
        assert_eq!(status, 200, "{method} {path}: {value}");
        value
    }

    /// Names of all attacks.
    fn attacks(&self, key: &str) -> Vec<String> {
        let (mut names, mut before) = (Vec::new(), String::new());
        loop {
            let page = self.ask("GET", &format!("attacks?limit=1000{before}"), key, "");
            let attacks = page["attacks"].as_array().unwrap();
            names.extend(attacks.iter().map(|a| a["event"]["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next"].as_str() else { break };
            before = format!("&before={next}");
        }
        names.sort();
        names
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(id: &str) -> String {
    // The same time for the same line, whenever it is sent.
    static TIME: LazyLock<String> =
        LazyLock::new(|| OffsetDateTime::now_utc().format(&Rfc3339).unwrap());
    let time = &*TIME;
    format!(
        r#"{{"id":"{id}","time":"{time}","request_id":"r","action":"block","bt":8,"client":"192.0.2.1","host":"a.test","method":"GET","uri":"/","status":403,"count":1}}"#
    ) + "\n"
}

fn acknowledged_batches_survive(database: &dyn Fn(&Path) -> String) {
    const BATCH: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let database = database(place);
    let mut daemon = Daemon::start(place, &database);
    let key = output(place, &database, &["key", "create", "--name", "web", "--scope", "node"]);
    let names = |sender: usize, batch: usize| -> Vec<String> {
        (0..BATCH).map(|n| format!("{sender}-{batch}-{n}")).collect()
    };
    let body = |names: &[String]| names.iter().map(|name| line(name)).collect::<String>();
    let (mut sent, mut acknowledged) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let (all, done) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for sender in 0..3 {
                let (daemon, all, done, stop) = (&daemon, &all, &done, &stop);
                let (names, body, key) = (&names, &body, &key);
                scope.spawn(move || {
                    for batch in 0.. {
                        let names = names(10 * round + sender, batch);
                        all.lock().unwrap().push(names.clone());
                        let answer = daemon.try_ask("POST", "attacks?node=w", key, &body(&names));
                        match answer {
                            Some((200, taken)) => {
                                assert_eq!(taken["accepted"], BATCH);
                                done.lock().unwrap().extend(names);
                            }
                            _ => break,
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            let deadline = Instant::now() + PATIENCE;
            while done.lock().unwrap().len() < 20 * BATCH {
                assert!(Instant::now() < deadline, "batches are not taken");
                std::thread::sleep(Duration::from_millis(2));
            }
            let id = daemon.child.id().to_string();
            assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
            stop.store(true, Ordering::Relaxed);
        });
        daemon.kill();
        sent.extend(all.into_inner().unwrap());
        acknowledged.extend(done.into_inner().unwrap());
        daemon = Daemon::start(place, &database);
        let there = daemon.attacks(ADMIN);
        for name in &acknowledged {
            assert!(there.binary_search(name).is_ok(), "{name} was acknowledged and is gone");
        }
        assert_eq!(there.len() % BATCH, 0, "half a batch is there");
    }
    // A sender that does not know what became of its batches sends them all again.
    for names in &sent {
        let taken = daemon.ask("POST", "attacks?node=w", &key, &body(names));
        let sum = taken["accepted"].as_u64().unwrap() + taken["duplicates"].as_u64().unwrap();
        assert_eq!(sum, BATCH as u64);
        assert!(taken["accepted"] == 0 || taken["duplicates"] == 0, "half a batch was there");
    }
    let mut expected: Vec<String> = sent.into_iter().flatten().collect();
    expected.sort();
    assert_eq!(daemon.attacks(ADMIN), expected);
}

fn waf_ids_see_nothing_of_each_other(database: &dyn Fn(&Path) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let database = database(place);
    let daemon = Daemon::start(place, &database);
    output(place, &database, &["waf", "create", "--name", "shop"]);
    let create = |waf: &str, name: &str, scope: &str| {
        let arguments = ["key", "create", "--name", name, "--scope", scope, "--waf", waf];
        output(place, &database, &arguments)
    };
    let ours = [create("default", "n1", "node"), create("default", "m1", "mlc")];
    let theirs = [create("shop", "n2", "node"), create("shop", "m2", "mlc")];
    let (our_admin, their_admin) = (ADMIN.to_owned(), create("shop", "a2", "admin"));
    for (keys, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        // The same node and the same id: not the same attack.
        let batch = line("same") + &line(name);
        assert_eq!(daemon.ask("POST", "attacks?node=w", &keys[0], &batch)["accepted"], 2);
        let ban = r#"{"address": "192.0.2.9", "seconds": 600}"#;
        daemon.ask("POST", "bans", &keys[1], ban);
    }
    for (admin, keys, name, other) in
        [(&our_admin, &ours, "ours", &their_admin), (&their_admin, &theirs, "theirs", &our_admin)]
    {
        let mut expected = [name, "same"];
        expected.sort_unstable();
        assert_eq!(daemon.attacks(admin), expected);
        assert_eq!(daemon.ask("GET", "attacks/summary", admin, "")["events"], 2);
        let id = daemon.ask("GET", "attacks?limit=1", admin, "")["attacks"][0]["id"].clone();
        let path = format!("attacks/{}", id.as_str().unwrap());
        assert_eq!(daemon.try_ask("GET", &path, other, "").unwrap().0, 404);
        let bans = daemon.ask("GET", "bans", &keys[0], "");
        assert_eq!(bans["bans"].as_array().unwrap().len(), 1);
        assert!(bans["revision"].as_str().unwrap().ends_with(".1"));
        let path = format!("bans/{}", bans["bans"][0]["id"]);
        assert_eq!(daemon.try_ask("DELETE", &path, other, "").unwrap().0, 404);
    }
    daemon.ask("DELETE", "bans?address=192.0.2.9", &theirs[1], "");
    assert_eq!(daemon.ask("GET", "bans", &ours[0], "")["bans"].as_array().unwrap().len(), 1);
    output(place, &database, &["waf", "remove", "shop", "--yes"]);
    assert_eq!(daemon.try_ask("GET", "attacks", &their_admin, "").unwrap().0, 401);
    assert_eq!(daemon.attacks(ADMIN), ["ours", "same"]);
}

fn file(place: &Path) -> String {
    format!("sqlite://{}/s.db", place.display())
}

fn server(_: &Path) -> String {
    Postgres::shared().fresh_database()
}

#[test]
fn sqlite_keeps_what_it_acknowledged() {
    acknowledged_batches_survive(&file);
}

#[test]
fn postgres_keeps_what_it_acknowledged() {
    acknowledged_batches_survive(&server);
}

#[test]
fn sqlite_keeps_waf_ids_apart() {
    waf_ids_see_nothing_of_each_other(&file);
}

#[test]
fn postgres_keeps_waf_ids_apart() {
    waf_ids_see_nothing_of_each_other(&server);
}
