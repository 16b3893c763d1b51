//! Bans: a file of their own, beside the policy, that takes effect and ends by itself.

use std::time::{Duration, SystemTime};

use ipc::snapshot::BANS;
use policy::{Ban, BanKind, HostPattern, Policy};
use support::node::{Node, blocking, settings};
use support::wait::{PATIENCE, eventually};
use support::{Site, among_others};

const BANNED: &str = "198.51.100.7";

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn ban(range: &str, kind: BanKind, until: u64) -> Ban {
    let range = range.parse().expect("addresses");
    Ban { range, domain: HostPattern::Any, kind, rule: 0, until }
}

fn site() -> Site {
    Site {
        workers: 2,
        server: "add_header X-Block-Type $nwaf_block_type always;
                 add_header X-Rule $nwaf_rule always;"
            .into(),
        ..Site::default()
    }
}

#[test]
fn a_ban_holds_without_a_new_policy_and_is_lifted() {
    let _turn = among_others();
    let mut node = Node::start(&blocking(&["203.0.113.9"]), site());
    let seen = |node: &Node, client: &str| node.visit("/").from(client).send();
    assert_eq!(seen(&node, BANNED).status, 200);
    let generations = node.nginx.generations();
    let of_rule = Ban { rule: 42, ..ban(BANNED, BanKind::Limit, now() + 600) };
    node.ban(&[of_rule, ban("2001:db8::/64", BanKind::Ddos, now() + 600)]);
    let answer = seen(&node, BANNED);
    assert_eq!((answer.status, answer.header("x-block-type")), (403, Some("6")));
    assert_eq!(answer.header("x-rule"), Some("42"));
    let answer = seen(&node, "2001:db8::1:2");
    assert_eq!((answer.status, answer.header("x-block-type")), (403, Some("10")));
    assert_eq!(seen(&node, "198.51.100.8").status, 200);
    assert_eq!(seen(&node, "203.0.113.9").header("x-block-type"), Some("8"));
    assert_eq!(node.nginx.generations(), generations, "the policy is the same");
    // A restart finds them, a new policy leaves them, no bans lift them.
    node.nginx.restart();
    assert_eq!(seen(&node, BANNED).status, 403);
    node.change(&blocking(&[]));
    assert_eq!(seen(&node, BANNED).status, 403);
    node.ban(&[]);
    assert_eq!(seen(&node, BANNED).status, 200);
}

#[test]
fn a_ban_ends_by_itself() {
    let _turn = among_others();
    let mut node = Node::start(&Policy::default(), site());
    let until = now() + 3;
    node.ban(&[ban(BANNED, BanKind::Flood, until)]);
    let blocked = || node.visit("/").from(BANNED).status() == 403;
    // Unless this machine has slept through it.
    assert!(blocked() || now() >= until);
    let (_, waited) = eventually(PATIENCE, "the end of the ban", || (!blocked()).then_some(()));
    assert!(now() + 1 >= until, "it ended {waited:?} after it began");
    assert!(waited < Duration::from_secs(10));
}

#[test]
fn white_and_passive_lists_are_above_bans() {
    let _turn = among_others();
    let settings = settings(&[
        ("nwaf_ip_wl", "domain=white.test 198.51.100.0/24"),
        ("nwaf_host_lm", "watched.test"),
        ("nwaf_bf_detect_host_lm", "bf.test"),
        ("nwaf_ai_extra_host_wl", "dropped.test"),
    ]);
    let mut node = Node::start(&Policy { settings, ..Policy::default() }, site());
    node.ban(&[ban(BANNED, BanKind::BruteForce, now() + 600)]);
    let seen = |node: &Node, host: &str| {
        let answer = node.visit("/").host(host).from(BANNED).send();
        (answer.status, answer.header("x-block-type").map(str::to_owned))
    };
    let is = |status, block_type: &str| (status, Some(block_type.to_owned()));
    assert_eq!(seen(&node, "a.test"), is(403, "7"));
    assert_eq!(seen(&node, "white.test"), is(200, "0"));
    assert_eq!(seen(&node, "watched.test"), is(200, "7"));
    assert_eq!(seen(&node, "bf.test"), is(200, "7"));
    node.ban(&[ban(BANNED, BanKind::LaterAnalysis, now() + 600)]);
    assert_eq!(seen(&node, "a.test"), is(403, "4"));
    assert_eq!(seen(&node, "bf.test"), is(403, "4"));
    assert_eq!(seen(&node, "dropped.test"), is(200, "0"));
}

#[test]
fn bans_that_cannot_be_used_leave_those_before_them() {
    let _turn = among_others();
    let mut node = Node::start(&Policy::default(), site());
    node.ban(&[ban(BANNED, BanKind::Flood, now() + 600)]);
    let good = std::fs::read(node.snapshot.join(BANS)).expect("the file of bans");
    let policy = std::fs::read(node.current()).expect("the policy");
    let half = format!("it has {} bytes", good.len() / 2);
    let mut damaged = good.clone();
    *damaged.last_mut().expect("a byte") ^= 1;
    for (bytes, why) in [
        (&b""[..], "it has 0 bytes"),
        (&damaged, "checksum"),
        (&good[..good.len() / 2], half.as_str()),
        (&policy, "something else"),
    ] {
        let other = node.snapshot.join("replacement");
        std::fs::write(&other, bytes).expect("is written");
        std::fs::rename(&other, node.snapshot.join(BANS)).expect("is renamed");
        eventually(PATIENCE, why, || {
            let lines = node.nginx.logged("bans.nws refused");
            lines.iter().any(|line| line.contains("[warn]") && line.contains(why)).then_some(())
        });
        assert_eq!(node.visit("/").from(BANNED).status(), 403, "{why}");
    }
    let said = node.nginx.logged("bans.nws refused").len();
    std::fs::remove_file(node.snapshot.join(BANS)).expect("is removed");
    node.change(&blocking(&["203.0.113.9"]));
    assert_eq!(node.visit("/").from(BANNED).status(), 403, "a gap lifts nothing");
    assert_eq!(node.nginx.logged("bans.nws refused").len(), said, "each is said once");
    assert_eq!(said, 4);
    node.ban(&[]);
    assert_eq!(node.visit("/").from(BANNED).status(), 200);
}
