//! Asking a snapshot. No allocation, no lock, no system call; the cost follows
//! the request's length and the rules that are selected for it.

use std::cell::Cell;
use std::net::IpAddr;
use std::ops::ControlFlow;

use policy::address::canonical;
use policy::expression::{Join, step};
use policy::request::HeaderClass;
use policy::text::{Found, Scratch, contains};
use policy::verdict::Decision;
use policy::{BanKind, HostLists, Reason, Request, Source, Verdict, Zone};

use super::format::*;
use super::lookup::LimitInForce;
use super::view::{View, run};
use super::{Bans, Snapshot};

/// What lies beside a policy because it changes faster, or in other hands.
#[derive(Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The bans of a file.
    pub bans: Option<&'a Bans>,
    /// The bans by `nwaf_limit`; `None` where there are none, which costs nothing.
    pub limit_bans: Option<&'a dyn LimitBans>,
    /// Settings from elsewhere, none of which is in the policy's [`Snapshot::given`]: of
    /// this snapshot nothing else is asked. One more address lookup, and one more probe
    /// for each label.
    pub local: Option<&'a Snapshot>,
}

impl<'a> Beside<'a> {
    /// The bans of a file and nothing else.
    pub fn bans(bans: &'a Bans) -> Self {
        Self { bans: Some(bans), ..Self::default() }
    }
}

/// Addresses that have exceeded a limit, where blocked requests are counted.
pub trait LimitBans {
    /// The rule that led to the ban of an address for the hosts of an entry of
    /// `nwaf_limit`, 0 for none; `None` where it is not banned.
    fn banned_by(&self, address: IpAddr, limit: &LimitInForce) -> Option<u64>;
}

impl Snapshot {
    /// Whether any rule asks for the client's country. Linear in the conditions of
    /// all rules: to be asked once for each snapshot.
    pub fn asks_country(&self) -> bool {
        let conditions = self.view().conditions;
        conditions.iter().any(|condition| condition.field == Field::Country as u8)
    }

    /// Decides one request as [`policy::Policy::evaluate`] does.
    ///
    /// One address lookup (O(log n) inside one /16) in the policy and one in each
    /// kind of bans, one host probe for each label, one pass over the text that selects
    /// rules, then the selected rules in the order of their ids.
    pub fn evaluate(
        &self,
        beside: &Beside<'_>,
        request: &Request<'_>,
        scratch: &mut Scratch,
    ) -> Verdict {
        let view = self.view();
        let found = &mut scratch.found.rules;
        found.clear();
        let (mut bits, mut limit) = (view.header.any_host, view.header.any_limit);
        view.each_domain(request.host, |slot, itself| {
            bits |= if itself { slot.itself } else { slot.below };
            limit = slot.closer_limit(itself, limit);
            found.extend_from_slice(view.rules_of(slot, itself));
        });
        let mut by_host = HostLists::from_bits(bits).unwrap_or_default();
        if let Some(local) = beside.local {
            by_host = by_host.with(local.host_lists(request.host));
        }
        if by_host.has(HostLists::BYPASS) {
            return Verdict::bypass(Source::HostWhiteList);
        }
        let set = request.address.and_then(|address| view.set_of(address));
        let mut by_address = set.map_or(0, |set| view.lists_of(set, request.host));
        if let (Some(local), Some(address)) = (beside.local, request.address) {
            let lists = local.address_lists(address, request.host);
            by_address |= lists & (list::BYPASS | list::OBSERVE);
        }
        if by_address & list::BYPASS != 0 {
            return Verdict::bypass(Source::AddressWhiteList);
        }
        let observe = by_host.has(HostLists::OBSERVE) || by_address & list::OBSERVE != 0;
        let mut decision = Decision::new(observe);
        if let Some(bans) = beside.bans {
            bans.view().add_bans(by_host, request, &mut decision);
        }
        if let (Some(bans), Some(address)) = (beside.limit_bans, request.address)
            && let Some(limit) = view
                .limit_in_force(limit)
                .or_else(|| beside.local.and_then(|local| local.limit(request.host)))
            && let Some(rule) = bans.banned_by(address, &limit)
        {
            decision.ban(BanKind::Limit, rule, BanKind::Limit.is_observed(by_host));
        }
        if decision.is_blocked() {
            return decision.finish();
        }
        if by_address & list::BLOCK != 0 {
            decision.block_listed(by_address & list::REPORT != 0);
            if decision.is_blocked() {
                return decision.finish();
            }
        }
        if !view.rules.is_empty() {
            found.extend_from_slice(set.map_or(&[], |set| view.members_of(set)));
            self.add_rules(beside, request, scratch, &mut decision);
        }
        decision.finish()
    }

