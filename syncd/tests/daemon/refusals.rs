//! Bundles that are refused: what is in force stays, the reason is told, and
//! the refused one is not fetched again and again.

use rustix::process::Signal;
use wire::v2::AgentState;

use crate::fake::{FakeApi, Mood, bundle, forced, revision};
use crate::node::Node;

fn until_refused(node: &Node, api: &FakeApi, word: &str) {
    node.until_state("refused");
    node.until("the report", || {
        let state = api.state();
        let last = state.reports.last();
        last.is_some_and(|report| {
            report.state == AgentState::Refused
                && report.reason.as_ref().is_some_and(|reason| reason.contains(word))
        })
    });
    assert!(node.status()["last_refusal"]["reason"].to_string().contains(word));
}

#[test]
fn losing_nearly_everything_needs_force() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 30));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    api.set_bundle(bundle(revision(1, 2), 2));
    until_refused(&node, &api, "force");
    assert_eq!(node.in_force(), Some(revision(1, 1)));
    // It is waited out by long polls and not fetched again.
    let fetches = || {
        let state = api.state();
        let known = |target: &str| target.contains("session=1&generation=2");
        state.asked.iter().filter(|a| a.is_poll() && !known(&a.target)).count()
    };
    let before = (fetches(), api.polls());
    node.until("some heartbeats", || api.polls() > before.1 + 2);
    assert_eq!(fetches(), before.0);
    assert_eq!(node.status()["refusals"], 1);
    assert_eq!(node.log().matches("bundle refused").count(), 1);
    api.set_bundle(forced(revision(1, 3), 1));
    node.until_in_force(revision(1, 3));
    node.until_state("synced");
}

#[test]
fn the_operator_of_the_node_can_force_as_well() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 30));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    api.set_bundle(bundle(revision(1, 2), 0));
    until_refused(&node, &api, "force");
    node.signal(Signal::USR2);
    node.until_in_force(revision(1, 2));
    node.until_state("synced");
}

#[test]
fn history_does_not_go_back_but_a_new_session_may_begin_low() {
    let api = FakeApi::start(Mood::Good, bundle(revision(5, 9), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(5, 9));
    for (older, word) in
        [(revision(5, 8), "older than 5.9"), (revision(4, 99), "older session than 5.9")]
    {
        let before = node.status()["refusals"].as_u64();
        api.set_bundle(bundle(older, 3));
        node.until("the refusal", || node.status()["refusals"].as_u64() > before);
        node.until("the reason", || node.log().contains(word));
        node.until("another poll", || {
            let before = api.polls();
            node.until("a poll", || api.polls() > before);
            node.status()["state"] == "refused"
        });
        assert_eq!(node.status()["refusals"].as_u64(), before.map(|count| count + 1));
        assert_eq!(node.in_force(), Some(revision(5, 9)));
    }
    api.set_bundle(bundle(revision(6, 1), 3));
    node.until_in_force(revision(6, 1));
    node.until("the warning", || node.log().contains("accepted another session"));
}

#[test]
fn a_fresh_and_empty_api_takes_nothing_away_until_somebody_says_so() {
    let api = FakeApi::start(Mood::Good, bundle(revision(5, 9), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(5, 9));
    api.set_bundle(bundle(revision(6, 1), 0));
    until_refused(&node, &api, "session renew");
    assert_eq!(node.in_force(), Some(revision(5, 9)));
    // The true one is not locked out.
    api.set_bundle(bundle(revision(5, 10), 3));
    node.until_in_force(revision(5, 10));
    api.set_bundle(bundle(revision(6, 1), 0));
    node.until_state("refused");
    node.signal(Signal::USR2);
    node.until_in_force(revision(6, 1));
    // And back again, although that session is older now.
    api.set_bundle(bundle(revision(5, 11), 3));
    node.until("the refusal", || node.log().contains("older session than 6.1"));
    node.signal(Signal::USR2);
    node.until_in_force(revision(5, 11));
    node.until_state("synced");
}

#[test]
fn the_wish_for_force_ends_where_there_is_nothing_to_force() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 30));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    node.until_state("synced");
    node.signal(Signal::USR2);
    node.until("the answer", || node.log().contains("nothing to force"));
    api.set_bundle(bundle(revision(1, 2), 0));
    until_refused(&node, &api, "force");
    assert_eq!(node.in_force(), Some(revision(1, 1)));
}

