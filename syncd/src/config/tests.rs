//! What is accepted, what is refused, and what the refusal says.

use super::*;

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("syncd.toml");
    fs::write(&path, text).unwrap();
    Config::load(Some(&path), |name| {
        env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

const FULL: &str = r#"
    status_listen = "127.0.0.1:0"
    node = "edge-1"
    [api]
    endpoints = ["http://127.0.0.1:8080/nw-api", "https://b.example/nw-api/"]
    key_file = "/etc/nwaf/node.key"
    poll_interval = 7
    dialect = "v2"
    [snapshot]
    dir = "/srv/nwaf"
"#;

#[test]
fn a_full_file_is_understood_and_survives_its_dump() {
    let config = load(FULL, &[]).unwrap();
    assert_eq!(config.endpoints[0].as_str(), "http://127.0.0.1:8080/nw-api/");
    assert_eq!(config.poll_interval, Duration::from_secs(7));
    assert_eq!(config.dialect, Dialect::V2);
    assert_eq!(load(&config.dump(), &[]).unwrap(), config);
}

#[test]
fn the_environment_alone_is_enough_and_wins() {
    let env = [
        ("NWAF_API_ENDPOINTS", "http://[::1]:1/x, http://localhost:2/"),
        ("NWAF_API_KEY_FILE", "/k"),
        ("NWAF_API_POLL_INTERVAL", "2"),
        ("NWAF_API_DIALECT", "v1"),
        ("NWAF_SNAPSHOT_DIR", "/s"),
        ("NWAF_STATUS_LISTEN", "127.0.0.1:9"),
        ("NWAF_NODE", "n"),
    ];
    let config = load("", &env).unwrap();
    assert_eq!(load(FULL, &env).unwrap(), config);
    assert_eq!(config.endpoints.len(), 2);
    assert_eq!(config.plaintext_endpoints().count(), 0);
    assert_eq!(config.dialect, Dialect::V1);
}

#[test]
fn defaults_are_filled_in() {
    let config =
        load("[api]\nendpoints=[\"http://192.0.2.1/nw-api/\"]\nkey_file=\"/k\"", &[]).unwrap();
    assert_eq!(config.poll_interval, Duration::from_secs(5));
    assert_eq!(config.dialect, Dialect::Auto);
    assert_eq!(config.snapshot_dir, Path::new("/var/lib/nwaf/snapshot"));
    assert!(!config.node.is_empty());
    assert_eq!(config.plaintext_endpoints().count(), 1);
}

#[test]
fn unknown_keys_and_wrong_types_are_named_with_line_and_column() {
    for (text, word) in [
        ("[api]\nendpoint = []\n", "endpoint"),
        ("[events]\njournal_dir = \"/x\"\n", "events"),
        ("[api]\npoll_interval = \"5\"\n", "poll_interval"),
        ("[api]\ndialect = \"v3\"\n", "dialect"),
        ("[api\n", "[api"),
    ] {
        let message = load(text, &[]).unwrap_err().to_string();
        assert!(message.contains("line "), "{message}");
        assert!(message.contains("column "), "{message}");
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn values_without_meaning_are_refused_under_their_name() {
    let ok = ("NWAF_API_ENDPOINTS", "http://a/");
    let key = ("NWAF_API_KEY_FILE", "/k");
    for (name, value) in [
        ("NWAF_API_ENDPOINTS", "ftp://a/"),
        ("NWAF_API_ENDPOINTS", "http://u:geheim@a/"),
        ("NWAF_API_ENDPOINTS", "http://a/?key=geheim"),
        ("NWAF_API_ENDPOINTS", "http://a/,http://a"),
        ("NWAF_API_ENDPOINTS", "a"),
        ("NWAF_API_POLL_INTERVAL", "0"),
        ("NWAF_API_POLL_INTERVAL", "5s"),
        ("NWAF_API_DIALECT", "V2"),
        ("NWAF_STATUS_LISTEN", "localhost"),
        ("NWAF_NODE", "a\nb"),
    ] {
        let refused = load("", &[(name, value), ok, key]).unwrap_err().to_string();
        assert!(refused.starts_with(name), "{refused}");
        assert!(!refused.contains("geheim"), "{refused}");
    }
    assert!(load("", &[ok]).unwrap_err().to_string().starts_with("api.key_file"));
    assert!(load("", &[key]).unwrap_err().to_string().starts_with("api.endpoints"));
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let refused = Config::load(Some(Path::new("/nonexistent/syncd.toml")), |_| None).unwrap_err();
    assert!(refused.to_string().contains("/nonexistent/syncd.toml"));
    assert!(!refused.is_permission());
}
