//! Bans: addresses shut out for a while, by a detector or by hand.
//!
//! They change far more often than policies and never move a generation: they have a
//! number of their own, which grows with every ban and every lift of a WAF id. Each row
//! carries the number of its last change, no two rows the same, so that whoever knows a
//! number can be told what changed after it.
//!
//! A row outlives its ban until the last end that was ever told of it: a node that missed
//! the lift, and the row's whole second life, is told as long as it could still act.

use async_trait::async_trait;

use crate::{Action, StoreError, WafId};

/// Bans of a WAF id; those that end soonest go first. A node that knows them keeps them
/// until they end.
pub const BANS_MAX: u32 = 1_000_000;
/// Lifted and ended bans of a WAF id that are remembered for nodes that have not heard of
/// it; where the oldest ones go, nodes that far behind read everything anew.
pub const GONE_BANS_MAX: u32 = 100_000;

/// A ban to be made. Its identity is (address, domain, bt).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBan {
    /// Address, network or range in its one spelling.
    pub address: String,
    /// Its first and last address, see [`crate::address_bytes`].
    pub span: ([u8; 16], [u8; 16]),
    /// Host pattern in its one spelling; `*` for every host.
    pub domain: String,
    /// Block type of what it blocks.
    pub bt: u8,
    /// The rule that led to it; 0 for none.
    pub rule: u64,
    /// Why, in words.
    pub reason: String,
    /// When it ends, Unix milliseconds.
    pub until_ms: i64,
}

/// A ban as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanRow {
    /// Identity; never given again.
    pub id: i64,
    /// The number of its last change.
    pub revision: u64,
    /// See [`NewBan::address`].
    pub address: String,
    /// See [`NewBan::domain`].
    pub domain: String,
    /// See [`NewBan::bt`].
    pub bt: u8,
    /// See [`NewBan::rule`].
    pub rule: u64,
    /// See [`NewBan::reason`].
    pub reason: String,
    /// Name of the key that made it.
    pub source: String,
    /// When it began, Unix milliseconds.
    pub start_ms: i64,
    /// When it ends.
    pub until_ms: i64,
    /// Whether it was lifted before its end.
    pub lifted: bool,
}

/// Which bans are lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lift {
    /// The one of this id.
    Id(i64),
    /// All of this address (in its one spelling), of this domain and block type where given.
    Address {
        /// See [`NewBan::address`].
        address: String,
        /// See [`NewBan::domain`].
        domain: Option<String>,
        /// See [`NewBan::bt`].
        bt: Option<u8>,
    },
}

/// Where a WAF id's bans stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BanState {
    /// The number of the last change.
    pub revision: u64,
    /// Changes up to this number are not all remembered.
    pub floor: u64,
}

/// Which bans are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BanFilter {
    /// Only rows that changed after this number.
    pub after: u64,
    /// Lifted and ended ones, too.
    pub gone: bool,
    /// Only those that hold for this address.
    pub address: Option<[u8; 16]>,
    /// Only those of this block type.
    pub bt: Option<u8>,
}

/// Bans as part of a [`crate::Store`].
#[async_trait]
pub trait Bans: Send + Sync + 'static {
    /// Makes bans, all or none, with one entry in the action log. One that is in force is
    /// extended, never shortened. The rows as they are now, in the order given; of repeated
    /// ones the last.
    async fn add_bans(
        &self,
        waf: WafId,
        bans: &[NewBan],
        now_ms: i64,
        action: Action,
    ) -> Result<Vec<BanRow>, StoreError>;

    /// Lifts bans that are in force, with one entry in the action log if there are any. The
    /// rows as they are now.
    async fn lift_bans(
        &self,
        waf: WafId,
        lift: &Lift,
        now_ms: i64,
        action: Action,
    ) -> Result<Vec<BanRow>, StoreError>;

    /// At most `limit` bans in the order of their numbers, and where all bans stand, read at
    /// one instant.
    async fn bans(
        &self,
        waf: WafId,
        filter: &BanFilter,
        now_ms: i64,
        limit: u32,
    ) -> Result<(BanState, Vec<BanRow>), StoreError>;

    /// How many bans are in force, by WAF id.
    async fn count_bans(&self, now_ms: i64) -> Result<Vec<(WafId, u64)>, StoreError>;

    /// Forgets bans nobody can act on any more, at most `most` of them. How many.
    async fn forget_bans(&self, now_ms: i64, most: u32) -> Result<u64, StoreError>;
}

/// Bans as the action log shows them.
pub fn bans_json(rows: &[BanRow]) -> String {
    let shown = rows.iter().map(|row| {
        let BanRow { id, address, domain, bt, until_ms, .. } = row;
        serde_json::json!({"id": id, "address": address, "domain": domain, "bt": bt,
                           "until_ms": until_ms})
    });
    serde_json::Value::Array(shown.collect()).to_string()
}
