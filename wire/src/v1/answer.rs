//! Answers in the vendor's dialect, in the one spelling this side ever writes.
//!
//! Lists are texts of one element a line that end in [`STATUS_LINE`], a Python
//! literal that existing clients look for; settings are one flat JSON object.

use std::io::{self, Write};

use policy::RuleText;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::lenient::{Flag, OneOrMany};
use crate::v2::BundleRule;

/// The last line of every list.
pub const STATUS_LINE: &str = "{'status': 'success'}";

/// Who brought an element in and when; part of `extended=yes` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// Name of the key that created or last changed it.
    pub author: String,
    /// Time of creation, RFC 3339.
    pub created: String,
    /// Time of the last change, RFC 3339.
    pub updated: String,
}

/// One setting of an answer.
#[derive(Debug, Clone, Copy)]
pub struct SettingLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Whether it acts.
    pub active: bool,
    /// Given in extended answers.
    pub provenance: Option<&'a Provenance>,
}

/// One rule of an answer: an absent text is `""`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleLine {
    /// Identity.
    pub id: u64,
    /// Expression over addresses.
    #[serde(default)]
    pub ip: String,
    /// Observe, never block.
    #[serde(default, deserialize_with = "flag")]
    pub lm: bool,
    /// Expression over `User-Agent`.
    #[serde(default)]
    pub ua: String,
    /// Report hits to the API.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub api: bool,
    /// Expression over the path.
    #[serde(default)]
    pub url: String,
    /// Expression over the query.
    #[serde(default)]
    pub args: String,
    /// Expression over the body.
    #[serde(default)]
    pub body: String,
    /// Hits do not count for `nwaf_limit`.
    #[serde(default, deserialize_with = "flag")]
    pub noban: bool,
    /// Whether the rule takes part.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub active: bool,
    /// Expression over `Cookie`.
    #[serde(default)]
    pub cookie: String,
    /// Expression over the host, base64.
    #[serde(default)]
    pub domain: String,
    /// Expression over the country, base64.
    #[serde(default)]
    pub country: String,
    /// Expression over `Referer`.
    #[serde(default)]
    pub referer: String,
    /// The request must have no cookie.
    #[serde(default, deserialize_with = "flag")]
    pub no_cookie: bool,
    /// Conditions on other headers.
    #[serde(default, deserialize_with = "texts")]
    pub other_headers: Vec<String>,
    /// Name of the key that created or last changed it; extended answers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Time of creation, RFC 3339; extended answers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Time of the last change, RFC 3339; extended answers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<String>,
}

impl RuleLine {
    /// Spells a rule.
    pub fn new(id: u64, rule: &RuleText, provenance: Option<&Provenance>) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self {
            id,
            ip: text(&rule.ip),
            lm: rule.lm,
            ua: text(&rule.ua),
            api: rule.api,
            url: text(&rule.url),
            args: text(&rule.args),
            body: text(&rule.body),
            noban: rule.noban,
            active: rule.active,
            cookie: text(&rule.cookie),
            domain: text(&rule.domain),
            country: text(&rule.country),
            referer: text(&rule.referer),
            no_cookie: rule.no_cookie,
            other_headers: rule.other_headers.clone(),
            author: provenance.map(|p| p.author.clone()),
            created: provenance.map(|p| p.created.clone()),
            updated: provenance.map(|p| p.updated.clone()),
        }
    }

    /// The rule of the line; provenance is dropped.
    pub fn into_rule(self) -> BundleRule {
        let text = |field: String| Some(field).filter(|field| !field.is_empty());
        let rule = RuleText {
            ip: text(self.ip),
            domain: text(self.domain),
            country: text(self.country),
            url: text(self.url),
            args: text(self.args),
            body: text(self.body),
            cookie: text(self.cookie),
            ua: text(self.ua),
            referer: text(self.referer),
            other_headers: self.other_headers,
            no_cookie: self.no_cookie,
            lm: self.lm,
            api: self.api,
            noban: self.noban,
            active: self.active,
        };
        BundleRule::new(self.id, rule)
    }
}

/// `get_dyn_settings`: a flat object of the active settings.
///
/// `active` is `"false"` where settings exist and none of them acts. An extended
/// answer has the inactive settings too, their names in `inactive`, and who wrote
/// what in `details`.
pub fn settings_text(lines: &[SettingLine<'_>], extended: bool) -> String {
    let acts = lines.is_empty() || lines.iter().any(|line| line.active);
    let mut object = Object(vec![
        ("status", "success".into()),
        ("active", if acts { "true" } else { "false" }.into()),
    ]);
    for line in lines.iter().filter(|line| extended || line.active) {
        object.0.push((line.name, line.value.into()));
    }
    if extended {
        let inactive = lines.iter().filter(|line| !line.active).map(|line| line.name.into());
        object.0.push(("inactive", Value::Array(inactive.collect())));
        let details = lines.iter().filter_map(|line| {
            let detail = serde_json::to_value(line.provenance?).expect("plain data");
            Some((line.name.to_owned(), detail))
        });
        object.0.push(("details", Value::Object(details.collect())));
    }
    spaced_json(&object)
}

/// `get_dyn_bl`: an entry a line.
pub fn block_list_text<'a>(entries: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(entry);
        text.push('\n');
    }
    finish(text)
}

/// `get_dyn_bl?extended=yes`: one JSON object a line, with `active` for the whole list.
pub fn block_list_extended_text<'a>(
    active: bool,
    entries: impl IntoIterator<Item = (&'a str, Option<&'a Provenance>)>,
) -> String {
    let mut text = String::new();
    for (entry, provenance) in entries {
        let mut object = Object(vec![("entry", entry.into()), ("active", active.into())]);
        if let Some(p) = provenance {
            object.0.push(("author", p.author.as_str().into()));
            object.0.push(("created", p.created.as_str().into()));
            object.0.push(("updated", p.updated.as_str().into()));
        }
        text.push_str(&spaced_json(&object));
        text.push('\n');
    }
    finish(text)
}

/// `get_dyn_erl`: one JSON object a line.
pub fn rules_text(rules: impl IntoIterator<Item = RuleLine>) -> String {
    let mut text = String::new();
    for rule in rules {
        text.push_str(&spaced_json(&rule));
        text.push('\n');
    }
    finish(text)
}

/// JSON with a space after each colon and comma, as Python writes it: clients of the
/// vendor's API search answers for `"status": "success"` byte by byte.
pub fn spaced_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut json = serde_json::Serializer::with_formatter(&mut bytes, Spaced);
    value.serialize(&mut json).expect("plain data has a JSON form");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { w.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }
}

/// An object whose fields keep the order they were given in.
pub(super) struct Object<'a>(pub Vec<(&'a str, Value)>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

pub(super) fn finish(mut text: String) -> String {
    text.push_str(STATUS_LINE);
    text.push('\n');
    text
}

fn yes() -> bool {
    true
}

fn flag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Flag::deserialize(deserializer).map(|flag| flag.0)
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    OneOrMany::deserialize(deserializer).map(|texts| texts.0)
}
