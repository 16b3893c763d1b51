//! The snapshot's verdict is the policy's verdict, for random policies and requests.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipc::snapshot::{
    Bans, Beside, LimitBans, LimitInForce, Meta, Snapshot, compile, compile_bans, limit_domain,
};
use policy::explain::State;
use policy::expression::Join;
use policy::text::Scratch;
use policy::{Action, Ban, BanKind, Host, Keys, Policy, Request, Rule, RuleText, Settings};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..4).prop_map(|(a, b)| IpAddr::V4(Ipv4Addr::new(1, a, 0, b))),
        (0u16..4).prop_map(|a| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, a, 0, 0, 0, 0, 1))),
        (0u8..4).prop_map(|a| IpAddr::V6(Ipv4Addr::new(1, a, 0, a).to_ipv6_mapped())),
    ]
}

fn range() -> impl Strategy<Value = String> {
    prop_oneof![
        address().prop_map(|a| a.to_string()),
        (0u8..4, 8u8..=32).prop_map(|(a, p)| format!("1.{a}.0.1/{p}")),
        (0u8..4, 0u8..4).prop_map(|(a, b)| format!("1.{}.0.0-1.{}.0.2", a.min(b), a.max(b))),
        (0u16..4, 16u8..=128).prop_map(|(a, p)| format!("2001:db8:{a}::1/{p}")),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    select(vec![
        "*",
        "example.com",
        ".example.com",
        "*.example.com",
        "a.example.com",
        ".com",
        "*.com",
        "other.org",
    ])
    .prop_map(str::to_owned)
}

fn host() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "example.com",
        "a.example.com",
        "b.a.example.com",
        "com",
        "other.org",
        "badexample.com",
    ])
}

fn entry() -> impl Strategy<Value = String> {
    (option::of(pattern()), range(), any::<bool>()).prop_map(|(pattern, range, api)| {
        let prefix = pattern.map(|p| format!("domain={p} ")).unwrap_or_default();
        format!("{prefix}{range}{}", if api { " api=yes" } else { "" })
    })
}

fn expression(term: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec((any::<bool>(), any::<bool>(), term), 1..4).prop_map(|terms| {
        let mut text = String::new();
        for (index, (and, negated, term)) in terms.into_iter().enumerate() {
            if index > 0 {
                text.push(if and { '&' } else { '|' });
            }
            if negated {
                text.push('!');
            }
            text.push_str(&term);
        }
        text
    })
}

/// Short texts, and ones that are long enough to select their rule.
fn text() -> impl Strategy<Value = String> {
    select(vec![
        "a", "b", "/", "%", "a b", "abab", "a/b/", "abba", "abbaab", "aaaa", "ab a", "ababab",
        "aaaaaa",
    ])
    .prop_map(|plain| STANDARD.encode(plain))
}

fn header() -> impl Strategy<Value = String> {
    // eA== is x, eQ== is y
    prop_oneof![
        Just("eA==:".to_owned()),
        Just("!!eA==:".to_owned()),
        expression(text()).prop_map(|e| format!("eQ==:{e}")),
        expression(text()).prop_map(|e| format!(":{e}")),
    ]
}

