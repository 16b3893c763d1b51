//! Settings of behavioural analysis and the list of virtual hosts, in the vendor's dialect.
//!
//! Values are native JSON: flags, numbers, arrays of texts; clients may write all of them as
//! texts, too.

use std::collections::BTreeMap;
use std::fmt;

use policy::{Invalid, MlcInput, MlcKey, MlcValue};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::answer::{Object, Provenance, spaced_json};
use super::fields::{Fields, Malformed, parse_json, parse_object};
use super::lenient::CommaList;
use super::object::SettingsObject;
use super::read::{AnswerError, shorten};

/// `set_mlc_settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlcWrite {
    /// Give these settings these values.
    Set {
        /// Whether they act; true where the client says nothing.
        active: bool,
        /// Names and values; at least one, no name twice.
        values: Vec<(MlcKey, MlcInput)>,
    },
    /// Forget settings, by the names the client wrote; see [`MlcKey::of_short_name`].
    Del(Vec<String>),
}

/// `set_vhosts_list`: the whole new list, as the client wrote its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostsWrite(pub Vec<String>);

/// One setting of an answer.
#[derive(Debug, Clone, Copy)]
pub struct MlcLine<'a> {
    /// Its name.
    pub key: MlcKey,
    /// Its value.
    pub value: &'a MlcValue,
    /// Whether it acts.
    pub active: bool,
    /// Given in extended answers.
    pub provenance: Option<&'a Provenance>,
}

impl MlcWrite {
    /// Reads the operation of a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        let (name, text) = fields.operation(&["set", "del"])?;
        if name == "del" {
            let names = parse_json::<CommaList>(name, text)?.elements;
            if names.is_empty() {
                let remedy = "write del with one name, a comma-separated list or an array of names";
                return Err(Malformed::field("del", "", "no setting is named", remedy));
            }
            return Ok(Self::Del(names));
        }
        let object: SettingsObject<MlcKey, Input> = parse_object(name, text)?;
        if object.values.is_empty() {
            let remedy = "add at least one setting, for example brute__interval";
            return Err(Malformed::field("set", "", "no setting is given", remedy));
        }
        let values = object.values.into_iter().map(|(key, Input(value))| (key, value)).collect();
        Ok(Self::Set { active: object.active.unwrap_or(true), values })
    }
}

impl VhostsWrite {
    /// Reads the list of a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        const NAME: &str = "vhosts_list";
        fields.expect_parameters(&[NAME])?;
        let Some(text) = &fields.vhosts_list else {
            let remedy = "add it: \"a.com, b.com\" or an array; \"\" is no host";
            return Err(Malformed::field(NAME, "", "the field is missing", remedy));
        };
        Ok(Self(parse_json::<CommaList>(NAME, text)?.elements))
    }
}

/// `get_mlc_settings`: a flat object of the settings that are set and act; extended as
/// [`super::settings_text`].
pub fn mlc_text(lines: &[MlcLine<'_>], extended: bool) -> String {
    let acts = lines.is_empty() || lines.iter().any(|line| line.active);
    let mut object = Object(vec![("status", "success".into()), ("active", acts.into())]);
    for line in lines.iter().filter(|line| extended || line.active) {
        object.0.push((line.key.name(), mlc_json(line.value)));
    }
    if extended {
        let inactive = lines.iter().filter(|line| !line.active);
        let inactive = inactive.map(|line| line.key.name().into()).collect();
        object.0.push(("inactive", Value::Array(inactive)));
        let details = lines.iter().filter_map(|line| {
            let detail = serde_json::to_value(line.provenance?).expect("plain data");
            Some((line.key.name().to_owned(), detail))
        });
        object.0.push(("details", Value::Object(details.collect())));
    }
    spaced_json(&object)
}

/// The settings of a `get_mlc_settings` answer that act.
///
/// # Errors
/// Anything but a flat JSON object with `"status": "success"`, names that are no settings,
/// values that do not fit.
pub fn read_mlc(text: &str) -> Result<BTreeMap<MlcKey, MlcValue>, AnswerError> {
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
    if matches!(object.remove("active"), Some(Value::Bool(false))) {
        return Ok(BTreeMap::new());
    }
    let refused = |why: &Invalid| AnswerError::Line { line: 1, reason: why.to_string() };
    object
        .into_iter()
        .filter(|(name, _)| !inactive.iter().any(|inactive| inactive.as_str() == Some(name)))
        .map(|(name, value)| {
            let key: MlcKey = name.parse().map_err(|why| refused(&why))?;
            Ok((key, mlc_value(key, value).map_err(|why| refused(&why[0]))?))
        })
        .collect()
}

/// A value as native JSON.
pub fn mlc_json(value: &MlcValue) -> Value {
    match value {
        MlcValue::Flag(flag) => (*flag).into(),
        MlcValue::Number(number) => (*number).into(),
        MlcValue::List(texts) => texts.clone().into(),
    }
}

/// The value of a setting from native JSON: the reader of [`mlc_json`].
///
/// # Errors
/// What [`MlcValue::parse`] refuses, and JSON that is no value of any setting.
pub fn mlc_value(key: MlcKey, value: Value) -> Result<MlcValue, Vec<Invalid>> {
    let Input(input) = Input::deserialize(value).map_err(|why| {
        let remedy = "give true or false, a number, or an array of texts";
        vec![Invalid::new(key.name(), "", why.to_string(), remedy)]
    })?;
    MlcValue::parse(key, &input)
}

/// A value of a setting in any of the forms that clients use; `field` names it for errors.
///
/// # Errors
/// JSON that is no value of any setting.
pub(crate) fn mlc_input(field: &str, json: &str) -> Result<MlcInput, Malformed> {
    parse_json(field, json).map(|Input(input)| input)
}

/// `get_vhosts_list`: a Python literal whose list is a text of JSON.
pub fn vhosts_text<'a>(vhosts: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<&str> = vhosts.into_iter().collect();
    // Host patterns have neither quotes nor backslashes, so nothing needs escaping.
    format!("{{'status': 'success', 'vhosts_list': '{}'}}\n", spaced_json(&list))
}

/// The virtual hosts of a `get_vhosts_list` answer.
///
/// # Errors
/// Anything else.
pub fn read_vhosts(text: &str) -> Result<Vec<String>, AnswerError> {
    let text = text.trim();
    if text.starts_with("{'status':") && !text.starts_with("{'status': 'success'") {
        return Err(AnswerError::Failed(shorten(text)));
    }
    let list = text.strip_prefix("{'status': 'success', 'vhosts_list': '");
    let list = list.and_then(|list| list.strip_suffix("'}")).ok_or(AnswerError::NoStatus)?;
    serde_json::from_str(list).map_err(|why| AnswerError::Line { line: 1, reason: why.to_string() })
}

/// A value in any of the forms that clients use.
struct Input(MlcInput);

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;
        impl<'de> Visitor<'de> for InputVisitor {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false, a whole number, a string or an array of strings")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Input, E> {
                Ok(Input(MlcInput::Flag(value)))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Input, E> {
                Ok(Input(MlcInput::Number(value)))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Input, E> {
                Ok(Input(MlcInput::Text(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Input, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = elements.next_element()? {
                    texts.push(text);
                }
                Ok(Input(MlcInput::Texts(texts)))
            }
        }
        deserializer.deserialize_any(InputVisitor)
    }
}

#[cfg(test)]
mod tests;
