//! Rules and signature exclusions of a file: an array, an answer of `v2/get_dyn_`, or an
//! element a line.

use policy::limits::{EXCLUSIONS, RULES};
use policy::{ExclusionText, RuleText};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BadLines, FileError, ImportedElement, ImportedElements, Places};
use super::{each_line, expect_room, is_lines};
use crate::v1::{ExclusionPatch, Malformed, RulePatch, exclusion_line, parse_json, parse_object};

/// What extended answers tell of an element and nobody can set.
const TOLD: [&str; 3] = ["author", "created", "updated"];

/// What has an identity and is imported.
pub(super) trait Element: Sized {
    /// The name of the array that answers have them in.
    const ARRAY: &'static str;
    /// Most of them.
    const MOST: usize;
    /// What they are called.
    const WHAT: &'static str;

    /// Reads one; `name` is where it stands.
    fn parse(name: &str, json: &str) -> Result<ImportedElement<Self>, Malformed>;
}

impl Element for RuleText {
    const ARRAY: &'static str = "erl";
    const MOST: usize = RULES;
    const WHAT: &'static str = "rules";

    fn parse(name: &str, json: &str) -> Result<ImportedElement<Self>, Malformed> {
        let patch: RulePatch = patch(name, json)?;
        let mut rule = ImportedElement { id: patch.id(), text: Self::default() };
        patch.apply(&mut rule.text);
        Ok(rule)
    }
}

impl Element for ExclusionText {
    const ARRAY: &'static str = "wl";
    const MOST: usize = EXCLUSIONS;
    const WHAT: &'static str = "exclusions";

    fn parse(name: &str, json: &str) -> Result<ImportedElement<Self>, Malformed> {
        if json.starts_with("id: ") {
            return line(json);
        }
        let patch: ExclusionPatch = patch(name, json)?;
        let mut exclusion = ImportedElement { id: patch.id(), text: Self::default() };
        patch.apply(&mut exclusion.text);
        Ok(exclusion)
    }
}

/// An exclusion as the first dialect writes it.
fn line(text: &str) -> Result<ImportedElement<ExclusionText>, Malformed> {
    let (id, exclusion) = exclusion_line(text).ok_or_else(|| {
        let remedy = "write id: N active: True rule: wl:RL domain=D \"Z:...\", or a JSON object";
        Malformed::field("body", text, "this is no exclusion", remedy)
    })?;
    Ok(ImportedElement { id: Some(id), text: exclusion })
}

fn patch<T: serde::de::DeserializeOwned>(name: &str, json: &str) -> Result<T, Malformed> {
    if !TOLD.iter().any(|told| json.contains(told)) {
        return parse_object(name, json);
    }
    let mut fields: serde_json::Map<String, Value> = parse_object(name, json)?;
    fields.retain(|field, _| !TOLD.contains(&field.as_str()));
    parse_object(name, &Value::Object(fields).to_string())
}

/// Reads a file of them. `begins` is its first byte that is no white space.
pub(super) fn read<T: Element>(
    text: &str,
    begins: Option<u8>,
) -> Result<ImportedElements<T>, FileError> {
    if begins == Some(b'[') {
        let elements: Vec<&RawValue> = parse_json(T::ARRAY, text)?;
        return of_array(T::ARRAY, &elements);
    }
    if begins == Some(b'{') && !is_lines(text, begins) && has_array::<T>(text) {
        let mut whole: std::collections::BTreeMap<String, &RawValue> = parse_object("", text)?;
        let array = whole.remove(T::ARRAY);
        if let Some(other) = whole.into_keys().next() {
            let reason = "there is no such field beside the array";
            return Err(Malformed::field(&other, "", reason, "remove it").into());
        }
        let elements: Vec<&RawValue> =
            array.map_or(Ok(vec![]), |raw| parse_json(T::ARRAY, raw.get()))?;
        return of_array(T::ARRAY, &elements);
    }
    let (elements, places) = each_line(text, T::MOST, T::WHAT, |line| T::parse("", line))?;
    Ok(ImportedElements { elements, places })
}

/// Whether an object is an answer, and no element.
fn has_array<T: Element>(text: &str) -> bool {
    matches!(serde_json::from_str::<Value>(text), Ok(Value::Object(object)) if object.contains_key(T::ARRAY))
}

/// Reads the elements of the array of this name.
pub(super) fn of_array<T: Element>(
    name: &'static str,
    array: &[&RawValue],
) -> Result<ImportedElements<T>, FileError> {
    expect_room(array.len().saturating_sub(1), T::MOST, T::WHAT)?;
    let places = Places::Elements(name);
    let (mut elements, mut bad) = (Vec::with_capacity(array.len()), BadLines::default());
    for (at, element) in array.iter().enumerate() {
        match T::parse(&places.name(at), element.get()) {
            Ok(element) => elements.push(element),
            Err(Malformed::Field(why)) => bad.push(|| why),
            // The file as a whole is JSON, so every element of it is.
            Err(why) => return Err(why.into()),
        }
    }
    bad.none_or(ImportedElements { elements, places }).map_err(FileError::Lines)
}
