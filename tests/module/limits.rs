//! `nwaf_limit`: blocked requests counted over all workers, the bans that follow, and
//! the page that lists and lifts them.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use policy::{Policy, RuleText};
use rustix::process::Signal;
use serde_json::Value;
use support::http::{Client, Visit};
use support::node::{Node, blocking, rule, settings};
use support::process::signal_pid;
use support::wait::{PATIENCE, eventually};
use support::{Site, among_others, artifacts, net};

const ATTACKER: &str = "198.51.100.7";

/// A node whose rules block `/attack` (1), `/noban` (2) without counting it, and observe
/// `/watched` (3).
struct Limited {
    node: Node,
    bans: SocketAddrV4,
}

fn base64(text: &str) -> Option<String> {
    use base64::Engine as _;
    Some(base64::engine::general_purpose::STANDARD.encode(text))
}

fn policy(pairs: &[(&str, &str)]) -> Policy {
    let url = |url| RuleText { url: base64(url), ..RuleText::default() };
    let rules = vec![
        rule(1, url("/attack")),
        rule(2, RuleText { noban: true, ..url("/noban") }),
        rule(3, RuleText { lm: true, ..url("/watched") }),
    ];
    Policy { settings: settings(pairs), rules, ..blocking(&["203.0.113.9"]) }
}

impl Limited {
    fn start(limit: &str, site: Site) -> Self {
        Self::with(&policy(&[("nwaf_limit", limit)]), site)
    }

    fn with(policy: &Policy, site: Site) -> Self {
        let bans = net::free();
        let site = Site {
            server: format!(
                "{}
                 add_header X-Block-Type $nwaf_block_type always;
                 add_header X-Rule $nwaf_rule always;
                 add_header X-Action $nwaf_action always;",
                site.server
            ),
            servers: format!(
                "server {{ listen {bans}; nwaf off;
                    location /bans {{ nwaf_bans lift; }}
                    location /list {{ nwaf_bans; }} }} {}",
                site.servers
            ),
            ..site
        };
        Self { node: Node::start(policy, site), bans }
    }

    fn seen(&self, client: &str, target: &str) -> (u16, String) {
        let answer = self.node.visit(target).from(client).send();
        (answer.status, answer.header("x-block-type").unwrap_or_default().to_owned())
    }

    fn attack(&self, client: &str, times: usize) -> Vec<String> {
        (0..times).map(|_| self.seen(client, "/attack").1).collect()
    }

    fn page(&self, method: &str, target: &str) -> (u16, Value) {
        let answer = Visit::new(self.bans, target).method(method).send();
        (answer.status, answer.json())
    }

    fn zone(&self, field: &str) -> u64 {
        self.node.nginx.status()["zone"][field].as_u64().expect("a number of the zone")
    }
}

fn is(status: u16, block_type: &str) -> (u16, String) {
    (status, block_type.to_owned())
}

#[test]
fn of_32_connections_over_4_workers_exactly_the_allowed_requests_pass_before_the_ban() {
    let _turn = among_others();
    const RATE: usize = 50;
    let site = Site { workers: 4, ..Site::default() };
    let limited = Limited::start(&format!("rate={RATE}r/m block_time=600"), site);
    let request = limited.node.visit("/attack").from(ATTACKER).bytes();
    let address = limited.node.nginx.address();
    let visitors: Vec<_> = (0..32)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || {
                let mut client = Client::new(address);
                let answers = (0..20).map(|_| client.send(&request).expect("an answer"));
                let types = answers.map(|answer| {
                    assert_eq!(answer.status, 403);
                    answer.header("x-block-type").expect("a block type").to_owned()
                });
                types.collect::<Vec<_>>()
            })
        })
        .collect();
    let types: Vec<_> = visitors.into_iter().flat_map(|v| v.join().expect("a visitor")).collect();
    let of = |number: &str| types.iter().filter(|block_type| *block_type == number).count();
    assert_eq!((of("5"), of("6")), (RATE, 32 * 20 - RATE));
    // Whatever it asks for now, and nobody else.
    assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
    assert_eq!(limited.seen("198.51.100.8", "/"), is(200, "0"));
    assert_eq!((limited.zone("made"), limited.zone("bans")), (1, 1));
    assert_eq!(limited.node.nginx.status()["total"]["bans"], 1);
    let line = limited.node.nginx.logged("banned for 600 s");
    assert_eq!(line.len(), 1, "{line:?}");
    assert!(line[0].contains("[warn]") && line[0].contains("rule ID 1"), "{line:?}");
}

