//! One request taken apart: the same fields, whether they came as a JSON object,
//! as a form or in the query string.
//!
//! Invariant: a field has at most one value. A second one, also under an alias or
//! from another place, is refused; only the key may be repeated, if it is the same.

use std::fmt;

use policy::Invalid;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::lenient::{Flag, Number, YesNo, given};
use crate::v2::Revision;

/// Characters of a name or reason that an error repeats; clients may send megabytes.
pub(super) const QUOTED_CHARS: usize = 200;

/// Every field a v1 request may have, with its aliases.
pub const FIELD_NAMES: &str = "key (or token), set, del, add, upd, force, validate, extended, format, before, rev, \
     vhosts_list, vhost (or vhosts), src, dst, duration, complete";

/// A request whose form is wrong, before its values are looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The body, or the text of a form's field, is not JSON.
    #[error("{place} is not valid JSON: {reason} at line {line} column {column}")]
    Json {
        /// `the body`, or the name of the field whose text it is.
        place: String,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1; 0 before the first byte of a line.
        column: usize,
        /// What the parser met.
        reason: String,
    },
    /// A field is unknown, repeated, missing or of the wrong type.
    #[error("{0}")]
    Field(Invalid),
}

impl Malformed {
    /// A refused field.
    pub fn field(field: &str, value: &str, reason: impl Into<String>, remedy: &str) -> Self {
        Self::Field(Invalid::new(short(field), value, reason, remedy))
    }
}

/// What a request says, with the operations still as JSON text.
#[derive(Default, PartialEq, Eq)]
pub struct Fields {
    /// The key the client presents (`key` or `token`).
    pub key: Option<String>,
    /// Whether a drastic change is wanted on purpose.
    pub force: Option<bool>,
    /// Whether the answer shall have identities, authors and times.
    pub extended: Option<bool>,
    /// How the answer shall be spelled. Most answers have one spelling, `json`.
    pub format: Option<String>,
    /// `get_event_log`: only entries with an id below this one.
    pub before: Option<u64>,
    /// `validate=only` was given: say what the write would do, and do nothing.
    pub validate_only: bool,
    /// A read: what the client has, which need not be told again.
    pub rev: Option<Revision>,
    /// JSON text of `set`.
    pub set: Option<String>,
    /// JSON text of `del`.
    pub del: Option<String>,
    /// JSON text of `add`.
    pub add: Option<String>,
    /// JSON text of `upd`.
    pub upd: Option<String>,
    /// JSON text of `vhosts_list`: a text with commas, or an array of texts.
    pub vhosts_list: Option<String>,
    /// JSON text of `vhost` (or `vhosts`): a text with commas, or an array of texts.
    pub vhost: Option<String>,
    /// Whose model is copied.
    pub src: Option<String>,
    /// For whom it is copied.
    pub dst: Option<String>,
    /// Days of a training.
    pub duration: Option<u64>,
    /// Whether a training is to end (`yes`) or to begin (`no`).
    pub complete: Option<bool>,
}

impl fmt::Debug for Fields {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("key", &self.key.as_ref().map(|_| "..."))
            .field("force", &self.force)
            .field("extended", &self.extended)
            .field("validate_only", &self.validate_only)
            .field("set", &self.set)
            .field("del", &self.del)
            .field("add", &self.add)
            .field("upd", &self.upd)
            .field("vhosts_list", &self.vhosts_list)
            .field("vhost", &self.vhost)
            .field("src", &self.src)
            .field("dst", &self.dst)
            .field("duration", &self.duration)
            .field("complete", &self.complete)
            .finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(default, alias = "token", deserialize_with = "given")]
    key: Option<String>,
    #[serde(default, deserialize_with = "given")]
    force: Option<Flag>,
    #[serde(default, deserialize_with = "given")]
    extended: Option<YesNo>,
    #[serde(default, deserialize_with = "given")]
    format: Option<String>,
    #[serde(default, deserialize_with = "given")]
    before: Option<Number>,
    #[serde(default, deserialize_with = "given")]
    validate: Option<String>,
    #[serde(default, deserialize_with = "given")]
    rev: Option<String>,
    #[serde(default, borrow, deserialize_with = "given")]
    set: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    del: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    add: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    upd: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "given")]
    vhosts_list: Option<&'a RawValue>,
    #[serde(default, borrow, alias = "vhosts", deserialize_with = "given")]
    vhost: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    src: Option<String>,
    #[serde(default, deserialize_with = "given")]
    dst: Option<String>,
    #[serde(default, deserialize_with = "given")]
    duration: Option<Number>,
    #[serde(default, deserialize_with = "given")]
    complete: Option<YesNo>,
}

