//! Files that released versions have written are read for ever, and what this
//! version writes changes only on purpose.
//!
//! `goldens/<version>/` has one policy and one file of bans for each format
//! version. After a change of the format on purpose (see the version rules in
//! `docs/snapshot-format.md`): `NWAF_BLESS=1 cargo test -p nwaf-ipc --test goldens`.

use std::fs;
use std::path::PathBuf;

use ipc::snapshot::format::FORMAT_VERSION;
use ipc::snapshot::{Bans, Beside, Meta, Snapshot, compile, compile_bans};
use policy::text::Scratch;
use policy::{Action, Ban, BanKind, Host, HostPattern, Policy, Request, Rule, RuleText, Settings};

const META: Meta = Meta { session: 3, generation: 812, created_ms: 1_700_000_000_000 };

/// One of everything that the format can hold.
fn policy() -> Policy {
    let settings = [
        ("nwaf_limit", "rate=10r/m block_time=600, domain=.example.com rate=5r/s block_time=300"),
        ("nwaf_ip_wl", "192.0.2.10, 2001:db8:1::/48"),
        ("nwaf_ip_lm", "domain=*.example.com 192.0.2.0/24"),
        ("nwaf_host_wl", "white.test"),
        ("nwaf_host_lm", "watched.test"),
        ("nwaf_rmq_host_exclude", "*"),
        ("nwaf_put_body_exclude", ".uploads.test"),
        ("nwaf_body_exclude", "shop.test/api"),
    ];
    let text = RuleText::default();
    let texts = [
        RuleText { url: Some("L2FkbWlu|!L2FwaQ==".into()), ..text.clone() }, // /admin | !/api
        RuleText { args: Some("Y21kPQ==".into()), lm: true, ..text.clone() }, // cmd=
        RuleText { ip: Some("198.51.100.0/28".into()), api: false, ..text.clone() },
        RuleText { country: Some("Q0g=".into()), noban: true, ..text.clone() }, // CH
        RuleText { domain: Some("*.bad.test".into()), no_cookie: true, ..text.clone() },
        RuleText { other_headers: vec!["eC1wcm9iZQ==:".into()], ..text.clone() }, // x-probe:
        RuleText { body: Some("c2VjcmV0".into()), ..text },                       // secret
    ];
    let entries = ["203.0.113.0/24", "domain=example.com 203.1.0.0-203.3.0.255 api=yes", "::1"];
    Policy {
        settings: Settings::parse(settings).unwrap(),
        block_list: entries.map(|entry| entry.parse().unwrap()).to_vec(),
        rules: (1..).zip(&texts).map(|(id, text)| Rule::parse(id, text).unwrap()).collect(),
        ..Policy::default()
    }
}

fn bans() -> Vec<Ban> {
    let ban = |range: &str, kind| Ban {
        range: range.parse().unwrap(),
        domain: HostPattern::Any,
        kind,
        rule: 7,
        until: 1_700_000_600,
    };
    vec![ban("198.18.0.1", BanKind::Limit), ban("2001:db8:2::/64", BanKind::BruteForce)]
}

fn golden(version: u32, name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    folder.join(version.to_string()).join(name)
}

