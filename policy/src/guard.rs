//! Policies that are valid and almost certainly a mistake.

use std::net::IpAddr;

use crate::expression::Expression;
use crate::{AddressEntry, AddressRange, HostPattern, Key, Policy, Rule, Settings};

/// Why a policy needs an explicit `force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Danger {
    /// The block list covers every IPv4 address for every host.
    BlocksAllV4,
    /// The block list covers every IPv6 address for every host.
    BlocksAllV6,
    /// This list of addresses covers a whole family for every host: nobody is stopped.
    StopsNobody(Key),
    /// The rule with this id holds for every address of a family and names nothing else.
    RuleBlocksAll(u64),
}

impl std::fmt::Display for Danger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BlocksAllV4 => f.write_str("the block list covers every IPv4 address"),
            Self::BlocksAllV6 => f.write_str("the block list covers every IPv6 address"),
            Self::StopsNobody(key) => {
                write!(f, "{key} covers every address of a family, so nobody would be stopped")
            }
            Self::RuleBlocksAll(id) => write!(f, "rule {id} blocks every address of a family"),
        }
    }
}

/// The first danger of a policy. O(n log n) in the length of the address lists.
pub fn danger(policy: &Policy) -> Option<Danger> {
    dangers(policy).next()
}

/// Every danger of a policy, each found as it is asked for. Who compares two policies
/// needs all: a danger that somebody accepted must not hide one that nobody did.
pub fn dangers(policy: &Policy) -> impl Iterator<Item = Danger> {
    let rules = policy.rules.iter().filter_map(rule_danger);
    block_list_dangers(&policy.block_list).chain(settings_dangers(&policy.settings)).chain(rules)
}

/// The dangers of a block list that acts.
pub fn block_list_dangers(block_list: &[AddressEntry]) -> impl Iterator<Item = Danger> {
    let v4 = std::iter::once_with(move || covers_v4(block_list).then_some(Danger::BlocksAllV4));
    let v6 = std::iter::once_with(move || covers_v6(block_list).then_some(Danger::BlocksAllV6));
    v4.chain(v6).flatten()
}

/// The dangers of settings that act.
pub fn settings_dangers(settings: &Settings) -> impl Iterator<Item = Danger> {
    let lists = [(Key::IpWl, &settings.ip_wl), (Key::IpLm, &settings.ip_lm)];
    let lists = lists.into_iter().filter(|(_, list)| covers_v4(list) || covers_v6(list));
    lists.map(|(key, _)| Danger::StopsNobody(key))
}

/// The danger of a rule.
pub fn rule_danger(rule: &Rule) -> Option<Danger> {
    blocks_all(rule).then_some(Danger::RuleBlocksAll(rule.id))
}

/// Whether a rule holds for every address of a family and names nothing else.
fn blocks_all(rule: &Rule) -> bool {
    let everywhere =
        rule.domain.as_ref().is_none_or(|e| e.evaluate(|pattern| *pattern == HostPattern::Any));
    let nothing_else = !rule.no_cookie
        && rule.country.is_none()
        && rule.other_headers.is_empty()
        && [&rule.url, &rule.args, &rule.body, &rule.cookie, &rule.ua, &rule.referer]
            .into_iter()
            .all(Option::is_none);
    let all = || rule.ip.as_ref().is_none_or(holds_for_a_family);
    rule.active && !rule.lm && everywhere && nothing_else && all()
}

/// Whether an expression over ranges holds for every address of a family that it
/// names. It can change only where a range begins or ends, so those addresses are
/// asked. (`!1.1.1.1` holds for all of IPv6, and is a rule about IPv4 all the same.)
fn holds_for_a_family(expression: &Expression<AddressRange>) -> bool {
    let holds = |address: IpAddr| expression.evaluate(|range| range.contains(address));
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for term in expression.terms() {
        match term.value {
            AddressRange::V4 { first, last } => v4.extend([0, first, last.saturating_add(1)]),
            AddressRange::V6 { first, last } => v6.extend([0, first, last.saturating_add(1)]),
        }
    }
    let all_v4 = v4.iter().all(|a| holds(IpAddr::V4((*a).into())));
    let all_v6 = v6.iter().all(|a| holds(IpAddr::V6((*a).into())));
    (all_v4 && !v4.is_empty()) || (all_v6 && !v6.is_empty())
}

fn covers_v4(list: &[AddressEntry]) -> bool {
    let ends = |range| match range {
        AddressRange::V4 { first, last } => Some((u128::from(first), u128::from(last))),
        AddressRange::V6 { .. } => None,
    };
    covers(list, ends, u128::from(u32::MAX))
}

fn covers_v6(list: &[AddressEntry]) -> bool {
    let ends = |range| match range {
        AddressRange::V6 { first, last } => Some((first, last)),
        AddressRange::V4 { .. } => None,
    };
    covers(list, ends, u128::MAX)
}

