//! The API of the primary is lost in one way or another; its PostgreSQL is well, or not.

use std::time::{Duration, Instant};

use serde_json::json;
use support::wait::{PATIENCE, eventually};
use support::{Pair, among_others};

use crate::site::{Reader, Site, block_list, call, entries, written};

/// Clients that ask an API whose database is away, at the same time.
const CALLERS: u32 = 20;

#[test]
fn a_killed_api_costs_readers_nothing_and_writers_an_answer() {
    let _turn = among_others();
    let mut site = Site::start();
    let revision = written(&site.write(3));
    site.await_revision(revision);
    let answer = site.call("get_dyn_bl", json!({}));
    assert_eq!((answer.header("x-nw-role"), entries(&answer)), (Some("primary"), 3));

    let reader = Reader::start(site.balancer.address());
    site.first.kill();
    let answer = site.call("get_dyn_bl", json!({}));
    assert_eq!((answer.header("x-nw-role"), entries(&answer)), (Some("replica"), 3));
    let refused = site.write(4);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("read_only")));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(site.entries(), 3, "a refused write changes nothing");
    site.first.run();
    let (_, back) = site.await_write(5);
    let seen = reader.stop();
    seen.assert_always_served();
    assert_eq!(site.entries(), 5);
    println!("API killed: slowest read {:?}; writes {back:?} after its start", seen.slowest);
}

#[test]
fn a_hung_api_costs_readers_one_wait_and_no_write_is_done_twice() {
    let _turn = among_others();
    let changes = [("proxy_read_timeout 30s;", "proxy_read_timeout 1s;")];
    let site = Site::with(Pair::start(), true, &changes);
    let rule = json!({"add": {"url": "L2FkbWlu", "active": "true"}});
    let revision = written(&site.call("set_dyn_erl", rule.clone()));
    site.await_revision(revision);

    let frozen = site.first.freeze();
    let began = Instant::now();
    assert_eq!(site.call("get_dyn_erl", json!({})).status, 200);
    let first = began.elapsed();
    let began = Instant::now();
    assert_eq!(site.call("get_dyn_erl", json!({})).status, 200);
    let second = began.elapsed();
    println!("API hung: first read {first:?}, next {second:?}");
    assert!(second < first, "what one read has learned, the next need not");
    // A writer cannot know whether it was done; nobody else may do it meanwhile.
    let answer = site.call("set_dyn_erl", rule);
    assert_eq!(answer.status, 504, "{}", answer.text());
    frozen.thaw();
    eventually(PATIENCE, "writes again", || (site.write(1).status == 200).then_some(()));
    let rules = site.call("v2/get_dyn_erl", json!({})).json();
    let count = rules["erl"].as_array().expect("rules").len();
    assert!((1..=2).contains(&count), "{rules}");
}

#[test]
fn an_api_without_its_database_answers_503_and_the_balancer_asks_the_other() {
    let _turn = among_others();
    let mut site = Site::start();
    let revision = written(&site.write(3));
    site.await_revision(revision);
    let reader = Reader::start(site.balancer.address());
    site.pair.primary.stop();
    let noticed = site.await_role(&site.first, "unavailable");
    // Nobody waits behind others whose question ends in nothing.
    let address = site.first.address();
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| std::thread::spawn(move || call(address, "get_dyn_bl", json!({})).status))
        .collect();
    for caller in callers {
        assert_eq!(caller.join().expect("an answer"), 503);
    }
    let all = began.elapsed();
    assert!(all < Duration::from_secs(5), "{CALLERS} callers were answered after {all:?}");
    let refused = call(address, "set_dyn_bl", block_list(4));
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let refused = site.write(4);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("read_only")));
    assert_eq!(site.entries(), 3);

    site.pair.primary.start_again();
    let (_, back) = site.await_write(5);
    let seen = reader.stop();
    println!(
        "PostgreSQL stopped: noticed after {noticed:?}, {CALLERS} callers are \
         refused within {all:?}, slowest read {:?}; writes {back:?} after its start",
        seen.slowest
    );
    seen.assert_always_served();
    // For some seconds more the replica answers, and it may still be connecting.
    eventually(PATIENCE, "the new entries", || (site.entries() == 5).then_some(()));
}

#[test]
fn a_postgresql_that_hangs_is_left() {
    let _turn = among_others();
    let site = Site::start();
    let revision = written(&site.write(3));
    site.await_revision(revision);
    let reader = Reader::start(site.balancer.address());
    let frozen = site.pair.primary.freeze();
    let noticed = site.await_role(&site.first, "unavailable");
    let began = Instant::now();
    assert_eq!(site.entries(), 3);
    println!("PostgreSQL hung: noticed after {noticed:?}, a read then takes {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10));
    let refused = call(site.second.address(), "set_dyn_bl", block_list(4));
    assert_eq!(refused.json()["code"], "read_only");
    frozen.thaw();
    let (_, back) = site.await_write(5);
    let seen = reader.stop();
    seen.assert_always_served();
    println!("PostgreSQL hung: slowest read {:?}; writes {back:?} after it went on", seen.slowest);
}
