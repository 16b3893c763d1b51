//! The records inside sections.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// "Any host" where a record names a pattern.
pub const ANY: u32 = u32::MAX;
/// "Nothing" where a record names another one.
pub const NONE: u32 = u32::MAX;
/// Entries of the first-level index: one for each leading 16 bits, and the end.
pub const INDEX_LENGTH: usize = 65_537;
/// IPv6 ranges for one entry of their index.
pub const V6_BLOCK: usize = 32;

/// A range of IPv4 addresses inside one /16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct V4Range {
    /// The low 16 bits of its first address.
    pub first: u16,
    /// The low 16 bits of its last address.
    pub last: u16,
    /// What holds there, in [`super::SectionId::Sets`].
    pub set: u32,
}

/// What holds for the addresses of a range: a list set and a member set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetRecord {
    /// Which entries of address lists.
    pub lists: u32,
    /// Which rules, or which bans.
    pub members: u32,
}

/// What an address entry is for.
pub mod list {
    /// White list.
    pub const BYPASS: u8 = 1;
    /// Passive list.
    pub const OBSERVE: u8 = 2;
    /// Block list.
    pub const BLOCK: u8 = 4;
    /// Block list entries whose hits are reported (`api=yes`).
    pub const REPORT: u8 = 8;
    /// Every defined bit.
    pub const ALL: u8 = 15;
}

/// One (lists, host pattern) pair that holds for the addresses of a list set.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct ListEntry {
    /// Index of the pattern, or [`ANY`].
    pub pattern: u32,
    /// Bits of [`list`].
    pub lists: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A host pattern other than `*`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PatternRecord {
    /// Where the domain stands in the blob.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u16,
    /// Bits of [`reach`].
    pub reach: u8,
    /// Zero.
    pub reserved: u8,
}

/// Which hosts a pattern reaches.
pub mod reach {
    /// The domain itself.
    pub const SELF: u8 = 1;
    /// Everything below it.
    pub const BELOW: u8 = 2;
}

/// What is known about one domain, apart for itself and for everything below it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HostSlot {
    /// Upper half of the hash of the domain read from its end, see [`hash_step`].
    pub hash: u32,
    /// Where the domain stands in the blob.
    pub offset: u32,
    /// Its length in bytes; 0 in an empty slot.
    pub length: u16,
    /// Bits of the host lists for the domain itself.
    pub itself: u16,
    /// Bits of the host lists for everything below it.
    pub below: u16,
    /// Zero.
    pub reserved: u16,
    /// The entry of [`super::SectionId::Limits`] for the domain itself, or [`NONE`].
    pub limit_itself: u32,
    /// The same for everything below it.
    pub limit_below: u32,
    /// Rules to try for the domain itself: first one in [`super::SectionId::Postings`].
    pub rules_itself: u32,
    /// Their number; the rules for everything below follow them.
    pub rules_itself_count: u32,
    /// The number of rules to try for everything below the domain.
    pub rules_below_count: u32,
}

impl HostSlot {
    /// The entry of `nwaf_limit` for a host for which `entry` was the closest among
    /// shorter domains; `itself` where the host is this domain.
    #[inline]
    pub fn closer_limit(&self, itself: bool, entry: u32) -> u32 {
        match if itself { self.limit_itself } else { self.limit_below } {
            NONE => entry,
            own => own,
        }
    }
}

/// One entry of `nwaf_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LimitRecord {
    /// Blocked requests that are allowed in one window.
    pub rate: u32,
    /// The window in seconds, 1 or 60.
    pub window: u32,
    /// The ban in seconds.
    pub block_time: u32,
    /// Index of the pattern, or [`ANY`].
    pub pattern: u32,
}

/// One key of a table by name.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameSlot {
    /// Upper half of the hash of the name read from its end, see [`hash_step`].
    pub hash: u32,
    /// Where the name stands in the blob.
    pub offset: u32,
    /// Its length in bytes; 0 in an empty slot.
    pub length: u16,
    /// Zero.
    pub reserved: u16,
    /// First of its items in [`super::SectionId::Postings`].
    pub item: u32,
    /// Number of items.
    pub items: u32,
}

/// The rules to try for clients of one country.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CountryRecord {
    /// The two letters, first one lowest.
    pub code: u32,
    /// First of the rules in [`super::SectionId::Postings`].
    pub item: u32,
    /// Number of rules.
    pub items: u32,
}

/// One ban.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BanRecord {
    /// When it ends, seconds since 1970.
    pub until: u64,
    /// The rule that led to it, or 0.
    pub rule: u64,
    /// Index of the pattern, or [`ANY`].
    pub pattern: u32,
    /// Number of the block type.
    pub kind: u32,
}

/// Start of the hash of a name (FNV-1a, 64 bits).
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds one byte to the hash of a name.
#[inline]
pub const fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash of a whole name.
#[inline]
pub fn name_hash(name: &[u8]) -> u64 {
    name.iter().rev().fold(HASH_START, |hash, byte| hash_step(hash, *byte))
}

/// A number of a header's name that is found at a glance: from its length and its
/// first and last letter, whatever their case.
#[inline]
pub fn header_class(name: &[u8]) -> u8 {
    let letter = |byte: Option<&u8>| byte.map_or(0, |byte| byte.to_ascii_lowercase());
    let (first, last) = (letter(name.first()), letter(name.last()));
    (name.len() as u8).wrapping_mul(37) ^ first.wrapping_mul(11) ^ last
}

