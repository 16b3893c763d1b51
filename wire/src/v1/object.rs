//! The object of `set` for settings: its keys are the settings' names, beside `active`.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use policy::{Key, MlcKey};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::fields::short;
use super::lenient::Flag;

/// The names that an object may have.
pub(crate) trait Name: Copy + Ord + FromStr + 'static {
    /// Every one.
    const NAMES: &'static [Self];
    /// How it is written.
    fn name(self) -> &'static str;
}

impl Name for Key {
    const NAMES: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Name for MlcKey {
    const NAMES: &'static [Self] = &Self::ALL;

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

/// Settings of a request: no name twice, also under an alias.
pub(crate) struct SettingsObject<K, V> {
    /// `active`.
    pub active: Option<bool>,
    /// In the order in which they were given.
    pub values: Vec<(K, V)>,
}

impl<'de, K: Name, V: Deserialize<'de>> Deserialize<'de> for SettingsObject<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<K, V>(PhantomData<(K, V)>);
        impl<'de, K: Name, V: Deserialize<'de>> Visitor<'de> for ObjectVisitor<K, V> {
            type Value = SettingsObject<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut object = SettingsObject { active: None, values: Vec::new() };
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "active" {
                        let Flag(active) = map.next_value()?;
                        if object.active.replace(active).is_some() {
                            return Err(de::Error::duplicate_field("active"));
                        }
                        continue;
                    }
                    let Ok(key) = name.parse::<K>() else {
                        let known: Vec<_> =
                            K::NAMES.iter().map(|key| format!("`{}`", key.name())).collect();
                        return Err(de::Error::custom(format_args!(
                            "unknown field `{}`, expected one of `active`, {}",
                            short(&name),
                            known.join(", ")
                        )));
                    };
                    if !seen.insert(key) {
                        return Err(de::Error::duplicate_field(key.name()));
                    }
                    object.values.push((key, map.next_value()?));
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}
