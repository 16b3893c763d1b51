//! The test of the cases: whatever a policy can say is said by one of them, with a
//! request it holds for and one it does not hold for.
//!
//! What is new in `policy` does not compile here before it is listed, and fails
//! here before it has a case.

use std::collections::BTreeSet;

use policy::expression::{Expression, Join};
use policy::rule::HeaderCondition;
use policy::{Action, BanKind, BlockType, HostLists, HostPattern, Key, Rule};

use crate::case::{Asked, all};

/// What cases show, in words.
#[derive(Default)]
struct Shown(BTreeSet<String>);

impl Shown {
    fn add(&mut self, what: impl Into<String>) {
        self.0.insert(what.into());
    }

    /// Fails with everything that is missing.
    fn must_have(&self, wanted: impl IntoIterator<Item = String>) {
        let missing: Vec<_> = wanted.into_iter().filter(|what| !self.0.contains(what)).collect();
        assert!(missing.is_empty(), "no case shows {missing:#?}");
    }

    fn pattern(&mut self, place: &str, pattern: &HostPattern) {
        let form = match pattern {
            HostPattern::Any => "*",
            HostPattern::Exact(_) => "example.com",
            HostPattern::DomainAndBelow(_) => ".example.com",
            HostPattern::Below(_) => "*.example.com",
        };
        self.add(format!("{place}: {form}"));
    }

    fn addresses(&mut self, place: &str, text: &str) {
        let word = text.split_whitespace().find(|word| !word.contains('='));
        let word = word.unwrap_or_default().trim_start_matches('!');
        let form = match (word.contains('/'), word.contains('-')) {
            (true, _) => "network",
            (_, true) => "range",
            _ => "address",
        };
        let family = if word.contains(':') { "IPv6" } else { "IPv4" };
        self.add(format!("{place}: {form}"));
        self.add(format!("{place}: {family}"));
    }

    fn operators<T>(&mut self, field: &str, expression: &Expression<T>) {
        for (index, term) in expression.terms().iter().enumerate() {
            if term.negated {
                self.add(format!("{field}: !"));
            }
            match term.join {
                Join::And if index > 0 => self.add(format!("{field}: &")),
                Join::And => self.add(format!("{field}: a value")),
                Join::Or => self.add(format!("{field}: |")),
            }
        }
    }
}

fn words<'a>(
    places: &'a [&'a str],
    forms: &'a [&'a str],
) -> impl Iterator<Item = String> + use<'a> {
    places.iter().flat_map(move |place| forms.iter().map(move |form| format!("{place}: {form}")))
}

const PATTERNS: [&str; 4] = ["*", "example.com", ".example.com", "*.example.com"];

#[test]
fn every_setting_and_every_form_of_its_values() {
    let mut shown = Shown::default();
    let cases = all();
    for case in &cases {
        let from_specification =
            case.source.as_ref().is_some_and(|source| source.starts_with("specification"));
        for (name, value) in &case.settings {
            if from_specification {
                shown.add(format!("{name}: of the specification"));
            }
            if name.starts_with("nwaf_ip_") {
                value.split(',').for_each(|entry| shown.addresses(name, entry));
            }
            for asked in &case.request {
                match &asked.host_lists {
                    Some(lists) if lists.contains(name) => shown.add(format!("{name}: holds")),
                    Some(_) => shown.add(format!("{name}: does not hold")),
                    None => {}
                }
            }
        }
        case.block_list.iter().for_each(|entry| shown.addresses("block list", entry));
        case.ban.iter().for_each(|ban| shown.addresses("ban", &ban.entry));
        let policy = case.policy();
        for (key, patterns) in &policy.settings.hosts {
            patterns.iter().for_each(|pattern| shown.pattern(key.name(), pattern));
        }
        for limit in &policy.settings.limit {
            shown.pattern("nwaf_limit", &limit.domain);
        }
        for exclusion in &policy.settings.body_exclude {
            shown.pattern("nwaf_body_exclude", &exclusion.host);
        }
        for (place, list) in [
            ("nwaf_ip_wl", &policy.settings.ip_wl),
            ("nwaf_ip_lm", &policy.settings.ip_lm),
            ("block list", &policy.block_list),
        ] {
            list.iter().for_each(|entry| shown.pattern(place, &entry.domain));
        }
        case.bans().iter().for_each(|ban| shown.pattern("ban", &ban.domain));
    }
    let keys = Key::ALL.map(Key::name);
    shown.must_have(words(&keys, &["of the specification"]));
    shown.must_have(words(&keys, &PATTERNS));
    let lists = Key::ALL.into_iter().filter(|key| HostLists::of(*key).is_some());
    let lists: Vec<_> = lists.map(Key::name).collect();
    shown.must_have(words(&lists, &["holds", "does not hold"]));
    let addresses = ["nwaf_ip_wl", "nwaf_ip_lm", "block list", "ban"];
    shown.must_have(words(&addresses, &["address", "network", "range", "IPv4", "IPv6"]));
    shown.must_have(words(&["block list", "ban"], &PATTERNS));
}

