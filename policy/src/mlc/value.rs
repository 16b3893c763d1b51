//! Values of the settings of behavioural analysis: as clients write them, as they are kept.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::MlcKey;
use crate::limits::{MLC_ENTRIES, MLC_INTERVAL_SECONDS, MLC_MAX_VAL};
use crate::{AddressRange, HostPattern, Invalid, UrlPrefix, list};

/// A value in one of the forms that clients use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlcInput {
    /// `true`
    Flag(bool),
    /// `10`
    Number(u64),
    /// `"true"`, `"10"`, `"127.0.0.1 192.168.1.0/24"`, `"a.com/x, b.com/y"`
    Text(String),
    /// `["127.0.0.1", "192.168.1.0/24"]`
    Texts(Vec<String>),
}

/// A value in the one form in which it is kept and shown. Built by [`MlcValue::parse`] it
/// is valid for its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlcValue {
    /// Of settings that are on or off.
    Flag(bool),
    /// Of settings that count.
    Number(u64),
    /// Of settings that list: trimmed, none twice in the same words.
    List(Vec<String>),
}

/// What values a setting has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlcKind {
    /// On or off.
    Flag,
    /// A whole number within a range.
    Number(RangeInclusive<u32>),
    /// Addresses, networks, ranges.
    Addresses,
    /// Host patterns.
    Hosts,
    /// Host patterns with or without a path.
    Urls,
    /// Host patterns with a path.
    Places,
}

impl MlcKey {
    /// What values the setting has.
    pub const fn kind(self) -> MlcKind {
        match self {
            Self::AiExtra
            | Self::DdosEnable
            | Self::DdosLatestOnly
            | Self::DdosSendPossible
            | Self::BruteEnable
            | Self::BruteLatestOnly
            | Self::BruteSendPossible => MlcKind::Flag,
            Self::DdosInterval | Self::BruteInterval => MlcKind::Number(MLC_INTERVAL_SECONDS),
            Self::BruteMaxVal => MlcKind::Number(MLC_MAX_VAL),
            Self::DdosWlIp => MlcKind::Addresses,
            Self::BruteWlHost => MlcKind::Hosts,
            Self::DdosWlUrl => MlcKind::Urls,
            Self::BruteBruteDetect | Self::BruteFloodDetect => MlcKind::Places,
        }
    }
}

impl MlcValue {
    /// Understands a value; every bad element of a list is reported.
    ///
    /// # Errors
    /// Values of another kind, beyond their range or without meaning.
    pub fn parse(key: MlcKey, input: &MlcInput) -> Result<Self, Vec<Invalid>> {
        let name = key.name();
        let value = match key.kind() {
            MlcKind::Flag => match input {
                MlcInput::Flag(flag) => Self::Flag(*flag),
                MlcInput::Text(text) if text == "true" => Self::Flag(true),
                MlcInput::Text(text) if text == "false" => Self::Flag(false),
                _ => return Err(vec![no_flag(name, &shown(input))]),
            },
            MlcKind::Number(range) => match input {
                MlcInput::Number(number) => Self::Number(*number),
                MlcInput::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                    Self::Number(text.parse().map_err(|_| vec![no_number(name, text, &range)])?)
                }
                _ => return Err(vec![no_number(name, &shown(input), &range)]),
            },
            _ => Self::List(match input {
                MlcInput::Texts(texts) => distinct(texts.iter().map(|text| text.trim())),
                MlcInput::Text(text) => {
                    let words = text.split(|c: char| c == ',' || c.is_whitespace());
                    distinct(words.filter(|word| !word.is_empty()))
                }
                _ => {
                    let remedy =
                        "give an array of texts, or one text with spaces or commas between";
                    let reason = "the value is not a list";
                    return Err(vec![Invalid::new(name, &shown(input), reason, remedy)]);
                }
            }),
        };
        value.check(key)?;
        Ok(value)
    }

    /// Whether the value has a meaning for the setting.
    ///
    /// # Errors
    /// See [`MlcValue::parse`].
    pub fn check(&self, key: MlcKey) -> Result<(), Vec<Invalid>> {
        match key.kind() {
            MlcKind::Flag => self.flag(key).map(drop),
            MlcKind::Number(range) => self.number(key, range).map(drop),
            MlcKind::Addresses => self.list::<AddressRange>(key).map(drop),
            MlcKind::Hosts => self.list::<HostPattern>(key).map(drop),
            MlcKind::Urls => self.list::<UrlPrefix>(key).map(drop),
            MlcKind::Places => self.places(key).map(drop),
        }
    }

    pub(super) fn flag(&self, key: MlcKey) -> Result<bool, Vec<Invalid>> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            _ => Err(vec![no_flag(key.name(), "")]),
        }
    }

    pub(super) fn number(
        &self,
        key: MlcKey,
        range: RangeInclusive<u32>,
    ) -> Result<u32, Vec<Invalid>> {
        let Self::Number(number) = self else {
            return Err(vec![no_number(key.name(), "", &range)]);
        };
        u32::try_from(*number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let reason = format!("the value is not within {}", spell(&range));
            let remedy = format!("give a number of {}", spell(&range));
            vec![Invalid::new(key.name(), &number.to_string(), reason, remedy)]
        })
    }

    pub(super) fn list<T: FromStr<Err = Invalid>>(
        &self,
        key: MlcKey,
    ) -> Result<Vec<T>, Vec<Invalid>> {
        let name = key.name();
        let Self::List(texts) = self else {
            return Err(vec![Invalid::new(name, "", "the value is not a list", "give a list")]);
        };
        if texts.len() > MLC_ENTRIES {
            let reason = format!("the list has more than {MLC_ENTRIES} entries");
            let remedy = "merge addresses into networks, hosts into patterns, paths into prefixes";
            return Err(vec![Invalid::new(name, "", reason, remedy)]);
        }
        list::parse_each(name, texts.iter().map(String::as_str))
    }

    /// A list of places that all have a path: a whole site is what DDoS is looked for on.
    pub(super) fn places(&self, key: MlcKey) -> Result<Vec<UrlPrefix>, Vec<Invalid>> {
        let places: Vec<UrlPrefix> = self.list(key)?;
        let no_path = |(index, place): (usize, &UrlPrefix)| {
            place.path.is_none().then(|| {
                let field = format!("{key}[{index}]");
                let remedy = "write host/path, for example example.com/auth; host/ is every path";
                Invalid::new(field, &place.to_string(), "there is no path after the host", remedy)
            })
        };
        let refused: Vec<Invalid> = places.iter().enumerate().filter_map(no_path).collect();
        if refused.is_empty() { Ok(places) } else { Err(refused) }
    }
}