#[test]
fn a_ban_ends_on_time() {
    let _turn = among_others();
    let limited = Limited::start("rate=1r/m block_time=2", Site::default());
    let begun = Instant::now();
    assert_eq!(limited.attack(ATTACKER, 2), ["5", "6"]);
    // Unless this machine has slept through it.
    assert!(limited.seen(ATTACKER, "/").0 == 403 || begun.elapsed() > Duration::from_secs(2));
    eventually(PATIENCE, "the end of the ban", || {
        (limited.seen(ATTACKER, "/").0 == 200).then_some(())
    });
    // nginx's clock is that of its event loop, behind ours by no more than one round.
    assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
    assert_eq!(limited.attack(ATTACKER, 2), ["5", "6"], "it is counted anew");
}

#[test]
fn only_blocks_that_count_are_counted() {
    let _turn = among_others();
    let limited = Limited::start(
        "rate=1r/m block_time=600",
        Site {
            server: "location / { proxy_pass http://echo; }
                 location /passive { nwaf passive; proxy_pass http://echo; }
                 error_page 403 /denied;
                 location /denied { proxy_pass http://echo; }"
                .into(),
            ..Site::default()
        },
    );
    for _ in 0..5 {
        assert_eq!(limited.seen(ATTACKER, "/noban"), is(403, "5"));
        assert_eq!(limited.seen(ATTACKER, "/watched"), is(200, "5"));
        assert_eq!(limited.seen(ATTACKER, "/passive/attack"), is(200, "5"));
        assert_eq!(limited.seen("203.0.113.9", "/attack"), is(403, "8"), "the block list");
    }
    assert_eq!((limited.zone("counted"), limited.zone("bans")), (0, 0));
    assert_eq!(limited.attack(ATTACKER, 2), ["5", "6"]);
    assert_eq!(limited.seen(ATTACKER, "/passive/x"), is(200, "6"), "passive places only record");
    assert_eq!(limited.zone("counted"), 2, "an error page is no second request");
}

#[test]
fn a_limit_bans_for_its_own_hosts() {
    let _turn = among_others();
    let limited = Limited::start(
        "rate=3r/m block_time=600, domain=.example.com rate=1r/m block_time=600",
        Site::default(),
    );
    let seen = |host: &str, target: &str| {
        let answer = limited.node.visit(target).host(host).from(ATTACKER).send();
        (answer.status, answer.header("x-block-type").unwrap_or_default().to_owned())
    };
    assert_eq!(seen("www.example.com", "/attack"), is(403, "5"));
    assert_eq!(seen("example.com", "/attack"), is(403, "6"), "one entry, one count");
    assert_eq!(seen("a.example.com", "/"), is(403, "6"));
    assert_eq!(seen("other.test", "/"), is(200, "0"));
    for block_type in ["5", "5", "5", "6"] {
        assert_eq!(seen("other.test", "/attack"), is(403, block_type));
    }
    assert_eq!(seen("third.test", "/"), is(403, "6"));
    let (_, listed) = limited.page("GET", "/list");
    let mut domains: Vec<_> =
        listed["bans"].as_array().expect("bans").iter().map(|ban| &ban["domain"]).collect();
    domains.sort_by_key(|domain| domain.to_string());
    assert_eq!(domains, ["*", ".example.com"]);
}

#[test]
fn a_block_counts_for_both_hosts_that_a_request_names() {
    let _turn = among_others();
    let limited = Limited::start(
        "domain=.lax.test rate=9r/m block_time=600, domain=strict.test rate=2r/m block_time=600",
        Site::default(),
    );
    let seen = |target: &str, host: &str| {
        let answer = limited.node.visit(target).host(host).from(ATTACKER).send();
        answer.header("x-block-type").unwrap_or_default().to_owned()
    };
    // nginx believes the target, which has no limit or another one; the site the line.
    assert_eq!(seen("http://none.test/attack", "strict.test"), "5");
    assert_eq!(seen("http://a.lax.test/attack", "strict.test"), "5");
    assert_eq!(seen("http://a.lax.test/attack", "strict.test"), "6", "the third");
    assert_eq!(seen("/", "strict.test"), "6");
    assert_eq!(seen("/", "lax.test"), "0");
    // Two hosts of one entry are counted once.
    for nth in 3..=9 {
        assert_eq!(seen("http://a.lax.test/attack", "b.lax.test"), "5", "{nth}");
    }
    assert_eq!(seen("/attack", "lax.test"), "6");
}

#[test]
fn white_and_passive_lists_are_above_a_ban_at_once() {
    let _turn = among_others();
    let limit = ("nwaf_limit", "rate=1r/m block_time=600");
    let mut limited = Limited::with(&policy(&[limit]), Site::default());
    assert_eq!(limited.attack(ATTACKER, 2), ["5", "6"]);
    limited.node.change(&policy(&[limit, ("nwaf_ip_wl", ATTACKER)]));
    assert_eq!(limited.seen(ATTACKER, "/"), is(200, "0"));
    limited.node.change(&policy(&[limit, ("nwaf_ip_lm", ATTACKER)]));
    assert_eq!(limited.seen(ATTACKER, "/"), is(200, "6"));
    limited.node.change(&policy(&[limit]));
    assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
    // Without the limit there is nothing to be banned by; with it, the ban still runs.
    limited.node.change(&policy(&[]));
    assert_eq!(limited.seen(ATTACKER, "/"), is(200, "0"));
    assert_eq!(limited.attack(ATTACKER, 5), ["5"; 5]);
    limited.node.change(&policy(&[("nwaf_limit", "rate=1r/m block_time=0")]));
    assert_eq!(limited.attack("198.51.100.8", 5), ["5"; 5], "block_time=0 never bans");
}

#[test]
fn ipv6_is_counted_by_network() {
    let _turn = among_others();
    let mut limited = Limited::start("rate=1r/m block_time=600", Site::default());
    assert_eq!(limited.seen("2001:db8::1", "/attack"), is(403, "5"));
    assert_eq!(limited.seen("2001:db8::2:1", "/attack"), is(403, "6"));
    assert_eq!(limited.seen("2001:db8::ffff:ffff:ffff:ffff", "/"), is(403, "6"));
    assert_eq!(limited.seen("2001:db8:0:1::1", "/"), is(200, "0"));
    let (_, listed) = limited.page("GET", "/list?address=2001:db8::77");
    assert_eq!(listed["bans"][0]["address"], "2001:db8::/64");
    limited.node.nginx.configure(|site| site.http.push_str("nwaf_zone 8m ipv6_prefix=128;"));
    limited.node.nginx.restart();
    assert_eq!(limited.seen("2001:db8::1", "/attack"), is(403, "5"));
    assert_eq!(limited.seen("2001:db8::2", "/attack"), is(403, "5"));
    assert_eq!(limited.seen("2001:db8::1", "/attack"), is(403, "6"));
    assert_eq!(limited.seen("2001:db8::2", "/"), is(200, "0"));
    // A ban of one network is none of a larger one that begins with it.
    assert_eq!(limited.attack("2001:db8::", 2), ["5", "6"]);
    limited.node.nginx.configure(|site| site.http = site.http.replace("128", "48"));
    limited.node.nginx.reload();
    assert_eq!(limited.seen("2001:db8::", "/"), is(200, "0"));
    let (_, listed) = limited.page("GET", "/list?address=2001:db8::/32");
    assert_eq!(listed["bans"][0]["domain"], Value::Null, "{listed}");
}

#[test]
fn bans_and_counts_survive_a_reload_and_bans_another_size() {
    let _turn = among_others();
    let mut limited =
        Limited::start("rate=2r/m block_time=600", Site { workers: 2, ..Site::default() });
    assert_eq!(limited.attack(ATTACKER, 3), ["5", "5", "6"]);
    assert_eq!(limited.attack("198.51.100.8", 1), ["5"]);
    limited.node.nginx.reload();
    assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
    assert_eq!(limited.attack("198.51.100.8", 2), ["5", "6"], "the count goes on");
    limited.node.nginx.configure(|site| site.http.push_str("nwaf_zone 1m;"));
    limited.node.nginx.reload();
    assert_eq!(limited.zone("size") >> 19, 1, "nginx keeps a part for itself");
    assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
    assert_eq!(limited.seen("198.51.100.8", "/"), is(403, "6"));
    // A worker that is killed takes nothing with it.
    let worker = *limited.node.nginx.workers().first().expect("a worker");
    limited.node.nginx.expect_in_log("exited on signal 9");
    signal_pid(worker, Signal::KILL);
    eventually(PATIENCE, "another worker", || {
        let workers = limited.node.nginx.workers();
        (workers.len() == 2 && !workers.contains(&worker)).then_some(())
    });
    assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
}

#[test]
fn zones_come_and_go_under_attack() {
    let _turn = among_others();
    let site = Site { workers: 4, http: "nwaf on; nwaf_zone 64k;".into(), ..Site::default() };
    let mut limited = Limited::start("rate=5r/s block_time=1", site);
    let address = limited.node.nginx.address();
    let done = Arc::new(AtomicBool::new(false));
    let attackers: Vec<_> = (0..3)
        .map(|nth| {
            let client = format!("198.51.100.{nth}");
            let request = limited.node.visit("/attack").from(&client).bytes();
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let (mut counts, mut others) = ([0_u32; 3], 0);
                while !done.load(Ordering::Relaxed) {
                    let answer = Client::new(address).send(&request).expect("an answer");
                    match (answer.status, answer.header("x-block-type")) {
                        (403, Some("5")) => counts[0] += 1,
                        (403, Some("6")) => counts[1] += 1,
                        // Where the module is off.
                        (200, _) => counts[2] += 1,
                        _ => others += 1,
                    }
                }
                (counts, others)
            })
        })
        .collect();
    for http in [
        "nwaf on; nwaf_zone 1m;",
        "nwaf off;",
        "nwaf on; nwaf_zone 64k;",
        "nwaf on; nwaf_zone 128k ipv6_prefix=48;",
        "nwaf passive;",
        "nwaf on; nwaf_zone 128k;",
    ] {
        limited.node.nginx.configure(|site| site.http = http.into());
        limited.node.nginx.reload();
    }
    done.store(true, Ordering::Relaxed);
    for attacker in attackers {
        let ([blocked, banned, passed], others) = attacker.join().expect("an attacker");
        assert!(others == 0 && blocked > 0 && banned > 0 && passed > 0, "{others} others");
    }
    assert_eq!(limited.attack("198.51.100.9", 1), ["5"]);
    assert!(limited.zone("counted") > 0);
    assert_eq!(limited.zone("resets"), 0);
}

