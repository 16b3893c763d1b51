//! The policy as plain data, and its reference evaluation.

use crate::text::Scratch;
use crate::verdict::{Decision, Reason, Source, Verdict};
use crate::{AddressEntry, Ban, Exclusion, HostLists, Request, Rule, Settings};

/// A whole policy. The snapshot must give the same verdicts for it, faster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The active settings.
    pub settings: Settings,
    /// The block list; empty where it is not active.
    pub block_list: Vec<AddressEntry>,
    /// The rules, in the order of their ids.
    pub rules: Vec<Rule>,
    /// The exclusions, in the order of their ids. They are about signatures and decide
    /// nothing without them.
    pub exclusions: Vec<Exclusion>,
}

impl Policy {
    /// Decides one request by looking at every entry in turn: O(size of the policy).
    ///
    /// `bans` are those in force, in the order in which they are to be recorded.
    pub fn evaluate(&self, bans: &[Ban], request: &Request<'_>) -> Verdict {
        let listed = |list: &[AddressEntry]| {
            request.address.is_some_and(|a| list.iter().any(|e| e.matches(a, request.host)))
        };
        let lists = self.settings.host_lists(request.host);
        if lists.has(HostLists::BYPASS) {
            return Verdict::bypass(Source::HostWhiteList);
        }
        if listed(&self.settings.ip_wl) {
            return Verdict::bypass(Source::AddressWhiteList);
        }
        let observe = lists.has(HostLists::OBSERVE) || listed(&self.settings.ip_lm);
        let mut decision = Decision::new(observe);
        let holds = |ban: &&Ban| {
            request.address.is_some_and(|a| ban.matches(a, request.host, request.time))
        };
        for ban in bans.iter().filter(holds).filter(|ban| !ban.kind.is_dropped(lists)) {
            decision.ban(ban.kind, ban.rule, ban.kind.is_observed(lists));
        }
        if decision.is_blocked() {
            return decision.finish();
        }
        if listed(&self.block_list) {
            let report = self
                .block_list
                .iter()
                .any(|e| e.api && request.address.is_some_and(|a| e.matches(a, request.host)));
            decision.block_listed(report);
            if decision.is_blocked() {
                return decision.finish();
            }
        }
        let mut scratch = Scratch::default();
        let Request { method, host, url, .. } = *request;
        let body =
            request.body.filter(|_| self.settings.reads_body(method, host, url, &mut scratch));
        let request = &Request { body, ..*request };
        for rule in self.rules.iter().filter(|rule| rule.active) {
            if rule.matches(request, &mut scratch) {
                decision.hit(Reason {
                    source: Source::Rule(rule.id),
                    zone: rule.zone(),
                    observed: rule.lm,
                    api: rule.api,
                    counts: !rule.noban,
                });
            }
        }
        decision.finish()
    }
}
