//! Bans: addresses that a limit or a detector has shut out for a while.
//!
//! They change far more often than the rest of a policy, so they travel and are
//! compiled apart from it. What they mean is decided here like everything else.

use std::fmt;
use std::net::IpAddr;

use crate::{AddressRange, BlockType, Host, HostLists, HostPattern};

/// Who has banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum BanKind {
    /// The later analysis of requests that passed.
    LaterAnalysis = 4,
    /// `nwaf_limit`
    Limit = 6,
    /// Brute force.
    BruteForce = 7,
    /// Flood.
    Flood = 9,
    /// DDoS.
    Ddos = 10,
}

impl BanKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::LaterAnalysis, Self::Limit, Self::BruteForce, Self::Flood, Self::Ddos];

    /// The kind with this number, which is that of its block type.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The block type of a block by such a ban.
    pub const fn block_type(self) -> BlockType {
        match self {
            Self::LaterAnalysis => BlockType::LaterAnalysis,
            Self::Limit => BlockType::LimitBan,
            Self::BruteForce => BlockType::BruteForce,
            Self::Flood => BlockType::Flood,
            Self::Ddos => BlockType::Ddos,
        }
    }

    /// Whether such a ban has no effect at all on a host of these lists.
    pub const fn is_dropped(self, lists: HostLists) -> bool {
        matches!(self, Self::LaterAnalysis) && lists.has(HostLists::DROP_LATER_ANALYSIS)
    }

    /// Whether such a ban only observes on a host of these lists.
    pub const fn is_observed(self, lists: HostLists) -> bool {
        lists.has(match self {
            Self::LaterAnalysis => HostLists::OBSERVE_LATER_ANALYSIS,
            Self::BruteForce | Self::Flood => HostLists::OBSERVE_BRUTE_FORCE,
            Self::Ddos => HostLists::OBSERVE_DDOS,
            Self::Limit => return false,
        })
    }
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ban {
    /// The addresses.
    pub range: AddressRange,
    /// The hosts it shuts them out from.
    pub domain: HostPattern,
    /// Who has banned.
    pub kind: BanKind,
    /// The rule that led to it; 0 for none.
    pub rule: u64,
    /// When it ends, in seconds since 1970; from this second on it has no effect.
    pub until: u64,
}

impl Ban {
    /// Whether the ban holds for a client and the host it asks at a moment.
    pub fn matches(&self, address: IpAddr, host: Host<'_>, now: u64) -> bool {
        now < self.until && self.range.contains(address) && self.domain.matches(host)
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain != HostPattern::Any {
            write!(f, "domain={} ", self.domain)?;
        }
        write!(f, "{} until {} for BT {}", self.range, self.until, self.kind as u8)
    }
}
