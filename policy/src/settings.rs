//! The thirteen settings of the nginx module that the specification lists.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::limits::{BLOCK_TIME_SECONDS, RATE};
use crate::{AddressEntry, HostPattern, Invalid, list};

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

/// The unit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// `r/s`
    Second,
    /// `r/m`
    Minute,
}

/// One entry of `nwaf_limit`: `rate=5r/m block_time=600 [domain=<pattern>]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The hosts it bans for.
    pub domain: HostPattern,
    /// Blocked requests that are still allowed in one unit; 1 to [`RATE`].
    pub rate: u32,
    /// The unit.
    pub per: Per,
    /// Seconds of the ban; 0 never bans.
    pub block_time: u32,
}

impl FromStr for Limit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str =
            "write rate=5r/m block_time=600, optionally with domain=<pattern>; r/s counts a second";
        let refuse = |reason: String| Invalid::new("nwaf_limit", text, reason, REMEDY);
        let (mut domain, mut rate, mut block_time) = (None, None, None);
        for option in text.split_whitespace() {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| refuse(format!("{option:?} is not an option")))?;
            let twice = match name {
                "domain" => domain.replace(value.parse::<HostPattern>()?).is_some(),
                "rate" => {
                    let (count, per) = match (value.strip_suffix("r/m"), value.strip_suffix("r/s"))
                    {
                        (Some(count), _) => (count, Per::Minute),
                        (_, Some(count)) => (count, Per::Second),
                        _ => return Err(refuse(format!("{value:?} does not end in r/m or r/s"))),
                    };
                    let count = count
                        .parse::<u32>()
                        .ok()
                        .filter(|count| (1..=RATE).contains(count))
                        .ok_or_else(|| refuse(format!("a rate is a number of 1-{RATE}")))?;
                    rate.replace((count, per)).is_some()
                }
                "block_time" => {
                    let seconds = value
                        .parse::<u32>()
                        .ok()
                        .filter(|seconds| *seconds <= BLOCK_TIME_SECONDS)
                        .ok_or_else(|| {
                            refuse(format!(
                                "block_time is a number of seconds, 0-{BLOCK_TIME_SECONDS}"
                            ))
                        })?;
                    block_time.replace(seconds).is_some()
                }
                _ => return Err(refuse(format!("unknown option {name:?}"))),
            };
            if twice {
                return Err(refuse(format!("{name} is given twice")));
            }
        }
        let (rate, per) = rate.ok_or_else(|| refuse("rate is missing".into()))?;
        let block_time = block_time.ok_or_else(|| refuse("block_time is missing".into()))?;
        Ok(Self { domain: domain.unwrap_or(HostPattern::Any), rate, per, block_time })
    }
}

/// One entry of `nwaf_body_exclude`: `*` or `host/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyExclusion {
    /// The hosts.
    pub host: HostPattern,
    /// The exact path, with its leading slash; `None` for `*`, which is every path.
    pub path: Option<String>,
}

impl FromStr for BodyExclusion {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(Self { host: HostPattern::Any, path: None });
        }
        let slash = text.find('/').ok_or_else(|| {
            Invalid::new(
                "nwaf_body_exclude",
                text,
                "there is no path after the host",
                "write * or host/path, for example example.com/upload",
            )
        })?;
        let (host, path) = text.split_at(slash);
        Ok(Self { host: host.parse()?, path: Some(path.to_owned()) })
    }
}

/// The active settings, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `nwaf_limit`
    pub limit: Vec<Limit>,
    /// `nwaf_ip_wl`
    pub ip_wl: Vec<AddressEntry>,
    /// `nwaf_ip_lm`
    pub ip_lm: Vec<AddressEntry>,
    /// `nwaf_host_wl`
    pub host_wl: Vec<HostPattern>,
    /// `nwaf_host_lm`
    pub host_lm: Vec<HostPattern>,
    /// The settings that are lists of hosts for the detectors.
    pub detector_hosts: BTreeMap<Key, Vec<HostPattern>>,
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

    fn set(&mut self, key: Key, value: &str) -> Result<(), Vec<Invalid>> {
        let name = key.name();
        match key {
            Key::Limit => self.limit = list::parse(name, value)?,
            Key::IpWl => self.ip_wl = list::parse(name, value)?,
            Key::IpLm => self.ip_lm = list::parse(name, value)?,
            Key::HostWl => self.host_wl = list::parse(name, value)?,
            Key::HostLm => self.host_lm = list::parse(name, value)?,
            Key::BodyExclude => self.body_exclude = list::parse(name, value)?,
            Key::MlaHostLm
            | Key::AiExtraHostWl
            | Key::AiExtraHostLm
            | Key::BfDetectHostLm
            | Key::DdosDetectHostLm
            | Key::RmqHostExclude
            | Key::PutBodyExclude => {
                self.detector_hosts.insert(key, list::parse(name, value)?);
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
        assert_eq!(settings.host_lm, [HostPattern::Any]);
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
