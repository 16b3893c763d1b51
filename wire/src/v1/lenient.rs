//! Values the dialect writes in more than one form.
//!
//! Each type accepts exactly the forms its documentation lists.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A boolean: JSON `true`/`false` or the texts `"true"`/`"false"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Flag, E> {
                match value {
                    "true" => Ok(Flag(true)),
                    "false" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

/// A [`Flag`] that may also be `"yes"` or `"no"`, as in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct YesNo(pub bool);

impl<'de> Deserialize<'de> for YesNo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YesNoVisitor;
        impl Visitor<'_> for YesNoVisitor {
            type Value = YesNo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("yes or no, true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<YesNo, E> {
                Ok(YesNo(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<YesNo, E> {
                match value {
                    "yes" | "true" => Ok(YesNo(true)),
                    "no" | "false" => Ok(YesNo(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(YesNoVisitor)
    }
}

/// A whole number or its decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Number, E> {
                let number = value.parse().map(Number);
                number.map_err(|_| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A rule's identity: a JSON number or its decimal text; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(pub u64);

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = RuleId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a rule, a whole number above 0")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<RuleId, E> {
                if value == 0 {
                    return Err(E::invalid_value(de::Unexpected::Unsigned(value), &self));
                }
                Ok(RuleId(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<RuleId, E> {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                match value.parse() {
                    Ok(id) if digits && id > 0 => Ok(RuleId(id)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// An array of texts, or one text that is its only element; `""` is no element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let one = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
        deserializer.deserialize_any(TextsVisitor(one)).map(Self)
    }
}

/// An array of texts, or one text with commas between its elements; `""` is no element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommaList {
    /// The elements, trimmed.
    pub elements: Vec<String>,
    /// Whether the text form was used.
    pub is_text: bool,
}

impl<'de> Deserialize<'de> for CommaList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut is_text = false;
        let split = |text: &str| {
            is_text = true;
            match text.trim() {
                "" => Vec::new(),
                text => text.split(',').map(|element| element.trim().to_owned()).collect(),
            }
        };
        let elements = deserializer.deserialize_any(TextsVisitor(split))?;
        Ok(Self { elements, is_text })
    }
}

struct TextsVisitor<F>(F);

impl<'de, F: FnOnce(&str) -> Vec<String>> Visitor<'de> for TextsVisitor<F> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok((self.0)(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = elements.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

/// For optional fields: present means of its type, `null` is refused.
pub(super) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
