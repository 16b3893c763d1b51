//! PostgreSQL's primary is lost and the replica takes over: nothing older is ever shown as
//! newer, writes come back without a restart, the old primary does no harm when it returns.

use std::time::{Duration, Instant};

use serde_json::json;
use support::api::KEY;
use support::http::{Client, Visit};
use support::wait::{PATIENCE, eventually};
use support::{Pair, Postgres, Syncd, among_others};

use crate::site::{Reader, Revision, Site, block_list, call, entries, revision_of, written};

/// The revision syncd has published.
fn published(syncd: &Syncd) -> Option<Revision> {
    let status = syncd.status()?;
    Some((status["session"].as_u64()?, status["generation"].as_u64()?))
}

fn syncd(site: &Site) -> Syncd {
    let key = site.first.create_key("node", "node");
    let snapshot = site.folder.create("snapshot");
    let endpoints = [site.first.endpoint(), site.second.endpoint()];
    Syncd::start(site.folder.path(), &snapshot, &endpoints, &key)
}

fn await_published(syncd: &Syncd, revision: Revision) -> Duration {
    let what = format!("{revision:?} published, now {:?}", published(syncd));
    eventually(PATIENCE, &what, || (published(syncd) == Some(revision)).then_some(())).1
}

#[test]
fn a_killed_primary_is_replaced_without_a_restart() {
    let _turn = among_others();
    let mut site = Site::start();
    let syncd = syncd(&site);
    let before = written(&site.write(3));
    site.await_revision(before);
    await_published(&syncd, before);

    let readers = [Reader::start(site.balancer.address()), Reader::start(site.second.address())];
    let killed = Instant::now();
    site.pair.primary.kill9();
    let refused = site.write(4);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("read_only")));
    let first_refusal = killed.elapsed();

    let decided = Instant::now();
    site.pair.replica.promote();
    let promoted = decided.elapsed();
    let (after, _) = site.await_write(5);
    let writing = decided.elapsed();
    assert!(after.0 > before.0, "promotion begins a new session: {before:?}, {after:?}");
    assert_eq!(site.second.role().as_deref(), Some("primary"));
    let enforced = await_published(&syncd, after);
    println!(
        "primary killed: a write is refused after {first_refusal:?}; promoted after {promoted:?}, \
         first write {writing:?} after the decision, published {enforced:?} later"
    );
    for reader in readers {
        let seen = reader.stop();
        println!("slowest read {:?} of {:?}", seen.slowest, seen.statuses);
        seen.assert_always_served();
        assert!(seen.revisions.is_sorted(), "never older than before: {:?}", seen.revisions);
    }
    assert_eq!(site.entries(), 5);
}

#[test]
fn what_was_lost_at_a_promotion_is_never_taken_for_newer() {
    let _turn = among_others();
    let mut site = Site::start();
    let syncd = syncd(&site);
    let kept = written(&site.write(3));
    site.await_revision(kept);

    // Confirmed by the primary, known to syncd, never sent to the replica.
    let frozen = site.pair.primary.freeze_senders();
    let mut lost = kept;
    for count in 4..=8 {
        lost = written(&site.write(count));
    }
    assert_eq!(lost, (kept.0, kept.1 + 5));
    await_published(&syncd, lost);

    // The replica is asked, and has something older: what runs stays.
    site.first.kill();
    site.pair.primary.kill9();
    drop(frozen);
    eventually(PATIENCE, "a refusal of what is older", || {
        let status = syncd.status()?;
        let reason = status["last_refusal"]["reason"].as_str().or(status["last_refusal"].as_str());
        reason
            .is_some_and(|reason| reason.contains("backwards") || reason.contains("older"))
            .then_some(())
    });
    assert_eq!(published(&syncd), Some(lost));
    assert_eq!(revision_of(site.second.address()), Some(kept), "the replica shows what it has");

    // The new session is newer than everything before, whatever its generation.
    site.pair.replica.promote();
    let (session, _) = eventually(PATIENCE, "a new session", || {
        revision_of(site.second.address()).filter(|(session, _)| *session > lost.0)
    });
    assert_eq!(session.1, kept.1, "the generation goes back to what was kept");
    let took = await_published(&syncd, session);
    println!("promoted with five lost changes: published {took:?} after it was shown");
    let after = written(&call(site.second.address(), "set_dyn_bl", block_list(9)));
    assert!(after > session && after.1 <= lost.1);
    await_published(&syncd, after);
    let log = syncd.log();
    assert!(log.contains("session"), "it is said aloud: {log}");
}

#[test]
fn an_old_primary_that_returns_is_refused_by_every_node() {
    let _turn = among_others();
    // Servers that do not know each other: nodes protect themselves.
    let mut site = Site::with(Pair::start(), false, &[]);
    let syncd = syncd(&site);
    let before = written(&site.write(3));
    site.await_revision(before);
    site.pair.primary.kill9();
    site.pair.replica.promote();
    let (after, _) = site.await_write(4);
    await_published(&syncd, after);

    site.pair.primary.start_again();
    site.await_role(&site.first, "primary");
    // It takes writes that nobody will ever keep.
    for count in 5..=20 {
        call(site.first.address(), "set_dyn_bl", block_list(count));
    }
    let old = revision_of(site.first.address()).expect("it answers");
    assert!(old.0 < after.0 && old.1 > after.1, "{old:?} {after:?}");
    // And then it is the only one there is.
    site.second.kill();
    let (status, took) = eventually(PATIENCE, "a refusal of the old primary", || {
        syncd.status().filter(|status| status["refusals"].as_u64() > Some(0))
    });
    println!("the old primary is refused after {took:?}: {}", status["last_refusal"]);
    assert_eq!(published(&syncd), Some(after));
    site.second.run();
    let newer = written(&call(site.second.address(), "set_dyn_bl", block_list(21)));
    await_published(&syncd, newer);
}

