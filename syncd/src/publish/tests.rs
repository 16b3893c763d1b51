//! Disk first: what is in force after a start, whatever the directory looks like.

use super::*;
use wire::v2::BundleContent;

const TERMS: Terms = Terms { ordered: true, forced: false, settled: false, checked: false };
const FORCED: Terms = Terms { forced: true, ..TERMS };

fn bundle(generation: u64, entries: &[&str]) -> Bundle {
    let block_list = entries.iter().map(|entry| (*entry).to_owned()).collect();
    let content = BundleContent { block_list, ..BundleContent::default() };
    Bundle::seal(Revision { session: 3, generation }, 0, content)
}

/// A directory in which generations 1 and 2 were published.
fn published_twice() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = publish(&store, &bundle(1, &["1.1.1.1"]), None, TERMS).unwrap();
    let second = bundle(2, &["1.1.1.1", "2.2.2.2"]);
    publish(&store, &second, Some(&first.running), TERMS).unwrap();
    (dir, store)
}

fn in_force(store: &Store) -> Option<u64> {
    let trust = Trust { owner: rustix::process::geteuid().as_raw() };
    let snapshot = Snapshot::open(&store.dir().join(CURRENT), trust).ok()?;
    Some(snapshot.meta().generation)
}

#[test]
fn an_empty_directory_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(start(&Store::open(dir.path()).unwrap()), None);
}

#[test]
fn a_good_snapshot_is_left_alone_and_fully_known() {
    let (_dir, store) = published_twice();
    let before = fs::metadata(store.dir().join(CURRENT)).unwrap().modified().unwrap();
    let started = start(&store).unwrap();
    assert_eq!(started.running.revision, Revision { session: 3, generation: 2 });
    assert_eq!(started.running.size, 2);
    assert!(started.running.digest.is_some());
    assert!(started.bytes > 0);
    let after = fs::metadata(store.dir().join(CURRENT)).unwrap().modified().unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_damaged_snapshot_is_compiled_again_and_does_not_become_the_previous_one() {
    for damage in [&b""[..], b"NWAFSNAP", &[0; 4_096]] {
        let (_dir, store) = published_twice();
        let previous = fs::read(store.dir().join(PREVIOUS)).unwrap();
        fs::remove_file(store.dir().join(CURRENT)).unwrap();
        fs::write(store.dir().join(CURRENT), damage).unwrap();
        assert_eq!(start(&store).unwrap().running.revision.generation, 2);
        assert_eq!(in_force(&store), Some(2));
        assert_eq!(fs::read(store.dir().join(PREVIOUS)).unwrap(), previous);
        assert_eq!(fs::read(store.dir().join("refused.nws")).unwrap(), damage);
    }
}

#[test]
fn without_snapshot_and_bundle_the_previous_snapshot_is_gone_back_to() {
    let (_dir, store) = published_twice();
    fs::remove_file(store.dir().join(CURRENT)).unwrap();
    fs::write(store.dir().join("bundle.json"), "{").unwrap();
    let started = start(&store).unwrap();
    assert_eq!(started.running.revision.generation, 1);
    assert_eq!(started.running.digest, None);
    assert_eq!(in_force(&store), Some(1));
}

#[test]
fn a_kept_bundle_that_was_changed_is_not_believed() {
    let (_dir, store) = published_twice();
    let mut changed = bundle(9, &["3.3.3.3"]);
    changed.content.block_list[0] = "4.4.4.4".into();
    store.write(&changed).unwrap();
    fs::remove_file(store.dir().join(CURRENT)).unwrap();
    assert_eq!(start(&store).unwrap().running.revision.generation, 1);
}

#[test]
fn nothing_is_published_that_goes_back_or_is_damaged() {
    let (_dir, store) = published_twice();
    let running = start(&store).unwrap().running;
    let mut damaged = bundle(3, &["1.1.1.1"]);
    damaged.content.block_list.clear();
    let mut conflict = bundle(2, &["9.9.9.9"]);
    conflict.forced_at = 2;
    let mut older = bundle(7, &["1.1.1.1"]);
    older.revision.session = 2;
    for (bad, kind) in [
        (bundle(1, &["1.1.1.1"]), "backwards"),
        (older, "older_session"),
        (damaged, "damaged"),
        (conflict, "conflict"),
        (bundle(3, &["not an address"]), "invalid"),
        (bundle(3, &["0.0.0.0/0"]), "danger"),
    ] {
        match publish(&store, &bad, Some(&running), TERMS) {
            Err(PublishError::Refused(why)) => assert_eq!(why.kind(), kind, "{why}"),
            other => panic!("{kind}: {other:?}"),
        }
    }
    assert_eq!(in_force(&store), Some(2));
    assert_eq!(start(&store).unwrap().running, running);
    // What an operator wants on purpose passes the guards, but not the order.
    let third = publish(&store, &bundle(3, &["0.0.0.0/0"]), Some(&running), FORCED).unwrap();
    assert_eq!(in_force(&store), Some(3));
    let back = publish(&store, &bundle(2, &["1.1.1.1"]), Some(&third.running), FORCED);
    assert!(matches!(back, Err(PublishError::Refused(Refusal::Backwards { .. }))));
    // Another history is the operator's choice, also where it is older.
    let mut older = bundle(1, &[]);
    older.revision.session = 2;
    publish(&store, &older, Some(&third.running), FORCED).unwrap();
    assert_eq!(in_force(&store), Some(1));
}

#[test]
fn a_bundle_that_was_accepted_but_not_yet_published_is_finished() {
    let (_dir, store) = published_twice();
    let accepted = bundle(3, &["1.1.1.1", "0.0.0.0/0"]);
    store.write(&accepted).unwrap();
    let running = start(&store).unwrap().running;
    assert_eq!(in_force(&store), Some(3));
    assert_eq!((running.digest, running.size), (Some(accepted.digest), 2));
    assert!(!running.dangers.is_empty());
    // An older one is not.
    store.write(&bundle(1, &["1.1.1.1"])).unwrap();
    assert_eq!(start(&store).unwrap().running.revision.generation, 3);
}
