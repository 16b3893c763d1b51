//! What a write asks for, by call.
//!
//! Only the form is judged here; whether a value has a meaning is `policy`'s business.

use policy::Key;
use serde::Deserialize;

use super::fields::{Fields, Malformed, parse_json, parse_object};
use super::lenient::{CommaList, Flag, RuleId, given};
use super::object::SettingsObject;
use super::rule::RulePatch;

/// `set_dyn_settings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsWrite {
    /// Give these settings these values.
    Set {
        /// Whether they act; true where the client says nothing.
        active: bool,
        /// Names and values; at least one, no name twice.
        values: Vec<(Key, String)>,
    },
    /// Forget settings, by the names the client wrote.
    Del(Vec<String>),
}

/// `set_dyn_bl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockListWrite {
    /// Replace the list, switch it on or off, or both; at least one is given.
    Set {
        /// Whether the list acts.
        active: Option<bool>,
        /// The whole new list.
        entries: Option<Vec<String>>,
    },
    /// Remove every entry.
    Clear,
    /// Remove these entries; at least one.
    Remove(Vec<String>),
}

/// `set_dyn_erl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleWrite {
    /// Add a rule.
    Add(RulePatch),
    /// Change the given fields of a rule.
    Update(u64, RulePatch),
    /// Forget a rule.
    Delete(u64),
}

impl SettingsWrite {
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
        let SettingsObject { active, values } = parse_object::<SettingsObject<Key, _>>(name, text)?;
        if values.is_empty() {
            let remedy = "add at least one setting, for example nwaf_ip_wl";
            return Err(Malformed::field("set", "", "no setting is given", remedy));
        }
        Ok(Self::Set { active: active.unwrap_or(true), values })
    }
}

impl BlockListWrite {
    /// Reads the operation of a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Set {
            #[serde(default, deserialize_with = "given")]
            active: Option<Flag>,
            #[serde(default, deserialize_with = "given")]
            bl: Option<CommaList>,
        }
        let (name, text) = fields.operation(&["set", "del"])?;
        if name == "del" {
            let list: CommaList = parse_json(name, text)?;
            return match (list.elements.is_empty(), list.is_text) {
                (false, _) => Ok(Self::Remove(list.elements)),
                (true, true) => Ok(Self::Clear),
                (true, false) => {
                    let remedy = "name entries, or write \"del\": \"\" to remove all of them";
                    Err(Malformed::field("del", "[]", "no entry is named", remedy))
                }
            };
        }
        let Set { active, bl } = parse_object(name, text)?;
        if active.is_none() && bl.is_none() {
            let remedy = "add bl (the whole list), active, or both";
            return Err(Malformed::field("set.bl", "", "the field is missing", remedy));
        }
        Ok(Self::Set { active: active.map(|flag| flag.0), entries: bl.map(|list| list.elements) })
    }
}

