//! A policy and requests as text, a line each: `name: value`.
//!
//! Text and not the bytes of a structure: the corpus can be written from the
//! specification, read in a review, and outlives changes of the code's types.
//!
//! ```text
//! nwaf_ip_wl: 127.0.0.1        a setting
//! bl: domain=a.com 1.1.1.1     an entry of the block list
//! ban: 6 99 domain=a.com 1.1.1.1   by whom (its block type), until when, whom
//! rule:                        a rule begins
//! url: /a|!/b                  operands in plain; encoded here
//! url= L2E=                    the expression as it is
//! header: X-A: b               a condition on other headers, in plain
//! flag: lm                     no_cookie, lm, noban, quiet (no report), off
//! ask: /path?query             a request begins
//! from: 1.1.1.1                its address; likewise host, method, time, country, body
//! send: Name: value            a header line of it
//! ```
//! What is not understood is skipped: every input is a case.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{AddressEntry, Ban, BanKind, Policy, Rule, RuleText, Settings};

use crate::engines::Asked;

/// Rules, requests and list entries of a case; more only cost time.
const ELEMENTS: usize = 24;

/// What an input says, before the policy's parsers have seen it.
#[derive(Debug, Default)]
pub struct Case {
    settings: BTreeMap<String, String>,
    block_list: Vec<String>,
    rules: Vec<RuleText>,
    /// The bans in force.
    pub bans: Vec<Ban>,
    /// The requests; at least one.
    pub requests: Vec<Asked>,
}

/// Which lines the names of fields belong to.
#[derive(Clone, Copy)]
enum Part {
    Rule,
    Request,
}

impl Case {
    /// Reads a case.
    pub fn parse(text: &[u8]) -> Self {
        let mut case = Self::default();
        let mut part = Part::Rule;
        for line in text.split(|byte| *byte == b'\n') {
            let Some(end) = line.iter().position(|byte| matches!(byte, b':' | b'=')) else {
                continue;
            };
            let (name, plain) = (&line[..end], line[end] == b':');
            let value = line[end + 1..].strip_prefix(b" ").unwrap_or(&line[end + 1..]);
            match name {
                b"bl" if case.block_list.len() < ELEMENTS => case.block_list.push(lossy(value)),
                b"ban" if case.bans.len() < ELEMENTS => case.bans.extend(ban(&lossy(value))),
                b"rule" if case.rules.len() < ELEMENTS => {
                    part = Part::Rule;
                    case.rules.push(RuleText::default());
                }
                b"ask" if case.requests.len() < ELEMENTS => {
                    part = Part::Request;
                    case.requests.push(Asked { target: value.to_vec(), ..Asked::default() });
                }
                _ if name.starts_with(b"nwaf_") => {
                    case.settings.insert(lossy(name), lossy(value));
                }
                _ => match (part, case.rules.last_mut(), case.requests.last_mut()) {
                    (Part::Rule, Some(rule), _) => rule_field(rule, name, plain, value),
                    (Part::Request, _, Some(asked)) => request_field(asked, name, value),
                    _ => {}
                },
            }
        }
        if case.requests.is_empty() {
            case.requests.push(Asked { target: b"/".to_vec(), ..Asked::default() });
        }
        case
    }

    /// The policy of everything that the parsers accept. Rules are numbered as they stand.
    ///
    /// # Panics
    /// Where settings are refused together that were accepted one by one.
    pub fn policy(&self) -> Policy {
        let pairs = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = pairs.filter(|pair| Settings::parse([*pair]).is_ok());
        let parsed = |(id, text)| Rule::parse(id, text).ok();
        Policy {
            settings: Settings::parse(pairs).expect("each is accepted"),
            block_list: self.block_list.iter().filter_map(|entry| entry.parse().ok()).collect(),
            rules: (1..).zip(&self.rules).filter_map(parsed).collect(),
            ..Policy::default()
        }
    }
}

/// `block_type until entry`.
fn ban(text: &str) -> Option<Ban> {
    let (kind, rest) = text.split_once(' ')?;
    let (until, entry) = rest.split_once(' ')?;
    let kind = BanKind::from_number(kind.parse().ok()?)?;
    let AddressEntry { range, domain, .. } = entry.parse().ok()?;
    Some(Ban { range, domain, kind, rule: entry.len() as u64, until: until.parse().ok()? })
}

fn rule_field(rule: &mut RuleText, name: &[u8], plain: bool, value: &[u8]) {
    let encoded = || if plain { encode(value) } else { lossy(value) };
    match name {
        b"ip" => rule.ip = Some(lossy(value)),
        b"domain" => rule.domain = Some(encoded()),
        b"country" => rule.country = Some(encoded()),
        b"url" => rule.url = Some(encoded()),
        b"args" => rule.args = Some(encoded()),
        b"body" => rule.body = Some(encoded()),
        b"cookie" => rule.cookie = Some(encoded()),
        b"ua" => rule.ua = Some(encoded()),
        b"referer" => rule.referer = Some(encoded()),
        b"header" if plain => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            let (name, rest) = value.split_at(end);
            let expression = rest.strip_prefix(b": ").or_else(|| rest.strip_prefix(b":"));
            let expression = expression.map(|text| format!(":{}", encode(text)));
            rule.other_headers.push(encode(name) + &expression.unwrap_or_default());
        }
        b"header" => rule.other_headers.push(lossy(value)),
        b"flag" => match value {
            b"no_cookie" => rule.no_cookie = true,
            b"lm" => rule.lm = true,
            b"noban" => rule.noban = true,
            b"quiet" => rule.api = false,
            b"off" => rule.active = false,
            _ => {}
        },
        _ => {}
    }
}

fn request_field(asked: &mut Asked, name: &[u8], value: &[u8]) {
    match name {
        b"from" => asked.address = lossy(value).parse().ok(),
        b"host" => asked.host = value.to_vec(),
        b"method" => asked.method = value.to_vec(),
        b"time" => asked.time = lossy(value).parse().unwrap_or(0),
        b"body" => asked.body = Some(value.to_vec()),
        b"country" => asked.country = value.try_into().ok(),
        b"send" => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            let (name, rest) = value.split_at(end);
            let value = rest.strip_prefix(b": ").or_else(|| rest.strip_prefix(b":"));
            asked.headers.push((name.to_vec(), value.unwrap_or_default().to_vec()));
        }
        _ => {}
    }
}

/// Encodes the operands of an expression and leaves its operators.
fn encode(expression: &[u8]) -> String {
    let mut text = String::new();
    for term in expression.split_inclusive(|byte| matches!(byte, b'&' | b'|')) {
        let (operand, operator) = match term.split_last() {
            Some((operator @ (b'&' | b'|'), operand)) => (operand, Some(char::from(*operator))),
            _ => (term, None),
        };
        let signs = operand.iter().take_while(|byte| **byte == b'!').count();
        text.extend(std::iter::repeat_n('!', signs));
        STANDARD.encode_string(&operand[signs..], &mut text);
        text.extend(operator);
    }
    text
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
