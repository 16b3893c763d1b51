//! Whole lists and policies as files: what an import reads, in the forms people have.
//!
//! Only the form is judged here. Every line or element that has none is named, up to
//! [`LINES_NAMED`], and all of them are counted; meaning is `policy`'s business. What
//! `export` writes and what the `get_` calls answer can be read.

use std::collections::BTreeMap;

use policy::limits::{LIST_ENTRIES, RULES};
use policy::{Invalid, Key, RuleText};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Revision;
use crate::v1::{
    CommaList, Flag, Malformed, RuleLine, RulePatch, STATUS_LINE, parse_json, parse_object,
};

/// Bad lines of an import that are named; further ones are counted.
pub const LINES_NAMED: usize = 1_000;
/// What a whole policy in a file says of itself.
const POLICY_FORMAT: &str = "nwaf policy 1";

/// What can be imported and exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The block list.
    BlockList,
    /// The extended rules.
    Rules,
    /// The settings.
    Settings,
    /// All of it.
    Policy,
}

/// What a file says. What is absent is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Settings by name, none twice.
    pub settings: Option<Vec<ImportedSetting>>,
    /// The block list.
    pub block_list: Option<ImportedList>,
    /// The rules.
    pub rules: Option<ImportedRules>,
}

/// A setting of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedSetting {
    /// Which.
    pub key: Key,
    /// Its value.
    pub value: String,
    /// Whether it acts.
    pub active: bool,
}

/// A list of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedList {
    /// Whether it acts, where the file says so.
    pub active: Option<bool>,
    /// Entries, as written.
    pub entries: Vec<String>,
    /// Where they stand.
    pub places: Places,
}

/// Rules of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedRules {
    /// In the order of the file.
    pub rules: Vec<ImportedRule>,
    /// Where they stand.
    pub places: Places,
}

/// A rule of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedRule {
    /// The id it had.
    pub id: Option<u64>,
    /// What it says.
    pub text: RuleText,
}

/// How elements of a file are named to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// By line, from 1.
    Lines(Vec<u32>),
    /// By place in the array of this name, from 0.
    Elements(&'static str),
}

impl Default for Places {
    fn default() -> Self {
        Self::Lines(Vec::new())
    }
}

impl Places {
    /// The name of an element.
    pub fn name(&self, element: usize) -> String {
        match self {
            Self::Lines(lines) => format!("line {}", lines.get(element).copied().unwrap_or(0)),
            Self::Elements(name) => format!("{name}[{element}]"),
        }
    }
}

/// Refused lines: the first ones, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BadLines {
    /// At most [`LINES_NAMED`].
    pub first: Vec<Invalid>,
    /// All of them.
    pub count: usize,
}

impl BadLines {
    /// One more. `why` is asked only where it is kept.
    pub fn push(&mut self, why: impl FnOnce() -> Invalid) {
        self.count += 1;
        if self.first.len() < LINES_NAMED {
            self.first.push(why());
        }
    }

    /// `value`, unless a line is bad.
    ///
    /// # Errors
    /// These.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.count == 0 { Ok(value) } else { Err(self) }
    }
}

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// As a whole.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// In these lines.
    #[error("{} line(s) refused, first: {}", .0.count, .0.first[0])]
    Lines(BadLines),
}

/// A whole policy, as `export/policy` writes it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PolicyExport {
    /// Always `nwaf policy 1`.
    pub format: &'static str,
    /// What it is a copy of.
    pub revision: Revision,
    /// By name.
    pub settings: BTreeMap<&'static str, SettingExport>,
    /// The block list.
    pub block_list: PolicyListExport,
    /// In the order of ids.
    pub rules: Vec<RuleLine>,
}

impl PolicyExport {
    /// What [`PolicyExport::format`] says.
    pub const FORMAT: &'static str = POLICY_FORMAT;
}

/// A setting of an export.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SettingExport {
    /// Its value.
    pub value: String,
    /// Whether it acts.
    pub active: bool,
}

/// The block list of an export.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PolicyListExport {
    /// Whether it acts.
    pub active: bool,
    /// In its order.
    pub bl: Vec<String>,
}

impl Imported {
    /// Reads a file that holds `part`. `is_text` says that a block list is an entry a
    /// line, whatever it looks like; else it is if it does not begin like JSON.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn parse(part: Part, is_text: bool, file: &[u8]) -> Result<Self, FileError> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let begins = file.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        let looks_like_json = matches!(begins, Some(b'{' | b'[' | b'"'));
        if part == Part::BlockList && (is_text || !looks_like_json) {
            let block_list = Some(text_lines(file)?);
            return Ok(Self { block_list, ..Self::default() });
        }
        let text = crate::v1::body_text(file)?;
        Ok(match part {
            Part::BlockList => Self { block_list: Some(list(text, begins)?), ..Self::default() },
            Part::Rules => Self { rules: Some(rules(text, begins)?), ..Self::default() },
            Part::Settings => Self { settings: Some(settings("", text)?), ..Self::default() },
            Part::Policy => policy(text)?,
        })
    }
}

