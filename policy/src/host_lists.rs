//! The nine settings that are lists of hosts, and what they say about one host.

use crate::Key;

/// A set of host lists, one bit a list; the bits are part of the snapshot's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct HostLists(u16);

impl HostLists {
    /// `nwaf_host_wl`: no analysis, no block, no record.
    pub const BYPASS: Self = Self(1);
    /// `nwaf_host_lm`: everything is recorded and nothing blocked.
    pub const OBSERVE: Self = Self(1 << 1);
    /// `nwaf_mla_host_lm`: verdicts of the behavioural model are observed.
    pub const OBSERVE_MODEL: Self = Self(1 << 2);
    /// `nwaf_ai_extra_host_wl`: verdicts of the later analysis are dropped.
    pub const DROP_LATER_ANALYSIS: Self = Self(1 << 3);
    /// `nwaf_ai_extra_host_lm`: verdicts of the later analysis are observed.
    pub const OBSERVE_LATER_ANALYSIS: Self = Self(1 << 4);
    /// `nwaf_bf_detect_host_lm`: verdicts about brute force and flood are observed.
    pub const OBSERVE_BRUTE_FORCE: Self = Self(1 << 5);
    /// `nwaf_ddos_detect_host_lm`: verdicts about DDoS are observed.
    pub const OBSERVE_DDOS: Self = Self(1 << 6);
    /// `nwaf_rmq_host_exclude`: requests are not published to the queue.
    pub const NOT_QUEUED: Self = Self(1 << 7);
    /// `nwaf_put_body_exclude`: bodies of PUT requests are not read.
    pub const PUT_BODY_UNREAD: Self = Self(1 << 8);
    /// Every list.
    pub const ALL: Self = Self((1 << 9) - 1);

    /// The list that a setting is; none where it is not a list of hosts.
    pub const fn of(key: Key) -> Option<Self> {
        Some(match key {
            Key::HostWl => Self::BYPASS,
            Key::HostLm => Self::OBSERVE,
            Key::MlaHostLm => Self::OBSERVE_MODEL,
            Key::AiExtraHostWl => Self::DROP_LATER_ANALYSIS,
            Key::AiExtraHostLm => Self::OBSERVE_LATER_ANALYSIS,
            Key::BfDetectHostLm => Self::OBSERVE_BRUTE_FORCE,
            Key::DdosDetectHostLm => Self::OBSERVE_DDOS,
            Key::RmqHostExclude => Self::NOT_QUEUED,
            Key::PutBodyExclude => Self::PUT_BODY_UNREAD,
            Key::Limit | Key::IpWl | Key::IpLm | Key::BodyExclude => return None,
        })
    }

    /// The settings in the set, in the order of the specification's table.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        Key::ALL.into_iter().filter(move |key| Self::of(*key).is_some_and(|list| self.has(list)))
    }

    /// Whether any list of `other` is in the set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits, as the snapshot holds them.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set with these bits; none where a bit is not defined.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_a_bit_of_its_own() {
        let lists: Vec<_> = Key::ALL.into_iter().filter_map(HostLists::of).collect();
        assert_eq!(lists.len(), 9);
        let all = lists.iter().fold(HostLists::default(), |all, list| {
            assert!(!all.has(*list));
            all.with(*list)
        });
        assert_eq!(all, HostLists::ALL);
        assert_eq!(all.keys().count(), 9);
        assert_eq!(HostLists::from_bits(1 << 9), None);
    }
}