/// Whether a request is expected to be hit by a rule; `None` where the case does not say.
fn is_hit(asked: &Asked, id: u64) -> Option<bool> {
    if asked.rule_id == Some(id) || asked.action == "pass" {
        return Some(asked.rule_id == Some(id));
    }
    asked.reasons.as_ref().map(|reasons| reasons.contains(&format!("rule {id}")))
}

/// The fields a rule uses.
fn fields(rule: &Rule, shown: &mut Shown) -> Vec<&'static str> {
    let Rule {
        id: _,
        lm,
        api,
        noban,
        active,
        no_cookie,
        ip,
        domain,
        country,
        url,
        args,
        body,
        cookie,
        ua,
        referer,
        other_headers,
    } = rule;
    let mut used = Vec::new();
    if let Some(ip) = ip {
        shown.operators("ip", ip);
        used.push("ip");
    }
    if let Some(domain) = domain {
        shown.operators("domain", domain);
        domain.terms().iter().for_each(|term| shown.pattern("domain", &term.value));
        used.push("domain");
    }
    if let Some(country) = country {
        shown.operators("country", country);
        used.push("country");
    }
    for (name, field) in [
        ("url", url),
        ("args", args),
        ("body", body),
        ("cookie", cookie),
        ("ua", ua),
        ("referer", referer),
    ] {
        if let Some(expression) = field {
            shown.operators(name, expression);
            used.push(name);
        }
    }
    for condition in other_headers {
        used.push(match condition {
            HeaderCondition::Absent(_) => "!!name:",
            HeaderCondition::Present(_) => "name:",
            HeaderCondition::Named(_, expression) => {
                shown.operators("name:value", expression);
                "name:value"
            }
            HeaderCondition::Any(expression) => {
                shown.operators(":value", expression);
                ":value"
            }
        });
    }
    let flags = [("lm", *lm), ("no api", !api), ("noban", *noban), ("no_cookie", *no_cookie)];
    used.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name));
    if !active {
        shown.add("not active: does not hold");
    }
    used
}

#[test]
fn every_field_flag_and_operator_of_rules() {
    let mut shown = Shown::default();
    for case in &all() {
        for rule in &case.policy().rules {
            for field in fields(rule, &mut shown) {
                for asked in &case.request {
                    match is_hit(asked, rule.id) {
                        Some(true) => shown.add(format!("{field}: holds")),
                        Some(false) => shown.add(format!("{field}: does not hold")),
                        None => {}
                    }
                }
            }
        }
        for rule in &case.rule {
            let terms = rule.ip.iter().flat_map(|ip| ip.split(['&', '|']));
            terms.for_each(|term| shown.addresses("ip", term.trim()));
        }
    }
    let plain = ["url", "args", "body", "cookie", "ua", "referer"];
    let expressions = [&plain[..], &["ip", "domain", "country", "name:value", ":value"]].concat();
    shown.must_have(words(&expressions, &["a value", "!", "&", "|", "holds", "does not hold"]));
    let others = ["!!name:", "name:", "lm", "no api", "noban", "no_cookie"];
    shown.must_have(words(&others, &["holds", "does not hold"]));
    shown.must_have(words(&["not active"], &["does not hold"]));
    shown.must_have(words(&["domain"], &PATTERNS));
    shown.must_have(words(&["ip"], &["address", "network", "range", "IPv4", "IPv6"]));
}

