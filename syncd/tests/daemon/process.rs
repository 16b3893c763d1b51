//! Starting, ending, signals and exit codes.

use std::fs;

use rustix::process::Signal;

use crate::fake::{FakeApi, Mood, bundle, revision};
use crate::node::{Node, command, set_mode};

#[test]
fn what_was_published_survives_a_kill_and_a_start_without_api() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 4), 3));
    let mut node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 4));
    node.end(Signal::KILL);
    drop(api);
    fs::remove_file(node.snapshots().join("current.nws")).unwrap();
    node.restart();
    node.until_in_force(revision(1, 4));
    node.until_state("stale");
    assert_eq!(node.status()["generation"], 4);
    assert_eq!(node.end(Signal::TERM).code(), Some(0));
}

#[test]
fn reloading_takes_another_endpoint_and_never_a_broken_file() {
    let first = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let second = FakeApi::start(Mood::Good, bundle(revision(1, 2), 3));
    let mut node = Node::start(&[&first.url]);
    node.until_in_force(revision(1, 1));
    fs::write(node.config(), "[api]\nendpoint = 1\n").unwrap();
    node.signal(Signal::HUP);
    node.until("the refusal", || node.log().contains("not reloaded"));
    assert!(node.log().contains("line 2"), "{}", node.log());
    first.set_bundle(bundle(revision(1, 2), 3));
    node.until_in_force(revision(1, 2));
    second.set_bundle(bundle(revision(1, 3), 3));
    node.write_config(&[&second.url]);
    node.signal(Signal::HUP);
    node.until_in_force(revision(1, 3));
    assert_eq!(node.end(Signal::INT).code(), Some(0));
}

#[test]
fn exit_codes_say_what_to_look_at() {
    let node = Node::prepare(&["http://127.0.0.1:1/nw-api/"]);
    let run = |arguments: &[&str]| {
        let output = command(&node.config()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text + &String::from_utf8_lossy(&output.stdout))
    };
    assert_eq!(run(&["--check-config"]).0, 0);
    let (code, dump) = run(&["--dump-config"]);
    assert!(code == 0 && dump.contains("endpoints") && !dump.contains("test-key"), "{dump}");
    assert_eq!(run(&["--version"]).0, 0);
    assert_eq!(run(&["--no-such-option"]).0, 2);

    let key = node.home.path().join("key");
    set_mode(&key, 0o644);
    let (code, text) = run(&["--check-config"]);
    assert!(code == 77 && text.contains("chmod 600"), "{code} {text}");
    set_mode(&key, 0o600);

    fs::write(node.config(), "[api]\nkey_file = \"/k\"\nspeed = 1\n").unwrap();
    let (code, text) = run(&["--check-config"]);
    assert!(code == 78 && text.contains("line 3, column 1"), "{code} {text}");
    fs::remove_file(node.config()).unwrap();
    assert_eq!(run(&["--check-config"]).0, 78);
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    let output = command(&node.config()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another nwaf-syncd"), "{text}");
}