fn rule() -> impl Strategy<Value = RuleText> {
    let conditions = (
        option::of(expression(range())),
        option::of(expression(pattern())),
        option::of(expression(select(vec!["Q0g=", "UlU="]).prop_map(str::to_owned))),
        option::of(expression(text())),
        option::of(expression(text())),
        option::of(expression(text())),
        option::of(expression(text())),
        option::of(expression(text())),
        vec(header(), 0..3),
    );
    (conditions, any::<[bool; 4]>()).prop_map(|(c, flags)| RuleText {
        ip: c.0,
        domain: c.1,
        country: c.2,
        url: c.3,
        args: c.4,
        cookie: c.5,
        ua: c.6.clone(),
        referer: c.6,
        body: c.7,
        other_headers: c.8,
        no_cookie: flags[0],
        lm: flags[1],
        api: flags[2],
        active: flags[3],
        noban: false,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let list = || vec(entry(), 0..6);
    // White lists of hosts are rare, so that most requests get further.
    let hosts = vec((select(HOST_KEYS.to_vec()), pattern()), 0..6);
    let paths = vec(select(vec!["*", "example.com/a", ".com/a/b", "*/"]), 0..2);
    (list(), list(), hosts, limits(), paths, list(), vec(rule(), 0..6)).prop_map(
        |(ip_wl, ip_lm, hosts, limits, paths, bl, rules)| {
            let strip = |list: Vec<String>| list.join(",").replace(" api=yes", "");
            let of = |key: &str| {
                let patterns = hosts.iter().filter(|(name, _)| *name == key);
                patterns.map(|(_, pattern)| pattern.as_str()).collect::<Vec<_>>().join(",")
            };
            let mut values = vec![
                ("nwaf_ip_wl", strip(ip_wl)),
                ("nwaf_ip_lm", strip(ip_lm)),
                ("nwaf_limit", limits),
                ("nwaf_body_exclude", paths.join(",")),
            ];
            values.extend(HOST_KEYS.map(|key| (key, of(key))));
            Policy {
                settings: Settings::parse(values.iter().map(|(k, v)| (*k, v.as_str()))).unwrap(),
                block_list: bl.iter().map(|entry| entry.parse().unwrap()).collect(),
                rules: rules
                    .iter()
                    .enumerate()
                    .filter_map(|(index, text)| Rule::parse(index as u64 + 1, text).ok())
                    .collect(),
                ..Policy::default()
            }
        },
    )
}

const HOST_KEYS: [&str; 9] = [
    "nwaf_host_lm",
    "nwaf_mla_host_lm",
    "nwaf_ai_extra_host_wl",
    "nwaf_ai_extra_host_lm",
    "nwaf_bf_detect_host_lm",
    "nwaf_ddos_detect_host_lm",
    "nwaf_rmq_host_exclude",
    "nwaf_put_body_exclude",
    "nwaf_host_wl",
];

/// Entries for different domains, each with a rate that tells it from the others.
fn limits() -> impl Strategy<Value = String> {
    vec(pattern(), 0..6).prop_map(|mut patterns| {
        patterns.sort();
        patterns.dedup();
        let entry = |(n, pattern)| format!("domain={pattern} rate={n}r/m block_time={n}");
        (1..).zip(patterns).map(entry).collect::<Vec<_>>().join(",")
    })
}

fn ban() -> impl Strategy<Value = Ban> {
    (range(), pattern(), select(BanKind::ALL.to_vec()), 0u64..3, 0u64..4).prop_map(
        |(range, pattern, kind, rule, until)| Ban {
            range: range.parse().unwrap(),
            domain: pattern.parse().unwrap(),
            kind,
            rule,
            until,
        },
    )
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(select(b"ab/%26+=.# ".to_vec()), 0..12),
        vec(select(vec!["abab", "aaa", "a%62ba", "/a/./b/", "aa", "+", "%20", "b"]), 0..6)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

/// A body: any piece, also in the disguises of its types.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        "ab",
        "a",
        "b",
        "\\u0061",
        "\\u0062",
        "\\/",
        "&#97;",
        "&#x62;",
        "<![CDATA[",
        "]]>",
        "<!--x-->",
        "{",
        "<",
        "--b\n",
        "Content-Transfer-Encoding: base64\n\n",
        "YWJhYg==\n",
        "%61",
        "+",
    ];
    prop_oneof![piece(), vec(select(words), 0..12).prop_map(|words| words.concat().into_bytes()),]
}

fn header_line() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let types =
        vec!["application/json", "text/xml", "multipart/form-data; boundary=b", "text/plain"];
    let types = select(types).prop_map(|value| ("Content-Type", value.as_bytes().to_vec()));
    prop_oneof![
        4 => (select(vec!["x", "Y", "cookie", "User-Agent", "REFERER"]), piece()),
        1 => types,
    ]
}

/// Bans nobody, and remembers which entry of `nwaf_limit` it was asked about.
#[derive(Default)]
struct AskedLimit(Cell<Option<u64>>);

impl LimitBans for AskedLimit {
    fn banned_by(&self, _: IpAddr, limit: &LimitInForce) -> Option<u64> {
        self.0.set(Some(limit.domain));
        None
    }
}

/// What a request is made of.
#[derive(Debug)]
struct Asked {
    put: bool,
    address: Option<IpAddr>,
    host: &'static str,
    url: Vec<u8>,
    args: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Option<Vec<u8>>,
    decoded_body: Option<Vec<u8>>,
    country: Option<[u8; 2]>,
    time: u64,
}

impl Asked {
    fn request(&self) -> Request<'_> {
        Request {
            time: self.time,
            method: if self.put { b"PUT" } else { b"POST" },
            address: self.address,
            host: Host::normalised(self.host.as_bytes()),
            url: &self.url,
            args: self.args.as_deref(),
            headers: &self.headers,
            body: self.body.as_deref(),
            decoded_body: self.decoded_body.as_deref(),
            country: self.country,
        }
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        any::<bool>(),
        option::weighted(0.9, address()),
        host(),
        piece(),
        option::of(piece()),
        vec(header_line(), 0..5),
        (option::of(body()), option::of(body())),
        option::of(select(vec![*b"CH", *b"RU"])),
        0u64..4,
    )
        .prop_map(|(put, address, host, url, args, headers, bodies, country, time)| Asked {
            put,
            address,
            host,
            url,
            args,
            headers,
            body: bodies.0,
            decoded_body: bodies.1,
            country,
            time,
        })
}

