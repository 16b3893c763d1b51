//! Why a request got its verdict: which list and entry, which rule, which term.
//!
//! For people. It looks at everything in turn, allocates, and shares the meaning
//! with the evaluation by asking it about one condition and one term at a time;
//! the evaluation itself does not know of it.

use std::fmt;

use crate::expression::{Expression, Join, Term};
use crate::rule::HeaderCondition;
use crate::text::Scratch;
use crate::{Ban, HostLists, Key, Limit, Policy, Request, Rule, Verdict};

/// Everything that bears on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What [`Policy::evaluate`] says.
    pub verdict: Verdict,
    /// Entries of lists that hold, whether or not the verdict needed them.
    pub entries: Vec<EntryFinding>,
    /// Active rules that hold, in the order of their ids.
    pub rules: Vec<RuleFinding>,
    /// The entry of `nwaf_limit` that counts for the host.
    pub limit: Option<Limit>,
    /// Whether the body may be read.
    pub reads_body: bool,
}

/// One entry of a list that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFinding {
    /// The setting, `bl` or `bans`.
    pub list: &'static str,
    /// Its position in the list, from 0.
    pub position: usize,
    /// The entry in its canonical form.
    pub entry: String,
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFinding {
    /// The rule.
    pub id: u64,
    /// Whether all its conditions hold.
    pub holds: bool,
    /// Each of its conditions.
    pub conditions: Vec<ConditionFinding>,
}

/// What became of one condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionFinding {
    /// The field, for example `url` or `other_headers[1]`.
    pub field: String,
    /// What it says about the request.
    pub state: State,
    /// Its operands; none for conditions that only ask for presence or absence.
    pub terms: Vec<TermFinding>,
}

/// What a condition says about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds.
    Holds,
    /// It does not hold.
    Fails,
    /// The request does not have what the condition looks at, so the rule does not apply.
    Absent,
}

/// One operand of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermFinding {
    /// How it joins what is to its left.
    pub join: Join,
    /// Whether it is preceded by `!`.
    pub negated: bool,
    /// The operand in readable form.
    pub value: String,
    /// Whether it occurs in the request, the `!` left aside.
    pub found: bool,
}

impl Policy {
    /// Explains the verdict about one request. O(size of the policy).
    pub fn explain(&self, bans: &[Ban], request: &Request<'_>) -> Explanation {
        let settings = &self.settings;
        let Request { address, host, method, url, time, .. } = *request;
        let mut scratch = Scratch::default();
        let mut entries = Vec::new();
        let mut add = |list, position, entry| entries.push(EntryFinding { list, position, entry });
        for (key, patterns) in &settings.hosts {
            for (position, pattern) in patterns.iter().enumerate() {
                if HostLists::of(*key).is_some() && pattern.matches(host) {
                    add(key.name(), position, pattern.to_string());
                }
            }
        }
        if let Some(address) = address {
            let lists = [
                (Key::IpWl.name(), &settings.ip_wl),
                (Key::IpLm.name(), &settings.ip_lm),
                ("bl", &self.block_list),
            ];
            for (list, own) in lists {
                for (position, entry) in own.iter().enumerate() {
                    if entry.matches(address, host) {
                        add(list, position, entry.to_string());
                    }
                }
            }
            for (position, ban) in bans.iter().enumerate() {
                if ban.matches(address, host, time) {
                    add("bans", position, ban.to_string());
                }
            }
        }
        let path = scratch.path_as_served(url);
        for (position, exclusion) in settings.body_exclude.iter().enumerate() {
            if exclusion.matches(host, path) {
                add(Key::BodyExclude.name(), position, exclusion.to_string());
            }
        }
        let reads_body = settings.reads_body(method, host, url, &mut scratch);
        let request = &Request { body: request.body.filter(|_| reads_body), ..*request };
        let rules = self.rules.iter().filter(|rule| rule.active).map(|rule| rule.explain(request));
        Explanation {
            verdict: self.evaluate(bans, request),
            entries,
            rules: rules.filter(|rule| rule.holds).collect(),
            limit: settings.limit(host).cloned(),
            reads_body,
        }
    }
}

