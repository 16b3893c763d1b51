//! Asking a snapshot. No allocation, no lock, no system call; the cost follows
//! the request's length and the rules that are selected for it.

use std::net::IpAddr;
use std::ops::ControlFlow;

use policy::address::canonical;
use policy::expression::{Join, step};
use policy::request::HeaderClass;
use policy::text::{FormField, Scratch, contains};
use policy::verdict::Decision;
use policy::{Host, Request, Source, Verdict, Zone};

use super::Snapshot;
use super::format::*;

impl Snapshot {
    /// Decides one request as [`policy::Policy::evaluate`] does.
    ///
    /// One address lookup (O(log n) inside one /16), one host probe per label,
    /// one pass over the text that selects rules, then the selected rules in the
    /// order of their ids.
    pub fn evaluate(&self, request: &Request<'_>, scratch: &mut Scratch) -> Verdict {
        let by_host = self.host_lists(request.host);
        if by_host & list::BYPASS != 0 {
            return Verdict::bypass(Source::HostWhiteList);
        }
        let by_address = request.address.map_or(0, |a| self.address_lists(a, request.host));
        if by_address & list::BYPASS != 0 {
            return Verdict::bypass(Source::AddressWhiteList);
        }
        let mut decision = Decision::new((by_host | by_address) & list::OBSERVE != 0);
        if by_address & list::BLOCK != 0 {
            decision.hit(Source::BlockList, Zone::Ip, false, by_address & list::REPORT != 0);
            if decision.is_blocked() {
                return decision.finish();
            }
        }
        let rules: &[RuleRecord] = self.section(SectionId::Rules);
        if !rules.is_empty() {
            scratch.begin();
            let asked = Asked::new(self, request);
            self.each_candidate(request, scratch, |position, scratch| {
                let Some(rule) = rules.get(position as usize) else { return };
                if asked.rule_holds(rule, scratch) {
                    let zone = Zone::from_number(rule.zone).unwrap_or_default();
                    let observed = rule.flags & rule_flag::OBSERVE != 0;
                    let api = rule.flags & rule_flag::API != 0;
                    decision.hit(Source::Rule(rule.id), zone, observed, api);
                }
            });
        }
        decision.finish()
    }

    /// Bits of the address lists that hold for a client and the host it asked.
    fn address_lists(&self, address: IpAddr, host: Host<'_>) -> u8 {
        let set = match canonical(address) {
            IpAddr::V4(v4) => self.v4_set(v4.into()),
            IpAddr::V6(v6) => {
                let first: &[u128] = self.section(SectionId::V6First);
                let key = u128::from(v6);
                let at = first.partition_point(|start| *start <= key);
                self.set_at(at, key, SectionId::V6Last, SectionId::V6Sets)
            }
        };
        set.map_or(0, |set| self.set_lists(set, host))
    }

    fn v4_set(&self, key: u32) -> Option<usize> {
        let first: &[u32] = self.section(SectionId::V4First);
        let index: &[u32] = self.section(SectionId::V4Index);
        let high = (key >> 16) as usize;
        let bucket = match (index.get(high), index.get(high + 1)) {
            (Some(start), Some(end)) => *start as usize..*end as usize,
            _ => 0..first.len(),
        };
        let start = bucket.start;
        let at = start + first.get(bucket)?.partition_point(|start| *start <= key);
        self.set_at(at, key, SectionId::V4Last, SectionId::V4Sets)
    }

    /// The set of the last range that starts at or below `key`, if it reaches `key`.
    fn set_at<T>(&self, after: usize, key: T, last: SectionId, sets: SectionId) -> Option<usize>
    where
        T: zerocopy::FromBytes + zerocopy::Immutable + zerocopy::KnownLayout + Ord,
    {
        let at = after.checked_sub(1)?;
        let last: &[T] = self.section(last);
        if key > *last.get(at)? {
            return None;
        }
        let narrow: &[u16] = self.section(sets);
        if narrow.len() == last.len() {
            return narrow.get(at).map(|set| usize::from(*set));
        }
        self.section::<u32>(sets).get(at).map(|set| *set as usize)
    }

