//! Extended rules: their text form, what it means, and whether it holds for a request.

use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::expression::Expression;
use crate::limits::{HEADER_CONDITIONS, LITERAL_BYTES};
use crate::request::HeaderClass;
use crate::text::{Scratch, contains};
use crate::{AddressRange, HostPattern, Invalid, Request, Zone};

/// A rule as it travels and is stored: expressions over base64 terms.
///
/// An empty or missing expression is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleText {
    /// Plain addresses, networks, ranges.
    pub ip: Option<String>,
    /// Host patterns, base64 or plain.
    pub domain: Option<String>,
    /// ISO country codes.
    pub country: Option<String>,
    /// Text in the path.
    pub url: Option<String>,
    /// Text in the query, with its leading `?`.
    pub args: Option<String>,
    /// Text in the body.
    pub body: Option<String>,
    /// Text in `Cookie`.
    pub cookie: Option<String>,
    /// Text in `User-Agent`.
    pub ua: Option<String>,
    /// Text in `Referer`.
    pub referer: Option<String>,
    /// `name:value` conditions on other headers; all must hold.
    pub other_headers: Vec<String>,
    /// The request must have no cookie.
    pub no_cookie: bool,
    /// Observe, never block.
    pub lm: bool,
    /// Report hits to the API.
    pub api: bool,
    /// Hits do not count for `nwaf_limit`.
    pub noban: bool,
    /// Whether the rule takes part at all.
    pub active: bool,
}

impl Default for RuleText {
    fn default() -> Self {
        Self {
            ip: None,
            domain: None,
            country: None,
            url: None,
            args: None,
            body: None,
            cookie: None,
            ua: None,
            referer: None,
            other_headers: Vec::new(),
            no_cookie: false,
            lm: false,
            api: true,
            noban: false,
            active: true,
        }
    }
}

/// One condition on the headers that have no field of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderCondition {
    /// `!!name:` no header has this name (lower case).
    Absent(Vec<u8>),
    /// `name:` a header has this name.
    Present(Vec<u8>),
    /// `name:value` a header has this name, and the expression holds over its values.
    Named(Vec<u8>, Expression<Vec<u8>>),
    /// `:value` the expression holds over the values of all other headers.
    Any(Expression<Vec<u8>>),
}

/// A rule that was understood. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Identity; rules are tried in this order.
    pub id: u64,
    /// Observe, never block.
    pub lm: bool,
    /// Report hits to the API.
    pub api: bool,
    /// Hits do not count for `nwaf_limit`.
    pub noban: bool,
    /// Whether the rule takes part at all.
    pub active: bool,
    /// The request must have no cookie.
    pub no_cookie: bool,
    /// Client addresses.
    pub ip: Option<Expression<AddressRange>>,
    /// Hosts.
    pub domain: Option<Expression<HostPattern>>,
    /// Countries, upper case.
    pub country: Option<Expression<[u8; 2]>>,
    /// Text in the path.
    pub url: Option<Expression<Vec<u8>>>,
    /// Text in the query.
    pub args: Option<Expression<Vec<u8>>>,
    /// Text in the body.
    pub body: Option<Expression<Vec<u8>>>,
    /// Text in `Cookie`.
    pub cookie: Option<Expression<Vec<u8>>>,
    /// Text in `User-Agent`.
    pub ua: Option<Expression<Vec<u8>>>,
    /// Text in `Referer`.
    pub referer: Option<Expression<Vec<u8>>>,
    /// Conditions on other headers.
    pub other_headers: Vec<HeaderCondition>,
}

const TERM_REMEDY: &str = "encode each value, without its operators, as base64";

fn decode_base64(field: &str, operand: &str) -> Result<Vec<u8>, Invalid> {
    let bytes = STANDARD
        .decode(operand)
        .map_err(|why| Invalid::new(field, operand, format!("not base64: {why}"), TERM_REMEDY))?;
    if bytes.len() > LITERAL_BYTES {
        let reason = format!("a value has at most {LITERAL_BYTES} bytes");
        return Err(Invalid::new(field, operand, reason, "search for a shorter part of it"));
    }
    Ok(bytes)
}

