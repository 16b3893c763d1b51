//! An API that knows only the vendor's calls.

use crate::fake::{FakeApi, Mood, bundle, revision};
use crate::node::Node;

#[test]
fn without_v2_the_policy_is_polled_and_numbered_by_content() {
    let api = FakeApi::start(Mood::V1, bundle(revision(0, 0), 3));
    let mut node = Node::start(&[&api.url]);
    node.until_in_force(revision(0, 1));
    node.until_state("synced");
    api.set_bundle(bundle(revision(0, 0), 4));
    node.until_in_force(revision(0, 2));
    // The same content is the same policy, also after a start.
    node.end(rustix::process::Signal::TERM);
    let polls = || {
        let state = api.state();
        state.asked.iter().filter(|asked| asked.target.ends_with("get_dyn_erl")).count()
    };
    let before = polls();
    node.restart();
    node.until("two polls", || polls() > before + 1);
    assert_eq!(node.in_force(), Some(revision(0, 2)));
    assert!(api.state().reports.is_empty());
}

#[test]
fn what_came_by_v2_is_not_replaced_by_something_without_order() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    api.set_bundle(bundle(revision(0, 0), 9));
    api.set_mood(Mood::V1);
    node.until_state("stale");
    let error = node.status()["endpoints"][0]["last_error"].to_string();
    assert!(error.contains("api.dialect"), "{error}");
    assert_eq!(node.in_force(), Some(revision(1, 1)));
}
