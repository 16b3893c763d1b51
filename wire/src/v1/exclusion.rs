//! Signature exclusions in the vendor's dialect.
//!
//! An exclusion is one line of text whose words its clients count:
//!
//! ```text
//! id: 7 active: True rule: wl:50001 domain=example.com "Z:URL|$URL_X:/test" pattern="ABC"
//! ```
//!
//! The fourth is `True` or `False`, the sixth ends in the signature, the seventh is the host,
//! the eighth holds zones and conditions. What follows is ours: `name=` and a JSON string.
//! Neither zones nor conditions have quotes, so a line can be read in one way only.

use std::fmt::Write as _;

use policy::ExclusionText;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::answer::{Provenance, finish};
use super::fields::{Fields, Malformed, parse_object};
use super::lenient::{Flag, RuleId, given};
use super::read::{AnswerError, lines};

/// `set_dyn_wl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExclusionWrite {
    /// Add an exclusion.
    Add(ExclusionPatch),
    /// Change the given fields of an exclusion.
    Update(u64, ExclusionPatch),
    /// Forget an exclusion.
    Delete(u64),
}

/// The fields a client gave; the others stay as they are, `""` clears one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExclusionPatch {
    #[serde(default, alias = "id", deserialize_with = "given")]
    rid: Option<RuleId>,
    #[serde(default, deserialize_with = "given")]
    rl_id: Option<SignatureId>,
    #[serde(default, deserialize_with = "given")]
    domain: Option<String>,
    #[serde(default, deserialize_with = "given")]
    mz: Option<String>,
    #[serde(default, deserialize_with = "given")]
    extension: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pattern: Option<String>,
    #[serde(default, deserialize_with = "given")]
    comment: Option<String>,
    #[serde(default, deserialize_with = "given")]
    active: Option<Flag>,
}

/// The id of a signature: a number or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SignatureId(String);

impl<'de> Deserialize<'de> for SignatureId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = SignatureId;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the id of a signature, or \"*\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<SignatureId, E> {
                Ok(SignatureId(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<SignatureId, E> {
                Ok(SignatureId(value.to_owned()))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

impl ExclusionWrite {
    /// Reads the operation of a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Del {
            #[serde(alias = "id")]
            rid: RuleId,
        }
        let (name, text) = fields.operation(&["add", "upd", "del"])?;
        if name == "del" {
            return Ok(Self::Delete(parse_object::<Del>(name, text)?.rid.0));
        }
        let patch: ExclusionPatch = parse_object(name, text)?;
        match (name, patch.rid) {
            ("add", None) => Ok(Self::Add(patch)),
            ("add", Some(RuleId(id))) => {
                let reason = "the server chooses the id of a new exclusion";
                let remedy = "remove rid, or use upd to change an existing exclusion";
                Err(Malformed::field("add.rid", &id.to_string(), reason, remedy))
            }
            (_, Some(RuleId(id))) => Ok(Self::Update(id, patch)),
            (_, None) => {
                let remedy = "add the id that get_dyn_wl shows";
                Err(Malformed::field("upd.rid", "", "the field is missing", remedy))
            }
        }
    }
}

impl ExclusionPatch {
    /// The exclusion it names.
    pub fn id(&self) -> Option<u64> {
        self.rid.as_ref().map(|RuleId(id)| *id)
    }

    /// Writes the given fields over `exclusion`.
    pub fn apply(self, exclusion: &mut ExclusionText) {
        let text = |field: &mut String, given: Option<String>| {
            if let Some(value) = given {
                *field = value;
            }
        };
        text(&mut exclusion.rl_id, self.rl_id.map(|id| id.0));
        text(&mut exclusion.domain, self.domain);
        text(&mut exclusion.mz, self.mz);
        text(&mut exclusion.extension, self.extension);
        text(&mut exclusion.pattern, self.pattern);
        text(&mut exclusion.comment, self.comment);
        exclusion.active = self.active.map_or(exclusion.active, |flag| flag.0);
    }
}

/// One exclusion of an answer.
#[derive(Debug, Clone, Copy)]
pub struct ExclusionLine<'a> {
    /// Identity.
    pub id: u64,
    /// In the spelling that is kept; see [`policy::Exclusion::spelled`].
    pub exclusion: &'a ExclusionText,
    /// Given in extended answers.
    pub provenance: Option<&'a Provenance>,
}