#[test]
fn an_old_primary_is_fenced_rewound_and_follows() {
    let _turn = among_others();
    // Made by the operator's scripts, from the first to the last step.
    let mut primary = Postgres::start();
    primary.make_primary(&[]);
    let mut replica = Postgres::vacant();
    replica.make_replica(&primary, &[]);
    let mut site = Site::with(Pair { primary, replica }, true, &[]);
    let before = written(&site.write(3));
    site.await_revision(before);
    let reader = Reader::start(site.balancer.address());

    let frozen = site.pair.primary.freeze_senders();
    written(&site.write(4));
    site.pair.primary.kill9();
    drop(frozen);
    let script = site.pair.replica.script("pg-promote", &["--yes"]).done();
    let (after, back) = site.await_write(5);
    println!("pg-promote took {:?}, writes through the balancer {back:?} later", script.took);

    // The machine is back, and its service starts what it finds.
    site.pair.primary.start_again();
    let fenced = site.await_role(&site.first, "fenced");
    for (name, fields) in [("get_dyn_bl", json!({})), ("set_dyn_bl", block_list(6))] {
        let answer = call(site.first.address(), name, fields);
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (503, Some("fenced")),
            "{name}"
        );
    }
    assert_eq!(site.entries(), 5, "the balancer finds the right one");
    let through = written(&site.write(7));
    assert!(through > after);

    let successor = site.pair.replica.address().to_string();
    let words = ["--primary", &successor, "--stop", "--yes"];
    let rewound = site.pair.primary.script("pg-rewind", &words).done();
    site.pair.primary.adopt();
    let follows = site.await_role(&site.first, "replica");
    println!(
        "fenced {fenced:?} after its start; pg-rewind took {:?}, its API follows {follows:?} later",
        rewound.took
    );
    let (shown, _) = eventually(PATIENCE, "the same policy on both", || {
        revision_of(site.first.address()).filter(|shown| *shown == through)
    });
    let answer = call(site.first.address(), "get_dyn_bl", json!({}));
    assert_eq!((shown, entries(&answer)), (through, 7));
    // A write to the first goes to the second, a read is served by the first again.
    let last = written(&site.write(8));
    eventually(PATIENCE, "a write that went round", || (site.entries() == 8).then_some(()));
    assert!(last > through);
    let seen = reader.stop();
    println!("slowest read {:?} of {:?}", seen.slowest, seen.statuses);
    seen.assert_always_served();
}

#[test]
fn reports_and_keys_survive_the_loss_of_the_primary() {
    let _turn = among_others();
    let mut site = Site::start();
    let key = site.first.create_key("node", "node");
    let revision = written(&site.write(3));
    site.await_revision(revision);
    let report = |node: &str| {
        let body = json!({"node": node, "state": "published",
            "revision": {"session": revision.0, "generation": revision.1}});
        let visit = Visit::new(site.balancer.address(), "/nw-api/v2/report")
            .method("POST")
            .header("Content-Type", "application/json")
            .header("Authorization", &format!("Bearer {key}"))
            .body(body.to_string());
        visit.send().status
    };
    let agents = || {
        let visit = Visit::new(site.balancer.address(), "/nw-api/v2/agents");
        visit.header("Authorization", &format!("Bearer {KEY}")).send().text()
    };
    assert_eq!(report("web-1"), 200);
    site.pair.in_step();
    site.pair.primary.kill9();
    eventually(PATIENCE, "a report to the replica", || (report("web-2") == 200).then_some(()));
    for node in ["web-1", "web-2"] {
        assert!(agents().contains(node), "{node} is not in {}", agents());
    }
    site.pair.replica.promote();
    site.await_write(4);
    assert_eq!(report("web-3"), 200);
    for node in ["web-1", "web-3"] {
        assert!(agents().contains(node), "{node} is not in {}", agents());
    }
    // What administrates goes on, too.
    let made = site.second.create_key("later", "read");
    let visit = Visit::new(site.second.address(), "/nw-api/get_dyn_bl");
    assert_eq!(visit.header("Authorization", &format!("Bearer {made}")).send().status, 200);
}

#[test]
fn who_waits_at_the_replica_hears_of_changes_and_of_the_promotion() {
    let _turn = among_others();
    let mut site = Site::start();
    let revision = written(&site.write(3));
    site.await_revision(revision);
    let (address, wait) = (site.second.address(), 30);
    let ask = move |(session, generation): Revision| {
        std::thread::spawn(move || {
            let target =
                format!("/nw-api/v2/bundle?session={session}&generation={generation}&wait={wait}");
            let visit = Visit::new(address, &target);
            let bytes = visit.header("Authorization", &format!("Bearer {KEY}")).bytes();
            let answer = Client::new(address).send(&bytes).expect("an answer");
            (answer.json()["revision"]["session"].as_u64(), Instant::now())
        })
    };
    let waiting = ask(revision);
    let wrote = Instant::now();
    let next = written(&site.write(4));
    let (session, heard) = waiting.join().expect("it waits");
    assert_eq!(session, Some(revision.0));
    println!("a change is heard at the replica {:?} after its write began", heard - wrote);

    let waiting = ask(next);
    site.pair.primary.kill9();
    let decided = Instant::now();
    site.pair.replica.promote();
    let (session, heard) = waiting.join().expect("it waits");
    assert!(session > Some(next.0));
    println!("the promotion is heard {:?} after the decision", heard - decided);
}