#[test]
fn what_is_written_has_not_changed_unnoticed() {
    let files = [
        ("policy.nws", compile(&policy(), META).unwrap()),
        ("bans.nws", compile_bans(&bans(), META).unwrap()),
    ];
    for (name, bytes) in files {
        let path = golden(FORMAT_VERSION, name);
        if std::env::var_os("NWAF_BLESS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let released = fs::read(&path).unwrap_or_default();
        assert!(
            released == bytes,
            "{} is not what compiling gives now; if the format changes on purpose, follow the \
             version rules in docs/snapshot-format.md",
            path.display()
        );
    }
}

#[test]
fn every_released_version_is_read_and_says_what_it_said() {
    for version in 1..=FORMAT_VERSION {
        let read = |name: &str| fs::read(golden(version, name)).expect("a golden of each version");
        let snapshot = Snapshot::from_bytes(&read("policy.nws")).unwrap();
        let bans = Bans::from_bytes(&read("bans.nws")).unwrap();
        assert_eq!((snapshot.meta(), bans.meta()), (META, META));
        assert!(snapshot.needs_body());
        let none: Vec<(&str, &str)> = Vec::new();
        let probe = vec![("X-Probe", "1")];
        let cases: [(&str, &str, &str, Action, Option<u64>); 14] = [
            ("192.0.2.10", "a.test", "/admin", Action::Bypass, None),
            ("2001:db8:1::5", "a.test", "/admin", Action::Bypass, None),
            ("192.0.2.11", "white.test", "/admin", Action::Bypass, None),
            ("192.0.2.11", "watched.test", "/admin", Action::Observe, Some(1)),
            ("192.0.2.11", "www.example.com", "/admin", Action::Observe, Some(1)),
            ("192.0.2.11", "a.test", "/admin", Action::Block, Some(1)),
            ("192.0.2.11", "a.test", "/api/x", Action::Pass, None),
            ("192.0.2.11", "a.test", "/api?cmd=1", Action::Observe, Some(2)),
            ("198.51.100.15", "a.test", "/api", Action::Block, Some(3)),
            ("192.0.2.11", "x.bad.test", "/api", Action::Block, Some(5)),
            ("203.0.113.77", "a.test", "/api", Action::Block, None),
            ("203.2.1.1", "a.test", "/api", Action::Pass, None),
            ("203.2.1.1", "example.com", "/api", Action::Block, None),
            ("198.18.0.1", "a.test", "/api", Action::Block, Some(7)),
        ];
        let mut scratch = Scratch::default();
        let mut ask = |request: Request<'_>| {
            let verdict = snapshot.evaluate(&Beside::bans(&bans), &request, &mut scratch);
            (verdict.action, verdict.rule())
        };
        for (address, host, target, action, rule) in cases {
            let request = Request {
                time: 1_700_000_000,
                address: Some(address.parse().unwrap()),
                ..Request::new(Host::normalised(host.as_bytes()), target.as_bytes(), &none)
            };
            assert_eq!(
                ask(request),
                (action, rule),
                "version {version}: {address} {host} {target}"
            );
        }
        let request = Request::new(Host::normalised(b"a.test"), b"/api", &probe);
        assert_eq!(ask(request), (Action::Block, Some(6)));
        let request = Request { country: Some(*b"CH"), headers: &none, ..request };
        assert_eq!(ask(request), (Action::Block, Some(4)));
        let request = Request { country: None, body: Some(b"a=secret"), ..request };
        assert_eq!(ask(request), (Action::Block, Some(7)));
        let unread = Request { host: Host::normalised(b"shop.test"), ..request };
        assert_eq!(ask(unread), (Action::Pass, None));
        // After their end, bans do nothing.
        let late = Request {
            time: 1_700_000_600,
            address: Some("198.18.0.1".parse().unwrap()),
            body: None,
            ..request
        };
        assert_eq!(ask(late), (Action::Pass, None));
        let limit = |host: &str| snapshot.limit(Host::normalised(host.as_bytes())).unwrap();
        assert_eq!((limit("a.test").rate, limit("a.test").window), (10, 60));
        assert_eq!((limit("www.example.com").rate, limit("www.example.com").block_time), (5, 300));
        let queued = snapshot.host_lists(Host::normalised(b"x.uploads.test"));
        assert_eq!(
            queued.keys().map(|key| key.to_string()).collect::<Vec<_>>(),
            ["nwaf_rmq_host_exclude", "nwaf_put_body_exclude"]
        );
    }
}

#[test]
fn only_active_rules_ask_for_bodies() {
    let needs = |text: RuleText| {
        let rules = vec![Rule::parse(1, &text).unwrap()];
        let bytes = compile(&Policy { rules, ..Policy::default() }, META).unwrap();
        Snapshot::from_bytes(&bytes).unwrap().needs_body()
    };
    let body = RuleText { body: Some("eA==".into()), ..RuleText::default() };
    assert!(needs(body.clone()));
    assert!(needs(RuleText { url: Some("L3g=".into()), ..body.clone() }));
    assert!(!needs(RuleText { active: false, ..body.clone() }));
    assert!(!needs(RuleText { args: body.body.clone(), body: None, ..body }));
}
