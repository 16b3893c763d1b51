//! Giving up at the start; with a virtual clock, so that 30 s take none.

use super::*;
use wire::v2::BundleContent;

fn config(dir: &std::path::Path) -> Config {
    let key_file = dir.join("key");
    std::fs::write(&key_file, "k").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key_file, mode).unwrap();
    Config {
        // Nothing listens on port 1.
        endpoints: vec!["http://127.0.0.1:1/nw-api/".parse().unwrap()],
        key_file,
        poll_interval: Duration::from_secs(5),
        dialect: crate::config::Dialect::Auto,
        snapshot_dir: dir.join("snapshot"),
        status_listen: None,
        node: "test".into(),
    }
}

fn start(config: Config) -> (impl Future<Output = Result<(), RunError>>, mpsc::Sender<Command>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sender, commands) = mpsc::channel(1);
    let again = config.clone();
    (run(config, Box::new(move || Ok(again.clone())), commands), sender)
}

#[tokio::test(start_paused = true)]
async fn with_nothing_on_disk_and_nobody_to_ask_it_gives_up_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let (running, _sender) = start(config(dir.path()));
    let why = running.await.unwrap_err();
    assert!(matches!(why, RunError::Unavailable { .. }), "{why}");
    assert!(why.to_string().contains("onnect"), "{why}");
    assert!(began.elapsed() >= FIRST_ANSWER);
}

#[tokio::test(start_paused = true)]
async fn with_something_on_disk_it_never_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let store = Store::open(&config.snapshot_dir).unwrap();
    let revision = Revision { session: 1, generation: 1 };
    store.write(&Bundle::seal(revision, 0, BundleContent::default())).unwrap();
    drop(store);
    let (running, sender) = start(config);
    let stop = async {
        tokio::time::sleep(FIRST_ANSWER * 20).await;
        sender.send(Command::Stop).await.unwrap();
    };
    let (result, ()) = tokio::join!(running, stop);
    result.unwrap();
}