    fn add_rules(
        &self,
        beside: &Beside<'_>,
        request: &Request<'_>,
        scratch: &mut Scratch,
        decision: &mut Decision,
    ) {
        scratch.begin();
        let view = self.view();
        let Request { method, host, url, .. } = *request;
        let reads = |by: &Self, scratch: &mut Scratch| by.reads_body(method, host, url, scratch);
        let body = request.body.filter(|_| {
            reads(self, scratch) && beside.local.is_none_or(|local| reads(local, scratch))
        });
        let request = &Request { body, ..*request };
        let asked = Asked { request, view, lines: Cell::new(None) };
        view.each_candidate(request, scratch, |position, scratch, found| {
            let Some(rule) = view.rules.get(position as usize) else { return };
            if asked.rule_holds(rule, scratch, found) {
                decision.hit(Reason {
                    source: Source::Rule(rule.id),
                    zone: Zone::from_number(rule.zone).unwrap_or_default(),
                    observed: rule.flags & rule_flag::OBSERVE != 0,
                    api: rule.flags & rule_flag::API != 0,
                    counts: rule.flags & rule_flag::NOBAN == 0,
                });
            }
        });
    }
}

impl View<'_> {
    /// Every ban that holds for a request, in the order of the file.
    fn add_bans(&self, lists: HostLists, request: &Request<'_>, decision: &mut Decision) {
        let set = request.address.and_then(|address| self.set_of(address));
        for position in set.map_or(&[][..], |set| self.members_of(set)) {
            let Some(ban) = self.bans.get(*position as usize) else { continue };
            let Some(kind) = BanKind::from_number(ban.kind as u8) else { continue };
            let holds = request.time < ban.until
                && !kind.is_dropped(lists)
                && self.pattern_holds(ban.pattern, request.host);
            if holds {
                decision.ban(kind, ban.rule, kind.is_observed(lists));
            }
        }
    }
}

/// Which header lines a request has.
#[derive(Clone, Copy, Default)]
struct Lines {
    cookie: bool,
    /// A `Cookie` that is not empty.
    any_cookie: bool,
    user_agent: bool,
    referer: bool,
    other: bool,
}

/// A request that is asked of rules.
struct Asked<'a> {
    request: &'a Request<'a>,
    view: &'a View<'a>,
    /// Found out once, by the first rule that wants to know.
    lines: Cell<Option<Lines>>,
}

