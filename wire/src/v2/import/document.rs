//! Settings of a file, and the document that holds a whole policy.

use std::collections::BTreeMap;

use policy::{Key, MlcKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    FileError, Imported, ImportedList, ImportedMlc, ImportedSetting, POLICY_FORMAT, Places,
    elements,
};
use crate::v1::{Flag, Malformed, SettingsObject, mlc_input, parse_json, parse_object};
use crate::v2::Revision;

/// Settings by name: a text, or an object with `value` and `active`. Answers of
/// `get_dyn_settings` in both dialects have these forms, too.
pub(super) fn settings(name: &str, text: &str) -> Result<Vec<ImportedSetting>, Malformed> {
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

/// A whole policy, as `export/policy` writes it.
pub(super) fn policy(text: &str) -> Result<Imported, FileError> {
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
        #[serde(borrow)]
        exclusions: Option<Vec<&'a RawValue>>,
        #[serde(borrow)]
        mlc_settings: Option<&'a RawValue>,
        vhosts: Option<Vec<String>>,
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
    let rules = document.rules.map(|all| elements::of_array("rules", &all)).transpose()?;
    let exclusions =
        document.exclusions.map(|all| elements::of_array("exclusions", &all)).transpose()?;
    let mlc_settings = document.mlc_settings.map(|raw| mlc(raw.get())).transpose()?;
    let vhosts = document.vhosts;
    Ok(Imported { settings: all, block_list, rules, exclusions, mlc_settings, vhosts })
}

/// Settings of behavioural analysis by name: `value` and `active`.
fn mlc(text: &str) -> Result<Vec<ImportedMlc>, Malformed> {
    const NAME: &str = "mlc_settings";
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Setting<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
        active: Flag,
    }
    let object: SettingsObject<MlcKey, &RawValue> = parse_object(NAME, text)?;
    let setting = |(key, raw): (MlcKey, &RawValue)| {
        let place = format!("{NAME}.{key}");
        let Setting { value, active } = parse_object(&place, raw.get())?;
        let value = mlc_input(&format!("{place}.value"), value.get())?;
        Ok(ImportedMlc { key, value, active: active.0 })
    };
    if object.active.is_some() {
        let remedy = "say of each setting whether it acts";
        return Err(Malformed::field("mlc_settings.active", "", "there is no such field", remedy));
    }
    object.values.into_iter().map(setting).collect()
}