fn text(field: &str, expression: &str) -> Result<Expression<Vec<u8>>, Invalid> {
    if expression.contains("!!") {
        let reason = "!! asks for the absence of a header and exists only in other_headers";
        let remedy = "write a single ! before the value";
        return Err(Invalid::new(field, expression, reason, remedy));
    }
    Expression::parse(field, expression, |operand| decode_base64(field, operand))
}

/// A host pattern, base64 or plain.
pub(crate) fn host(field: &str, operand: &str) -> Result<HostPattern, Invalid> {
    // The specification writes base64; a plain pattern is hardly ever mistaken for it,
    // because its decoded form would have to be a host pattern too. "blog" is: it is
    // base64 for "nZ ". But then the plain one is in lower case, as names are written,
    // and the decoded one is not.
    let is_word = |decoded: &String| {
        operand == operand.to_ascii_lowercase() && decoded.trim() != decoded.to_ascii_lowercase()
    };
    let decoded = STANDARD.decode(operand).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.filter(|plain| !is_word(plain)).map(|plain| plain.parse::<HostPattern>());
    match (decoded, operand.parse::<HostPattern>()) {
        (Some(Ok(pattern)), _) | (_, Ok(pattern)) => Ok(pattern),
        (Some(Err(why)), _) | (None, Err(why)) => Err(why.in_field(field)),
    }
}

