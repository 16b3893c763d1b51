//! What changed in place of the whole: where it can be had it is taken, else nothing is lost.

use rustix::process::Signal;

use crate::fake::{FakeApi, Mood, bundle, forced, http, revision};
use crate::node::Node;

/// `deltas` and `delta_fallbacks` of the status.
fn counts(node: &Node) -> (u64, u64) {
    let status = node.status();
    let count = |name: &str| status[name].as_u64().unwrap_or(u64::MAX);
    (count("deltas"), count("delta_fallbacks"))
}

fn until_counted(node: &Node, line: &str) {
    node.until(line, || node.get("/metrics").is_some_and(|page| page.contains(line)));
}

#[test]
fn changes_arrive_as_deltas_also_after_a_start() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 200));
    let mut node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    let bundles = api.bundles_asked();
    for (generation, entries) in [(2, 201), (3, 150), (5, 151)] {
        api.set_bundle(bundle(revision(1, generation), entries));
        node.until_synced(revision(1, generation));
    }
    assert_eq!(counts(&node), (3, 0));
    until_counted(&node, "nwaf_syncd_swaps_total{kind=\"delta\"} 3");
    until_counted(&node, "nwaf_syncd_deltas_total{result=\"applied\"} 3");
    // What is on disk is what a delta is applied to.
    node.end(Signal::KILL);
    api.set_bundle(bundle(revision(1, 6), 180));
    node.restart();
    node.until_synced(revision(1, 6));
    assert_eq!(counts(&node), (1, 0));
    assert_eq!(api.bundles_asked(), bundles, "a whole bundle was fetched");
    let kept = std::fs::read(node.snapshots().join("bundle.json")).unwrap();
    assert_eq!(serde_json::from_slice::<wire::v2::Bundle>(&kept).unwrap(), api.state().bundle);
}

#[test]
fn what_cannot_be_had_or_used_is_taken_as_a_whole_at_once() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 200));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    let other_call = http("200 OK", &serde_json::to_string(&bundle(revision(1, 9), 3)).unwrap());
    let moods = [
        Mood::RawDeltas(http("200 OK", "<html>")),
        Mood::RawDeltas(other_call),
        Mood::RawDeltas(http("500 Internal Server Error", "")),
        // The last one, because a poll that fell back is held for a bundle.
        Mood::WrongDeltas,
    ];
    for (generation, mood) in (2..).zip(moods) {
        // In one step: a poll that is held must not see the one without the other.
        let mut state = api.state();
        state.mood = mood.clone();
        let before = std::mem::replace(&mut state.bundle, bundle(revision(1, generation), 200));
        state.known.push(before);
        drop(state);
        api.set_mood(mood.clone());
        node.until_synced(revision(1, generation));
        assert_eq!(counts(&node), (0, generation - 1), "{mood:?}");
        assert_eq!(node.status()["refusals"], 0, "{mood:?}");
    }
    // And deltas are taken again as soon as they are good.
    api.set_mood(Mood::Good);
    api.set_bundle(bundle(revision(1, 6), 201));
    node.until_synced(revision(1, 6));
    assert_eq!(counts(&node), (1, 4));
    api.forget();
    let mut state = api.state();
    state.bundle = bundle(revision(2, 1), 202);
    drop(state);
    api.set_mood(Mood::Good);
    node.until_synced(revision(2, 1));
    assert_eq!(counts(&node), (1, 5));
    until_counted(&node, "nwaf_syncd_deltas_total{result=\"unusable\"} 4");
    until_counted(&node, "nwaf_syncd_deltas_total{result=\"gone\"} 1");
}

#[test]
fn an_api_without_deltas_is_served_by_bundles_and_held_polls() {
    let api = FakeApi::start(Mood::Whole, bundle(revision(1, 1), 200));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    for generation in 2..5 {
        api.set_bundle(bundle(revision(1, generation), 200));
        node.until_synced(revision(1, generation));
    }
    assert_eq!(counts(&node), (0, 0));
    assert_eq!(node.status()["failovers"], 0);
}

#[test]
fn a_kept_bundle_that_was_lost_or_changed_is_not_built_upon() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 200));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    let kept = node.snapshots().join("bundle.json");
    let text = std::fs::read_to_string(&kept).unwrap();
    for (generation, content) in [
        (2, None),
        (3, Some("{".to_owned())),
        (4, Some(text.replace("192.0.2.7\"", "203.0.113.7\""))),
    ] {
        match content {
            Some(content) => std::fs::write(&kept, content).unwrap(),
            None => std::fs::remove_file(&kept).unwrap(),
        }
        api.set_bundle(bundle(revision(1, generation), 199));
        node.until_synced(revision(1, generation));
        assert_eq!(counts(&node), (0, generation - 1));
    }
    assert_eq!(node.status()["refusals"], 0);
}

#[test]
fn guards_see_what_a_delta_leads_to() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 100));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    api.set_bundle(bundle(revision(1, 2), 9));
    node.until_state("refused");
    assert_eq!(counts(&node), (1, 0));
    assert_eq!(node.in_force(), Some(revision(1, 1)));
    assert!(node.status()["last_refusal"]["reason"].to_string().contains("9 of 100"));
    api.set_bundle(forced(revision(1, 3), 9));
    node.until_synced(revision(1, 3));
}