/// An entry a line; `#` begins a comment.
fn text_lines(file: &[u8]) -> Result<ImportedList, FileError> {
    let mut list = ImportedList::default();
    let mut lines = Vec::new();
    let mut bad = BadLines::default();
    for (number, line) in numbered(file) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let Ok(entry) = std::str::from_utf8(line) else {
            let why = || {
                let given = String::from_utf8_lossy(line);
                let remedy = "save the file as UTF-8";
                Invalid::new(format!("line {number}"), given.trim(), "not UTF-8", remedy)
            };
            bad.push(why);
            continue;
        };
        let entry = entry.trim();
        if entry.is_empty() || entry == STATUS_LINE {
            continue;
        }
        expect_room(list.entries.len(), LIST_ENTRIES, "entries")?;
        list.entries.push(entry.to_owned());
        lines.push(number);
    }
    list.places = Places::Lines(lines);
    bad.none_or(list).map_err(FileError::Lines)
}

/// Lines with their numbers, from 1; `\r` before the end of a line is white space.
fn numbered(file: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1u32..).zip(file.split(|byte| *byte == b'\n'))
}

fn expect_room(has: usize, most: usize, what: &str) -> Result<(), Malformed> {
    if has < most {
        return Ok(());
    }
    let reason = format!("the file has more than {most} {what}");
    Err(Malformed::field("body", "", reason, "import less"))
}

/// Whether the file is one JSON value a line. One value alone is not.
fn is_lines(text: &str, begins: Option<u8>) -> bool {
    if begins == Some(b'[') {
        return false;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let first = values.next();
    // What is not even a value is read as lines, which names each bad one.
    !matches!(first, Some(Ok(_))) && text.trim().contains('\n')
        || text.get(values.byte_offset()..).is_some_and(|rest| !rest.trim().is_empty())
}

/// Calls `take` with each line of JSON and collects what is wrong.
fn each_line<T>(
    text: &str,
    most: usize,
    what: &str,
    take: impl Fn(&str) -> Result<T, Malformed>,
) -> Result<(Vec<T>, Places), FileError> {
    let (mut taken, mut lines, mut bad) = (Vec::new(), Vec::new(), BadLines::default());
    for (number, line) in (1u32..).zip(text.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == STATUS_LINE {
            continue;
        }
        expect_room(taken.len(), most, what)?;
        match take(line) {
            Ok(value) => {
                taken.push(value);
                lines.push(number);
            }
            Err(why) => bad.push(|| in_line(number, line, why)),
        }
    }
    bad.none_or((taken, Places::Lines(lines))).map_err(FileError::Lines)
}

fn in_line(number: u32, line: &str, why: Malformed) -> Invalid {
    match why {
        Malformed::Field(why) if why.field == "body" => why.in_field(format!("line {number}")),
        Malformed::Field(why) => {
            let field = format!("line {number}: {}", why.field);
            why.in_field(field)
        }
        Malformed::Json { column, reason, .. } => {
            let reason = format!("not valid JSON: {reason} at column {column}");
            Invalid::new(format!("line {number}"), line, reason, "write one JSON value a line")
        }
    }
}

fn list(text: &str, begins: Option<u8>) -> Result<ImportedList, FileError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Line {
        Entry(String),
        Extended { entry: String },
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole {
        active: Option<Flag>,
        bl: CommaList,
        #[serde(default, rename = "provenance")]
        _provenance: serde::de::IgnoredAny,
    }
    if begins == Some(b'[') {
        let entries: Vec<String> = parse_json("bl", text)?;
        return Ok(ImportedList { active: None, entries, places: Places::Elements("bl") });
    }
    if begins == Some(b'{') && !is_lines(text, begins) {
        let Whole { active, bl, .. } = parse_object("", text)?;
        let active = active.map(|flag| flag.0);
        return Ok(ImportedList { active, entries: bl.elements, places: Places::Elements("bl") });
    }
    let (entries, places) = each_line(text, LIST_ENTRIES, "entries", |line| {
        let (Line::Entry(entry) | Line::Extended { entry }) = parse_json("", line)?;
        Ok(entry)
    })?;
    Ok(ImportedList { active: None, entries, places })
}

fn rules(text: &str, begins: Option<u8>) -> Result<ImportedRules, FileError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Whole<'a> {
        #[serde(borrow)]
        erl: Vec<&'a RawValue>,
    }
    if begins == Some(b'[') {
        let elements: Vec<&RawValue> = parse_json("erl", text)?;
        return rule_elements("erl", &elements);
    }
    if begins == Some(b'{') && !is_lines(text, begins) && !is_rule(text) {
        let Whole { erl } = parse_object("", text)?;
        return rule_elements("erl", &erl);
    }
    let (rules, places) = each_line(text, RULES, "rules", |line| rule("", line))?;
    Ok(ImportedRules { rules, places })
}

