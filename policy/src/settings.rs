//! The thirteen settings of the nginx module that the specification lists.

use std::collections::BTreeMap;

use crate::body::BodyExclusion;
use crate::limit::{self, Limit};
use crate::limits::LIST_ENTRIES;
use crate::text::Scratch;
use crate::{AddressEntry, Host, HostLists, HostPattern, Invalid, Key, Keys, list};

/// The active settings, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The settings that were given a value, an empty one too: where two sources have
    /// settings, a key that is given in the one takes no value of the other.
    pub given: Keys,
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
                Ok(key) => settings.replace(key, value),
                Err(why) => Err(vec![why]),
            };
            refused.extend(outcome.err().unwrap_or_default());
        }
        if refused.is_empty() { Ok(settings) } else { Err(refused) }
    }

    /// Gives a setting another value: of a name that comes twice, the last value counts.
    fn replace(&mut self, key: Key, value: &str) -> Result<(), Vec<Invalid>> {
        self.take_over(key, &Self::default());
        self.add(key, value)
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

    /// These settings and, for keys that are not given here, those of `local`.
    #[must_use]
    pub fn over(&self, local: &Self) -> Self {
        let mut both = self.clone();
        local.given.without(self.given).iter().for_each(|key| both.take_over(key, local));
        both
    }

    /// The settings of these keys alone.
    #[must_use]
    pub fn only(&self, keys: Keys) -> Self {
        let mut few = Self::default();
        self.given.iter().filter(|key| keys.has(*key)).for_each(|key| few.take_over(key, self));
        few
    }

    /// Adds what another line says about a setting to what the lines before it said.
    /// O(entries of the value), for `nwaf_limit` times those before it.
    ///
    /// # Errors
    /// As [`Settings::parse`], and where both together are more than one setting may
    /// hold or name a domain twice. Nothing is added then.
    pub fn add(&mut self, key: Key, value: &str) -> Result<(), Vec<Invalid>> {
        let name = key.name();
        match key {
            Key::Limit => limit::add(name, &mut self.limit, limit::parse(name, value)?)?,
            Key::IpWl => append(name, &mut self.ip_wl, list::parse(name, value)?)?,
            Key::IpLm => append(name, &mut self.ip_lm, list::parse(name, value)?)?,
            Key::BodyExclude => append(name, &mut self.body_exclude, list::parse(name, value)?)?,
            Key::HostWl
            | Key::HostLm
            | Key::MlaHostLm
            | Key::AiExtraHostWl
            | Key::AiExtraHostLm
            | Key::BfDetectHostLm
            | Key::DdosDetectHostLm
            | Key::RmqHostExclude
            | Key::PutBodyExclude => {
                let more = list::parse(name, value)?;
                append(name, self.hosts.entry(key).or_default(), more)?;
            }
        }
        self.given = self.given.with(Keys::of(key));
        Ok(())
    }

    fn take_over(&mut self, key: Key, from: &Self) {
        match key {
            Key::Limit => self.limit.clone_from(&from.limit),
            Key::IpWl => self.ip_wl.clone_from(&from.ip_wl),
            Key::IpLm => self.ip_lm.clone_from(&from.ip_lm),
            Key::BodyExclude => self.body_exclude.clone_from(&from.body_exclude),
            Key::HostWl
            | Key::HostLm
            | Key::MlaHostLm
            | Key::AiExtraHostWl
            | Key::AiExtraHostLm
            | Key::BfDetectHostLm
            | Key::DdosDetectHostLm
            | Key::RmqHostExclude
            | Key::PutBodyExclude => {
                self.hosts.insert(key, from.hosts.get(&key).cloned().unwrap_or_default());
            }
        }
        self.given = self.given.with(Keys::of(key));
    }
}

fn append<T>(name: &str, list: &mut Vec<T>, mut more: Vec<T>) -> Result<(), Vec<Invalid>> {
    if list.len() + more.len() > LIST_ENTRIES {
        return Err(vec![list::too_long(name)]);
    }
    list.append(&mut more);
    Ok(())
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

    #[test]
    fn lines_add_up_and_a_refused_one_adds_nothing() {
        let mut settings = Settings::default();
        for (key, value) in [
            (Key::IpWl, "192.0.2.1, 192.0.2.2"),
            (Key::IpWl, "domain=a.com 192.0.2.3"),
            (Key::HostLm, ""),
            (Key::Limit, "rate=5r/m block_time=600"),
            (Key::Limit, "domain=a.com rate=1r/s block_time=1"),
            (Key::PutBodyExclude, ".a.com"),
            (Key::PutBodyExclude, ".b.com"),
        ] {
            settings.add(key, value).unwrap();
        }
        let before = settings.clone();
        let refused = settings.add(Key::Limit, "domain=A.com rate=2r/s block_time=1").unwrap_err();
        assert!(refused[0].reason.contains("another entry already"), "{refused:?}");
        settings.add(Key::IpWl, "192.0.2.4, 192.0.2").unwrap_err();
        assert_eq!(settings, before);
        let at_once = Settings::parse([
            ("nwaf_ip_wl", "192.0.2.1, 192.0.2.2, domain=a.com 192.0.2.3"),
            ("nwaf_host_lm", ""),
            ("nwaf_limit", "rate=5r/m block_time=600, domain=a.com rate=1r/s block_time=1"),
            ("nwaf_put_body_exclude", ".a.com, .b.com"),
        ]);
        assert_eq!(Ok(settings), at_once);
    }

    #[test]
    fn together_lines_may_not_hold_more_than_one_setting_may() {
        use crate::limits::LIMITS;
        let mut settings = Settings::default();
        for n in 0..LIMITS {
            settings.add(Key::Limit, &format!("domain=h{n}.a rate=1r/m block_time=1")).unwrap();
        }
        let refused = settings.add(Key::Limit, "rate=1r/m block_time=1").unwrap_err();
        assert!(refused[0].reason.contains("more than"), "{refused:?}");
    }

    #[test]
    fn a_given_key_takes_nothing_from_the_other_source() {
        let value = |key: Key, nth: u8| match key {
            Key::Limit => format!("rate={nth}r/m block_time=1"),
            Key::IpWl | Key::IpLm => format!("192.0.2.{nth}"),
            Key::BodyExclude => format!("a.com/{nth}"),
            _ => format!("h{nth}.com"),
        };
        let all = |nth| {
            let pairs = Key::ALL.map(|key| (key.name(), value(key, nth)));
            Settings::parse(pairs.iter().map(|(key, value)| (*key, value.as_str()))).unwrap()
        };
        let local = all(1);
        for key in Key::ALL {
            let api = all(2).only(Keys::of(key));
            assert_eq!(api.given, Keys::of(key));
            let both = api.over(&local);
            assert_eq!(both.given, Keys::ALL);
            assert_eq!(both.only(Keys::of(key)), api, "{key}");
            let rest = Keys::ALL.without(Keys::of(key));
            assert_eq!(both.only(rest), local.only(rest), "{key}");
            // Given and empty is not the same as not given.
            let none = Settings::parse([(key.name(), "")]).unwrap().over(&local);
            assert_eq!(none.only(Keys::of(key)), Settings::parse([(key.name(), "")]).unwrap());
        }
        assert_eq!(Settings::default().over(&local), local);
        assert_eq!(local.over(&Settings::default()), local);
    }
}