impl Rule {
    /// Explains what became of the rule, held or not, active or not. A body that
    /// the settings leave unread must not be in `request`.
    pub fn explain(&self, request: &Request<'_>) -> RuleFinding {
        let mut asked = Asked { request, conditions: Vec::new() };
        let lossy = |text: &Vec<u8>| String::from_utf8_lossy(text).into_owned();
        asked.field("ip", &self.ip, ToString::to_string, |rule, e| rule.ip = Some(e));
        asked.field("domain", &self.domain, ToString::to_string, |rule, e| rule.domain = Some(e));
        let country = |code: &[u8; 2]| String::from_utf8_lossy(code).into_owned();
        asked.field("country", &self.country, country, |rule, e| rule.country = Some(e));
        asked.field("url", &self.url, lossy, |rule, e| rule.url = Some(e));
        asked.field("args", &self.args, lossy, |rule, e| rule.args = Some(e));
        asked.field("body", &self.body, lossy, |rule, e| rule.body = Some(e));
        if self.no_cookie {
            asked.whole("no_cookie".into(), |rule| rule.no_cookie = true);
        }
        asked.field("cookie", &self.cookie, lossy, |rule, e| rule.cookie = Some(e));
        asked.field("ua", &self.ua, lossy, |rule, e| rule.ua = Some(e));
        asked.field("referer", &self.referer, lossy, |rule, e| rule.referer = Some(e));
        for (position, header) in self.other_headers.iter().enumerate() {
            let field = format!("other_headers[{position}]");
            match header {
                HeaderCondition::Absent(_) | HeaderCondition::Present(_) => {
                    asked.whole(field, |rule| rule.other_headers = vec![header.clone()]);
                }
                HeaderCondition::Named(name, e) => {
                    let put = |rule: &mut Self, e| {
                        rule.other_headers = vec![HeaderCondition::Named(name.clone(), e)];
                    };
                    asked.expression(field, e, lossy, put);
                }
                HeaderCondition::Any(e) => {
                    let put =
                        |rule: &mut Self, e| rule.other_headers = vec![HeaderCondition::Any(e)];
                    asked.expression(field, e, lossy, put);
                }
            }
        }
        let holds = asked.conditions.iter().all(|condition| condition.state == State::Holds);
        RuleFinding { id: self.id, holds, conditions: asked.conditions }
    }
}

/// A rule whose conditions are asked one by one.
struct Asked<'a> {
    request: &'a Request<'a>,
    conditions: Vec<ConditionFinding>,
}