impl Asked<'_> {
    fn rule_holds(&self, rule: &RuleRecord, scratch: &mut Scratch, found: &mut Found) -> bool {
        let own = run(self.view.conditions, rule.condition, rule.conditions.into());
        !own.is_empty() && own.iter().all(|c| self.condition_holds(c, scratch, found))
    }

    fn condition_holds(
        &self,
        condition: &ConditionRecord,
        scratch: &mut Scratch,
        found: &mut Found,
    ) -> bool {
        let (request, view) = (self.request, self.view);
        let terms = run(view.terms, condition.term, condition.terms);
        let is_named = |found: &Found| found.names.has(condition.slot as usize);
        let class = |wanted| move |header: &[u8]| HeaderClass::of(header) == wanted;
        match Field::from_number(condition.field) {
            Some(Field::Ip) => request.address.is_some_and(|address| {
                let (key, family) = match canonical(address) {
                    IpAddr::V4(v4) => (u128::from(u32::from(v4)), 4),
                    IpAddr::V6(v6) => (u128::from(v6), 6),
                };
                fold(terms, |term| {
                    view.ranges.get(term.value as usize).is_some_and(|range| {
                        range.family == family && (range.first..=range.last).contains(&key)
                    })
                })
            }),
            Some(Field::Domain) => {
                // Only `*` says something about a request without a host.
                (!request.host.as_bytes().is_empty() || terms.iter().any(|t| t.value == ANY))
                    && fold(terms, |term| view.pattern_holds(term.value, request.host))
            }
            Some(Field::Country) => request.country.is_some_and(|country| {
                let code = u32::from(u16::from_le_bytes(country));
                fold(terms, |term| term.value == code)
            }),
            Some(Field::Url) => fold(terms, |term| {
                if term.flags & term_flag::NOT != 0 {
                    // Only the path as served counts, which is one of the forms that were searched.
                    self.may_occur(term, found)
                        && contains(scratch.path_as_served(request.url), self.text(term))
                } else {
                    self.occurs(term, found, |text| {
                        scratch.any_path_form(request.url, |form| contains(form, text))
                    })
                }
            }),
            Some(Field::Args) => request.args.is_some_and(|raw| {
                let served = !raw.contains(&b'#');
                fold(terms, |term| {
                    if served || term.flags & term_flag::NOT == 0 {
                        self.occurs(term, found, |text| {
                            scratch.any_args_form(raw, |form| contains(form, text))
                        })
                    } else {
                        // Only what comes before the # counts.
                        let text = self.text(term);
                        self.may_occur(term, found)
                            && scratch.any_served_args_form(raw, |form| contains(form, text))
                    }
                })
            }),
            Some(Field::Body) => {
                request.body.is_some()
                    && fold(terms, |term| {
                        self.occurs(term, found, |text| {
                            scratch.any_body_form(request, |form| contains(form, text))
                        })
                    })
            }
            Some(Field::NoCookie) => !self.lines().any_cookie,
            Some(Field::Cookie) => {
                self.lines().cookie
                    && self.in_headers(terms, class(HeaderClass::Cookie), scratch, found)
            }
            Some(Field::UserAgent) => {
                self.lines().user_agent
                    && self.in_headers(terms, class(HeaderClass::UserAgent), scratch, found)
            }
            Some(Field::Referer) => {
                self.lines().referer
                    && self.in_headers(terms, class(HeaderClass::Referer), scratch, found)
            }
            Some(Field::HeaderAny) => {
                self.lines().other
                    && self.in_headers(terms, class(HeaderClass::Other), scratch, found)
            }
            Some(Field::HeaderNamed) => {
                let name = view.piece(condition.name, condition.name_length.into());
                is_named(found)
                    && fold(terms, |term| {
                        self.may_occur(term, found)
                            && in_any_header(request, self.text(term), scratch, |header| {
                                header.eq_ignore_ascii_case(name)
                            })
                    })
            }
            Some(Field::HeaderPresent) => is_named(found),
            Some(Field::HeaderAbsent) => !is_named(found),
            None => false,
        }
    }

    fn text(&self, term: &TermRecord) -> &[u8] {
        self.view.piece(term.value, term.length)
    }

    /// Whether a text may occur at all: `false` is certain.
    fn may_occur(&self, term: &TermRecord, found: &Found) -> bool {
        term.literal == NONE
            || term.flags & term_flag::SHORT != 0
            || found.literals.has(term.literal as usize)
    }

    /// Whether a text occurs in its field. What the search has seen is the answer;
    /// a text too short for it is looked for, once for each request.
    fn occurs(
        &self,
        term: &TermRecord,
        found: &mut Found,
        look: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let number = term.literal as usize;
        if term.literal == NONE {
            return look(self.text(term));
        }
        if term.flags & term_flag::SHORT == 0 {
            return found.literals.has(number);
        }
        if found.asked.mark(number) && look(self.text(term)) {
            found.answered.mark(number);
        }
        found.answered.has(number)
    }

    fn lines(&self) -> Lines {
        if let Some(lines) = self.lines.get() {
            return lines;
        }
        let mut lines = Lines::default();
        self.request.headers.visit(&mut |name, value| {
            match HeaderClass::of(name) {
                HeaderClass::Cookie => {
                    lines.cookie = true;
                    lines.any_cookie |= !value.is_empty();
                }
                HeaderClass::UserAgent => lines.user_agent = true,
                HeaderClass::Referer => lines.referer = true,
                HeaderClass::Other => lines.other = true,
            }
            ControlFlow::Continue(())
        });
        self.lines.set(Some(lines));
        lines
    }

    /// A term holds if any of the picked headers has it.
    fn in_headers(
        &self,
        terms: &[TermRecord],
        wanted: impl Fn(&[u8]) -> bool,
        scratch: &mut Scratch,
        found: &mut Found,
    ) -> bool {
        fold(terms, |term| {
            self.occurs(term, found, |text| in_any_header(self.request, text, scratch, &wanted))
        })
    }
}

fn in_any_header(
    request: &Request<'_>,
    text: &[u8],
    scratch: &mut Scratch,
    wanted: impl Fn(&[u8]) -> bool,
) -> bool {
    let pick = |header: &[u8]| wanted(header).then_some(());
    scratch.any_header_form(request.headers, pick, |(), form| contains(form, text))
}

fn fold(terms: &[TermRecord], mut hit: impl FnMut(&TermRecord) -> bool) -> bool {
    terms.iter().fold(true, |left, term| {
        let join = if term.flags & term_flag::OR != 0 { Join::Or } else { Join::And };
        step(left, join, term.flags & term_flag::NOT != 0, || hit(term))
    })
}