    fn set_lists(&self, set: usize, host: Host<'_>) -> u8 {
        let offsets: &[u32] = self.section(SectionId::SetOffsets);
        let entries: &[SetEntry] = self.section(SectionId::SetEntries);
        let (Some(start), Some(end)) = (offsets.get(set), offsets.get(set + 1)) else { return 0 };
        let Some(entries) = entries.get(*start as usize..*end as usize) else { return 0 };
        let patterns: &[PatternRecord] = self.section(SectionId::Patterns);
        let blob: &[u8] = self.section(SectionId::Blob);
        entries.iter().fold(0, |lists, entry| {
            let holds = entry.pattern == ANY || pattern_holds(patterns, blob, entry.pattern, host);
            if holds { lists | entry.lists } else { lists }
        })
    }

    /// Bits of the host lists that hold for a host: one probe for each of its labels.
    fn host_lists(&self, host: Host<'_>) -> u8 {
        let slots: &[HostSlot] = self.section(SectionId::Hosts);
        let host = host.as_bytes();
        let mut lists = self.any_host();
        if slots.is_empty() {
            return lists;
        }
        let blob: &[u8] = self.section(SectionId::Blob);
        let mut hash = HASH_START;
        for (at, byte) in host.iter().enumerate().rev() {
            if *byte == b'.'
                && let Some(slot) = probe(slots, blob, hash, &host[at + 1..])
                && at > 0
            {
                lists |= slot.below;
            }
            hash = hash_step(hash, *byte);
        }
        lists | probe(slots, blob, hash, host).map_or(0, |slot| slot.itself)
    }
}

fn probe<'a>(slots: &'a [HostSlot], blob: &[u8], hash: u64, domain: &[u8]) -> Option<&'a HostSlot> {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    // An empty slot exists (verified), so this ends.
    loop {
        let slot = slots.get(at)?;
        if slot.length == 0 {
            return None;
        }
        if slot.hash == hash && piece(blob, slot.offset, slot.length.into()) == domain {
            return Some(slot);
        }
        at = (at + 1) & mask;
    }
}

pub(super) fn piece(blob: &[u8], offset: u32, length: u32) -> &[u8] {
    let start = offset as usize;
    blob.get(start..start + length as usize).unwrap_or(&[])
}

fn pattern_holds(patterns: &[PatternRecord], blob: &[u8], id: u32, host: Host<'_>) -> bool {
    let Some(pattern) = patterns.get(id as usize) else { return false };
    let domain = piece(blob, pattern.offset, pattern.length.into());
    let host = host.as_bytes();
    if host.len() == domain.len() {
        return pattern.reach & reach::SELF != 0 && host == domain;
    }
    pattern.reach & reach::BELOW != 0
        && host.len() > domain.len() + 1
        && host.ends_with(domain)
        && host[host.len() - domain.len() - 1] == b'.'
}

/// A request and the sections its rules need.
struct Asked<'a> {
    request: &'a Request<'a>,
    conditions: &'a [ConditionRecord],
    terms: &'a [TermRecord],
    ranges: &'a [RangeRecord],
    patterns: &'a [PatternRecord],
    blob: &'a [u8],
}

impl<'a> Asked<'a> {
    fn new(snapshot: &'a Snapshot, request: &'a Request<'a>) -> Self {
        Self {
            request,
            conditions: snapshot.section(SectionId::Conditions),
            terms: snapshot.section(SectionId::Terms),
            ranges: snapshot.section(SectionId::Ranges),
            patterns: snapshot.section(SectionId::Patterns),
            blob: snapshot.section(SectionId::Blob),
        }
    }

    fn rule_holds(&self, rule: &RuleRecord, scratch: &mut Scratch) -> bool {
        let start = rule.condition as usize;
        self.conditions
            .get(start..start + usize::from(rule.conditions))
            .is_some_and(|own| own.iter().all(|condition| self.condition_holds(condition, scratch)))
    }