#[test]
fn every_kind_of_body() {
    const TYPES: [&str; 9] = [
        "application/json",
        "text/json",
        "application/vnd.api+json",
        "text/xml",
        "application/xml",
        "application/soap+xml",
        "multipart/form-data",
        "text/plain",
        "application/x-www-form-urlencoded",
    ];
    const ENCODINGS: [&str; 6] = ["gzip", "x-gzip", "deflate", "identity", "br", "gzip, deflate"];
    let mut shown = Shown::default();
    for case in &all() {
        let rules = case.policy().rules;
        let about_bodies = rules.iter().filter(|rule| rule.body.is_some());
        for rule in about_bodies {
            for asked in case.request.iter().filter(|asked| asked.body.is_some()) {
                let Some(hit) = is_hit(asked, rule.id) else { continue };
                let outcome = if hit { "holds" } else { "does not hold" };
                for (name, value) in &asked.headers {
                    let value = value.split(';').next().unwrap_or_default();
                    shown.add(format!("{}: {value}: {outcome}", name.to_ascii_lowercase()));
                }
                let no_type = !asked.headers.iter().any(|(name, _)| name == "Content-Type");
                if no_type {
                    shown.add(format!("no content-type: {outcome}"));
                }
            }
        }
    }
    let both = ["holds", "does not hold"];
    let types = TYPES.map(|name| format!("content-type: {name}"));
    let encodings = ENCODINGS.map(|name| format!("content-encoding: {name}"));
    for kind in types.iter().chain(&encodings) {
        shown.must_have(words(&[kind], &both));
    }
    shown.must_have(words(&["no content-type"], &both));
}

/// Whether a policy can be the reason of a block.
fn is_of_a_policy(block_type: BlockType) -> bool {
    match block_type {
        BlockType::LaterAnalysis
        | BlockType::ExtendedRule
        | BlockType::LimitBan
        | BlockType::BruteForce
        | BlockType::BlockList
        | BlockType::Flood
        | BlockType::Ddos => true,
        // No block, and the module's own, which is tested with a module that panics.
        BlockType::None | BlockType::InternalError => false,
    }
}

#[test]
fn every_action_block_type_and_reason() {
    let mut shown = Shown::default();
    for asked in all().iter().flat_map(|case| &case.request) {
        if let Some(number) = asked.block_type {
            shown.add(format!("{}: {number}", asked.action));
        }
        for (what, names) in [
            ("reasons", &asked.reasons),
            ("observed", &asked.observed),
            ("reported", &asked.reported),
        ] {
            for name in names.iter().flatten() {
                let kind = if name.starts_with("rule ") { "rule" } else { name };
                shown.add(format!("{what}: {kind}"));
            }
        }
        asked.without.iter().for_each(|name| shown.add(format!("without: {name}")));
    }
    let mut types = BanKind::ALL.map(BanKind::block_type).to_vec();
    types.extend([BlockType::ExtendedRule, BlockType::BlockList]);
    assert!(types.iter().all(|block_type| is_of_a_policy(*block_type)));
    let numbers: Vec<_> = types.iter().map(|block_type| (*block_type as u8).to_string()).collect();
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    shown.must_have(words(&[Action::Block.as_str(), Action::Observe.as_str()], &numbers));
    shown.must_have(words(&[Action::Pass.as_str(), Action::Bypass.as_str()], &["0"]));
    let bans = BanKind::ALL.map(|kind| format!("ban {}", kind as u8));
    let mut names: Vec<_> = bans.iter().map(String::as_str).collect();
    names.extend(["block_list", "rule"]);
    shown.must_have(words(&["reasons", "observed", "reported"], &names));
    shown.must_have(words(&["reasons"], &["host_wl", "ip_wl"]));
    shown.must_have(words(&["without"], &["host_wl", "ip_wl", "block_list", "ban 4", "rule 1"]));
}

/// The test of this test: what no case shows is named.
#[test]
#[should_panic(expected = "nwaf_new: *.example.com")]
fn what_is_missing_is_named() {
    let mut shown = Shown::default();
    shown.pattern("nwaf_new", &HostPattern::Any);
    shown.must_have(words(&["nwaf_new"], &PATTERNS));
}
