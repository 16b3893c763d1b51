//! Extended rules as clients write them: every field optional, `""` clears.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{HostPattern, RuleText};
use serde::Deserialize;

use super::lenient::{Flag, OneOrMany, RuleId, given};

/// The fields a client gave; the others stay as they are.
///
/// Aliases: `cookies` is `cookie`, and the first letter of `country` may be the
/// Cyrillic one (U+0441) that two samples of the specification have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulePatch {
    #[serde(default, deserialize_with = "given")]
    pub(super) id: Option<RuleId>,
    #[serde(default, deserialize_with = "given")]
    ip: Option<String>,
    #[serde(default, deserialize_with = "given")]
    domain: Option<String>,
    #[serde(default, alias = "\u{441}ountry", deserialize_with = "given")]
    country: Option<String>,
    #[serde(default, deserialize_with = "given")]
    url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    args: Option<String>,
    #[serde(default, deserialize_with = "given")]
    body: Option<String>,
    #[serde(default, alias = "cookies", deserialize_with = "given")]
    cookie: Option<String>,
    #[serde(default, deserialize_with = "given")]
    ua: Option<String>,
    #[serde(default, deserialize_with = "given")]
    referer: Option<String>,
    #[serde(default, deserialize_with = "given")]
    other_headers: Option<OneOrMany>,
    #[serde(default, deserialize_with = "given")]
    no_cookie: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    lm: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    api: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    noban: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    active: Option<Flag>,
}

impl RulePatch {
    /// The rule it names.
    pub fn id(&self) -> Option<u64> {
        self.id.map(|RuleId(id)| id)
    }

    /// Writes the given fields over `rule`. Plain host patterns become base64.
    pub fn apply(self, rule: &mut RuleText) {
        let text = |field: &mut Option<String>, given: Option<String>| {
            if let Some(value) = given {
                *field = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            }
        };
        text(&mut rule.ip, self.ip);
        text(&mut rule.domain, self.domain.map(|domain| encode_domains(&domain)));
        text(&mut rule.country, self.country);
        text(&mut rule.url, self.url);
        text(&mut rule.args, self.args);
        text(&mut rule.body, self.body);
        text(&mut rule.cookie, self.cookie);
        text(&mut rule.ua, self.ua);
        text(&mut rule.referer, self.referer);
        if let Some(OneOrMany(conditions)) = self.other_headers {
            rule.other_headers = conditions;
        }
        let flag = |field: &mut bool, given: Option<Flag>| *field = given.map_or(*field, |f| f.0);
        flag(&mut rule.no_cookie, self.no_cookie);
        flag(&mut rule.lm, self.lm);
        flag(&mut rule.api, self.api);
        flag(&mut rule.noban, self.noban);
        flag(&mut rule.active, self.active);
    }
}

/// Turns every plain host pattern of an expression into base64; terms that are
/// base64 of a pattern already, or neither, stay as they are.
pub fn encode_domains(expression: &str) -> String {
    expression.split_inclusive(['&', '|']).map(encode_term).collect()
}

fn encode_term(term: &str) -> String {
    let (operand, operator) = match term.strip_suffix(['&', '|']) {
        Some(operand) => (operand, &term[operand.len()..]),
        None => (term, ""),
    };
    let operand = operand.trim();
    let (sign, pattern) = match operand.strip_prefix('!') {
        Some(pattern) => ("!", pattern.trim_start()),
        None => ("", operand),
    };
    let is_encoded = STANDARD
        .decode(pattern)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|plain| plain.parse::<HostPattern>().is_ok());
    if !is_encoded && pattern.parse::<HostPattern>().is_ok() {
        format!("{sign}{}{operator}", STANDARD.encode(pattern))
    } else {
        format!("{sign}{pattern}{operator}")
    }
}

#[cfg(test)]
mod tests {
    use policy::Rule;

    use super::*;

    fn patched(json: &str) -> RuleText {
        let mut rule = RuleText::default();
        serde_json::from_str::<RulePatch>(json).unwrap().apply(&mut rule);
        rule
    }

    #[test]
    fn both_spellings_of_country_and_cookie() {
        for name in ["country", "\u{441}ountry"] {
            let rule = patched(&format!(r#"{{"{name}": "Q0g=|UlU="}}"#));
            assert_eq!(rule.country.as_deref(), Some("Q0g=|UlU="));
        }
        assert_eq!(patched(r#"{"cookies":"YQ=="}"#).cookie.as_deref(), Some("YQ=="));
        for both in
            [r#"{"cookies":"YQ==","cookie":"YQ=="}"#, "{\"country\":\"\",\"\u{441}ountry\":\"\"}"]
        {
            let why = serde_json::from_str::<RulePatch>(both).unwrap_err().to_string();
            assert!(why.contains("duplicate field"), "{why}");
        }
    }

    #[test]
    fn only_given_fields_change_and_empty_ones_clear() {
        let mut rule =
            patched(r#"{"ip":"1.1.1.1","ua":"YQ==","api":"false","other_headers":"YQ==:"}"#);
        assert_eq!(rule.other_headers, ["YQ==:"]);
        assert!(!rule.api && rule.active);
        let patch = r#"{"ip":"","active":false,"other_headers":[]}"#;
        serde_json::from_str::<RulePatch>(patch).unwrap().apply(&mut rule);
        assert_eq!((rule.ip.as_deref(), rule.ua.as_deref()), (None, Some("YQ==")));
        assert!(rule.other_headers.is_empty() && !rule.active && !rule.api);
    }

    #[test]
    fn plain_domains_are_encoded_once() {
        let encoded = encode_domains("example.com & !*.example.org|ZXhhbXBsZS5jb20=");
        assert_eq!(encoded, "ZXhhbXBsZS5jb20=&!Ki5leGFtcGxlLm9yZw==|ZXhhbXBsZS5jb20=");
        assert_eq!(encode_domains(&encoded), encoded);
        assert_eq!(encode_domains("a..b|"), "a..b|");
        let plain = RuleText { domain: Some("example.com|!.b.org".into()), ..RuleText::default() };
        let coded =
            RuleText { domain: Some(encode_domains("example.com|!.b.org")), ..plain.clone() };
        assert_eq!(Rule::parse(1, &plain).unwrap(), Rule::parse(1, &coded).unwrap());
    }

    #[test]
    fn wrong_types_are_refused() {
        for bad in [
            r#"{"ip":1}"#,
            r#"{"ip":null}"#,
            r#"{"active":"yes"}"#,
            r#"{"active":1}"#,
            r#"{"id":0}"#,
            r#"{"id":"-1"}"#,
            r#"{"id":"+1"}"#,
            r#"{"id":1.5}"#,
            r#"{"other_headers":{}}"#,
            r#"{"other_headers":[1]}"#,
            r#"{"comment":"x"}"#,
        ] {
            assert!(serde_json::from_str::<RulePatch>(bad).is_err(), "{bad}");
        }
    }
}
