//! Every limit of a policy, at the limit and one beyond. (`RULES` and `BANS` are
//! limits of what carries them, and tested there.)

use std::fmt::Write as _;
use std::iter::{once, repeat_n};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::limits::*;
use policy::{
    BodyExclusion, Host, HostPattern, Invalid, Limit, Policy, Request, Rule, RuleText, Settings,
    list,
};

/// An element that costs nothing, so that ten million of them cost little.
#[derive(Debug)]
struct Nothing;

impl FromStr for Nothing {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() { Ok(Self) } else { Err(Invalid::new("", text, "bad", "write nothing")) }
    }
}

fn url(expression: String) -> Result<Rule, Vec<Invalid>> {
    Rule::parse(1, &RuleText { url: Some(expression), ..RuleText::default() })
}

fn only(refused: Result<impl Sized, Vec<Invalid>>) -> Invalid {
    let Err(mut refused) = refused else { panic!("is accepted") };
    assert_eq!(refused.len(), 1, "{refused:?}");
    refused.remove(0)
}

#[test]
fn entries_of_a_list() {
    let parse = |count| list::parse_each::<Nothing>("bl", repeat_n("", count));
    assert_eq!(parse(LIST_ENTRIES).unwrap().len(), LIST_ENTRIES);
    let why = only(parse(LIST_ENTRIES + 1));
    assert_eq!(why.field, "bl");
    assert!(why.reason.contains(&LIST_ENTRIES.to_string()) && why.remedy.contains("merge"));
}

#[test]
fn refused_entries_of_a_list() {
    let parse = |count| list::parse_each::<Nothing>("bl", repeat_n("x", count)).unwrap_err();
    assert_eq!(parse(REFUSALS).len(), REFUSALS);
    let refused = parse(REFUSALS + 5);
    assert_eq!(refused.len(), REFUSALS + 1);
    assert_eq!(refused[REFUSALS - 1].field, format!("bl[{}]", REFUSALS - 1));
    assert_eq!(refused[REFUSALS].reason, "5 further entries are refused");
}

#[test]
fn terms_of_an_expression() {
    let terms = |term: &str, count| vec![term; count].join("|");
    let field = |name: &str, expression: String| {
        let given = |wanted: &str| (name == wanted).then(|| expression.clone());
        let text = RuleText {
            ip: given("ip"),
            domain: given("domain"),
            country: given("country"),
            body: given("body"),
            other_headers: given("headers")
                .map(|value| format!("aA==:{value}"))
                .into_iter()
                .collect(),
            ..RuleText::default()
        };
        Rule::parse(1, &text)
    };
    for (name, term) in [
        ("ip", "1.1.1.1"),
        ("domain", "a.com"),
        ("country", "Q0g="),
        ("body", "YQ=="),
        ("headers", "YQ=="),
    ] {
        assert!(field(name, terms(term, EXPRESSION_TERMS)).is_ok(), "{name}");
        let why = only(field(name, terms(term, EXPRESSION_TERMS + 1)));
        assert!(why.field.contains(name), "{why}");
        assert!(why.reason.contains("1024 operands") && why.remedy.contains("split"), "{why}");
        assert!(why.value.len() < 100, "{why}");
    }
    // The last term of the longest expression still counts.
    let mut expression = terms("YQ==", EXPRESSION_TERMS - 1);
    expression.push_str("|eA==");
    let rule = url(expression).unwrap();
    let headers: Vec<(&str, &str)> = Vec::new();
    let policy = Policy { rules: vec![rule], ..Policy::default() };
    let request = Request::new(Host::normalised(b""), b"/x", &headers);
    assert_eq!(policy.evaluate(&[], &request).rule(), Some(1));
}

#[test]
fn bytes_of_a_literal() {
    let literal = |bytes: usize| STANDARD.encode(vec![0xff; bytes]);
    assert!(url(literal(LITERAL_BYTES)).is_ok());
    let why = only(url(format!("YQ==&!{}", literal(LITERAL_BYTES + 1))));
    assert!(why.field == "url" && why.reason.contains("at most 4096 bytes"), "{why}");
    assert!(why.remedy.contains("shorter") && why.value.chars().count() <= 83, "{why}");

    let header = |name: usize, value: usize| {
        let name = STANDARD.encode("n".repeat(name));
        let condition = format!("{name}:{}", literal(value));
        Rule::parse(1, &RuleText { other_headers: vec![condition], ..RuleText::default() })
    };
    assert!(header(LITERAL_BYTES, LITERAL_BYTES).is_ok());
    for (name, value) in [(LITERAL_BYTES + 1, 1), (1, LITERAL_BYTES + 1)] {
        let why = only(header(name, value));
        assert!(why.field == "other_headers[0]" && why.reason.contains("4096 bytes"), "{why}");
    }

    let path = |bytes: usize| format!("a.com/{}", "x".repeat(bytes - 1)).parse::<BodyExclusion>();
    assert!(path(LITERAL_BYTES).is_ok());
    assert!(path(LITERAL_BYTES + 1).unwrap_err().reason.contains("4096 bytes"));
}