#[test]
fn a_full_zone_stays_within_its_size_and_says_so() {
    let _turn = among_others();
    let http = "nwaf on; nwaf_zone 64k;".to_owned();
    let limited =
        Limited::start("rate=1r/m block_time=600", Site { workers: 2, http, ..Site::default() });
    let address = limited.node.nginx.address();
    let visits = |from: u32| {
        (from..from + 1500).map(move |number| {
            let client = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            Visit::new(address, "/attack").from(&client).bytes()
        })
    };
    let senders: Vec<_> = (0..2)
        .map(|nth| {
            let requests: Vec<_> = visits(nth * 1500).collect();
            thread::spawn(move || {
                let mut client = Client::new(address);
                for request in requests {
                    for _ in 0..2 {
                        assert_eq!(client.send(&request).expect("an answer").status, 403);
                    }
                }
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
    assert_eq!(limited.zone("made"), 3000);
    let (bans, room) = (limited.zone("bans"), limited.zone("bans_room"));
    assert!(bans <= room && bans > room / 2, "{bans} of {room}");
    assert_eq!(limited.zone("cut"), 3000 - bans);
    assert!(limited.zone("cells") <= limited.zone("cells_room"));
    let told = limited.node.nginx.logged("nwaf_zone is full");
    assert!(!told.is_empty() && told.len() <= 3 && told[0].contains("[error]"), "{told:?}");
    assert_eq!(limited.seen("198.51.100.9", "/"), is(200, "0"), "clean clients are unharmed");
}

#[test]
fn bans_are_listed_and_lifted_at_run_time() {
    let _turn = among_others();
    let limited =
        Limited::start("rate=1r/m block_time=600", Site { workers: 2, ..Site::default() });
    for client in ["198.51.100.7", "198.51.100.8", "192.0.2.1", "2001:db8::1"] {
        limited.attack(client, 3);
    }
    let (status, listed) = limited.page("GET", "/list");
    assert_eq!((status, &listed["total"]), (200, &4.into()));
    let (_, listed) = limited.page("GET", "/bans?address=198.51.100.7");
    let ban = &listed["bans"][0];
    assert_eq!((&ban["address"], &ban["domain"]), (&"198.51.100.7".into(), &"*".into()));
    assert_eq!((&ban["bt"], &ban["rule"], &ban["blocked"]), (&6.into(), &1.into(), &2.into()));
    let left = ban["left_s"].as_u64().expect("seconds");
    assert!((500..=600).contains(&left), "{ban}");
    assert!(ban["until"].as_str() > ban["since"].as_str(), "{ban}");
    assert_eq!(limited.page("GET", "/list?limit=1").1["bans"].as_array().map(Vec::len), Some(1));
    assert_eq!(limited.page("GET", "/list?limit=1&limit=2").0, 400);
    // One, a network, the rest.
    let lift = |query: &str| limited.page("DELETE", &format!("/bans{query}"));
    assert_eq!(lift("?address=198.51.100.7").1["lifted"], 1);
    assert_eq!(limited.seen("198.51.100.7", "/"), is(200, "0"));
    assert_eq!(limited.seen("198.51.100.8", "/"), is(403, "6"));
    assert_eq!(limited.attack("198.51.100.7", 1), ["5"], "its count is forgotten too");
    assert_eq!(lift("?address=2001%3Adb8%3A%3A42&domain=*").1["lifted"], 1);
    assert_eq!(lift("?address=198.51.100.0/24").1["lifted"], 1);
    assert_eq!(lift("?all").1["lifted"], 1);
    assert_eq!(limited.page("GET", "/list").1["total"], 0);
    // What is not understood lifts nothing, and says why.
    limited.attack("192.0.2.1", 2);
    for (query, why) in [
        ("", "name address= or domain=, or all"),
        ("?address=192.0.2.300", "address: \"192.0.2.300\": "),
        ("?adress=192.0.2.1", "adress: use address="),
        ("?address=192.0.2.1&address=192.0.2.2", "given twice"),
        ("?domain=a..b", "domain: \"a..b\": "),
        ("?address=%zz", "two digits"),
        ("?all&limit=many", "limit: "),
        ("?domain=*&limit=1", "limit: is for lists"),
    ] {
        let (status, answer) = lift(query);
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(status == 400 && said.contains(why), "{query}: {status} {said}");
    }
    let (status, answer) = limited.page("DELETE", "/list?all");
    assert!(
        status == 405 && answer["error"].as_str().is_some_and(|e| e.contains("nwaf_bans lift"))
    );
    assert_eq!(limited.page("POST", "/bans?all").0, 405);
    assert_eq!(limited.page("GET", "/list").1["total"], 1);
}

#[test]
fn a_worker_that_dies_inside_the_lock_holds_up_nobody() {
    let _turn = among_others();
    let mut limited = Limited::start(
        "rate=3r/m block_time=600",
        Site { workers: 2, module: artifacts::faulty_module(), ..Site::default() },
    );
    limited.node.nginx.expect_in_log("exited on signal 9");
    limited.node.nginx.expect_in_log("shared memory zone");
    let workers = limited.node.nginx.workers();
    let request = limited.node.visit("/attack").header("X-Nwaf-Fault", "die in lock").bytes();
    assert!(Client::new(limited.node.nginx.address()).send(&request).is_err(), "it died");
    eventually(PATIENCE, "another worker", || {
        let now = limited.node.nginx.workers();
        (now.len() == 2 && now != workers).then_some(())
    });
    // Both workers count, and ban.
    assert_eq!(limited.attack(ATTACKER, 4).last().map(String::as_str), Some("6"));
    for _ in 0..10 {
        assert_eq!(limited.seen(ATTACKER, "/"), is(403, "6"));
    }
}

#[test]
fn what_cannot_be_a_zone_is_refused_with_its_place() {
    let _turn = among_others();
    for (value, why) in [
        ("1k", "must be 64k to 4g"),
        ("16", "must be 64k to 4g"),
        ("big", "must be 64k to 4g"),
        ("8m ipv6_prefix=0", "must be 1 to 128 bits"),
        ("8m ipv6_prefix=129", "must be 1 to 128 bits"),
        ("8m prefix=1", "SIZE ipv6_prefix=BITS"),
        ("8m; nwaf_zone 8m", "duplicate"),
    ] {
        let site = Site { http: format!("nwaf on; nwaf_zone {value};"), ..Site::default() };
        let output = Node::prepare(site).nginx.test();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{value}: {said}");
        assert!(said.contains("nwaf_zone") && said.contains("nginx.conf:"), "{value}: {said}");
    }
}
