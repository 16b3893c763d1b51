//! The thirteen settings of the nginx module that the specification lists.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::body::BodyExclusion;
use crate::limit::{self, Limit};
use crate::text::Scratch;
use crate::{AddressEntry, Host, HostLists, HostPattern, Invalid, list};

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

/// The active settings, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `nwaf_limit`; no two entries have the same domain.
    pub limit: Vec<Limit>,
    /// `nwaf_ip_wl`
    pub ip_wl: Vec<AddressEntry>,
    /// `nwaf_ip_lm`
    pub ip_lm: Vec<AddressEntry>,
    /// The nine settings that are lists of hosts, see [`HostLists`].
    pub hosts: BTreeMap<Key, Vec<HostPattern>>,
    /// `nwaf_body_exclude`
    pub body_exclude: Vec<BodyExclusion>,
}

impl Settings {
    /// Understands settings given by name and value; every bad value is reported.
    ///
    /// # Errors
    /// Unknown names and values that are not what the name asks for.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<Invalid>> {
        let mut settings = Self::default();
        let mut refused = Vec::new();
        for (name, value) in pairs {
            let outcome = match name.parse::<Key>() {
                Ok(key) => settings.set(key, value),
                Err(why) => Err(vec![why]),
            };
            refused.extend(outcome.err().unwrap_or_default());
        }
        if refused.is_empty() { Ok(settings) } else { Err(refused) }
    }

    /// The host lists that hold for a host. O(entries).
    pub fn host_lists(&self, host: Host<'_>) -> HostLists {
        self.hosts.iter().fold(HostLists::default(), |lists, (key, patterns)| {
            match HostLists::of(*key) {
                Some(list) if patterns.iter().any(|p| p.matches(host)) => lists.with(list),
                _ => lists,
            }
        })
    }

    /// The entry of `nwaf_limit` that counts for a host. O(entries).
    pub fn limit(&self, host: Host<'_>) -> Option<&Limit> {
        limit::resolve(&self.limit, host)
    }

    /// Whether the body of a request may be read: not where `nwaf_body_exclude` names
    /// host and path, nor for PUT where `nwaf_put_body_exclude` names the host. O(entries).
    ///
    /// `url` is the path as sent; `scratch` was begun for the request.
    pub fn reads_body(
        &self,
        method: &[u8],
        host: Host<'_>,
        url: &[u8],
        scratch: &mut Scratch,
    ) -> bool {
        if method == b"PUT" && self.host_lists(host).has(HostLists::PUT_BODY_UNREAD) {
            return false;
        }
        let path = scratch.path_as_served(url);
        !self.body_exclude.iter().any(|entry| entry.matches(host, path))
    }

    fn set(&mut self, key: Key, value: &str) -> Result<(), Vec<Invalid>> {
        let name = key.name();
        match key {
            Key::Limit => self.limit = limit::parse(name, value)?,
            Key::IpWl => self.ip_wl = list::parse(name, value)?,
            Key::IpLm => self.ip_lm = list::parse(name, value)?,
            Key::BodyExclude => self.body_exclude = list::parse(name, value)?,
            Key::HostWl
            | Key::HostLm
            | Key::MlaHostLm
            | Key::AiExtraHostWl
            | Key::AiExtraHostLm
            | Key::BfDetectHostLm
            | Key::DdosDetectHostLm
            | Key::RmqHostExclude
            | Key::PutBodyExclude => {
                self.hosts.insert(key, list::parse(name, value)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_the_specification_are_understood() {
        let settings = Settings::parse([
            (
                "nwaf_limit",
                "rate=10r/m block_time=600, domain=example.com rate=5r/m block_time=300",
            ),
            ("nwaf_ip_wl", "127.0.0.1, 192.168.61.0/24, 192.168.61.1-192.168.61.255"),
            ("nwaf_ip_lm", "domain=example.com 127.0.0.1"),
            ("nwaf_host_wl", "example.com, *.example.com"),
            ("nwaf_host_lm", "*"),
            ("nwaf_body_exclude", "example.com/a, *"),
            ("nwaf_put_body_exclude", ".example.com"),
        ])
        .unwrap();
        assert_eq!(settings.limit.len(), 2);
        assert_eq!(settings.limit[1].domain, HostPattern::Exact("example.com".into()));
        assert_eq!(settings.ip_wl.len(), 3);
        assert_eq!(settings.hosts[&Key::HostLm], [HostPattern::Any]);
    }

    #[test]
    fn bad_values_name_their_setting() {
        for (name, value) in [
            ("nwaf_limit", "rate=5 block_time=1"),
            ("nwaf_limit", "rate=5r/m"),
            ("nwaf_limit", "rate=0r/m block_time=1"),
            ("nwaf_limit", "rate=5r/m block_time=-1"),
            ("nwaf_limit", "rate=5r/m rate=6r/m block_time=1"),
            ("nwaf_ip_wl", "domain=a..b 1.1.1.1"),
            ("nwaf_host_wl", "a b"),
            ("nwaf_body_exclude", "example.com"),
            ("nwaf_unknown", "1"),
        ] {
            let refused = Settings::parse([(name, value)]).unwrap_err();
            assert!(refused[0].field.starts_with(name), "{name} {value}: {refused:?}");
        }
    }
}
