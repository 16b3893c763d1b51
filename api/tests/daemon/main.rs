//! The program as an operator meets it: configuration, exit codes, keys, signals, TLS.

mod process;
mod tls;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use process::{Daemon, PATIENCE, nwaf_api, run, text};

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
        absent.contains("postgres://u:...@127.0.0.1:1/d")
            && absent.matches("refused").count() == 1
            && !absent.contains("secret"),
        "{absent}"
    );
    let dump = nwaf_api(place, &["--config", "pg.toml", "--dump-config"])
        .env_remove("NWAF_API_DATABASE")
        .output()
        .unwrap();
    assert!(!text(&dump.stdout).contains("secret"), "{}", text(&dump.stdout));

    // What a start would stumble over, and a variable that is no text, are no fine configuration.
    std::fs::write(place.join("tls.toml"), "tls_cert = \"/no/cert\"\ntls_key = \"/no/key\"\n")
        .unwrap();
    let tls = run(place, &["--config", "tls.toml", "--check-config"]);
    assert_eq!(tls.status.code(), Some(78));
    assert!(text(&tls.stderr).contains("/no/cert"), "{}", text(&tls.stderr));
    let mut broken = nwaf_api(place, &["--check-config"]);
    let broken = broken.env("NWAF_API_LISTEN", std::ffi::OsStr::from_bytes(b"127.0.0.3:1\xff"));
    assert_eq!(broken.output().unwrap().status.code(), Some(78));

    // Read-only without a database: nothing to serve.
    let mut read_only = nwaf_api(place, &[]);
    let read_only = read_only.env("NWAF_API_RO_MODE", "true").output().unwrap();
    assert_eq!(read_only.status.code(), Some(78), "{}", text(&read_only.stderr));
    assert!(text(&read_only.stderr).contains("without ro_mode"), "{}", text(&read_only.stderr));
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
fn a_backup_of_a_running_server_is_a_database() {
    const KEY: &str = "bootstrap-0123456789";
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    std::fs::write(place.join("boot.key"), KEY).unwrap();
    let mut command = nwaf_api(place, &[]);
    command.env("NWAF_API_BOOTSTRAP_KEY_FILE", "boot.key");
    let daemon = Daemon::start(command, place);
    let write = r#"{"set": {"bl": ["1.1.1.1"]}}"#;
    assert_eq!(daemon.request("POST", "/nw-api/set_dyn_bl", KEY, write).0, 200);

    let copied = run(place, &["backup", "copy.db"]);
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    let mode = std::fs::metadata(place.join("copy.db")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let again = run(place, &["backup", "copy.db"]);
    assert_eq!(again.status.code(), Some(1), "an old copy is written over");

    let mut listed = nwaf_api(place, &["waf", "list"]);
    let listed = listed.env("NWAF_API_DATABASE", "sqlite://copy.db").output().unwrap();
    let listed = text(&listed.stdout);
    assert!(listed.starts_with("1\tdefault\t") && listed.trim().ends_with(".2"), "{listed}");
}

#[test]
fn waf_ids_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let said = |arguments: &[&str]| {
        let ended = run(place, arguments);
        (ended.status.code().unwrap(), text(&ended.stdout) + &text(&ended.stderr))
    };
    assert_eq!(said(&["waf", "create", "--name", "shop"]).0, 0);
    assert!(said(&["waf", "create", "--name", "shop"]).1.contains("exists"));
    assert_eq!(said(&["waf", "create", "--name", "a b"]).0, 1);
    let create = ["key", "create", "--name", "s", "--scope", "admin", "--waf", "shop"];
    let (code, key) = said(&create);
    assert_eq!((code, key.trim().len()), (0, 64));
    assert!(said(&["key", "list"]).1.trim().ends_with("shop"));
    assert!(
        said(&["key", "create", "--name", "t", "--scope", "read", "--waf", "x"])
            .1
            .contains("waf list")
    );
    let daemon = Daemon::start(nwaf_api(place, &[]), place);
    let key = key.trim();
    assert_eq!(daemon.request("GET", "/nw-api/get_dyn_bl", key, "").0, 200);

    assert!(said(&["waf", "remove", "shop"]).1.contains("--yes"));
    assert!(said(&["waf", "remove", "default", "--yes"]).1.contains("stays"));
    assert_eq!(said(&["waf", "remove", "shop", "--yes"]).0, 0);
    assert_eq!(daemon.request("GET", "/nw-api/get_dyn_bl", key, "").0, 401);
    assert_eq!(said(&["waf", "remove", "shop", "--yes"]).0, 1);
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