#[test]
fn a_conflict_stays_one_until_the_contents_agree() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    node.until_state("synced");
    // The same revision with another content reaches even a held poll.
    api.set_bundle(bundle(revision(1, 1), 4));
    until_refused(&node, &api, "another content");
    // Polls that come back without news confirm nothing.
    api.set_mood(Mood::Hasty);
    for _ in 0..6 {
        let before = api.polls();
        node.until("another poll", || api.polls() > before);
        assert_eq!(node.status()["state"], "refused");
    }
    assert_eq!(node.status()["refusals"], 1);
    api.set_mood(Mood::Good);
    api.set_bundle(bundle(revision(1, 1), 3));
    node.until_state("synced");
    let before = api.polls();
    node.until("a quiet poll", || api.polls() > before);
    assert!(api.polls() < before + 20, "the endpoint is hammered");
    assert_eq!(node.status()["state"], "synced");
}

#[test]
fn an_endpoint_that_lags_is_left_for_one_that_does_not() {
    let first = FakeApi::start(Mood::Good, bundle(revision(1, 5), 3));
    let second = FakeApi::start(Mood::Good, bundle(revision(1, 5), 3));
    let node = Node::start(&[&first.url, &second.url]);
    node.until_in_force(revision(1, 5));
    first.set_bundle(bundle(revision(1, 4), 3));
    second.set_bundle(bundle(revision(1, 6), 3));
    node.until_in_force(revision(1, 6));
    node.until("the other endpoint", || node.status()["endpoint"] == second.url);
}

#[test]
fn a_damaged_bundle_is_taken_from_another_endpoint() {
    let first = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let second = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&first.url, &second.url]);
    node.until_in_force(revision(1, 1));
    let mut damaged = bundle(revision(1, 2), 3);
    damaged.content.block_list[1] = "203.0.113.9".into();
    second.set_bundle(bundle(revision(1, 2), 3));
    first.set_bundle(damaged);
    node.until_in_force(revision(1, 2));
    node.until("the other endpoint", || node.status()["endpoint"] == second.url);
    assert_eq!(node.status()["refusals"], 1);
    assert!(node.status()["last_refusal"]["reason"].to_string().contains("digest"));
}

#[test]
fn a_bundle_with_values_without_meaning_is_refused_by_name() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    let mut content = bundle(revision(1, 2), 3).content;
    content.block_list[1] = "1.1.1.0/33".into();
    api.set_bundle(wire::v2::Bundle::seal(revision(1, 2), 2, content));
    until_refused(&node, &api, "1.1.1.0/33");
    assert_eq!(node.in_force(), Some(revision(1, 1)));
    api.set_bundle(bundle(revision(1, 3), 3));
    node.until_in_force(revision(1, 3));
}

#[test]
fn a_disk_that_takes_nothing_is_tried_again() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    // A directory in the place of the temporary file: writing fails also for root.
    let obstacle = node.snapshots().join(".bundle.json.tmp");
    std::fs::create_dir(&obstacle).unwrap();
    api.set_bundle(bundle(revision(1, 2), 3));
    node.until_state("stale");
    assert!(node.status()["last_error"].to_string().contains("cannot be written"));
    assert_eq!(node.in_force(), Some(revision(1, 1)));
    std::fs::remove_dir(&obstacle).unwrap();
    node.until_in_force(revision(1, 2));
    node.until_state("synced");
}
