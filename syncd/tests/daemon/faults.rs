//! Endpoints that fail: what is in force stays, the next one is asked.

use std::time::{Duration, Instant};

use crate::fake::{FakeApi, Mood, bundle, http, revision};
use crate::node::{KEY, Node};

#[test]
fn a_change_arrives_by_long_poll_and_is_reported() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    for generation in 2..6 {
        let start = Instant::now();
        api.set_bundle(bundle(revision(1, generation), 3));
        node.until_in_force(revision(1, generation));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    node.until("the report", || {
        let state = api.state();
        state.reports.last().is_some_and(|report| report.revision == revision(1, 5))
    });
    let state = api.state();
    assert!(state.reports.iter().all(|report| report.node == "test" && report.reason.is_none()));
    assert!(state.asked.iter().all(|asked| asked.key == KEY && !asked.target.contains(KEY)));
    let page = node.get("/metrics").unwrap();
    assert!(page.contains("nwaf_syncd_snapshot_generation 5"), "{page}");
    assert!(page.contains("nwaf_syncd_polls_total{endpoint=\"1\",result=\"changed\"}"), "{page}");
}

#[test]
fn a_first_endpoint_that_hangs_at_the_start_costs_little() {
    let hanging = FakeApi::start(Mood::Silent, bundle(revision(1, 1), 3));
    let good = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let start = Instant::now();
    let node = Node::start(&[&hanging.url, &good.url]);
    node.until_in_force(revision(1, 1));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    node.until("the second endpoint", || node.status()["endpoint"] == good.url);
    // And changes are not slowed down by it.
    let start = Instant::now();
    good.set_bundle(bundle(revision(1, 2), 3));
    node.until_in_force(revision(1, 2));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn an_endpoint_that_begins_to_hang_in_a_long_poll_is_left() {
    let first = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let second = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&first.url, &second.url]);
    node.until_in_force(revision(1, 1));
    first.set_mood(Mood::Silent);
    second.set_bundle(bundle(revision(1, 2), 3));
    let start = Instant::now();
    node.until_in_force(revision(1, 2));
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    node.until("the count", || node.status()["failovers"] == 1);
}

#[test]
fn the_newest_answer_wins_at_the_start() {
    let behind = FakeApi::start(Mood::Good, bundle(revision(1, 7), 3));
    let ahead = FakeApi::start(Mood::Good, bundle(revision(2, 1), 3));
    let node = Node::start(&[&behind.url, &ahead.url]);
    node.until_in_force(revision(2, 1));
    node.until("the newest endpoint", || node.status()["endpoint"] == ahead.url);
}

#[test]
fn answers_that_are_no_bundles_change_nothing() {
    let whole = http("200 OK", &serde_json::to_string(&bundle(revision(1, 2), 3)).unwrap());
    let elsewhere = FakeApi::start(Mood::Good, bundle(revision(1, 2), 3));
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}v2/bundle\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url
    );
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    for (what, answer, word) in [
        ("server error", http("500 Internal Server Error", "oops"), "500"),
        ("a proxy's page", http("200 OK", "<html>try later</html>"), "not a bundle"),
        ("nothing", http("200 OK", ""), "not a bundle"),
        ("cut short", whole[..whole.len() - 20].to_owned(), "body"),
        ("another object", http("200 OK", "{\"status\":\"success\"}"), "not a bundle"),
        (
            "an enormous body",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{".to_owned(),
            "larger than",
        ),
        ("a redirect", redirect, "302"),
        ("no HTTP", "SSH-2.0-x\r\n".to_owned(), "endpoint"),
    ] {
        api.set_mood(Mood::Raw(answer));
        node.until_state("stale");
        let status = node.status();
        let error = status["endpoints"][0]["last_error"].to_string();
        assert!(error.contains(word) || node.log().contains(word), "{what}: {error}");
        assert_eq!(node.in_force(), Some(revision(1, 1)), "{what}");
        api.set_mood(Mood::Good);
        node.until_state("synced");
    }
    assert!(elsewhere.state().asked.is_empty(), "the key went to another server");
}

#[test]
fn retry_after_is_obeyed() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 4\r\nContent-Length: 0\r\n\r\n";
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    api.set_mood(Mood::Raw(busy.into()));
    node.until_state("stale");
    let before = api.polls();
    node.until("the next attempt", || api.polls() > before);
    let times = api.poll_times();
    let gap = times[before] - times[before - 1];
    assert!(gap > Duration::from_millis(3_900), "{gap:?}");
}

#[test]
fn a_refused_key_is_an_alarm_and_no_failover() {
    let first = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let second = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&first.url, &second.url]);
    node.until_synced(revision(1, 1));
    let others = second.polls();
    first.set_mood(Mood::Raw(http("401 Unauthorized", "")));
    node.until_state("unauthorised");
    let before = first.polls();
    node.until("more attempts", || first.polls() > before + 1);
    assert_eq!(second.polls(), others);
    assert_eq!(node.in_force(), Some(revision(1, 1)));
    assert_eq!(node.status()["failovers"], 0);
    // A key that was exchanged is found without a signal.
    node.write_key("another-key");
    node.until("the other key", || {
        first.state().asked.iter().any(|asked| asked.key == "another-key")
    });
    first.set_mood(Mood::Good);
    first.set_bundle(bundle(revision(1, 2), 3));
    node.until_in_force(revision(1, 2));
    assert_eq!(node.log().matches("but no change arrives").count(), 1, "{}", node.log());
}

#[test]
fn an_endpoint_that_does_not_know_the_key_is_never_failed_over_to() {
    let refused = Mood::Raw(http("401 Unauthorized", ""));
    let stranger = FakeApi::start(refused, bundle(revision(1, 1), 3));
    let good = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&stranger.url, &good.url]);
    node.until_synced(revision(1, 1));
    // The good one restarts.
    good.set_mood(Mood::Raw(http("503 Service Unavailable", "")));
    node.until_state("stale");
    let before = stranger.polls();
    node.until("two more cycles", || stranger.polls() > before + 1);
    good.set_bundle(bundle(revision(1, 2), 3));
    good.set_mood(Mood::Good);
    node.until_in_force(revision(1, 2));
    node.until_state("synced");
    assert_eq!(node.status()["endpoint"], good.url);
    assert!(node.status()["endpoints"][0]["last_error"].to_string().contains("401"));
    assert_eq!(node.log().matches("but no change arrives").count(), 1, "{}", node.log());
}

#[test]
fn an_alarm_is_logged_although_the_endpoint_failed_before() {
    let api = FakeApi::start(Mood::Good, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_synced(revision(1, 1));
    api.set_mood(Mood::Raw(http("500 Internal Server Error", "")));
    node.until_state("stale");
    api.set_mood(Mood::Raw(http("401 Unauthorized", "")));
    node.until_state("unauthorised");
    let before = api.polls();
    node.until("another attempt", || api.polls() > before + 1);
    assert_eq!(node.log().matches("but no change arrives").count(), 1, "{}", node.log());
}

#[test]
fn a_server_without_long_polls_is_polled_and_not_hammered() {
    let api = FakeApi::start(Mood::Hasty, bundle(revision(1, 1), 3));
    let node = Node::start(&[&api.url]);
    node.until_in_force(revision(1, 1));
    node.until("a few polls", || api.polls() >= 7);
    let state = api.state();
    let times: Vec<_> = state.asked.iter().filter(|a| a.is_poll()).collect();
    // The start asks three times: everything, and two long polls that come back.
    for pair in times[3..].windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap > Duration::from_millis(700), "{gap:?}");
    }
}