#[test]
fn conditions_on_headers() {
    let rule = |count| {
        let other_headers = (0..count).map(|n| format!("{}:", STANDARD.encode(format!("h{n}"))));
        Rule::parse(1, &RuleText { other_headers: other_headers.collect(), ..RuleText::default() })
    };
    assert_eq!(rule(HEADER_CONDITIONS).unwrap().other_headers.len(), HEADER_CONDITIONS);
    let why = only(rule(HEADER_CONDITIONS + 1));
    assert!(why.field == "other_headers" && why.reason.contains("64 conditions"), "{why}");
    assert!(why.remedy.contains("split"), "{why}");
}

#[test]
fn bytes_of_a_host() {
    // Three labels of 63 bytes and their dots, and a last label for the rest.
    let name = |bytes: usize| {
        let label = "a".repeat(LABEL_BYTES);
        let whole = format!("{label}.{label}.{label}.");
        let rest = "b".repeat(bytes - whole.len());
        whole + &rest
    };
    assert_eq!(name(HOST_BYTES).len(), HOST_BYTES);
    for (before, after) in
        [("", ""), ("*.", ""), (".", ""), ("", "."), ("", ".:8080"), ("*.", ":1")]
    {
        let pattern = |bytes| format!("{before}{}{after}", name(bytes)).parse::<HostPattern>();
        assert!(pattern(HOST_BYTES).is_ok(), "{before} {after}");
        let why = pattern(HOST_BYTES + 1).unwrap_err();
        assert!(why.reason.contains("at most 253 bytes"), "{why}");
    }
    let label = |bytes: usize| format!("a.{}.com", "b".repeat(bytes)).parse::<HostPattern>();
    assert!(label(LABEL_BYTES).is_ok());
    assert!(label(LABEL_BYTES + 1).unwrap_err().reason.contains("at most 63 bytes"));
}

#[test]
fn entries_of_nwaf_limit() {
    let parse = |count: usize| {
        let mut value = "rate=1r/m block_time=1".to_owned();
        for n in 1..count {
            write!(value, ", domain=h{n}.com rate=1r/m block_time=1").unwrap();
        }
        Settings::parse([("nwaf_limit", value.as_str())])
    };
    assert_eq!(parse(LIMITS).unwrap().limit.len(), LIMITS);
    let why = only(parse(LIMITS + 1));
    assert!(why.field == "nwaf_limit" && why.reason.contains("more than 10000 entries"), "{why}");
    assert!(why.remedy.contains(".example.com"), "{why}");
}

#[test]
fn numbers_of_nwaf_limit() {
    let parse = |rate: u64, block_time: u64| {
        format!("rate={rate}r/s block_time={block_time}").parse::<Limit>()
    };
    let largest = parse(RATE.into(), BLOCK_TIME_SECONDS.into()).unwrap();
    assert_eq!((largest.rate, largest.block_time), (RATE, BLOCK_TIME_SECONDS));
    assert!(parse(1, 0).is_ok());
    for (rate, block_time, reason) in [
        (u64::from(RATE) + 1, 1, "1-1000000"),
        (0, 1, "1-1000000"),
        (u64::from(u32::MAX) + 2, 1, "1-1000000"),
        (1, u64::from(BLOCK_TIME_SECONDS) + 1, "0-31536000"),
        (1, u64::MAX, "0-31536000"),
    ] {
        let why = parse(rate, block_time).unwrap_err();
        assert!(why.reason.contains(reason), "{why}");
    }
}

#[test]
fn reasons_of_a_verdict() {
    let verdict = |blocking: u64| {
        let rule = |(id, lm)| {
            let text = RuleText { url: Some("Lw==".into()), lm, ..RuleText::default() };
            Rule::parse(id, &text).unwrap()
        };
        let rules = (1..blocking).zip(std::iter::repeat(true)).chain(once((blocking, false)));
        let headers: Vec<(&str, &str)> = Vec::new();
        let policy = Policy { rules: rules.map(rule).collect(), ..Policy::default() };
        policy.evaluate(&[], &Request::new(Host::normalised(b""), b"/", &headers))
    };
    for rules in [REASONS, REASONS + 1] {
        let verdict = verdict(rules as u64);
        assert_eq!(verdict.rule(), Some(rules as u64), "what decides is known");
        assert_eq!(verdict.reasons.iter().count(), REASONS);
        assert_eq!(verdict.reasons.found() as usize, rules);
    }
}