impl Asked<'_> {
    /// Whether a rule of only this condition holds.
    fn holds(&self, put: impl FnOnce(&mut Rule)) -> bool {
        let mut rule = Rule::blank(0);
        put(&mut rule);
        rule.matches(self.request, &mut Scratch::default())
    }

    fn whole(&mut self, field: String, put: impl FnOnce(&mut Rule)) {
        let state = if self.holds(put) { State::Holds } else { State::Fails };
        self.conditions.push(ConditionFinding { field, state, terms: Vec::new() });
    }

    fn field<T: Clone>(
        &mut self,
        field: &str,
        expression: &Option<Expression<T>>,
        show: impl Fn(&T) -> String,
        put: impl Fn(&mut Rule, Expression<T>),
    ) {
        if let Some(expression) = expression {
            self.expression(field.to_owned(), expression, show, put);
        }
    }

    fn expression<T: Clone>(
        &mut self,
        field: String,
        expression: &Expression<T>,
        show: impl Fn(&T) -> String,
        put: impl Fn(&mut Rule, Expression<T>),
    ) {
        let alone = |term: &Term<T>, negated: bool| {
            let term = Term { join: Join::And, negated, value: term.value.clone() };
            let expression = Expression::from_terms(vec![term]);
            self.holds(|rule| {
                if let Some(expression) = expression {
                    put(rule, expression);
                }
            })
        };
        // Where the request does not have the field, neither an operand nor its
        // negation holds.
        let mut absent = true;
        let terms = expression.terms().iter().map(|term| {
            let (plain, negation) = (alone(term, false), alone(term, true));
            absent &= !plain && !negation;
            // A negated operand may look elsewhere than a plain one.
            let found = if term.negated { plain && !negation } else { plain };
            let value = show(&term.value);
            TermFinding { join: term.join, negated: term.negated, value, found }
        });
        let terms: Vec<_> = terms.collect();
        let state = if self.holds(|rule| put(rule, expression.clone())) {
            State::Holds
        } else if absent {
            State::Absent
        } else {
            State::Fails
        };
        self.conditions.push(ConditionFinding { field, state, terms });
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verdict: {}", self.verdict.action.as_str())?;
        if let Some(reason) = self.verdict.deciding {
            let block_type = self.verdict.block_type() as u8;
            write!(f, " (BT {block_type}) by {} in zone {}", reason.source, reason.zone.as_str())?;
        }
        for EntryFinding { list, position, entry } in &self.entries {
            write!(f, "\n{list}[{position}]: {entry}")?;
        }
        for rule in &self.rules {
            write!(f, "\n{rule}")?;
        }
        match &self.limit {
            Some(limit) => write!(f, "\nnwaf_limit: {limit}"),
            None => write!(f, "\nnwaf_limit: none"),
        }?;
        write!(f, "\nbody: {}", if self.reads_body { "read" } else { "not read" })
    }
}

impl fmt::Display for RuleFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}: {}", self.id, if self.holds { "holds" } else { "does not hold" })?;
        for ConditionFinding { field, state, terms } in &self.conditions {
            let state = match state {
                State::Holds => "holds",
                State::Fails => "fails",
                State::Absent => "is not in the request",
            };
            write!(f, "\n  {field} {state}")?;
            for (position, term) in terms.iter().enumerate() {
                let join = match (position, term.join) {
                    (0, _) => ": ",
                    (_, Join::And) => " & ",
                    (_, Join::Or) => " | ",
                };
                let not = if term.negated { "!" } else { "" };
                let found = if term.found { "found" } else { "not found" };
                write!(f, "{join}{not}{:?} ({found})", term.value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, RuleText, Settings};

    #[test]
    fn an_explanation_names_list_rule_and_term() {
        let settings =
            Settings::parse([("nwaf_ip_lm", "9.9.9.9, domain=.a.com 1.1.1.0/24")]).unwrap();
        let text = RuleText {
            url: Some("YWRtaW4=|!cHVibGlj".into()),  // admin | !public
            other_headers: vec!["eC1hOg==:".into()], // refused: a colon in the name
            ..RuleText::default()
        };
        assert!(Rule::parse(1, &text).is_err());
        let text = RuleText { other_headers: vec!["eC1h:".into()], ..text };
        let other = RuleText { country: Some("!Q0g=".into()), ..RuleText::default() };
        let rules = vec![Rule::parse(3, &text).unwrap(), Rule::parse(4, &other).unwrap()];
        let policy = Policy { settings, rules, ..Policy::default() };
        let headers = vec![("X-A", "1")];
        let request = Request {
            address: Some("1.1.1.7".parse().unwrap()),
            ..Request::new(Host::normalised(b"a.com"), b"/admin/public", &headers)
        };
        assert_eq!(
            policy.explain(&[], &request).to_string(),
            "verdict: observe (BT 5) by rule 3 in zone URL\n\
             nwaf_ip_lm[1]: domain=.a.com 1.1.1.0-1.1.1.255\n\
             rule 3: holds\n  \
             url holds: \"admin\" (found) | !\"public\" (found)\n  \
             other_headers[0] holds\n\
             nwaf_limit: none\n\
             body: read"
        );
        assert_eq!(
            policy.rules[1].explain(&request).to_string(),
            "rule 4: does not hold\n  country is not in the request: !\"CH\" (not found)"
        );
    }
}
