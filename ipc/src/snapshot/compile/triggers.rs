//! What a request must have for a rule to be worth trying.
//!
//! A rule is filed under the one of its conditions that the fewest requests and
//! the fewest other rules share. Where none of its conditions needs anything
//! (only negations, only short texts), it is tried always.

use std::collections::HashMap;

use policy::expression::Expression;
use policy::rule::HeaderCondition;
use policy::{AddressRange, HostPattern, Rule};

use crate::snapshot::format::{Field, GRAM};

/// One thing, or one of several, that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger<'a> {
    /// A client from one of these ranges.
    Ranges(Vec<AddressRange>),
    /// One of these texts in a field.
    Texts(Field, Vec<&'a [u8]>),
    /// A host of one of these patterns, none of which is `*`.
    Hosts(Vec<&'a HostPattern>),
    /// A header of this name.
    Header(&'a [u8]),
    /// A client from one of these countries.
    Countries(Vec<[u8; 2]>),
}

/// What several rules may be filed under together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Range(AddressRange),
    Text(Field, &'a [u8]),
    Host(&'a HostPattern),
    Header(&'a [u8]),
    Country([u8; 2]),
}

impl<'a> Trigger<'a> {
    fn keys(&self) -> Vec<Key<'a>> {
        match self {
            Self::Ranges(ranges) => ranges.iter().map(|range| Key::Range(*range)).collect(),
            Self::Texts(field, texts) => texts.iter().map(|t| Key::Text(*field, t)).collect(),
            Self::Hosts(patterns) => patterns.iter().map(|p| Key::Host(p)).collect(),
            Self::Header(name) => vec![Key::Header(name)],
            Self::Countries(codes) => codes.iter().map(|code| Key::Country(*code)).collect(),
        }
    }

    /// How likely any request has it, in units of an unlikely text. Only the order matters.
    fn weight(&self) -> u64 {
        match self {
            Self::Ranges(ranges) if ranges.iter().all(is_narrow) => 1,
            Self::Texts(..) => 1,
            Self::Hosts(_) | Self::Header(_) => 4,
            Self::Ranges(_) | Self::Countries(_) => 16,
        }
    }

    /// How much of the address space it takes, in bits; 0 where it is not about addresses.
    pub fn breadth(&self) -> u32 {
        match self {
            Self::Ranges(ranges) => ranges.iter().map(bits).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// At most a /16 of IPv4 or a /48 of IPv6, what one operator usually has.
fn is_narrow(range: &AddressRange) -> bool {
    match range {
        AddressRange::V4 { .. } => bits(range) <= 16,
        AddressRange::V6 { .. } => bits(range) <= 80,
    }
}

/// Bits in which the addresses of a range differ.
fn bits(range: &AddressRange) -> u32 {
    match range {
        AddressRange::V4 { first, last } => u32::BITS - (first ^ last).leading_zeros(),
        AddressRange::V6 { first, last } => u128::BITS - (first ^ last).leading_zeros(),
    }
}

/// The triggers of each rule, best first.
pub fn triggers<'a>(rules: &[&'a Rule]) -> Vec<Vec<Trigger<'a>>> {
    let mut all: Vec<_> = rules.iter().map(|rule| possible(rule)).collect();
    let mut sharing: HashMap<Key<'_>, u64> = HashMap::new();
    for key in all.iter().flatten().flat_map(Trigger::keys) {
        *sharing.entry(key).or_default() += 1;
    }
    for own in &mut all {
        // Stable: what comes first in `possible` is better among equals.
        own.sort_by_cached_key(|trigger| {
            let shared = trigger.keys().iter().map(|key| sharing[key]).max();
            shared.unwrap_or(1) * trigger.weight()
        });
    }
    all
}

/// Everything a rule could be filed under.
fn possible(rule: &Rule) -> Vec<Trigger<'_>> {
    let mut found = Vec::new();
    if let Some(ranges) = rule.ip.as_ref().and_then(needed) {
        found.push(Trigger::Ranges(ranges.into_iter().copied().collect()));
    }
    let fields = [
        (Field::Url, &rule.url),
        (Field::Args, &rule.args),
        (Field::Cookie, &rule.cookie),
        (Field::UserAgent, &rule.ua),
        (Field::Referer, &rule.referer),
        (Field::Body, &rule.body),
    ];
    let fields = fields.into_iter().filter_map(|(field, e)| Some((field, e.as_ref()?)));
    let headers = rule.other_headers.iter().filter_map(|condition| match condition {
        HeaderCondition::Named(_, e) | HeaderCondition::Any(e) => Some((Field::HeaderAny, e)),
        HeaderCondition::Absent(_) | HeaderCondition::Present(_) => None,
    });
    let mut texts: Vec<_> = fields
        .chain(headers)
        .filter_map(|(field, e)| {
            let texts: Vec<&[u8]> = needed(e)?.into_iter().map(Vec::as_slice).collect();
            texts.iter().all(|text| text.len() >= GRAM).then_some((field, texts))
        })
        .collect();
    texts.sort_by_key(|(_, texts)| std::cmp::Reverse(texts.iter().map(|t| t.len()).min()));
    found.extend(texts.into_iter().map(|(field, texts)| Trigger::Texts(field, texts)));
    if let Some(patterns) = rule.domain.as_ref().and_then(needed)
        && !patterns.contains(&&HostPattern::Any)
    {
        found.push(Trigger::Hosts(patterns));
    }
    found.extend(rule.other_headers.iter().filter_map(|condition| match condition {
        HeaderCondition::Present(name) | HeaderCondition::Named(name, _) => {
            Some(Trigger::Header(name))
        }
        HeaderCondition::Absent(_) | HeaderCondition::Any(_) => None,
    }));
    if let Some(codes) = rule.country.as_ref().and_then(needed) {
        found.push(Trigger::Countries(codes.into_iter().copied().collect()));
    }
    found
}

/// The positive operands of an expression that is false where none of them holds.
fn needed<T>(e: &Expression<T>) -> Option<Vec<&T>> {
    // Negated operands hold where nothing does, so this is the most the
    // expression can be without a positive one.
    if e.evaluate(|_| false) {
        return None;
    }
    Some(e.terms().iter().filter(|term| !term.negated).map(|term| &term.value).collect())
}

#[cfg(test)]
mod tests {
    use policy::RuleText;

    use super::*;

    fn rule(text: RuleText) -> Rule {
        Rule::parse(1, &text).unwrap()
    }

    fn best(rules: &[Rule]) -> Vec<Option<Trigger<'_>>> {
        let rules: Vec<_> = rules.iter().collect();
        triggers(&rules).into_iter().map(|own| own.into_iter().next()).collect()
    }

    #[test]
    fn a_rule_is_filed_under_what_it_shares_least() {
        let curl = || Some("Y3VybC8=".to_owned());
        let site = |n: u32| {
            rule(RuleText { domain: Some(format!("s{n}.com")), ua: curl(), ..RuleText::default() })
        };
        // Alone, the text is rarer; shared by ten rules, the host is.
        let alone = [site(0)];
        assert!(matches!(best(&alone)[0], Some(Trigger::Texts(Field::UserAgent, _))));
        let many: Vec<_> = (0..10).map(site).collect();
        assert!(best(&many).iter().all(|t| matches!(t, Some(Trigger::Hosts(_)))));
        let narrow = RuleText { ip: Some("1.1.1.0/24".into()), ua: curl(), ..RuleText::default() };
        let broad = RuleText { ip: Some("1.0.0.0/8".into()), ..narrow.clone() };
        let rules = [rule(narrow), rule(broad)];
        assert!(matches!(best(&rules)[0], Some(Trigger::Ranges(_))));
        assert!(matches!(best(&rules)[1], Some(Trigger::Texts(..))));
    }

    #[test]
    fn what_needs_nothing_is_tried_always() {
        let text = |change: fn(&mut RuleText)| {
            let mut text = RuleText::default();
            change(&mut text);
            rule(text)
        };
        let rules = [
            text(|r| r.ip = Some("!1.1.1.1".into())),
            text(|r| r.ip = Some("1.1.1.1|!2.2.2.2".into())),
            text(|r| r.args = Some("P2E=".into())), // "?a"
            text(|r| r.url = Some("!YWJjZA==".into())),
            text(|r| r.domain = Some("*".into())),
            text(|r| r.no_cookie = true),
            text(|r| r.other_headers = vec!["!!WC1Z:".into()]),
        ];
        assert_eq!(best(&rules), vec![None; rules.len()]);
        let needs = [
            text(|r| r.ip = Some("!1.1.1.1&1.1.1.0/24".into())),
            text(|r| r.country = Some("Q0g=".into())),
            text(|r| r.other_headers = vec!["WC1Z:!YQ==".into()]),
        ];
        assert!(best(&needs).iter().all(Option::is_some));
    }
}
