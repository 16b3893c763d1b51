//! Address lists, addresses of rules, and bans -> one map.

use std::collections::HashMap;

use policy::{AddressEntry, AddressRange, Ban, Policy};

use super::Writer;
use super::file::{File, position};
use super::flatten::{Bounds, Flat, Sets, flatten, overlay};
use crate::snapshot::error::CompileError;
use crate::snapshot::format::*;

/// Entries with different hosts or lists that may cover one address: a request
/// from there looks at each.
pub const OVERLAP: usize = 4_096;
/// A second or two of compiling: the same few sets at very many ranges.
const WORK: usize = 1 << 26;
const LISTS: Bounds = Bounds { at_once: OVERLAP, in_all: 1 << 22, work: WORK };
/// Rules may share an address without limit; what is bounded is the size of the map.
const RULES: Bounds = Bounds { at_once: usize::MAX, in_all: 1 << 22, work: WORK };

/// A range and what it stands for.
type Entries<T> = Vec<(u128, u128, T)>;

/// Ranges of both families.
struct Families<T> {
    v4: Entries<T>,
    v6: Entries<T>,
}

impl<T> Families<T> {
    fn new() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }

    fn add(&mut self, range: AddressRange, thing: T) {
        match range {
            AddressRange::V4 { first, last } => self.v4.push((first.into(), last.into(), thing)),
            AddressRange::V6 { first, last } => self.v6.push((first, last, thing)),
        }
    }
}

/// Flattened ranges of both families and the sets they speak of.
pub struct Flats<T> {
    v4: Vec<Flat>,
    v6: Vec<Flat>,
    sets: Sets<T>,
}

impl<T: Ord + Copy + std::hash::Hash> Flats<T> {
    fn of(entries: &Families<T>, bounds: Bounds) -> Option<Self> {
        let mut sets = Sets::default();
        let v4 = flatten(&entries.v4, u32::MAX.into(), bounds, &mut sets).ok()?;
        let v6 = flatten(&entries.v6, u128::MAX, bounds, &mut sets).ok()?;
        Some(Self { v4, v6, sets })
    }

    /// The sets as starts and a run of things.
    fn tables<R>(&self, record: impl Fn(&T) -> R) -> Result<(Vec<u32>, Vec<R>), CompileError> {
        let (mut starts, mut records) = (vec![0], Vec::new());
        for set in self.sets.ordered() {
            records.extend(set.iter().map(&record));
            starts.push(position(records.len())?);
        }
        Ok((starts, records))
    }
}

/// The addresses of rules or bans, each a range and a position; nothing where
/// they overlap too much to be written down.
pub fn members<'a>(
    ranges: impl IntoIterator<Item = (&'a AddressRange, u32)>,
) -> Option<Flats<u32>> {
    let mut entries = Families::new();
    ranges.into_iter().for_each(|(range, member)| entries.add(*range, member));
    Flats::of(&entries, RULES)
}

/// The address lists of a policy.
pub fn lists(writer: &mut Writer, policy: &Policy) -> Result<Flats<ListEntry>, CompileError> {
    let mut entries = Families::new();
    let mut add = |list: &[AddressEntry], bits: u8| {
        for entry in list {
            let reported = if entry.api && bits == list::BLOCK { list::REPORT } else { 0 };
            let pattern = writer.pattern(&entry.domain)?;
            let thing = ListEntry { pattern, lists: bits | reported, reserved: [0; 3] };
            entries.add(entry.range, thing);
        }
        Ok(())
    };
    add(&policy.settings.ip_wl, list::BYPASS)?;
    add(&policy.settings.ip_lm, list::OBSERVE)?;
    add(&policy.block_list, list::BLOCK)?;
    Flats::of(&entries, LISTS).ok_or(CompileError::Overlap(OVERLAP))
}

/// No lists, for files of bans.
pub fn no_lists() -> Flats<ListEntry> {
    Flats { v4: Vec::new(), v6: Vec::new(), sets: Sets::default() }
}

/// Bans as members of a map.
pub fn bans(bans: &[Ban]) -> Result<Flats<u32>, CompileError> {
    let ranges = bans.iter().map(|ban| &ban.range).zip(0..);
    members(ranges).ok_or(CompileError::Overlap(OVERLAP))
}

/// Writes the map.
pub fn write(
    file: &mut File,
    lists: &Flats<ListEntry>,
    members: &Flats<u32>,
) -> Result<(), CompileError> {
    let mut numbers: HashMap<SetRecord, u32> = HashMap::new();
    let mut sets = Vec::new();
    let mut pair = |lists: u32, members: u32| {
        let record = SetRecord { lists, members };
        *numbers.entry(record).or_insert_with(|| {
            sets.push(record);
            sets.len() as u32 - 1
        })
    };
    let v4 = overlay(&lists.v4, &members.v4, &mut pair);
    let v6 = overlay(&lists.v6, &members.v6, &mut pair);
    let ranges = v4_ranges(&v4);
    file.section(SectionId::V4Index, &v4_index(&ranges)?);
    file.section(SectionId::V4Ranges, &ranges.iter().map(|(_, range)| *range).collect::<Vec<_>>());
    let column = |of: fn(&Flat) -> u128| v6.iter().map(of).collect::<Vec<_>>();
    let first = column(|flat| flat.first);
    let index: Vec<u128> = first.iter().step_by(V6_BLOCK).copied().collect();
    file.section(SectionId::V6Index, &index);
    file.section(SectionId::V6First, &first);
    file.section(SectionId::V6Last, &column(|flat| flat.last));
    file.section(SectionId::V6Sets, &v6.iter().map(|flat| flat.set).collect::<Vec<_>>());
    file.section(SectionId::Sets, &sets);
    let (starts, entries) = lists.tables(|entry| *entry)?;
    file.section(SectionId::ListSets, &starts);
    file.section(SectionId::ListEntries, &entries);
    let (starts, positions) = members.tables(|member| *member)?;
    file.section(SectionId::MemberSets, &starts);
    file.section(SectionId::Members, &positions);
    Ok(())
}

/// Ranges cut where a /16 ends, with the /16 they are in. The ranges are
/// disjoint, so there are at most 65,535 cuts.
fn v4_ranges(flat: &[Flat]) -> Vec<(u16, V4Range)> {
    let mut ranges = Vec::with_capacity(flat.len());
    for flat in flat {
        let (first, last) = (flat.first as u32, flat.last as u32);
        for high in first >> 16..=last >> 16 {
            ranges.push((
                high as u16,
                V4Range {
                    first: if high == first >> 16 { first as u16 } else { 0 },
                    last: if high == last >> 16 { last as u16 } else { u16::MAX },
                    set: flat.set,
                },
            ));
        }
    }
    ranges
}

/// How many ranges belong to lower /16 networks, for each, and their number.
fn v4_index(ranges: &[(u16, V4Range)]) -> Result<Vec<u32>, CompileError> {
    if ranges.is_empty() {
        return Ok(Vec::new());
    }
    let mut index = vec![0u32; INDEX_LENGTH];
    for (high, _) in ranges {
        index[usize::from(*high) + 1] += 1;
    }
    let mut sum = 0usize;
    for count in &mut index {
        sum += *count as usize;
        *count = position(sum)?;
    }
    Ok(index)
}