fn country(field: &str, operand: &str) -> Result<[u8; 2], Invalid> {
    let decoded = decode_base64(field, operand)?;
    match decoded.to_ascii_uppercase().as_slice() {
        [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok([*a, *b]),
        _ => Err(Invalid::new(
            field,
            operand,
            format!("{:?} is not a country code", String::from_utf8_lossy(&decoded)),
            "write the two letters of ISO 3166-1 as base64, for example Q0g= for CH",
        )),
    }
}

impl HeaderCondition {
    fn parse(field: &str, element: &str) -> Result<Self, Invalid> {
        const REMEDY: &str = "write base64(name):base64(value); name: for presence, !!name: for absence, :value for any header";
        let refuse = |reason: &str| Invalid::new(field, element, reason, REMEDY);
        let (name, value) =
            element.split_once(':').ok_or_else(|| refuse("there is no colon after the name"))?;
        let (absent, name) = match name.trim().strip_prefix("!!") {
            Some(rest) => (true, rest.trim()),
            None => (false, name.trim()),
        };
        if name.starts_with('!') {
            return Err(refuse("a name is negated with !!, a value with !"));
        }
        let name = decode_base64(field, name)?.to_ascii_lowercase();
        // nginx never hands out such a name, so the condition could only deceive.
        if name.iter().any(|byte| *byte <= b' ' || matches!(byte, b':' | 0x7f)) {
            return Err(refuse("a header's name has no spaces, colons or control characters"));
        }
        let value = value.trim();
        if name.is_empty() {
            if absent || value.is_empty() {
                return Err(refuse("neither a name nor a value is given"));
            }
            return text(field, value).map(Self::Any);
        }
        if matches!(HeaderClass::of(&name), HeaderClass::Other) {
            if absent {
                // The specification: a value after !!name is ignored.
                Ok(Self::Absent(name))
            } else if value.is_empty() {
                Ok(Self::Present(name))
            } else {
                Ok(Self::Named(name, text(field, value)?))
            }
        } else {
            Err(refuse(
                "Cookie, User-Agent and Referer are not part of other_headers; use the fields cookie, no_cookie, ua, referer",
            ))
        }
    }
}

impl Rule {
    /// A rule without conditions, which would hold for every request: the beginning of one.
    pub fn blank(id: u64) -> Self {
        Self {
            id,
            lm: false,
            api: true,
            noban: false,
            active: true,
            no_cookie: false,
            ip: None,
            domain: None,
            country: None,
            url: None,
            args: None,
            body: None,
            cookie: None,
            ua: None,
            referer: None,
            other_headers: Vec::new(),
        }
    }

    /// Understands a rule; every bad field is reported.
    ///
    /// # Errors
    /// Malformed expressions, bad base64, patterns or addresses, limits, and a
    /// rule without any condition, which would hold for every request.
    pub fn parse(id: u64, source: &RuleText) -> Result<Self, Vec<Invalid>> {
        fn field<T>(
            refused: &mut Vec<Invalid>,
            name: &str,
            source: &Option<String>,
            parse: impl FnOnce(&str, &str) -> Result<Expression<T>, Invalid>,
        ) -> Option<Expression<T>> {
            let expression = source.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
            parse(name, expression).map_err(|why| refused.push(why)).ok()
        }
        let refused = &mut Vec::new();
        let ip = field(refused, "ip", &source.ip, |name, expression| {
            Expression::parse(name, expression, |operand| {
                operand.parse().map_err(|why: Invalid| why.in_field(name))
            })
        });
        let domain = field(refused, "domain", &source.domain, |name, expression| {
            Expression::parse(name, expression, |operand| host(name, operand))
        });
        let country = field(refused, "country", &source.country, |name, expression| {
            Expression::parse(name, expression, |operand| country(name, operand))
        });
        let url = field(refused, "url", &source.url, text);
        let args = field(refused, "args", &source.args, text);
        let body = field(refused, "body", &source.body, text);
        let cookie = field(refused, "cookie", &source.cookie, text);
        let ua = field(refused, "ua", &source.ua, text);
        let referer = field(refused, "referer", &source.referer, text);
        if source.other_headers.len() > HEADER_CONDITIONS {
            refused.push(Invalid::new(
                "other_headers",
                "",
                format!("more than {HEADER_CONDITIONS} conditions"),
                "split the rule into several",
            ));
        }
        let mut other_headers = Vec::new();
        for (index, element) in source.other_headers.iter().take(HEADER_CONDITIONS).enumerate() {
            match HeaderCondition::parse(&format!("other_headers[{index}]"), element) {
                Ok(condition) => other_headers.push(condition),
                Err(why) => refused.push(why),
            }
        }
        if !refused.is_empty() {
            return Err(std::mem::take(refused));
        }
        let rule = Self {
            id,
            lm: source.lm,
            api: source.api,
            noban: source.noban,
            active: source.active,
            no_cookie: source.no_cookie,
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
        };
        if rule.has_condition() {
            Ok(rule)
        } else {
            Err(vec![Invalid::new(
                "rule",
                "",
                "the rule has no condition and would hold for every request",
                "give at least one of ip, domain, country, url, args, body, cookie, ua, referer, other_headers, no_cookie",
            )])
        }
    }

    fn has_condition(&self) -> bool {
        self.no_cookie
            || self.ip.is_some()
            || self.domain.is_some()
            || self.country.is_some()
            || self.text_zone().is_some()
    }

    /// The zone a hit of this rule is reported in: the first text field it names,
    /// else cookie, address, host, country.
    pub fn zone(&self) -> Zone {
        self.text_zone().unwrap_or(if self.no_cookie {
            Zone::Cookie
        } else if self.ip.is_some() {
            Zone::Ip
        } else if self.domain.is_some() {
            Zone::Domain
        } else {
            Zone::Country
        })
    }

    fn text_zone(&self) -> Option<Zone> {
        [
            (self.url.is_some(), Zone::Url),
            (self.args.is_some(), Zone::Args),
            (self.body.is_some(), Zone::Body),
            (!self.other_headers.is_empty(), Zone::Headers),
            (self.cookie.is_some(), Zone::Cookie),
            (self.ua.is_some(), Zone::UserAgent),
            (self.referer.is_some(), Zone::Referer),
        ]
        .into_iter()
        .find_map(|(named, zone)| named.then_some(zone))
    }

    /// Whether every condition holds for the request, for which `scratch` was begun.
    pub fn matches(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        (!self.no_cookie || !has_cookie(request))
            && opt(&self.ip, |e| {
                request.address.is_some_and(|a| e.evaluate(|range| range.contains(a)))
            })
            && opt(&self.domain, |e| {
                // Only `*` says something about a request without a host.
                (!request.host.as_bytes().is_empty()
                    || e.terms().iter().any(|t| t.value == HostPattern::Any))
                    && e.evaluate(|pattern| pattern.matches(request.host))
            })
            && opt(&self.country, |e| {
                request.country.is_some_and(|c| e.evaluate(|code| *code == c))
            })
            && opt(&self.url, |e| {
                e.evaluate_terms(|term| {
                    if term.negated {
                        contains(scratch.path_as_served(request.url), &term.value)
                    } else {
                        scratch.any_path_form(request.url, |form| contains(form, &term.value))
                    }
                })
            })
            && opt(&self.args, |e| {
                request.args.is_some_and(|raw| {
                    e.evaluate_terms(|term| {
                        let hit = |form: &[u8]| contains(form, &term.value);
                        if term.negated {
                            scratch.any_served_args_form(raw, hit)
                        } else {
                            scratch.any_args_form(raw, hit)
                        }
                    })
                })
            })
            && opt(&self.body, |e| {
                request.body.is_some()
                    && e.evaluate(|needle| {
                        scratch.any_body_form(request, |form| contains(form, needle))
                    })
            })
            && opt(&self.cookie, |e| {
                in_headers(e, request, scratch, |n| class(n, HeaderClass::Cookie))
            })
            && opt(&self.ua, |e| {
                in_headers(e, request, scratch, |n| class(n, HeaderClass::UserAgent))
            })
            && opt(&self.referer, |e| {
                in_headers(e, request, scratch, |n| class(n, HeaderClass::Referer))
            })
            && self.other_headers.iter().all(|condition| match condition {
                HeaderCondition::Absent(name) => {
                    !any_header(request, |n, _| n.eq_ignore_ascii_case(name))
                }
                HeaderCondition::Present(name) => {
                    any_header(request, |n, _| n.eq_ignore_ascii_case(name))
                }
                HeaderCondition::Named(name, e) => {
                    in_headers(e, request, scratch, |n| n.eq_ignore_ascii_case(name))
                }
                HeaderCondition::Any(e) => {
                    in_headers(e, request, scratch, |n| class(n, HeaderClass::Other))
                }
            })
    }
}

fn opt<T>(condition: &Option<T>, holds: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(holds)
}

fn class(name: &[u8], wanted: HeaderClass) -> bool {
    HeaderClass::of(name) == wanted
}

fn has_cookie(request: &Request<'_>) -> bool {
    any_header(request, |name, value| class(name, HeaderClass::Cookie) && !value.is_empty())
}

/// An expression over all headers `wanted` picks: a term holds if any of them has it.
fn in_headers(
    e: &Expression<Vec<u8>>,
    request: &Request<'_>,
    scratch: &mut Scratch,
    wanted: impl Fn(&[u8]) -> bool,
) -> bool {
    any_header(request, |name, _| wanted(name))
        && e.evaluate(|needle| {
            let pick = |name: &[u8]| wanted(name).then_some(());
            scratch.any_header_form(request.headers, pick, |(), form| contains(form, needle))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_base64_or_plain() {
        for (operand, expected) in [
            ("ZXhhbXBsZS5jb20=", "example.com"),
            ("ZXhhbXBsZS5jb20K", "example.com"),
            ("*.example.com", "*.example.com"),
            ("bG9jYWxob3N0", "localhost"),
            ("localhost", "localhost"),
            ("blog", "blog"),
        ] {
            assert_eq!(host("domain", operand), expected.parse(), "{operand}");
        }
    }
}