fn no_flag(name: &str, value: &str) -> Invalid {
    Invalid::new(name, value, "the value is neither true nor false", "give true or false")
}

fn no_number(name: &str, value: &str, range: &RangeInclusive<u32>) -> Invalid {
    let remedy = format!("give a number of {}", spell(range));
    Invalid::new(name, value, "the value is not a whole number", remedy)
}

fn spell(range: &RangeInclusive<u32>) -> String {
    format!("{}-{}", range.start(), range.end())
}

fn shown(input: &MlcInput) -> String {
    match input {
        MlcInput::Flag(flag) => flag.to_string(),
        MlcInput::Number(number) => number.to_string(),
        MlcInput::Text(text) => text.clone(),
        MlcInput::Texts(texts) => texts.first().cloned().unwrap_or_default(),
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    texts.filter(|text| seen.insert(*text)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_be_arrays_or_texts() {
        let expected = MlcValue::List(vec!["a.com/x".into(), "b.com/y".into()]);
        let array =
            |texts: &[&str]| MlcInput::Texts(texts.iter().map(|t| (*t).to_owned()).collect());
        for input in [
            array(&["a.com/x", " b.com/y ", "a.com/x"]),
            MlcInput::Text("a.com/x b.com/y".into()),
            MlcInput::Text(" a.com/x,b.com/y, ".into()),
            MlcInput::Text("a.com/x ,\tb.com/y".into()),
        ] {
            assert_eq!(MlcValue::parse(MlcKey::BruteBruteDetect, &input), Ok(expected.clone()));
        }
        for input in [MlcInput::Text(String::new()), MlcInput::Texts(vec![])] {
            let none = MlcValue::parse(MlcKey::DdosWlIp, &input);
            assert_eq!(none, Ok(MlcValue::List(vec![])));
        }
        // In an array, spaces and commas are part of a path.
        let input = array(&["a.com/x, y"]);
        assert!(MlcValue::parse(MlcKey::BruteBruteDetect, &input).is_ok());
        let refused = MlcValue::parse(MlcKey::DdosWlIp, &array(&["::1", ""])).unwrap_err();
        assert_eq!(refused[0].field, "ddos__wl_ip[1]");
    }

    #[test]
    fn a_list_has_a_limit() {
        let list =
            |n: usize| MlcInput::Texts((0..n).map(|n| format!("h{n}.example.com")).collect());
        MlcValue::parse(MlcKey::BruteWlHost, &list(MLC_ENTRIES)).unwrap();
        let refused = MlcValue::parse(MlcKey::BruteWlHost, &list(MLC_ENTRIES + 1)).unwrap_err();
        assert!(refused[0].reason.contains("more than 10000"), "{refused:?}");
    }
}
