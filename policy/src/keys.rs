//! The names of the settings, and sets of them.

use std::fmt;
use std::str::FromStr;

use crate::Invalid;

/// The name of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `nwaf_limit`
    Limit,
    /// `nwaf_ip_wl`
    IpWl,
    /// `nwaf_ip_lm`
    IpLm,
    /// `nwaf_host_wl`
    HostWl,
    /// `nwaf_host_lm`
    HostLm,
    /// `nwaf_mla_host_lm`
    MlaHostLm,
    /// `nwaf_ai_extra_host_wl`
    AiExtraHostWl,
    /// `nwaf_ai_extra_host_lm`
    AiExtraHostLm,
    /// `nwaf_bf_detect_host_lm`
    BfDetectHostLm,
    /// `nwaf_ddos_detect_host_lm`
    DdosDetectHostLm,
    /// `nwaf_rmq_host_exclude`
    RmqHostExclude,
    /// `nwaf_body_exclude`
    BodyExclude,
    /// `nwaf_put_body_exclude`
    PutBodyExclude,
}

impl Key {
    /// Every key, in the order of the specification's table.
    pub const ALL: [Self; 13] = [
        Self::Limit,
        Self::IpWl,
        Self::IpLm,
        Self::HostWl,
        Self::HostLm,
        Self::MlaHostLm,
        Self::AiExtraHostWl,
        Self::AiExtraHostLm,
        Self::BfDetectHostLm,
        Self::DdosDetectHostLm,
        Self::RmqHostExclude,
        Self::BodyExclude,
        Self::PutBodyExclude,
    ];

    /// The name users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limit => "nwaf_limit",
            Self::IpWl => "nwaf_ip_wl",
            Self::IpLm => "nwaf_ip_lm",
            Self::HostWl => "nwaf_host_wl",
            Self::HostLm => "nwaf_host_lm",
            Self::MlaHostLm => "nwaf_mla_host_lm",
            Self::AiExtraHostWl => "nwaf_ai_extra_host_wl",
            Self::AiExtraHostLm => "nwaf_ai_extra_host_lm",
            Self::BfDetectHostLm => "nwaf_bf_detect_host_lm",
            Self::DdosDetectHostLm => "nwaf_ddos_detect_host_lm",
            Self::RmqHostExclude => "nwaf_rmq_host_exclude",
            Self::BodyExclude => "nwaf_body_exclude",
            Self::PutBodyExclude => "nwaf_put_body_exclude",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Key {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|key| key.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|key| key.name()).collect();
            Invalid::new(
                text,
                text,
                "there is no such setting",
                format!("the settings are {}", names.join(", ")),
            )
        })
    }
}

/// A set of settings, one bit a setting; the bits are part of the snapshot's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Keys(u32);

impl Keys {
    /// Every setting.
    pub const ALL: Self = Self((1 << Key::ALL.len()) - 1);

    /// The set of one: its bit is the setting's place in [`Key::ALL`].
    pub const fn of(key: Key) -> Self {
        Self(1 << key as u32)
    }

    /// Whether a setting is in the set.
    pub const fn has(self, key: Key) -> bool {
        self.0 & Self::of(key).0 != 0
    }

    /// Whether no setting is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of this set is not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The settings in the set, in the order of the specification's table.
    pub fn iter(self) -> impl Iterator<Item = Key> {
        Key::ALL.into_iter().filter(move |key| self.has(*key))
    }

    /// The bits, as the snapshot holds them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these bits; none where a bit is not defined.
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_the_bit_of_its_place() {
        for (place, key) in Key::ALL.into_iter().enumerate() {
            assert_eq!(Keys::of(key).bits(), 1 << place, "{key}");
            assert_eq!(Keys::of(key).iter().collect::<Vec<_>>(), [key]);
            assert!(!Keys::ALL.without(Keys::of(key)).has(key));
        }
        assert_eq!(Keys::from_bits(Keys::ALL.bits()), Some(Keys::ALL));
        assert_eq!(Keys::from_bits(1 << Key::ALL.len()), None);
        assert!(Keys::default().is_empty() && !Keys::of(Key::Limit).is_empty());
    }
}