    fn condition_holds(&self, condition: &ConditionRecord, scratch: &mut Scratch) -> bool {
        let request = self.request;
        let name = piece(self.blob, condition.name, condition.name_length.into());
        let named = |header: &[u8]| header.eq_ignore_ascii_case(name);
        let class = |wanted| move |header: &[u8]| HeaderClass::of(header) == wanted;
        let start = condition.term as usize;
        let Some(terms) = self.terms.get(start..start + condition.terms as usize) else {
            return false;
        };
        match Field::from_number(condition.field) {
            Some(Field::Ip) => request.address.is_some_and(|address| {
                let (key, family) = match canonical(address) {
                    IpAddr::V4(v4) => (u128::from(u32::from(v4)), 4),
                    IpAddr::V6(v6) => (u128::from(v6), 6),
                };
                fold(terms, |term| {
                    self.ranges.get(term.value as usize).is_some_and(|range| {
                        range.family == family && (range.first..=range.last).contains(&key)
                    })
                })
            }),
            Some(Field::Domain) => {
                // Only `*` says something about a request without a host.
                (!request.host.as_bytes().is_empty() || terms.iter().any(|t| t.value == ANY))
                    && fold(terms, |term| {
                        term.value == ANY
                            || pattern_holds(self.patterns, self.blob, term.value, request.host)
                    })
            }
            Some(Field::Country) => request.country.is_some_and(|country| {
                let code = u32::from(u16::from_le_bytes(country));
                fold(terms, |term| term.value == code)
            }),
            Some(Field::Url) => fold(terms, |term| {
                let text = self.text(term);
                if term.flags & term_flag::NOT != 0 {
                    contains(scratch.path_as_served(request.url), text)
                } else {
                    scratch.any_path_form(request.url, |form| contains(form, text))
                }
            }),
            Some(Field::Args) => self.in_field(terms, FormField::Args, request.args, scratch),
            Some(Field::Body) => self.in_field(terms, FormField::Body, request.body, scratch),
            Some(Field::NoCookie) => !any_header(request, |header, value| {
                HeaderClass::of(header) == HeaderClass::Cookie && !value.is_empty()
            }),
            Some(Field::Cookie) => self.in_headers(terms, class(HeaderClass::Cookie), scratch),
            Some(Field::UserAgent) => {
                self.in_headers(terms, class(HeaderClass::UserAgent), scratch)
            }
            Some(Field::Referer) => self.in_headers(terms, class(HeaderClass::Referer), scratch),
            Some(Field::HeaderAny) => self.in_headers(terms, class(HeaderClass::Other), scratch),
            Some(Field::HeaderNamed) => self.in_headers(terms, named, scratch),
            Some(Field::HeaderPresent) => any_header(request, |header, _| named(header)),
            Some(Field::HeaderAbsent) => !any_header(request, |header, _| named(header)),
            None => false,
        }
    }

    fn text(&self, term: &TermRecord) -> &[u8] {
        piece(self.blob, term.value, term.length)
    }

    fn in_field(
        &self,
        terms: &[TermRecord],
        field: FormField,
        text: Option<&[u8]>,
        scratch: &mut Scratch,
    ) -> bool {
        text.is_some_and(|raw| {
            fold(terms, |term| {
                let text = self.text(term);
                scratch.any_form(field, raw, |form| contains(form, text))
            })
        })
    }

    /// A term holds if any of the picked headers has it; without such a header nothing holds.
    fn in_headers(
        &self,
        terms: &[TermRecord],
        wanted: impl Fn(&[u8]) -> bool,
        scratch: &mut Scratch,
    ) -> bool {
        any_header(self.request, |header, _| wanted(header))
            && fold(terms, |term| {
                let text = self.text(term);
                let pick = |header: &[u8]| wanted(header).then_some(());
                scratch.any_header_form(self.request.headers, pick, |(), form| contains(form, text))
            })
    }
}

fn fold(terms: &[TermRecord], mut hit: impl FnMut(&TermRecord) -> bool) -> bool {
    terms.iter().fold(true, |left, term| {
        let join = if term.flags & term_flag::OR != 0 { Join::Or } else { Join::And };
        step(left, join, term.flags & term_flag::NOT != 0, || hit(term))
    })
}

fn any_header(request: &Request<'_>, mut hit: impl FnMut(&[u8], &[u8]) -> bool) -> bool {
    let mut found = false;
    request.headers.visit(&mut |name, value| {
        found = hit(name, value);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found
}