/// Each rule's explanation holds when the rule does, and each condition's follows
/// from its operands, read from left to right once more.
fn explanation_agrees(
    policy: &Policy,
    bans: &[Ban],
    request: &Request<'_>,
) -> Result<(), TestCaseError> {
    let explanation = policy.explain(bans, request);
    prop_assert_eq!(explanation.verdict, policy.evaluate(bans, request));
    let request = &Request { body: request.body.filter(|_| explanation.reads_body), ..*request };
    for rule in &policy.rules {
        let mut scratch = Scratch::default();
        let finding = rule.explain(request);
        prop_assert_eq!(finding.holds, rule.matches(request, &mut scratch));
        let told = explanation.rules.contains(&finding);
        prop_assert_eq!(told, finding.holds && rule.active);
        for condition in finding.conditions.iter().filter(|c| !c.terms.is_empty()) {
            let mut value = true;
            for term in &condition.terms {
                let operand = term.found ^ term.negated;
                value = if term.join == Join::Or { value | operand } else { value & operand };
            }
            match condition.state {
                State::Holds => prop_assert!(value),
                State::Fails => prop_assert!(!value),
                State::Absent => prop_assert!(condition.terms.iter().all(|term| !term.found)),
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_snapshot_says_what_the_policy_says(
        policy in policy(),
        bans in vec(ban(), 0..5),
        requests in vec(asked(), 1..8),
    ) {
        let snapshot = Snapshot::from_bytes(&compile(&policy, Meta::default()).unwrap()).unwrap();
        let file = Bans::from_bytes(&compile_bans(&bans, Meta::default()).unwrap()).unwrap();
        let decompiled = snapshot.policy();
        let mut scratch = Scratch::default();
        for asked in &requests {
            let request = asked.request();
            let host = request.host;
            let verdict = snapshot.evaluate(&Beside::bans(&file), &request, &mut scratch);
            prop_assert_eq!(verdict, policy.evaluate(&bans, &request));
            prop_assert_eq!(decompiled.evaluate(&bans, &request), verdict);
            explanation_agrees(&policy, &bans, &request)?;
            prop_assert_eq!(snapshot.host_lists(host), policy.settings.host_lists(host));
            let limit = policy.settings.limit(host);
            let limit = limit.map(|l| (l.rate, l.block_time, limit_domain(&l.domain)));
            let in_force = snapshot.limit(host).map(|l| (l.rate, l.block_time, l.domain));
            prop_assert_eq!(in_force, limit);
            scratch.begin();
            let reads = snapshot.reads_body(request.method, host, request.url, &mut scratch);
            let expected = policy.settings.reads_body(request.method, host, request.url, &mut Scratch::default());
            prop_assert_eq!(reads, expected);
        }
    }

    #[test]
    fn settings_from_two_sources_say_what_they_say_in_one(
        policy in policy(),
        elsewhere in policy(),
        given in 0..=Keys::ALL.bits(),
        held in 0..=Keys::ALL.bits(),
        bans in vec(ban(), 0..5),
        requests in vec(asked(), 1..8),
    ) {
        let keys = |bits| Keys::from_bits(bits).unwrap();
        let policy = Policy { settings: policy.settings.only(keys(given)), ..policy };
        let local = elsewhere.settings.only(keys(held));
        let one = Policy { settings: policy.settings.over(&local), ..policy.clone() };

        let snapshot = Snapshot::from_bytes(&compile(&policy, Meta::default()).unwrap()).unwrap();
        prop_assert_eq!(snapshot.given(), policy.settings.given);
        // What the policy gives is left out; and of what else a snapshot may hold,
        // nothing but its settings counts.
        let rest = local.only(Keys::ALL.without(snapshot.given()));
        let settings = compile(&Policy { settings: rest, ..elsewhere }, Meta::default()).unwrap();
        let settings = Snapshot::from_bytes(&settings).unwrap();
        let file = Bans::from_bytes(&compile_bans(&bans, Meta::default()).unwrap()).unwrap();
        let mut scratch = Scratch::default();
        for asked in &requests {
            let request = asked.request();
            let asked_limit = AskedLimit::default();
            let beside = Beside {
                bans: Some(&file),
                limit_bans: Some(&asked_limit),
                local: Some(&settings),
            };
            let verdict = snapshot.evaluate(&beside, &request, &mut scratch);
            prop_assert_eq!(verdict, one.evaluate(&bans, &request));
            if verdict.action != Action::Bypass && request.address.is_some() {
                let limit = one.settings.limit(request.host).map(|l| limit_domain(&l.domain));
                prop_assert_eq!(asked_limit.0.get(), limit);
            }
        }
    }
}