impl Fields {
    /// Takes a JSON object apart.
    ///
    /// # Errors
    /// Text that is not JSON (with line and column), or not an object of known fields.
    pub fn from_json(body: &str) -> Result<Self, Malformed> {
        let body: Body<'_> = parse_object("", body)?;
        let text = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
        let mut fields = Self {
            key: body.key,
            force: body.force.map(|flag| flag.0),
            extended: body.extended.map(|flag| flag.0),
            before: body.before.map(|number| number.0),
            set: text(body.set),
            del: text(body.del),
            add: text(body.add),
            upd: text(body.upd),
            vhosts_list: text(body.vhosts_list),
            vhost: text(body.vhost),
            src: body.src,
            dst: body.dst,
            duration: body.duration.map(|number| number.0),
            complete: body.complete.map(|flag| flag.0),
            ..Self::default()
        };
        let words = [("format", body.format), ("validate", body.validate), ("rev", body.rev)];
        for (name, value) in words {
            if let Some(value) = value {
                fields.add_pair(name, &value)?;
            }
        }
        Ok(fields)
    }

    /// Adds one decoded pair of a form or query.
    ///
    /// Operations hold JSON; a text that begins with none of `{`, `[` and `"` stands
    /// for itself, so that `del=nwaf_ip_wl` works.
    ///
    /// # Errors
    /// Unknown names, a second value, flags that are neither yes nor no.
    pub fn add_pair(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        let twice = match name {
            "key" | "token" => {
                let other = self.key.as_ref().is_some_and(|key| key != value);
                self.key = Some(value.to_owned());
                if other {
                    let reason = "two different keys are given";
                    return Err(Malformed::field("key", "", reason, "give one key, once"));
                }
                false
            }
            "force" => self.force.replace(flag(name, value)?).is_some(),
            "extended" => self.extended.replace(flag(name, value)?).is_some(),
            "format" => {
                let other = self.format.as_ref().is_some_and(|format| format != value);
                self.format = Some(value.to_owned());
                other
            }
            "before" => {
                let Ok(id) = value.parse() else {
                    let reason = "not the id of an entry";
                    return Err(Malformed::field(name, value, reason, "write a whole number"));
                };
                self.before.replace(id).is_some()
            }
            "validate" if value == "only" => {
                self.validate_only = true;
                false
            }
            "validate" => {
                let remedy = "write validate=only, or leave it out";
                return Err(Malformed::field(name, value, "there is no such validation", remedy));
            }
            "rev" => {
                let Ok(revision) = value.parse() else {
                    let remedy = "write SESSION.GENERATION, as the ETag of an answer has them";
                    return Err(Malformed::field(name, value, "not two whole numbers", remedy));
                };
                self.rev.replace(revision).is_some()
            }
            "set" => self.set.replace(as_json(value)).is_some(),
            "del" => self.del.replace(as_json(value)).is_some(),
            "add" => self.add.replace(as_json(value)).is_some(),
            "upd" => self.upd.replace(as_json(value)).is_some(),
            "vhosts_list" => self.vhosts_list.replace(as_json_list(value)).is_some(),
            "vhost" | "vhosts" => self.vhost.replace(as_json_list(value)).is_some(),
            "src" => self.src.replace(value.to_owned()).is_some(),
            "dst" => self.dst.replace(value.to_owned()).is_some(),
            "duration" => {
                let Ok(days) = value.trim().parse() else {
                    let reason = "not a number of days";
                    return Err(Malformed::field(name, value, reason, "write a whole number"));
                };
                self.duration.replace(days).is_some()
            }
            "complete" => self.complete.replace(flag(name, value)?).is_some(),
            _ => {
                let remedy = format!("the fields are {FIELD_NAMES}");
                return Err(Malformed::field(name, value, "there is no such field", &remedy));
            }
        };
        if twice {
            return Err(Malformed::field(name, value, "the field is given twice", "give it once"));
        }
        Ok(())
    }

