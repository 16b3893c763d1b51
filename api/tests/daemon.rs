//! The program as an operator meets it: configuration, exit codes, keys, signals.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

fn nwaf_api(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nwaf-api"));
    command.args(arguments).current_dir(directory);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NWAF_")) {
        command.env_remove(name);
    }
    command.env("NWAF_API_DATABASE", format!("sqlite://{}/s.db", directory.display()));
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    nwaf_api(directory, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running daemon; killed when it goes out of scope.
struct Daemon {
    child: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Daemon {
    fn start(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("log");
        command.env("NWAF_API_LISTEN", "127.0.0.1:0");
        command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
        let mut daemon = Self { child: command.spawn().unwrap(), address: String::new(), log };
        daemon.address = daemon.logged("listening on ");
        daemon
    }

    /// The rest of the line with `start`, once it is logged.
    fn logged(&self, start: &str) -> String {
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
    fn request(&self, method: &str, path: &str, key: &str, body: &str) -> (u16, String) {
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

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// The exit code, within `most`.
    fn end(&mut self, most: Duration) -> Option<i32> {
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

#[test]
fn configuration_and_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(place.join("good.toml"), "listen = \"127.0.0.3:1\"\nRO_MODE = true\n").unwrap();
    std::fs::write(place.join("bad.toml"), "listen = \"127.0.0.3:1\"\nlisten_at = 2\n").unwrap();
    std::fs::write(place.join("pg.toml"), "database = \"postgres://u:secret@h/d\"\n").unwrap();

    let code = |arguments: &[&str]| run(place, arguments).status.code();
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["--config", "good.toml", "--check-config"]), Some(0));
    assert_eq!(code(&["--foo"]), Some(2));
    assert_eq!(code(&["key", "create", "--name", "x", "--scope", "root"]), Some(2));
    let dump = text(&run(place, &["--config", "good.toml", "--dump-config"]).stdout);
    assert!(dump.contains("ro_mode = true") && dump.contains("127.0.0.3:1"), "{dump}");

    let bad = run(place, &["--config", "bad.toml", "--check-config"]);
    assert_eq!(bad.status.code(), Some(78));
    let bad = text(&bad.stderr);
    assert!(bad.contains("line 2, column 1") && bad.contains("listen_at"), "{bad}");
    assert_eq!(code(&["--config", "missing.toml", "--check-config"]), Some(78));
    let mut postgres = nwaf_api(place, &["--config", "pg.toml", "--check-config"]);
    let postgres = postgres.env_remove("NWAF_API_DATABASE").output().unwrap();
    assert_eq!(postgres.status.code(), Some(0), "{}", text(&postgres.stderr));
    // A server that is not there: the name of the database is shown, the password never.
    let mut absent = nwaf_api(place, &["key", "list"]);
    let absent = absent.env("NWAF_API_DATABASE", "postgres://u:secret@127.0.0.1:1/d").output();
    let absent = absent.unwrap();
    assert_eq!(absent.status.code(), Some(69));
    let absent = text(&absent.stderr);
    assert!(
        absent.contains("postgres://u:...@127.0.0.1:1/d") && !absent.contains("secret"),
        "{absent}"
    );
    let dump = nwaf_api(place, &["--config", "pg.toml", "--dump-config"])
        .env_remove("NWAF_API_DATABASE")
        .output()
        .unwrap();
    assert!(!text(&dump.stdout).contains("secret"), "{}", text(&dump.stdout));

    // Read-only without a database: nothing to serve.
    let mut read_only = nwaf_api(place, &[]);
    let read_only = read_only.env("NWAF_API_RO_MODE", "true").output().unwrap();
    assert_eq!(read_only.status.code(), Some(69), "{}", text(&read_only.stderr));
    let mut nowhere = nwaf_api(place, &["key", "list"]);
    let nowhere = nowhere.env("NWAF_API_DATABASE", "sqlite:///nowhere/at/all.db").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(78), "{}", text(&nowhere.stderr));

    // A file that is no database, or a directory, is a matter of the configuration.
    std::fs::write(place.join("garbage.db"), "no database, and long enough to see it".repeat(100))
        .unwrap();
    for (name, part) in [("garbage.db", "restore it from a backup"), (".", "is a directory")] {
        let url = format!("sqlite://{}/{name}", place.display());
        for arguments in [&[][..], &["key", "list"]] {
            let output =
                nwaf_api(place, arguments).env("NWAF_API_DATABASE", &url).output().unwrap();
            let text = text(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{name}: {text}");
            assert!(text.contains(part), "{text}");
        }
    }

    std::fs::write(place.join("short.key"), "too short\n").unwrap();
    let mut short = nwaf_api(place, &[]);
    let short = short.env("NWAF_API_BOOTSTRAP_KEY_FILE", "short.key").output().unwrap();
    assert_eq!(short.status.code(), Some(78));
    assert!(text(&short.stderr).contains("at least 16"), "{}", text(&short.stderr));
}

#[test]
fn keys_work_at_once_and_until_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(place.join("boot.key"), "bootstrap-0123456789\n").unwrap();
    let start = || {
        let mut command = nwaf_api(place, &[]);
        command.env("NWAF_API_BOOTSTRAP_KEY_FILE", "boot.key");
        Daemon::start(command, place)
    };
    let daemon = start();
    let status = |key: &str| daemon.request("GET", "/nw-api/get_dyn_bl", key, "").0;
    assert_eq!(status("bootstrap-0123456789"), 200);

    let created = run(place, &["key", "create", "--name", "web-1", "--scope", "node"]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let key = text(&created.stdout).trim().to_owned();
    assert_eq!((key.len(), status(&key)), (64, 200));
    let twice = run(place, &["key", "create", "--name", "web-1", "--scope", "read"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice.stderr).contains("web-1"));

    let list = text(&run(place, &["key", "list"]).stdout);
    assert!(list.contains("web-1\tnode\t") && list.contains("bootstrap\tadmin\t"), "{list}");
    assert!(!list.contains(&key));
    assert!(run(place, &["key", "revoke", "web-1"]).status.success());
    assert_eq!(run(place, &["key", "revoke", "web-1"]).status.code(), Some(1));
    assert_eq!(status(&key), 401);

    // Neither the database nor the log holds a key.
    for file in ["s.db", "s.db-wal", "log"] {
        let Ok(bytes) = std::fs::read(place.join(file)) else { continue };
        for secret in [key.as_bytes(), b"bootstrap-0123456789"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file}");
        }
    }
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(place.join("s.db")).unwrap());
    assert_eq!(mode & 0o077, 0);

    // The same file at the next start changes nothing; a new content replaces the key.
    drop(daemon);
    drop(start());
    assert_eq!(text(&run(place, &["key", "list"]).stdout).lines().count(), 1);
    std::fs::write(place.join("boot.key"), "another-bootstrap-key").unwrap();
    let daemon = start();
    assert_eq!(daemon.request("GET", "/nw-api/get_dyn_bl", "another-bootstrap-key", "").0, 200);
    assert_eq!(daemon.request("GET", "/nw-api/get_dyn_bl", "bootstrap-0123456789", "").0, 401);
}

#[test]
fn signals() {
    const KEY: &str = "bootstrap-0123456789";
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(place.join("boot.key"), KEY).unwrap();
    std::fs::write(place.join("api.toml"), "metrics_listen = \"127.0.0.1:0\"\n").unwrap();
    let mut command = nwaf_api(place, &["--config", "api.toml"]);
    command.env("NWAF_API_BOOTSTRAP_KEY_FILE", "boot.key");
    let mut daemon = Daemon::start(command, place);

    let write = r#"{"set": {"bl": ["1.1.1.1"]}}"#;
    assert_eq!(daemon.request("POST", "/nw-api/set_dyn_bl", KEY, write).0, 200);
    let metrics = daemon.logged("metrics are served on ");
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("nwaf_api_generation{waf_id=\"1\"} 2"), "{answer}");
    assert!(
        answer.contains(r#"nwaf_api_requests_total{call="set_dyn_bl",code="200"} 1"#),
        "{answer}"
    );

    // HUP takes over what can change, and says what cannot; a bad file changes nothing.
    std::fs::write(place.join("api.toml"), "ro_mode = true\n").unwrap();
    daemon.signal("HUP");
    daemon.logged("the configuration was read again");
    daemon.logged("metrics_listen changed");
    assert_eq!(daemon.request("POST", "/nw-api/set_dyn_bl", KEY, write).0, 503);
    std::fs::write(place.join("api.toml"), "ro_mode = 5\n").unwrap();
    daemon.signal("HUP");
    daemon.logged("the configuration stays as it was");
    assert_eq!(daemon.request("GET", "/nw-api/get_dyn_bl", KEY, "").0, 200);

    // TERM: the waiting node gets its answer, and the process ends.
    let (_, answer) = daemon.request("GET", "/nw-api/v2/bundle", KEY, "");
    let session = answer.split("\"session\":").nth(1).unwrap().split(',').next().unwrap();
    let path = format!("/nw-api/v2/bundle?session={session}&generation=2&wait=60");
    let status = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut stream = TcpStream::connect(&daemon.address).unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_exact(&mut answer).unwrap();
            text(&answer[9..])
        });
        // Until the poll is under way; only its absence from the log can be seen.
        std::thread::sleep(Duration::from_millis(200));
        daemon.signal("TERM");
        waiting.join().unwrap()
    });
    assert_eq!(status, "204");
    assert_eq!(daemon.end(Duration::from_secs(5)), Some(0));
    // A clean end leaves one file, which can be copied as it is.
    assert!(place.join("s.db").exists() && !place.join("s.db-wal").exists());
}