/// One extended rule.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleRecord {
    /// Identity.
    pub id: u64,
    /// First condition.
    pub condition: u32,
    /// Number of conditions.
    pub conditions: u16,
    /// Bits of [`rule_flag`].
    pub flags: u8,
    /// Number of the zone hits are reported in.
    pub zone: u8,
}

/// Flags of a rule.
pub mod rule_flag {
    /// Observe, never block.
    pub const OBSERVE: u8 = 1;
    /// Report hits to the API.
    pub const API: u8 = 2;
    /// Hits do not count for `nwaf_limit`.
    pub const NOBAN: u8 = 4;
    /// Every defined bit.
    pub const ALL: u8 = 7;
}

/// One condition of a rule.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConditionRecord {
    /// First term.
    pub term: u32,
    /// Number of terms; 0 for conditions without an expression.
    pub terms: u32,
    /// Where the header's name (lower case) stands in the blob.
    pub name: u32,
    /// Its slot in [`super::SectionId::HeaderNames`]; [`NONE`] for conditions without a name.
    pub slot: u32,
    /// Its length in bytes.
    pub name_length: u16,
    /// [`Field`]
    pub field: u8,
    /// Zero.
    pub reserved: u8,
}

/// Room for the numbers of [`Field`].
pub const FIELDS: usize = 16;
/// Longest step between two looked-at positions of a text.
pub const STRIDE_MAX: usize = 4;
/// Bytes of a gram: the piece of a literal that is looked up at every position of a text.
pub const GRAM: usize = 4;

/// The hash of a gram: its highest bits select a bit of [`super::SectionId::GramBits`]
/// and a slot of [`super::SectionId::Grams`] (multiplicative hashing, 2^32 / golden ratio).
#[inline]
pub const fn gram_hash(gram: u32) -> u32 {
    gram.wrapping_mul(0x9e37_79b1)
}

/// One gram that literals are filed under.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GramSlot {
    /// The four bytes, first one lowest.
    pub gram: u32,
    /// First of its groups.
    pub group: u32,
    /// Number of groups; 0 in an empty slot.
    pub groups: u32,
}

/// The literals of one field that have the gram at one place, in ascending order.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GramGroup {
    /// Number of the [`Field`]; headers without a zone count as [`Field::HeaderAny`].
    pub field: u16,
    /// Where the gram stands in the literals.
    pub at: u16,
    /// First of its entries.
    pub entry: u32,
    /// Number of entries.
    pub entries: u32,
}

/// One literal of a group.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GramEntry {
    /// Where the literal stands in the blob.
    pub literal: u32,
    /// Its length in bytes.
    pub length: u16,
    /// Zero.
    pub reserved: u16,
    /// The longest other literal of the group that this one begins with, counted
    /// from the group's first; [`NONE`] where there is none. Always an earlier one.
    pub parent: u32,
    /// First of the rules it selects, in [`super::SectionId::Postings`].
    pub posting: u32,
    /// Number of rules it selects.
    pub postings: u32,
    /// Its number among the literals of all terms, see [`TermRecord::literal`].
    pub number: u32,
}

/// What a condition looks at, in the order conditions are tried: cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// Client address; terms point into ranges.
    Ip = 1,
    /// Host; terms point into patterns.
    Domain = 2,
    /// Country; terms hold two letters.
    Country = 3,
    /// Path.
    Url = 4,
    /// Query.
    Args = 5,
    /// No cookie.
    NoCookie = 6,
    /// `Cookie`
    Cookie = 7,
    /// `User-Agent`
    UserAgent = 8,
    /// `Referer`
    Referer = 9,
    /// No header of the name.
    HeaderAbsent = 10,
    /// A header of the name.
    HeaderPresent = 11,
    /// Text in the header of the name.
    HeaderNamed = 12,
    /// Text in any other header.
    HeaderAny = 13,
    /// Body.
    Body = 14,
}

impl Field {
    /// The field with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Ip,
            2 => Self::Domain,
            3 => Self::Country,
            4 => Self::Url,
            5 => Self::Args,
            6 => Self::NoCookie,
            7 => Self::Cookie,
            8 => Self::UserAgent,
            9 => Self::Referer,
            10 => Self::HeaderAbsent,
            11 => Self::HeaderPresent,
            12 => Self::HeaderNamed,
            13 => Self::HeaderAny,
            14 => Self::Body,
            _ => return None,
        })
    }
}

/// One operand.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TermRecord {
    /// Text: position in the blob. Address: index of the range. Host: index of
    /// the pattern or [`ANY`]. Country: the two letters, first one lowest.
    pub value: u32,
    /// Text: length in bytes. Otherwise 0.
    pub length: u32,
    /// Bits of [`term_flag`].
    pub flags: u32,
    /// Text: the literal's number, the same for the same text in the same field.
    /// Literals of at least [`GRAM`] bytes and shorter ones are numbered apart.
    /// [`NONE`] where the text is to be looked for each time, and for other terms.
    pub literal: u32,
}

/// Flags of a term.
pub mod term_flag {
    /// Joined by `|`; otherwise by `&`.
    pub const OR: u32 = 1;
    /// Negated.
    pub const NOT: u32 = 2;
    /// Text that is too short for the search over all literals.
    pub const SHORT: u32 = 4;
    /// Every defined bit.
    pub const ALL: u32 = 7;
}

/// A range of addresses of a rule.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RangeRecord {
    /// First address.
    pub first: u128,
    /// Last address.
    pub last: u128,
    /// 4 or 6.
    pub family: u64,
    /// Zero.
    pub reserved: u64,
}