    /// The one operation of a write: its name and JSON text.
    ///
    /// # Errors
    /// None of `known` or more than one operation is given, or one the call does not know.
    pub(super) fn operation(
        &self,
        known: &[&'static str],
    ) -> Result<(&'static str, &str), Malformed> {
        self.refuse_parameters(&[])?;
        let given: Vec<(&'static str, &str)> =
            [("set", &self.set), ("del", &self.del), ("add", &self.add), ("upd", &self.upd)]
                .into_iter()
                .filter_map(|(name, text)| text.as_deref().map(|text| (name, text)))
                .collect();
        let names = known.join(", ");
        let remedy = format!("give exactly one of {names}");
        match given.as_slice() {
            [one] if known.contains(&one.0) => Ok(*one),
            [one] => {
                let reason = "this call has no such operation";
                Err(Malformed::field(one.0, one.1, reason, &remedy))
            }
            [] => Err(Malformed::field(&names, "", "the operation is missing", &remedy)),
            [_, second, ..] => {
                let reason = "more than one operation is given";
                Err(Malformed::field(second.0, second.1, reason, &remedy))
            }
        }
    }

    /// # Errors
    /// Another format than the one that most calls have.
    pub fn expect_json(&self) -> Result<(), Malformed> {
        match self.format.as_deref() {
            None | Some("json") => Ok(()),
            Some(other) => {
                let remedy = "write format=json, or leave it out";
                Err(Malformed::field("format", other, "there is no such format", remedy))
            }
        }
    }

    /// # Errors
    /// The request has an operation although the call only reads, or a field of other calls.
    pub fn expect_no_operation(&self) -> Result<(), Malformed> {
        self.refuse_parameters(&[])?;
        match self.operation(&[]) {
            Err(Malformed::Field(why)) if !why.field.is_empty() => Err(Malformed::field(
                &why.field,
                &why.value,
                "this call only reads",
                "leave it out, or use the set_ call",
            )),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// The request has an operation, or a field of other calls that is not among `known`.
    pub(super) fn expect_parameters(&self, known: &[&str]) -> Result<(), Malformed> {
        self.refuse_parameters(known)?;
        for (name, text) in
            [("set", &self.set), ("del", &self.del), ("add", &self.add), ("upd", &self.upd)]
        {
            if let Some(text) = text {
                let reason = "this call has no operations";
                let remedy = format!("leave it out; its fields are {}", known.join(", "));
                return Err(Malformed::field(name, text, reason, &remedy));
            }
        }
        Ok(())
    }

    /// Fields that belong to some calls only, but for those of `known`.
    fn refuse_parameters(&self, known: &[&str]) -> Result<(), Malformed> {
        let duration = self.duration.map(|days| days.to_string());
        let complete = self.complete.map(|complete| complete.to_string());
        let given = [
            ("vhosts_list", &self.vhosts_list),
            ("vhost", &self.vhost),
            ("src", &self.src),
            ("dst", &self.dst),
            ("duration", &duration),
            ("complete", &complete),
        ];
        for (name, value) in given {
            if let Some(value) = value
                && !known.contains(&name)
            {
                let reason = "this call has no such field";
                return Err(Malformed::field(name, value, reason, "leave it out"));
            }
        }
        Ok(())
    }
}

/// The text of a body.
///
/// # Errors
/// [`Malformed::Json`] at the first byte that is not UTF-8.
pub fn body_text(body: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(body).map_err(|why| {
        let before = &body[..why.valid_up_to()];
        Malformed::Json {
            place: "the body".to_owned(),
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            column: before.iter().rev().take_while(|b| **b != b'\n').count() + 1,
            reason: "the text is not UTF-8".to_owned(),
        }
    })
}

/// Parses a body that is one JSON object; errors as for the calls of the dialect.
///
/// # Errors
/// See [`Malformed`].
pub fn parse_body<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Malformed> {
    parse_object("", body_text(body)?)
}

/// Parses JSON text; the position of syntax errors counts from the beginning of `text`.
///
/// `field` names what the text is the value of, for errors.
///
/// # Errors
/// [`Malformed::Json`] for bad syntax, [`Malformed::Field`] for anything else.
pub(crate) fn parse_json<'de, T: Deserialize<'de>>(
    field: &str,
    text: &'de str,
) -> Result<T, Malformed> {
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut json)
        .map_err(|why| malformed(field, &why.path().to_string(), why.inner()))?;
    json.end().map_err(|why| malformed(field, "", &why))?;
    Ok(parsed)
}

/// As [`parse_json`], for types that serde would also fill from an array.
pub(crate) fn parse_object<'de, T: Deserialize<'de>>(
    field: &str,
    text: &'de str,
) -> Result<T, Malformed> {
    if text.trim_start().starts_with('[') {
        parse_json::<IgnoredAny>(field, text)?;
        let name = if field.is_empty() { "body" } else { field };
        let remedy = "give an object: names and values in { }";
        return Err(Malformed::field(
            name,
            text,
            "an array stands where an object belongs",
            remedy,
        ));
    }
    parse_json(field, text)
}

fn malformed(field: &str, path: &str, why: &serde_json::Error) -> Malformed {
    let (line, column) = (why.line(), why.column());
    let full = why.to_string();
    let reason = full.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&full);
    if matches!(why.classify(), Category::Syntax | Category::Eof | Category::Io) {
        let place = if field.is_empty() { "the body" } else { field }.to_owned();
        return Malformed::Json { place, line, column, reason: reason.to_owned() };
    }
    // serde names the offending key of an object between backticks; it is the last
    // piece of the path, which the tracker may or may not have seen already.
    let key = ["unknown field `", "duplicate field `", "missing field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start)?.split_once('`').map(|(key, _)| key));
    let mut name = field.to_owned();
    for piece in [path, key.unwrap_or_default()] {
        let is_there = name == piece || name.ends_with(&format!(".{piece}"));
        if piece.is_empty() || piece == "." || is_there {
            continue;
        }
        if !name.is_empty() && !piece.starts_with('[') {
            name.push('.');
        }
        name.push_str(piece);
    }
    if name.is_empty() {
        name.push_str("body");
    }
    let remedy = if reason.starts_with("unknown field") {
        "remove the field or correct its spelling"
    } else if reason.starts_with("duplicate field") {
        "give the field once; an alias counts as the field"
    } else if reason.starts_with("missing field") {
        "add the field"
    } else {
        "give a value of the expected type"
    };
    // What is expected is our text, and the last part; all before it repeats what
    // was sent, and is cut.
    let (given, expected) = match reason.rsplit_once(", expected ") {
        Some((given, expected)) => (given, format!(": expected {expected}")),
        None => (reason, String::new()),
    };
    Malformed::field(&name, value_of(given), short(given), &format!("{remedy}{expected}"))
}

/// The value that serde's reason is about.
fn value_of(reason: &str) -> &str {
    let value = ["invalid type: ", "invalid value: "].iter().find_map(|s| reason.strip_prefix(s));
    let value = value.unwrap_or_default();
    // Words before a value in quotes say what kind it is.
    let quoted = |quote| value.split_once(quote).and_then(|(_, rest)| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('`')).unwrap_or(value)
}

/// At most [`QUOTED_CHARS`] characters of a text.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Malformed> {
    match value {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(Malformed::field(name, value, "neither yes nor no", "write yes or no")),
    }
}

fn as_json(value: &str) -> String {
    if value.trim_start().starts_with(['{', '[', '"']) {
        value.to_owned()
    } else {
        serde_json::Value::from(value).to_string()
    }
}

/// As [`as_json`], for lists of hosts, among which an IPv6 address begins with `[`, too.
fn as_json_list(value: &str) -> String {
    let compact: String = value.chars().filter(|c| !c.is_whitespace()).take(2).collect();
    if compact == "[\"" || compact == "[]" {
        value.to_owned()
    } else {
        serde_json::Value::from(value).to_string()
    }
}

#[cfg(test)]
mod tests;
