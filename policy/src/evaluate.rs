//! The policy as plain data, and its reference evaluation.

use crate::text::Scratch;
use crate::verdict::{Decision, Source, Verdict, Zone};
use crate::{AddressEntry, HostPattern, Request, Rule, Settings};

/// A whole policy. The snapshot must give the same verdicts for it, faster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The active settings.
    pub settings: Settings,
    /// The block list; empty where it is not active.
    pub block_list: Vec<AddressEntry>,
    /// The rules, in the order of their ids.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Decides one request by looking at every entry in turn: O(size of the policy).
    pub fn evaluate(&self, request: &Request<'_>) -> Verdict {
        let hosts = |list: &[HostPattern]| list.iter().any(|p| p.matches(request.host));
        let listed = |list: &[AddressEntry]| {
            request.address.is_some_and(|a| list.iter().any(|e| e.matches(a, request.host)))
        };
        if hosts(&self.settings.host_wl) {
            return Verdict::bypass(Source::HostWhiteList);
        }
        if listed(&self.settings.ip_wl) {
            return Verdict::bypass(Source::AddressWhiteList);
        }
        let observe = hosts(&self.settings.host_lm) || listed(&self.settings.ip_lm);
        let mut decision = Decision::new(observe);
        if listed(&self.block_list) {
            let report = self
                .block_list
                .iter()
                .any(|e| e.api && request.address.is_some_and(|a| e.matches(a, request.host)));
            decision.hit(Source::BlockList, Zone::Ip, false, report);
            if decision.is_blocked() {
                return decision.finish();
            }
        }
        let mut scratch = Scratch::default();
        for rule in self.rules.iter().filter(|rule| rule.active) {
            if rule.matches(request, &mut scratch) {
                decision.hit(Source::Rule(rule.id), rule.zone(), rule.lm, rule.api);
            }
        }
        decision.finish()
    }
}
