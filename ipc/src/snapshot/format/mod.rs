//! The bytes of a snapshot, format version 1; `docs/snapshot-format.md` is the
//! same for people.
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

mod records;

pub use records::*;
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

/// What a file holds.
pub mod kind {
    /// A policy.
    pub const POLICY: u32 = 0;
    /// Bans.
    pub const BANS: u32 = 1;
}

/// The first 160 bytes.
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
    /// Entries of all address lists; bans in a file of bans.
    pub addresses: u64,
    /// Entries of the host lists.
    pub hosts: u64,
    /// Extended rules.
    pub rules: u64,
    /// A number of [`kind`].
    pub kind: u32,
    /// Entries of the section table.
    pub sections: u32,
    /// By number of [`Field`]: at which positions a text of the field is looked
    /// at, every one (1) to every fourth (4); 0 where the field has no literals.
    pub strides: [u8; FIELDS],
    /// The entry of [`SectionId::Limits`] for hosts without one of their own, or [`NONE`].
    pub any_limit: u32,
    /// Bits of the host lists that hold `*`.
    pub any_host: u16,
    /// 1 where no body is to be read (`nwaf_body_exclude` holds `*`).
    pub no_bodies: u16,
    /// One bit for each [`header_class`] of a name in [`SectionId::HeaderNames`], so
    /// that most headers need no lookup.
    pub header_classes: [u64; 4],
    /// Bits of [`policy::Keys`]: the settings that the policy gives, empty ones too.
    pub given: u32,
    /// Zero.
    pub reserved: [u32; 3],
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
    /// `u32` x 65,537: how many records of [`SectionId::V4Ranges`] belong to lower
    /// /16 networks, and their number; empty without IPv4 ranges.
    V4Index = 0,
    /// [`V4Range`]: disjoint and ascending inside each /16.
    V4Ranges = 1,
    /// `u128`: first addresses of disjoint ascending ranges.
    V6First = 2,
    /// `u128`: their last addresses.
    V6Last = 3,
    /// `u32`: their sets.
    V6Sets = 4,
    /// [`SetRecord`]: what holds for the addresses of a range.
    Sets = 5,
    /// `u32`: where each list set starts in [`SectionId::ListEntries`], and the end.
    ListSets = 6,
    /// [`ListEntry`]
    ListEntries = 7,
    /// `u32`: where each member set starts in [`SectionId::Members`], and the end.
    MemberSets = 8,
    /// `u32`: positions of rules whose addresses these are, or of bans; ascending in each set.
    Members = 9,
    /// [`PatternRecord`]
    Patterns = 10,
    /// [`HostSlot`]: open addressing, linear probing, a power of two of slots.
    Hosts = 11,
    /// [`LimitRecord`]
    Limits = 12,
    /// [`NameSlot`] by path as served; items are pattern numbers or [`ANY`] in
    /// [`SectionId::Postings`].
    BodyPaths = 13,
    /// [`RuleRecord`] in the order of their ids.
    Rules = 14,
    /// [`ConditionRecord`]
    Conditions = 15,
    /// [`TermRecord`]
    Terms = 16,
    /// [`RangeRecord`]
    Ranges = 17,
    /// Bytes that records point into.
    Blob = 18,
    /// `u32`: ascending positions of the rules that are tried for every request.
    Always = 19,
    /// `u64`: one bit for each hash of a gram, see [`gram_hash`]; a power of two of words.
    GramBits = 20,
    /// [`GramSlot`]: open addressing, linear probing, a power of two of slots.
    Grams = 21,
    /// [`GramGroup`]
    GramGroups = 22,
    /// [`GramEntry`]
    GramEntries = 23,
    /// [`NameSlot`] by lower-case name of a header; items are rules in
    /// [`SectionId::Postings`].
    HeaderNames = 24,
    /// [`CountryRecord`] in the order of their codes.
    Countries = 25,
    /// `u32`: lists of positions that other records point into.
    Postings = 26,
    /// [`BanRecord`]
    Bans = 27,
    /// `u128`: every [`V6_BLOCK`]th entry of [`SectionId::V6First`], from the first.
    V6Index = 28,
}

/// Number of sections of version 1.
pub const SECTIONS: usize = 29;
/// Names of the sections, for messages.
pub const SECTION_NAMES: [&str; SECTIONS] = [
    "v4-index",
    "v4-ranges",
    "v6-first",
    "v6-last",
    "v6-sets",
    "sets",
    "list-sets",
    "list-entries",
    "member-sets",
    "members",
    "patterns",
    "hosts",
    "limits",
    "body-paths",
    "rules",
    "conditions",
    "terms",
    "ranges",
    "blob",
    "always",
    "gram-bits",
    "grams",
    "gram-groups",
    "gram-entries",
    "header-names",
    "countries",
    "postings",
    "bans",
    "v6-index",
];

const _: () = {
    assert!(size_of::<Header>() == 160);
    assert!(size_of::<SectionEntry>() == 24);
    assert!(size_of::<V4Range>() == 8);
    assert!(size_of::<SetRecord>() == 8);
    assert!(size_of::<ListEntry>() == 8);
    assert!(size_of::<PatternRecord>() == 8);
    assert!(size_of::<HostSlot>() == 36);
    assert!(size_of::<LimitRecord>() == 16);
    assert!(size_of::<NameSlot>() == 20);
    assert!(size_of::<RuleRecord>() == 16);
    assert!(size_of::<ConditionRecord>() == 20);
    assert!(size_of::<TermRecord>() == 16);
    assert!(size_of::<RangeRecord>() == 48);
    assert!(size_of::<GramSlot>() == 12);
    assert!(size_of::<GramGroup>() == 12);
    assert!(size_of::<GramEntry>() == 24);
    assert!(size_of::<CountryRecord>() == 12);
    assert!(size_of::<BanRecord>() == 24);
};
