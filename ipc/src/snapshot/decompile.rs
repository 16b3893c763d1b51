//! A snapshot -> the policy that it decides by, for people who ask why.
//!
//! What is lost is what does not bear on any verdict: the order and the borders of
//! list entries (ranges come back cut and joined), and rules that are not active.

use policy::expression::{Expression, Join, Term};
use policy::limit::Per;
use policy::rule::HeaderCondition;
use policy::{
    AddressEntry, AddressRange, BodyExclusion, HostLists, HostPattern, Limit, Policy, Rule,
    Settings,
};

use super::Snapshot;
use super::format::*;
use super::view::{View, between, run};

impl Snapshot {
    /// The entries of `nwaf_limit`. O(entries).
    pub fn limits(&self) -> Vec<Limit> {
        self.view().limit_entries()
    }

    /// The policy in force, which gives every request the verdict that the snapshot
    /// gives. Linear in the snapshot; allocates about five times its size.
    pub fn policy(&self) -> Policy {
        let view = self.view();
        let mut policy = Policy { settings: view.settings(), ..Policy::default() };
        policy.settings.given = self.given();
        view.each_entry(|entry, lists| {
            if lists & list::BYPASS != 0 {
                policy.settings.ip_wl.push(AddressEntry { api: false, ..entry.clone() });
            }
            if lists & list::OBSERVE != 0 {
                policy.settings.ip_lm.push(AddressEntry { api: false, ..entry.clone() });
            }
            if lists & list::BLOCK != 0 {
                policy.block_list.push(entry);
            }
        });
        policy.rules = view.rules.iter().filter_map(|rule| view.rule(rule)).collect();
        policy
    }
}

impl View<'_> {
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let mut add = |lists: u16, pattern: HostPattern| {
            for key in HostLists::from_bits(lists).unwrap_or_default().keys() {
                settings.hosts.entry(key).or_default().push(pattern.clone());
            }
        };
        add(self.header.any_host, HostPattern::Any);
        for slot in self.hosts.iter().filter(|slot| slot.length != 0) {
            let domain = lossy(self.piece(slot.offset, slot.length.into()));
            add(slot.itself & slot.below, HostPattern::DomainAndBelow(domain.clone()));
            add(slot.itself & !slot.below, HostPattern::Exact(domain.clone()));
            add(slot.below & !slot.itself, HostPattern::Below(domain));
        }
        settings.limit = self.limit_entries();
        if self.header.no_bodies != 0 {
            settings.body_exclude.push(BodyExclusion { host: HostPattern::Any, path: None });
        }
        for slot in self.body_paths.iter().filter(|slot| slot.length != 0) {
            let path = self.piece(slot.offset, slot.length.into());
            let hosts = self.postings(slot.item, slot.items).iter();
            settings.body_exclude.extend(hosts.map(|pattern| BodyExclusion {
                host: self.pattern(*pattern),
                path: Some(path.to_vec()),
            }));
        }
        settings
    }

    /// Calls `visit` with each range of the map and each entry that holds there.
    fn each_entry(&self, mut visit: impl FnMut(AddressEntry, u8)) {
        let mut at = |range: AddressRange, set: u32| {
            let Some(set) = self.sets.get(set as usize) else { return };
            for entry in between(self.list_entries, self.list_sets, set.lists) {
                let domain = self.pattern(entry.pattern);
                let api = entry.lists & list::REPORT != 0;
                visit(AddressEntry { range, domain, api }, entry.lists);
            }
        };
        for high in 0..INDEX_LENGTH as u32 - 1 {
            for range in between(self.v4_ranges, self.v4_index, high) {
                let whole = |low: u16| high << 16 | u32::from(low);
                let (first, last) = (whole(range.first), whole(range.last));
                at(AddressRange::V4 { first, last }, range.set);
            }
        }
        for ((first, last), set) in self.v6_first.iter().zip(self.v6_last).zip(self.v6_sets) {
            at(AddressRange::V6 { first: *first, last: *last }, *set);
        }
    }

    fn limit_entries(&self) -> Vec<Limit> {
        let entries = self.limits.iter().map(|limit| Limit {
            domain: self.pattern(limit.pattern),
            rate: limit.rate,
            per: if limit.window == 1 { Per::Second } else { Per::Minute },
            block_time: limit.block_time,
        });
        entries.collect()
    }

    fn pattern(&self, number: u32) -> HostPattern {
        let Some(pattern) = self.patterns.get(number as usize) else { return HostPattern::Any };
        let domain = lossy(self.piece(pattern.offset, pattern.length.into()));
        match pattern.reach {
            reach::SELF => HostPattern::Exact(domain),
            reach::BELOW => HostPattern::Below(domain),
            _ => HostPattern::DomainAndBelow(domain),
        }
    }

    /// A rule; nothing where it has no condition, which no verified file has.
    fn rule(&self, record: &RuleRecord) -> Option<Rule> {
        let mut rule = Rule {
            lm: record.flags & rule_flag::OBSERVE != 0,
            api: record.flags & rule_flag::API != 0,
            noban: record.flags & rule_flag::NOBAN != 0,
            ..Rule::blank(record.id)
        };
        let conditions = run(self.conditions, record.condition, record.conditions.into());
        for condition in conditions {
            let name = self.piece(condition.name, condition.name_length.into()).to_vec();
            let terms = run(self.terms, condition.term, condition.terms);
            let text =
                || expression(terms, |term| Some(self.piece(term.value, term.length).to_vec()));
            match Field::from_number(condition.field)? {
                Field::Ip => rule.ip = expression(terms, |term| self.range(term.value)),
                Field::Domain => {
                    rule.domain = expression(terms, |term| Some(self.pattern(term.value)));
                }
                Field::Country => {
                    rule.country =
                        expression(terms, |term| Some((term.value as u16).to_le_bytes()));
                }
                Field::Url => rule.url = text(),
                Field::Args => rule.args = text(),
                Field::Body => rule.body = text(),
                Field::NoCookie => rule.no_cookie = true,
                Field::Cookie => rule.cookie = text(),
                Field::UserAgent => rule.ua = text(),
                Field::Referer => rule.referer = text(),
                Field::HeaderAbsent => rule.other_headers.push(HeaderCondition::Absent(name)),
                Field::HeaderPresent => rule.other_headers.push(HeaderCondition::Present(name)),
                Field::HeaderNamed => {
                    rule.other_headers.push(HeaderCondition::Named(name, text()?));
                }
                Field::HeaderAny => rule.other_headers.push(HeaderCondition::Any(text()?)),
            }
        }
        (!conditions.is_empty()).then_some(rule)
    }

    fn range(&self, number: u32) -> Option<AddressRange> {
        let range = self.ranges.get(number as usize)?;
        Some(match range.family {
            4 => AddressRange::V4 { first: range.first as u32, last: range.last as u32 },
            _ => AddressRange::V6 { first: range.first, last: range.last },
        })
    }
}

fn expression<T>(
    terms: &[TermRecord],
    mut value: impl FnMut(&TermRecord) -> Option<T>,
) -> Option<Expression<T>> {
    let term = |record: &TermRecord| {
        Some(Term {
            join: if record.flags & term_flag::OR != 0 { Join::Or } else { Join::And },
            negated: record.flags & term_flag::NOT != 0,
            value: value(record)?,
        })
    };
    Expression::from_terms(terms.iter().map(term).collect::<Option<_>>()?)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