fn covers(
    entries: &[AddressEntry],
    ends: impl Fn(AddressRange) -> Option<(u128, u128)>,
    last: u128,
) -> bool {
    let mut ranges: Vec<_> = entries
        .iter()
        .filter(|entry| entry.domain == HostPattern::Any)
        .filter_map(|entry| ends(entry.range))
        .collect();
    // Nearly no list does, and a million ranges are not sorted to learn that.
    if !ranges.iter().any(|(start, _)| *start == 0) {
        return false;
    }
    ranges.sort_unstable();
    let mut next = 0u128;
    for (start, end) in ranges {
        if start > next {
            return false;
        }
        if end == last {
            return true;
        }
        next = next.max(end + 1);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuleText;

    fn listed(entries: &[&str]) -> Option<Danger> {
        let block_list = entries.iter().map(|e| e.parse().unwrap()).collect();
        danger(&Policy { block_list, ..Policy::default() })
    }

    fn ruled(text: RuleText) -> Option<Danger> {
        let rules = vec![Rule::parse(7, &text).unwrap()];
        danger(&Policy { rules, ..Policy::default() })
    }

    #[test]
    fn everything_is_found_also_in_pieces() {
        assert_eq!(listed(&["0.0.0.0/0"]), Some(Danger::BlocksAllV4));
        assert_eq!(listed(&["128.0.0.0/1", "0.0.0.0/1"]), Some(Danger::BlocksAllV4));
        assert_eq!(listed(&["::/0"]), Some(Danger::BlocksAllV6));
        assert_eq!(listed(&["domain=a.com 0.0.0.0/0"]), None);
        assert_eq!(listed(&["0.0.0.0/1", "128.0.0.1-255.255.255.255"]), None);
        assert_eq!(listed(&["1.0.0.0/8", "1.1.1.1"]), None);
    }

    #[test]
    fn a_list_that_lets_everybody_through_is_found() {
        let set = |pairs: &[(&str, &str)]| {
            let settings = crate::Settings::parse(pairs.iter().copied()).unwrap();
            danger(&Policy { settings, ..Policy::default() })
        };
        assert_eq!(set(&[("nwaf_ip_wl", "0.0.0.0/0")]), Some(Danger::StopsNobody(Key::IpWl)));
        assert_eq!(set(&[("nwaf_ip_lm", "1.1.1.1, ::/0")]), Some(Danger::StopsNobody(Key::IpLm)));
        assert_eq!(set(&[("nwaf_ip_wl", "domain=a.com 0.0.0.0/0, 10.0.0.0/8")]), None);
    }

    #[test]
    fn one_danger_does_not_hide_another() {
        let rule = RuleText { ip: Some("0.0.0.0/0".into()), ..RuleText::default() };
        let policy = Policy {
            block_list: vec!["::/0".parse().unwrap()],
            settings: crate::Settings::parse([("nwaf_ip_wl", "0.0.0.0/0")]).unwrap(),
            rules: vec![Rule::parse(7, &rule).unwrap(), Rule::parse(8, &rule).unwrap()],
            ..Policy::default()
        };
        let all = [
            Danger::BlocksAllV6,
            Danger::StopsNobody(Key::IpWl),
            Danger::RuleBlocksAll(7),
            Danger::RuleBlocksAll(8),
        ];
        assert!(dangers(&policy).eq(all));
        assert_eq!(danger(&policy), Some(all[0]));
    }

    #[test]
    fn a_rule_that_blocks_everyone_is_found() {
        let all = Some("0.0.0.0/0".to_owned());
        let rule = RuleText { ip: all.clone(), ..RuleText::default() };
        assert_eq!(ruled(rule.clone()), Some(Danger::RuleBlocksAll(7)));
        assert_eq!(ruled(RuleText { lm: true, ..rule.clone() }), None);
        assert_eq!(ruled(RuleText { url: Some("YQ==".into()), ..rule }), None);
        assert_eq!(
            ruled(RuleText { domain: Some("a.com".into()), ip: all, ..RuleText::default() }),
            None
        );
        let by_ip = |ip: &str| ruled(RuleText { ip: Some(ip.into()), ..RuleText::default() });
        assert_eq!(by_ip("0.0.0.0/1|128.0.0.0/1"), Some(Danger::RuleBlocksAll(7)));
        assert_eq!(by_ip("!1.1.1.1|1.1.1.1"), Some(Danger::RuleBlocksAll(7)));
        assert_eq!(by_ip("::/0"), Some(Danger::RuleBlocksAll(7)));
        assert_eq!(by_ip("1.1.1.1|2.2.2.2"), None);
        assert_eq!(by_ip("!1.1.1.1"), None);
    }
}
