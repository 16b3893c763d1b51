//! TLS of the main listener, with the certificates and the clients that people have.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::process::{Daemon, PATIENCE, nwaf_api, run, text};

/// A certificate of its own for `host`, as `NAME.pem` and `NAME.key`.
fn certificate(place: &Path, name: &str, host: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=nwaf", "-addext", &format!("subjectAltName=IP:{host}")])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .current_dir(place)
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
}

fn curl(place: &Path, trusted: &str, url: &str) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert", trusted, url])
        .current_dir(place)
        .output()
        .expect("curl runs")
}

#[test]
fn a_listener_with_a_certificate_speaks_tls_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    certificate(place, "first", "127.0.0.1");
    certificate(place, "second", "127.0.0.1");
    std::fs::copy(place.join("first.pem"), place.join("api.pem")).unwrap();
    std::fs::copy(place.join("first.key"), place.join("api.key")).unwrap();
    let config = "tls_cert = \"api.pem\"\ntls_key = \"api.key\"\n";
    std::fs::write(place.join("api.toml"), config).unwrap();
    let mut daemon = Daemon::start(nwaf_api(place, &["--config", "api.toml"]), place);
    let url = format!("https://{}/healthz", daemon.address);

    let answer = curl(place, "first.pem", &url);
    assert_eq!(text(&answer.stdout), r#"{"status":"ok"}"#, "{}", text(&answer.stderr));
    assert!(!curl(place, "second.pem", &url).status.success(), "another certificate is trusted");
    let plain = curl(place, "first.pem", &url.replace("https:", "http:"));
    assert!(!plain.status.success(), "{}", text(&plain.stdout));

    // HUP: a pair that does not fit changes nothing, one that does is used from then on.
    std::fs::copy(place.join("second.pem"), place.join("api.pem")).unwrap();
    std::fs::write(place.join("api.toml"), format!("{config}ro_mode = true\n")).unwrap();
    daemon.signal("HUP");
    daemon.logged("the configuration stays as it was");
    assert!(curl(place, "first.pem", &url).status.success());
    let role = curl(place, "first.pem", &url.replace("healthz", "role"));
    assert_eq!(text(&role.stdout), r#"{"role":"primary"}"#);
    std::fs::write(place.join("api.toml"), config).unwrap();
    std::fs::copy(place.join("second.key"), place.join("api.key")).unwrap();
    daemon.signal("HUP");
    let renewed = || curl(place, "second.pem", &url).status.success();
    let deadline = Instant::now() + PATIENCE;
    while !renewed() {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.signal("TERM");
    assert_eq!(daemon.end(Duration::from_secs(6)), Some(0));
}

#[test]
fn files_that_do_not_do_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    certificate(place, "a", "127.0.0.1");
    certificate(place, "b", "127.0.0.1");
    std::fs::write(place.join("empty.pem"), "").unwrap();
    for (certificate, key, named) in [
        ("missing.pem", "a.key", "tls_cert: missing.pem"),
        ("empty.pem", "a.key", "tls_cert: empty.pem has no certificate"),
        ("a.pem", "a.pem", "tls_key: a.pem"),
        ("a.pem", "b.key", "give the key of this certificate"),
        ("a.pem", "", "belong together"),
    ] {
        let mut command = nwaf_api(place, &[]);
        command.env("NWAF_API_TLS_CERT", certificate).env("NWAF_API_TLS_KEY", key);
        let ended = command.output().unwrap();
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{said}");
        assert!(said.contains(named), "{said}");
    }
    assert!(run(place, &["--check-config"]).status.success());
}
