//! The sections of a file as slices of records.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::SnapshotError;
use super::format::*;

/// A file's sections. Made only of bytes whose every reference was verified; the
/// functions that ask it still look up with `get`, so that no bytes can make them panic.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub header: &'a Header,
    pub v4_index: &'a [u32],
    pub v4_ranges: &'a [V4Range],
    pub v6_index: &'a [u128],
    pub v6_first: &'a [u128],
    pub v6_last: &'a [u128],
    pub v6_sets: &'a [u32],
    pub sets: &'a [SetRecord],
    pub list_sets: &'a [u32],
    pub list_entries: &'a [ListEntry],
    pub member_sets: &'a [u32],
    pub members: &'a [u32],
    pub patterns: &'a [PatternRecord],
    pub hosts: &'a [HostSlot],
    pub limits: &'a [LimitRecord],
    pub body_paths: &'a [NameSlot],
    pub rules: &'a [RuleRecord],
    pub conditions: &'a [ConditionRecord],
    pub terms: &'a [TermRecord],
    pub ranges: &'a [RangeRecord],
    pub blob: &'a [u8],
    pub always: &'a [u32],
    pub gram_bits: &'a [u64],
    pub grams: &'a [GramSlot],
    pub gram_groups: &'a [GramGroup],
    pub gram_entries: &'a [GramEntry],
    pub header_names: &'a [NameSlot],
    pub countries: &'a [CountryRecord],
    pub postings: &'a [u32],
    pub bans: &'a [BanRecord],
    /// Whether a rule has a condition on the body; worked out, not in the file.
    pub needs_body: bool,
}

const MALFORMED: SnapshotError = SnapshotError::Malformed("table");

impl<'a> View<'a> {
    /// Finds the sections that the table names. Only places and lengths are
    /// looked at; what is in them is the verifier's concern.
    pub fn find(header: &'a Header, bytes: &'a [u8]) -> Result<Self, SnapshotError> {
        let rest = bytes.get(size_of::<Header>()..).ok_or(MALFORMED)?;
        let (table, _) =
            <[SectionEntry]>::ref_from_prefix_with_elems(rest, header.sections as usize)
                .map_err(|_| MALFORMED)?;
        let mut found: [Option<&[u8]>; SECTIONS] = [None; SECTIONS];
        for entry in table {
            // A section that only newer readers know.
            let Some(slot) = found.get_mut(entry.id as usize) else { continue };
            let start = usize::try_from(entry.offset).map_err(|_| MALFORMED)?;
            let length = usize::try_from(entry.length).map_err(|_| MALFORMED)?;
            let end = start.checked_add(length).ok_or(MALFORMED)?;
            let section = bytes.get(start..end).ok_or(MALFORMED)?;
            if start % ALIGNMENT != 0 || slot.replace(section).is_some() {
                return Err(MALFORMED);
            }
        }
        let found = Found(found);
        let conditions: &[ConditionRecord] = found.records(SectionId::Conditions)?;
        Ok(Self {
            header,
            needs_body: conditions.iter().any(|c| c.field == Field::Body as u8),
            v4_index: found.records(SectionId::V4Index)?,
            v4_ranges: found.records(SectionId::V4Ranges)?,
            v6_index: found.records(SectionId::V6Index)?,
            v6_first: found.records(SectionId::V6First)?,
            v6_last: found.records(SectionId::V6Last)?,
            v6_sets: found.records(SectionId::V6Sets)?,
            sets: found.records(SectionId::Sets)?,
            list_sets: found.records(SectionId::ListSets)?,
            list_entries: found.records(SectionId::ListEntries)?,
            member_sets: found.records(SectionId::MemberSets)?,
            members: found.records(SectionId::Members)?,
            patterns: found.records(SectionId::Patterns)?,
            hosts: found.records(SectionId::Hosts)?,
            limits: found.records(SectionId::Limits)?,
            body_paths: found.records(SectionId::BodyPaths)?,
            rules: found.records(SectionId::Rules)?,
            conditions,
            terms: found.records(SectionId::Terms)?,
            ranges: found.records(SectionId::Ranges)?,
            blob: found.records(SectionId::Blob)?,
            always: found.records(SectionId::Always)?,
            gram_bits: found.records(SectionId::GramBits)?,
            grams: found.records(SectionId::Grams)?,
            gram_groups: found.records(SectionId::GramGroups)?,
            gram_entries: found.records(SectionId::GramEntries)?,
            header_names: found.records(SectionId::HeaderNames)?,
            countries: found.records(SectionId::Countries)?,
            postings: found.records(SectionId::Postings)?,
            bans: found.records(SectionId::Bans)?,
        })
    }

    /// Bytes of the blob.
    #[inline]
    pub fn piece(&self, offset: u32, length: u32) -> &'a [u8] {
        run(self.blob, offset, length)
    }

    /// A run of postings.
    #[inline]
    pub fn postings(&self, first: u32, count: u32) -> &'a [u32] {
        run(self.postings, first, count)
    }
}

/// `count` records from `first` on; nothing where that is not inside.
#[inline]
pub fn run<T>(records: &[T], first: u32, count: u32) -> &[T] {
    let first = first as usize;
    records.get(first..first + count as usize).unwrap_or(&[])
}

/// The records between two entries of a table of starts; nothing where there is no such entry.
#[inline]
pub fn between<'a, T>(records: &'a [T], starts: &[u32], number: u32) -> &'a [T] {
    let number = number as usize;
    match (starts.get(number), starts.get(number + 1)) {
        (Some(start), Some(end)) => records.get(*start as usize..*end as usize).unwrap_or(&[]),
        _ => &[],
    }
}

struct Found<'a>([Option<&'a [u8]>; SECTIONS]);

impl<'a> Found<'a> {
    fn records<T: FromBytes + Immutable + KnownLayout>(
        &self,
        id: SectionId,
    ) -> Result<&'a [T], SnapshotError> {
        let bytes = self.0[id as usize].ok_or(MALFORMED)?;
        <[T]>::ref_from_bytes(bytes)
            .map_err(|_| SnapshotError::Malformed(SECTION_NAMES[id as usize]))
    }
}