impl RuleWrite {
    /// Reads the operation of a request.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn parse(fields: &Fields) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Del {
            id: RuleId,
        }
        let (name, text) = fields.operation(&["add", "upd", "del"])?;
        match name {
            "add" => {
                let patch: RulePatch = parse_object(name, text)?;
                if let Some(RuleId(id)) = patch.id {
                    let reason = "the server chooses the id of a new rule";
                    let remedy = "remove id, or use upd to change an existing rule";
                    return Err(Malformed::field("add.id", &id.to_string(), reason, remedy));
                }
                Ok(Self::Add(patch))
            }
            "upd" => {
                let patch: RulePatch = parse_object(name, text)?;
                let Some(RuleId(id)) = patch.id else {
                    let remedy = "add the id that get_dyn_erl shows";
                    return Err(Malformed::field("upd.id", "", "the field is missing", remedy));
                };
                Ok(Self::Update(id, patch))
            }
            _ => Ok(Self::Delete(parse_object::<Del>(name, text)?.id.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::from_json(body).unwrap()
    }

    fn name_of(refused: Malformed) -> String {
        match refused {
            Malformed::Field(why) => why.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn settings() {
        let body = r#"{"key":"k","set":{"nwaf_ip_wl":"127.0.0.1, 127.0.0.2","nwaf_ai_extra_host_lm":"example.com","active":"true"}}"#;
        let Ok(SettingsWrite::Set { active, values }) = SettingsWrite::parse(&fields(body)) else {
            panic!("refused");
        };
        assert!(active);
        assert_eq!(values[0], (Key::IpWl, "127.0.0.1, 127.0.0.2".into()));
        let del = SettingsWrite::parse(&fields(r#"{"del":"nwaf_ip_wl, nwaf_limit"}"#)).unwrap();
        assert_eq!(del, SettingsWrite::Del(vec!["nwaf_ip_wl".into(), "nwaf_limit".into()]));
        for (body, field) in [
            (r#"{"set":{"nwaf_x":"1"}}"#, "set.nwaf_x"),
            (r#"{"set":{"nwaf_limit":"1","nwaf_limit":"2"}}"#, "set.nwaf_limit"),
            (r#"{"set":{"active":"true","active":true}}"#, "set.active"),
            (r#"{"set":{"nwaf_ip_wl":5}}"#, "set.nwaf_ip_wl"),
            (r#"{"set":{"active":"yes"}}"#, "set.active"),
            (r#"{"set":{"active":true}}"#, "set"),
            (r#"{"set":"nwaf_ip_wl"}"#, "set"),
            (r#"{"del":""}"#, "del"),
            (r#"{"del":[1]}"#, "del[0]"),
            (r#"{"add":{}}"#, "add"),
            (r#"{}"#, "set, del"),
        ] {
            let refused = SettingsWrite::parse(&fields(body)).unwrap_err();
            assert_eq!(name_of(refused.clone()), field, "{body}: {refused}");
        }
    }

    #[test]
    fn a_name_of_megabytes_is_not_repeated() {
        let long = "x".repeat(1 << 20);
        for body in [
            format!(r#"{{"set":{{"{long}":"1"}}}}"#),
            format!(r#"{{"set":{{"nwaf_ip_wl":{{"{long}":"1"}}}}}}"#),
            format!(r#"{{"set":{{"active":"{long}"}}}}"#),
        ] {
            let refused = SettingsWrite::parse(&fields(&body)).unwrap_err().to_string();
            assert!(refused.len() < 2_000, "{}", refused.len());
        }
        let body = format!(r#"{{"add":{{"{long}":"1"}}}}"#);
        let refused = RuleWrite::parse(&fields(&body)).unwrap_err().to_string();
        assert!(refused.len() < 2_000 && refused.contains("other_headers"), "{}", refused.len());
    }

    #[test]
    fn block_list() {
        let parse = |body: &str| BlockListWrite::parse(&fields(body));
        let set = |active, entries: Option<&[&str]>| BlockListWrite::Set {
            active,
            entries: entries.map(|e| e.iter().map(|e| (*e).to_owned()).collect()),
        };
        assert_eq!(
            parse(r#"{"set":{"active":"true","bl":["domain=example.com 1.1.1.1","2.2.2.2"]}}"#),
            Ok(set(Some(true), Some(&["domain=example.com 1.1.1.1", "2.2.2.2"])))
        );
        assert_eq!(
            parse(r#"{"set":{"bl":"1.1.1.1, 2.2.2.2"}}"#),
            Ok(set(None, Some(&["1.1.1.1", "2.2.2.2"])))
        );
        assert_eq!(parse(r#"{"set":{"bl":[]}}"#), Ok(set(None, Some(&[]))));
        assert_eq!(parse(r#"{"set":{"active":false}}"#), Ok(set(Some(false), None)));
        assert_eq!(parse(r#"{"del":""}"#), Ok(BlockListWrite::Clear));
        assert_eq!(
            parse(r#"{"del":["1.1.1.1"]}"#),
            Ok(BlockListWrite::Remove(vec!["1.1.1.1".into()]))
        );
        for (body, field) in [
            (r#"{"del":[]}"#, "del"),
            (r#"{"del":{"id":1}}"#, "del"),
            (r#"{"set":{}}"#, "set.bl"),
            (r#"{"set":{"bl":["a",5]}}"#, "set.bl[1]"),
            (r#"{"set":{"wl":[]}}"#, "set.wl"),
            (r#"{"set":{"bl":[],"bl":[]}}"#, "set.bl"),
        ] {
            let refused = parse(body).unwrap_err();
            assert_eq!(name_of(refused.clone()), field, "{body}: {refused}");
        }
    }

    #[test]
    fn rules() {
        let parse = |body: &str| RuleWrite::parse(&fields(body));
        assert!(matches!(
            parse(r#"{"add":{"ip":"1.1.1.1","active":"true"}}"#),
            Ok(RuleWrite::Add(_))
        ));
        assert!(matches!(
            parse(r#"{"upd":{"id":"1","ip":"1.1.1.1"}}"#),
            Ok(RuleWrite::Update(1, _))
        ));
        assert_eq!(parse(r#"{"del":{"id":7}}"#), Ok(RuleWrite::Delete(7)));
        for (body, field) in [
            (r#"{"add":{"id":1,"ip":"1.1.1.1"}}"#, "add.id"),
            (r#"{"add":{"ips":"1.1.1.1"}}"#, "add.ips"),
            (r#"{"add":{"ip":"1","ip":"1"}}"#, "add.ip"),
            (r#"{"add":{"ip":["1"]}}"#, "add.ip"),
            (r#"{"add":{"other_headers":["a",null]}}"#, "add.other_headers[1]"),
            (r#"{"upd":{"ip":"1.1.1.1"}}"#, "upd.id"),
            (r#"{"upd":{"id":"x"}}"#, "upd.id"),
            (r#"{"del":{}}"#, "del.id"),
            (r#"{"del":[1]}"#, "del"),
            (r#"{"del":""}"#, "del"),
        ] {
            let refused = parse(body).unwrap_err();
            assert_eq!(name_of(refused.clone()), field, "{body}: {refused}");
        }
    }
}
