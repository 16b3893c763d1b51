//! The bytes of a snapshot, format version 1.
//!
//! ```text
//! Header | Section table | section | section | ...      (each section starts at a multiple of 16)
//! ```
//! Integers have the byte order of the machine that wrote the file; the header
//! says which, and a reader of the other order refuses. Positions inside
//! sections are 32 bits wide, so a file is at most 4 GiB.
//!
//! Version rules: a change that an old reader would misread raises
//! [`FORMAT_VERSION`] and the header's `min_reader`; a new section that may be
//! ignored raises only [`FORMAT_VERSION`]. Readers skip sections they do not know.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of every snapshot.
pub const MAGIC: [u8; 8] = *b"NWAFSNAP";
/// Format this code writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Oldest reader that understands what this code writes.
pub const MIN_READER: u32 = 1;
/// Reads as this number only in the byte order it was written in.
pub const BYTE_ORDER: u32 = 0x0102_0304;
/// Alignment of sections, that of the widest record field.
pub const ALIGNMENT: usize = 16;
/// "Any host" where a record names a pattern.
pub const ANY: u32 = u32::MAX;
/// Below this many ranges the first-level index is left out.
pub const INDEX_FROM: usize = 256;
/// Entries of the first-level index: one per leading 16 bits, and the end.
pub const INDEX_LENGTH: usize = 65_537;

/// The first 128 bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: [u8; 8],
    /// [`BYTE_ORDER`]
    pub byte_order: u32,
    /// Format the writer knew.
    pub format_version: u32,
    /// Lowest format version that may read the file.
    pub min_reader: u32,
    /// CRC-32 (ISO-HDLC) over the whole file with this field zero.
    pub checksum: u32,
    /// Session of the policy.
    pub session: u64,
    /// Generation of the policy.
    pub generation: u64,
    /// When it was compiled, milliseconds since 1970; for people, not for ordering.
    pub created_ms: u64,
    /// Bytes after the header.
    pub payload_length: u64,
    /// Entries of all address lists.
    pub addresses: u64,
    /// Entries of the host lists.
    pub hosts: u64,
    /// Extended rules.
    pub rules: u64,
    /// Entries of the section table.
    pub sections: u32,
    /// Flags of hosts lists that hold `*`; bits of [`list`].
    pub any_host: u32,
    /// By number of [`Field`]: at which positions a text of the field is looked
    /// at, every one (1) to every fourth (4); 0 where the field has no literals.
    pub strides: [u8; FIELDS],
    /// Zero.
    pub reserved: [u64; 3],
}

/// One entry of the section table.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionEntry {
    /// [`SectionId`]
    pub id: u32,
    /// Zero.
    pub reserved: u32,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// The sections of version 1. Their order in this enum is their index in readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SectionId {
    /// `u32` x 65,537: how many IPv4 ranges start below each /16; empty for small maps.
    V4Index = 0,
    /// `u32`: first addresses of disjoint ascending ranges.
    V4First = 1,
    /// `u32`: their last addresses.
    V4Last = 2,
    /// `u16` or `u32`: their set ids. The width is the length divided by the number of ranges.
    V4Sets = 3,
    /// `u128`, as for IPv4.
    V6First = 4,
    /// `u128`
    V6Last = 5,
    /// `u16` or `u32`
    V6Sets = 6,
    /// `u32`: where each set starts in [`SectionId::SetEntries`]; one more than there are sets.
    SetOffsets = 7,
    /// [`SetEntry`]
    SetEntries = 8,
    /// [`PatternRecord`]
    Patterns = 9,
    /// [`HostSlot`]: open addressing, linear probing, a power of two of slots.
    Hosts = 10,
    /// [`RuleRecord`] in the order of their ids.
    Rules = 11,
    /// [`ConditionRecord`]
    Conditions = 12,
    /// [`TermRecord`]
    Terms = 13,
    /// [`RangeRecord`]
    Ranges = 14,
    /// Bytes that records point into.
    Blob = 15,
    /// `u32`: ascending positions of the rules that are tried for every request.
    Always = 16,
    /// `u64`: one bit for each hash of a gram, see [`gram_hash`]; a power of two of words.
    GramBits = 17,
    /// [`GramSlot`]: open addressing, linear probing, a power of two of slots.
    Grams = 18,
    /// [`GramEntry`]
    GramEntries = 19,
    /// `u32`: positions of the rules that a literal selects.
    Postings = 20,
    /// [`GramGroup`]
    GramGroups = 21,
}

/// Number of sections of version 1.
pub const SECTIONS: usize = 22;
/// Names of the sections, for messages.
pub const SECTION_NAMES: [&str; SECTIONS] = [
    "v4-index",
    "v4-first",
    "v4-last",
    "v4-sets",
    "v6-first",
    "v6-last",
    "v6-sets",
    "set-offsets",
    "set-entries",
    "patterns",
    "hosts",
    "rules",
    "conditions",
    "terms",
    "ranges",
    "blob",
    "always",
    "gram-bits",
    "grams",
    "gram-entries",
    "postings",
    "gram-groups",
];

/// What an address or host entry is for.
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

/// One (lists, host pattern) pair that holds for the addresses of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetEntry {
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

/// One domain of the host lists.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HostSlot {
    /// Hash of the domain read from its end, see [`hash_step`].
    pub hash: u64,
    /// Where the domain stands in the blob.
    pub offset: u32,
    /// Its length in bytes; 0 in an empty slot.
    pub length: u16,
    /// Bits of [`list`] for the domain itself.
    pub itself: u8,
    /// Bits of [`list`] for everything below it.
    pub below: u8,
}

/// Start of a host hash (FNV-1a, 64 bits).
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds one byte to a host hash.
#[inline]
pub const fn hash_step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
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

/// The hash of a gram: its highest bits select a bit of [`SectionId::GramBits`]
/// and a slot of [`SectionId::Grams`] (multiplicative hashing, 2^32 / golden ratio).
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

/// [`GramEntry::parent`] of a literal that begins with no other one.
pub const NO_PARENT: u32 = u32::MAX;

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
    /// from the group's first; [`NO_PARENT`] where there is none. Always an earlier one.
    pub parent: u32,
    /// First of the rules it selects, in [`SectionId::Postings`].
    pub posting: u32,
    /// Number of rules it selects.
    pub postings: u32,
}

/// What a condition looks at, in the order conditions are tried: cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// Flags of a term.
pub mod term_flag {
    /// Joined by `|`; otherwise by `&`.
    pub const OR: u32 = 1;
    /// Negated.
    pub const NOT: u32 = 2;
    /// Every defined bit.
    pub const ALL: u32 = 3;
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

const _: () = {
    assert!(size_of::<Header>() == 128);
    assert!(size_of::<SectionEntry>() == 24);
    assert!(size_of::<SetEntry>() == 8);
    assert!(size_of::<PatternRecord>() == 8);
    assert!(size_of::<HostSlot>() == 16);
    assert!(size_of::<RuleRecord>() == 16);
    assert!(size_of::<ConditionRecord>() == 16);
    assert!(size_of::<TermRecord>() == 12);
    assert!(size_of::<RangeRecord>() == 48);
    assert!(size_of::<GramSlot>() == 12);
    assert!(size_of::<GramGroup>() == 12);
    assert!(size_of::<GramEntry>() == 20);
};
