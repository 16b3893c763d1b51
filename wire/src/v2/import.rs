//! Whole lists and policies as files: what an import reads, in the forms people have.
//!
//! Only the form is judged here. Every line or element that has none is named, up to
//! [`LINES_NAMED`], and all of them are counted; meaning is `policy`'s business. What
//! `export` writes and what the `get_` calls answer can be read.

mod document;
mod elements;

use std::collections::BTreeMap;

use policy::limits::LIST_ENTRIES;
use policy::{ExclusionText, Invalid, Key, MlcInput, MlcKey, RuleText};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Revision;
use crate::v1::{CommaList, Flag, Malformed, RuleLine, STATUS_LINE, parse_json, parse_object};

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
    /// The signature exclusions.
    Exclusions,
    /// The settings.
    Settings,
    /// All of it, what behavioural analysis is told included.
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
    pub rules: Option<ImportedElements<RuleText>>,
    /// The signature exclusions.
    pub exclusions: Option<ImportedElements<ExclusionText>>,
    /// Settings of behavioural analysis by name, none twice.
    pub mlc_settings: Option<Vec<ImportedMlc>>,
    /// The virtual hosts.
    pub vhosts: Option<Vec<String>>,
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

/// A setting of behavioural analysis of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMlc {
    /// Which.
    pub key: MlcKey,
    /// Its value.
    pub value: MlcInput,
    /// Whether it acts.
    pub active: bool,
}

/// Rules or exclusions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedElements<T> {
    /// In the order of the file.
    pub elements: Vec<ImportedElement<T>>,
    /// Where they stand.
    pub places: Places,
}

/// A rule or an exclusion of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedElement<T> {
    /// The id it had.
    pub id: Option<u64>,
    /// What it says.
    pub text: T,
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
    /// The signature exclusions, in the order of ids.
    pub exclusions: Vec<ExclusionExport>,
    /// Settings of behavioural analysis that are set, by name.
    pub mlc_settings: BTreeMap<&'static str, MlcExport>,
    /// The virtual hosts, in their order.
    pub vhosts: Vec<String>,
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

/// A setting of behavioural analysis of an export.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MlcExport {
    /// A flag, a number or an array of texts.
    pub value: Value,
    /// Whether it acts.
    pub active: bool,
}

/// A signature exclusion of an export, in the spelling that is kept.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ExclusionExport {
    /// Identity.
    pub id: u64,
    /// Whether it takes part.
    pub active: bool,
    /// Number of a signature, or `*`.
    pub rl_id: String,
    /// Host pattern.
    pub domain: String,
    /// Zones joined by `|`; empty for all.
    pub mz: String,
    /// Conditions on the request.
    pub extension: String,
    /// What the text that was found has to contain.
    pub pattern: String,
    /// For people.
    pub comment: String,
}

impl ExclusionExport {
    /// Joins an identity and a text.
    pub fn new(id: u64, text: &ExclusionText) -> Self {
        let ExclusionText { rl_id, domain, mz, extension, pattern, comment, active } = text.clone();
        Self { id, active, rl_id, domain, mz, extension, pattern, comment }
    }
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
            Part::Rules => Self { rules: Some(elements::read(text, begins)?), ..Self::default() },
            Part::Exclusions => {
                Self { exclusions: Some(elements::read(text, begins)?), ..Self::default() }
            }
            Part::Settings => {
                Self { settings: Some(document::settings("", text)?), ..Self::default() }
            }
            Part::Policy => document::policy(text)?,
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

#[cfg(test)]
mod tests;
