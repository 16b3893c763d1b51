//! What the collector remembers between two answers.

use super::*;
use crate::refuse::Remedy;
use wire::v2::BundleContent;

/// A collector with a key, for one endpoint.
pub(crate) fn collector(endpoint: &str) -> Collector {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config {
        endpoints: vec![endpoint.parse().unwrap()],
        key_file: "/nowhere".into(),
        poll_interval: Duration::from_secs(5),
        dialect: Dialect::V1,
        snapshot_dir: "/nowhere".into(),
        status_listen: None,
        node: "test".into(),
    };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "k").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let client = client::build(&config.endpoints).unwrap();
    let store = Arc::new(Store::open(&dir.path().join("snapshot")).unwrap());
    Collector::new(&config, client, ApiKey::read(&key).unwrap(), store)
}

#[tokio::test]
async fn a_loss_by_v1_settles_and_a_danger_does_not() {
    let mut collector = collector("http://127.0.0.1:1/nw-api/");
    let revision = Revision { session: 0, generation: 5 };
    let bundle = Bundle::seal(revision, 0, BundleContent::default());
    let loss = Refusal::Loss { before: 30, after: 0, changes: 1, remedy: Remedy::Node };
    collector.refused(0, &bundle, &loss);
    let now = Instant::now();
    assert_eq!(collector.refused_content("other", now), Refused::No);
    assert_eq!(collector.refused_content(&bundle.digest, now), Refused::Still);
    assert_eq!(collector.refused_content(&bundle.digest, now + SETTLES), Refused::Settled);
    let danger = Refusal::Danger(policy::Danger::BlocksAllV4, Remedy::Node);
    collector.refused(0, &bundle, &danger);
    assert_eq!(collector.refused_content(&bundle.digest, now + SETTLES * 9), Refused::Still);
    collector.accepted();
    assert_eq!(collector.refused_content(&bundle.digest, now), Refused::No);
}

#[test]
fn only_an_operator_may_go_back_to_another_history() {
    let at = |session, generation| Revision { session, generation };
    let mut known = Known { revision: Some(at(5, 9)), ..Known::default() };
    assert!(known.forbids(at(4, 99)) && known.forbids(at(5, 8)));
    assert!(!known.forbids(at(5, 9)) && !known.forbids(at(6, 1)));
    known.any_session = true;
    assert!(!known.forbids(at(4, 99)) && known.forbids(at(5, 8)));
}