/// `get_dyn_wl`: an exclusion a line. Extended lines have the comment, the author and times.
pub fn exclusions_text<'a>(
    lines: impl IntoIterator<Item = ExclusionLine<'a>>,
    extended: bool,
) -> String {
    let mut text = String::new();
    for ExclusionLine { id, exclusion, provenance } in lines {
        let ExclusionText { rl_id, domain, mz, extension, pattern, comment, active } = exclusion;
        let active = if *active { "True" } else { "False" };
        let bar = if mz.is_empty() || extension.is_empty() { "" } else { "|" };
        let comment = if extended { comment.as_str() } else { "" };
        let _ = write!(
            text,
            "id: {id} active: {active} rule: wl:{rl_id} domain={domain} \"Z:{mz}{bar}{extension}\""
        );
        let mut more = vec![("pattern", pattern.as_str()), ("comment", comment)];
        if let Some(provenance) = provenance.filter(|_| extended) {
            more.push(("author", &provenance.author));
            more.push(("created", &provenance.created));
            more.push(("updated", &provenance.updated));
        }
        for (name, value) in more.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(text, " {name}={}", serde_json::Value::from(value));
        }
        text.push('\n');
    }
    finish(text)
}

/// The exclusions of a `get_dyn_wl` answer, inactive ones included, in the order of their ids.
///
/// # Errors
/// The status line is missing or says that the call failed; a line is no exclusion.
pub fn read_exclusions(text: &str) -> Result<Vec<(u64, ExclusionText)>, AnswerError> {
    let mut exclusions = Vec::new();
    for (line, text) in lines(text)? {
        let exclusion = exclusion_line(text).ok_or_else(|| {
            let reason = "not of the form id: N active: True rule: wl:RL domain=D \"Z:...\"";
            AnswerError::Line { line, reason: reason.to_owned() }
        })?;
        exclusions.push(exclusion);
    }
    exclusions.sort_by_key(|(id, _)| *id);
    Ok(exclusions)
}

/// Reads one line of an answer.
pub(crate) fn exclusion_line(line: &str) -> Option<(u64, ExclusionText)> {
    let (id, rest) = line.strip_prefix("id: ")?.split_once(" active: ")?;
    let (active, rest) = rest.split_once(" rule: wl:")?;
    let (rl_id, rest) = rest.split_once(" domain=")?;
    let (domain, rest) = rest.split_once(" \"Z:")?;
    let (place, mut rest) = rest.split_once('"')?;
    let (mz, extension) = match place.split_once("|$") {
        _ if place.starts_with('$') => ("", place.to_owned()),
        Some((mz, extension)) => (mz, format!("${extension}")),
        None => (place, String::new()),
    };
    let mut exclusion = ExclusionText {
        rl_id: rl_id.to_owned(),
        domain: domain.to_owned(),
        mz: mz.to_owned(),
        extension,
        active: match active {
            "True" => true,
            "False" => false,
            _ => return None,
        },
        ..ExclusionText::default()
    };
    while !rest.is_empty() {
        let (name, value) = rest.strip_prefix(' ')?.split_once('=')?;
        let mut json = serde_json::Deserializer::from_str(value).into_iter::<String>();
        let text = json.next()?.ok()?;
        rest = &value[json.byte_offset()..];
        match name {
            "pattern" => exclusion.pattern = text,
            "comment" => exclusion.comment = text,
            "author" | "created" | "updated" => {}
            // It may be a restriction, and an exclusion without one of them excludes too much.
            _ => return None,
        }
    }
    Some((id.parse().ok()?, exclusion))
}

#[cfg(test)]
mod tests;
