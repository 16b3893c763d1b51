//! The record of attacks: written in batches by nodes, searched by people, forgotten by age.
//!
//! It is kept apart from policies, so that neither its writes nor its size delay them. Its
//! promises:
//!
//! * An attack that was acknowledged is there after a crash of this program.
//! * A batch is in it as a whole or not at all; an attack that is there already, by WAF id,
//!   node, id and time, is not stored twice.
//! * The order is that of (time, number), and both make the identity: pages neither repeat
//!   nor leave out what was there when the first one was read.
//!
//! `story::events` is the conformance test.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use async_trait::async_trait;
use wire::v2::attack::{Attack, AttackAction};

use crate::{StoreError, WafId};

/// Attacks, newest first, that one summary counts; older ones are left out and the answer
/// says so.
pub const SUMMARY_EVENTS: u32 = 1_000_000;
/// Days made ahead where days have a place of their own: tomorrow, for clocks that are
/// ahead, and the day after, should nobody look after it for a day.
pub const DAYS_AHEAD: i64 = 2;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// What names an attack within a WAF id; ordered as the record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttackId {
    /// When it happened, Unix milliseconds.
    pub at_ms: i64,
    /// Tells attacks of one millisecond apart.
    pub seq: i64,
}

impl fmt::Display for AttackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at_ms, self.seq)
    }
}

impl FromStr for AttackId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str| {
            let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| only_digits).ok_or(())
        };
        let (at_ms, seq) = text.split_once('.').ok_or(())?;
        Ok(Self { at_ms: number(at_ms)?, seq: number(seq)? })
    }
}

/// An attack as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttackRow {
    /// Identity.
    pub id: AttackId,
    /// The node that handed it in.
    pub node: String,
    /// When it did, Unix milliseconds.
    pub received_ms: i64,
    /// The line of its journal, as [`Attack::text`].
    pub event: String,
}

/// Which attacks are meant; all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttackFilter {
    /// From this moment on, Unix milliseconds.
    pub from_ms: Option<i64>,
    /// Before this moment.
    pub to_ms: Option<i64>,
    /// First and last address.
    pub addresses: Option<([u8; 16], [u8; 16])>,
    /// In upper case.
    pub country: Option<String>,
    /// In lower case, as nginx has it.
    pub host: Option<String>,
    /// The deciding rule.
    pub rule: Option<u64>,
    /// The block type.
    pub bt: Option<u8>,
    /// What happened.
    pub action: Option<AttackAction>,
    /// Who handed it in.
    pub node: Option<String>,
    /// Where it was found.
    pub zone: Option<String>,
    /// nginx's `$request_id`.
    pub request_id: Option<String>,
}

/// A value and how often it was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The value; `None` where events have none.
    pub value: Option<String>,
    /// Lines.
    pub events: u64,
    /// Requests these lines stand for.
    pub requests: u64,
}

/// What a range of the record amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines that were counted, at most [`SUMMARY_EVENTS`].
    pub events: u64,
    /// Requests they stand for.
    pub requests: u64,
    /// By block type.
    pub bt: Vec<Share>,
    /// By deciding rule.
    pub rule: Vec<Share>,
    /// By host.
    pub host: Vec<Share>,
    /// By client; the values are as [`address_text`] spells them.
    pub address: Vec<Share>,
}

/// Where attacks are kept.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Stores a batch; how many of it are new.
    async fn add_attacks(
        &self,
        waf: WafId,
        node: &str,
        received_ms: i64,
        attacks: &[Attack],
    ) -> Result<u64, StoreError>;

    /// The newest `limit` attacks below `before` that `filter` means, newest first.
    async fn attacks(
        &self,
        waf: WafId,
        filter: &AttackFilter,
        before: Option<AttackId>,
        limit: u32,
    ) -> Result<Vec<AttackRow>, StoreError>;

    /// One attack.
    async fn attack(&self, waf: WafId, id: AttackId) -> Result<Option<AttackRow>, StoreError>;

    /// Counts the newest [`SUMMARY_EVENTS`] attacks that `filter` means; of each kind the
    /// `top` most frequent values by requests.
    async fn summarize(
        &self,
        waf: WafId,
        filter: &AttackFilter,
        top: u32,
    ) -> Result<Summary, StoreError>;

    /// Makes places for the days from now on; cheap where they are there.
    async fn prepare_days(&self, now_ms: i64) -> Result<(), StoreError>;

    /// Forgets what is older than `before_ms`, and everything of WAF ids that are not among
    /// `wafs`, in steps that keep nobody waiting. An engine may keep the rest of a day that
    /// has not gone by as a whole. How many steps there were: `most` means there is more.
    async fn forget_attacks(
        &self,
        before_ms: i64,
        wafs: &[WafId],
        most: u32,
    ) -> Result<u32, StoreError>;
}

/// An address as 16 bytes, IPv4 as mapped IPv6: both are ordered as addresses are.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that [`address_bytes`] made these of; `None` for anything else.
pub fn address_text(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(policy::address::canonical(IpAddr::from(bytes)).to_string())
}

/// The day of a moment, counted from 1970-01-01 UTC.
pub const fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}
