//! Reading the answers back: what a node does that polls the vendor's calls.
//!
//! An answer counts only with its status at the end, so that a text cut short is
//! never taken for a shorter list. A rule with an unknown field is refused: it may
//! be a condition, and a rule without one of its conditions blocks too much.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::{RuleLine, STATUS_LINE};
use crate::v2::BundleRule;

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The answer does not end in its status: it was cut, or is something else.
    #[error("the answer does not end in {STATUS_LINE}; it is cut short or not from this API")]
    NoStatus,
    /// The server says that the call failed.
    #[error("the server answers with an error: {0}")]
    Failed(String),
    /// A line cannot be understood.
    #[error("line {line} of the answer: {reason}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
}

/// The active settings of a `get_dyn_settings` answer, by name.
///
/// # Errors
/// Anything but a flat JSON object with `"status": "success"` and texts.
pub fn read_settings(text: &str) -> Result<BTreeMap<String, String>, AnswerError> {
    let at =
        |why: serde_json::Error| AnswerError::Line { line: why.line(), reason: why.to_string() };
    let mut object: Map<String, Value> = serde_json::from_str(text).map_err(at)?;
    match object.remove("status") {
        Some(Value::String(status)) if status == "success" => {}
        Some(_) => return Err(AnswerError::Failed(shorten(text))),
        None => return Err(AnswerError::NoStatus),
    }
    let inactive = match object.remove("inactive") {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    object.remove("details");
    let off = match object.remove("active") {
        Some(Value::Bool(active)) => !active,
        Some(Value::String(active)) => active == "false",
        _ => false,
    };
    if off {
        return Ok(BTreeMap::new());
    }
    object
        .into_iter()
        .filter(|(name, _)| !inactive.iter().any(|inactive| inactive.as_str() == Some(name)))
        .map(|(name, value)| match value {
            Value::String(value) => Ok((name, value)),
            _ => Err(AnswerError::Line { line: 1, reason: format!("{name} is not a text") }),
        })
        .collect()
}

/// The entries of a `get_dyn_bl` answer.
///
/// # Errors
/// The status line is missing or says that the call failed.
pub fn read_block_list(text: &str) -> Result<Vec<String>, AnswerError> {
    Ok(lines(text)?.map(|(_, entry)| entry.to_owned()).collect())
}

/// The rules of a `get_dyn_erl` answer, inactive ones included, in the order of their ids.
///
/// # Errors
/// The status line is missing or says that the call failed; a line is no rule.
pub fn read_rules(text: &str) -> Result<Vec<BundleRule>, AnswerError> {
    let mut rules = Vec::new();
    for (line, json) in lines(text)? {
        let rule: RuleLine = serde_json::from_str(json)
            .map_err(|why| AnswerError::Line { line, reason: why.to_string() })?;
        rules.push(rule.into_rule());
    }
    rules.sort_by_key(|rule| rule.id);
    Ok(rules)
}

/// The lines before the status line, with their numbers; empty ones are skipped.
pub(super) fn lines(text: &str) -> Result<impl Iterator<Item = (usize, &str)>, AnswerError> {
    let body = text.trim_end();
    let start = body.rfind('\n').map_or(0, |newline| newline + 1);
    let status = body[start..].trim();
    // Other servers may write the line as JSON, or with other spaces.
    let plain: String = status.chars().filter(|c| !c.is_whitespace()).collect();
    match plain.replace('\'', "\"").as_str() {
        r#"{"status":"success"}"# => {}
        other if other.starts_with(r#"{"status":"#) => {
            return Err(AnswerError::Failed(shorten(status)));
        }
        _ => return Err(AnswerError::NoStatus),
    }
    Ok(body[..start]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty()))
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use policy::RuleText;

    use super::*;
    use crate::v1::{
        Provenance, SettingLine, block_list_extended_text, block_list_text, rules_text,
        settings_text,
    };

    fn line<'a>(name: &'a str, value: &'a str, active: bool) -> SettingLine<'a> {
        SettingLine { name, value, active, provenance: None }
    }

    #[test]
    fn settings_survive() {
        let lines = [
            line("nwaf_ip_wl", "127.0.0.1, \"x\"", true),
            line("nwaf_limit", "rate=5r/m block_time=1", false),
        ];
        let expected = BTreeMap::from([("nwaf_ip_wl".to_owned(), "127.0.0.1, \"x\"".to_owned())]);
        for extended in [false, true] {
            let text = settings_text(&lines, extended);
            assert_eq!(text.contains("nwaf_limit"), extended);
            assert_eq!(read_settings(&text).unwrap(), expected);
        }
        assert!(settings_text(&lines, false).contains(r#"{"status": "success", "active": "true""#));
        assert!(settings_text(&lines[1..], false).contains(r#""active": "false""#));
        assert_eq!(read_settings(&settings_text(&lines[1..], true)), Ok(BTreeMap::new()));
        assert_eq!(read_settings(&settings_text(&[], false)), Ok(BTreeMap::new()));
        let off = r#"{"status":"success","active":"false","nwaf_ip_wl":"1.1.1.1"}"#;
        assert_eq!(read_settings(off), Ok(BTreeMap::new()));
    }

    #[test]
    fn lists_survive() {
        let entries = ["domain=example.com 1.1.1.1", "3.3.3.0/24 api=yes"];
        let text = block_list_text(entries);
        assert_eq!(text, "domain=example.com 1.1.1.1\n3.3.3.0/24 api=yes\n{'status': 'success'}\n");
        assert_eq!(read_block_list(&text).unwrap(), entries);
        assert_eq!(read_block_list("{'status': 'success'}"), Ok(vec![]));
        let p = Provenance { author: "a".into(), created: "c".into(), updated: "u".into() };
        let text = block_list_extended_text(true, [("1.1.1.1", Some(&p))]);
        assert!(
            text.starts_with(r#"{"entry": "1.1.1.1", "active": true, "author": "a""#),
            "{text}"
        );
    }

    #[test]
    fn rules_survive() {
        let full = RuleText {
            ip: Some("1.1.1.1".into()),
            domain: Some("ZXhhbXBsZS5jb20=".into()),
            country: Some("Q0g=".into()),
            url: Some("YQ==".into()),
            args: Some("Yg==".into()),
            body: Some("Yw==".into()),
            cookie: Some("ZA==".into()),
            ua: Some("ZQ==".into()),
            referer: Some("Zg==".into()),
            other_headers: vec!["YQ==:".into(), ":Yg==".into()],
            no_cookie: true,
            lm: true,
            api: false,
            noban: true,
            active: false,
        };
        let small = RuleText { ip: Some("2.2.2.2".into()), ..RuleText::default() };
        let p = Provenance { author: "a".into(), created: "c".into(), updated: "u".into() };
        for provenance in [None, Some(&p)] {
            let lines =
                [(3, &small), (2, &full)].map(|(id, rule)| RuleLine::new(id, rule, provenance));
            let text = rules_text(lines);
            assert!(text.ends_with("}\n{'status': 'success'}\n"));
            assert_eq!(
                read_rules(&text).unwrap(),
                [BundleRule::new(2, full.clone()), BundleRule::new(3, small.clone())]
            );
        }
        let text = rules_text([RuleLine::new(3, &small, None)]);
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"id": 3, "ip": "2.2.2.2", "lm": false, "ua": "", "api": true, "url": "", "args": "", "body": "", "noban": false, "active": true, "cookie": "", "domain": "", "country": "", "referer": "", "no_cookie": false, "other_headers": []}"#
        );
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        assert_eq!(read_block_list("1.1.1.1\n2.2.2"), Err(AnswerError::NoStatus));
        assert_eq!(read_block_list(""), Err(AnswerError::NoStatus));
        assert!(matches!(read_block_list("{'status': 'error'}"), Err(AnswerError::Failed(_))));
        assert!(matches!(read_settings(r#"{"status":"error"}"#), Err(AnswerError::Failed(_))));
        assert!(matches!(read_settings(r#"{"a":"b"}"#), Err(AnswerError::NoStatus)));
        assert!(matches!(read_settings("{\n\"status\""), Err(AnswerError::Line { line: 2, .. })));
        let foreign = format!("{{\"id\":1,\"asn\":\"5\"}}\n{STATUS_LINE}");
        assert!(matches!(read_rules(&foreign), Err(AnswerError::Line { line: 1, .. })));
    }
}