/// Whether a single object is a rule, and no answer of `v2/get_dyn_erl`.
fn is_rule(text: &str) -> bool {
    !matches!(serde_json::from_str::<Value>(text), Ok(Value::Object(object)) if object.contains_key("erl"))
}

fn rule_elements(name: &'static str, elements: &[&RawValue]) -> Result<ImportedRules, FileError> {
    expect_room(elements.len().saturating_sub(1), RULES, "rules")?;
    let places = Places::Elements(name);
    let (mut rules, mut bad) = (Vec::with_capacity(elements.len()), BadLines::default());
    for (at, element) in elements.iter().enumerate() {
        match rule(&places.name(at), element.get()) {
            Ok(rule) => rules.push(rule),
            Err(Malformed::Field(why)) => bad.push(|| why),
            // The file as a whole is JSON, so every element of it is.
            Err(why) => return Err(why.into()),
        }
    }
    bad.none_or(ImportedRules { rules, places }).map_err(FileError::Lines)
}

fn rule(name: &str, json: &str) -> Result<ImportedRule, Malformed> {
    /// What extended answers tell of a rule and nobody can set.
    const TOLD: [&str; 3] = ["author", "created", "updated"];
    let patch: RulePatch = if TOLD.iter().any(|told| json.contains(told)) {
        let mut fields: serde_json::Map<String, Value> = parse_object(name, json)?;
        fields.retain(|field, _| !TOLD.contains(&field.as_str()));
        parse_object(name, &Value::Object(fields).to_string())?
    } else {
        parse_object(name, json)?
    };
    let mut rule = ImportedRule { id: patch.id(), text: RuleText::default() };
    patch.apply(&mut rule.text);
    Ok(rule)
}

/// Settings by name: a text, or an object with `value` and `active`. Answers of
/// `get_dyn_settings` in both dialects have these forms, too.
fn settings(name: &str, text: &str) -> Result<Vec<ImportedSetting>, Malformed> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Setting {
        Text(String),
        Full { value: String, active: Option<Flag> },
    }
    let mut fields: BTreeMap<String, &RawValue> = parse_object(name, text)?;
    if let (1, Some(inner)) = (fields.len(), fields.get("settings")) {
        return settings("settings", inner.get());
    }
    let mut flag = true;
    if let Some(given) = fields.remove("active") {
        flag = parse_json::<Flag>("active", given.get())?.0;
    }
    fields.remove("status");
    fields.remove("details");
    let idle: Vec<String> =
        fields.remove("inactive").map_or(Ok(vec![]), |raw| parse_json("inactive", raw.get()))?;
    fields
        .into_iter()
        .map(|(field, raw)| {
            let place = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
            let key =
                field.parse::<Key>().map_err(|why| Malformed::Field(why.in_field(&*place)))?;
            let (value, active) = match parse_json(&place, raw.get())? {
                Setting::Text(value) => (value, None),
                Setting::Full { value, active } => (value, active.map(|flag| flag.0)),
            };
            let active = active.unwrap_or(flag && !idle.contains(&field));
            Ok(ImportedSetting { key, value, active })
        })
        .collect()
}

fn policy(text: &str) -> Result<Imported, FileError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        active: Flag,
        bl: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document<'a> {
        format: String,
        #[serde(default, rename = "revision")]
        _revision: Option<Revision>,
        #[serde(borrow)]
        settings: Option<&'a RawValue>,
        block_list: Option<List>,
        #[serde(borrow)]
        rules: Option<Vec<&'a RawValue>>,
    }
    let document: Document<'_> = parse_object("", text)?;
    if document.format != POLICY_FORMAT {
        let remedy = format!("import what export/policy wrote: its format is {POLICY_FORMAT:?}");
        let reason = "this is no policy, or a newer one";
        return Err(Malformed::field("format", &document.format, reason, &remedy).into());
    }
    let block_list = document.block_list.map(|list| ImportedList {
        active: Some(list.active.0),
        entries: list.bl,
        places: Places::Elements("block_list.bl"),
    });
    let all = document.settings.map(|raw| settings("settings", raw.get())).transpose()?;
    let rules = document.rules.map(|rules| rule_elements("rules", &rules)).transpose()?;
    Ok(Imported { settings: all, block_list, rules })
}

#[cfg(test)]
mod tests;
