//! Everything a reader relies on is checked here, once, so that asking a
//! snapshot needs no checks of its own. No bytes make this panic.

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::compile::checksum;
use super::error::SnapshotError;
use super::format::*;
use super::read::{Layout, records};
use policy::Zone;

/// Checks a whole file and finds its sections.
pub(super) fn verify(bytes: &[u8]) -> Result<(Header, Layout), SnapshotError> {
    let found = bytes.len() as u64;
    let Ok((header, rest)) = Header::read_from_prefix(bytes) else {
        return Err(SnapshotError::Length { found, announced: size_of::<Header>() as u64 });
    };
    if header.magic != MAGIC {
        return Err(SnapshotError::Magic);
    }
    if header.byte_order != BYTE_ORDER {
        return Err(SnapshotError::ByteOrder);
    }
    if header.min_reader > FORMAT_VERSION {
        return Err(SnapshotError::Version { needed: header.min_reader });
    }
    let announced = header.payload_length.saturating_add(size_of::<Header>() as u64);
    if announced != found {
        return Err(SnapshotError::Length { found, announced });
    }
    if header.checksum != checksum(bytes) {
        return Err(SnapshotError::Checksum);
    }
    if header.strides.iter().any(|stride| usize::from(*stride) > STRIDE_MAX) {
        return Err(SnapshotError::Malformed("header"));
    }
    let table = layout(&header, rest, bytes.len())?;
    Checker { bytes, layout: &table }.run()?;
    Ok((header, table))
}

fn layout(header: &Header, rest: &[u8], length: usize) -> Result<Layout, SnapshotError> {
    const MALFORMED: SnapshotError = SnapshotError::Malformed("table");
    let sections = header.sections as usize;
    let (table, _) =
        <[SectionEntry]>::ref_from_prefix_with_elems(rest, sections).map_err(|_| MALFORMED)?;
    let mut layout = Layout::default();
    let mut known = [false; SECTIONS];
    for entry in table {
        let Some(slot) = layout.0.get_mut(entry.id as usize) else { continue };
        let start = usize::try_from(entry.offset).map_err(|_| MALFORMED)?;
        let bytes = usize::try_from(entry.length).map_err(|_| MALFORMED)?;
        let end = start.checked_add(bytes).filter(|end| *end <= length).ok_or(MALFORMED)?;
        if start % ALIGNMENT != 0 || std::mem::replace(&mut known[entry.id as usize], true) {
            return Err(MALFORMED);
        }
        *slot = start..end;
    }
    if known.contains(&false) { Err(MALFORMED) } else { Ok(layout) }
}

struct Checker<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
}

type Checked = Result<(), SnapshotError>;

fn rule(holds: bool, id: SectionId) -> Checked {
    if holds { Ok(()) } else { Err(SnapshotError::Malformed(SECTION_NAMES[id as usize])) }
}

fn inside(offset: u32, length: u32, available: usize) -> bool {
    u64::from(offset) + u64::from(length) <= available as u64
}

impl<'a> Checker<'a> {
    fn run(&self) -> Checked {
        let sets = self.sets()?;
        self.map::<u32>(SectionId::V4First, SectionId::V4Last, SectionId::V4Sets, sets)?;
        self.map::<u128>(SectionId::V6First, SectionId::V6Last, SectionId::V6Sets, sets)?;
        self.index()?;
        self.patterns()?;
        self.hosts()?;
        self.rules()?;
        self.selection()
    }

    fn section<T: FromBytes + Immutable + KnownLayout>(
        &self,
        id: SectionId,
    ) -> Result<&'a [T], SnapshotError> {
        records(self.bytes, self.layout, id)
            .ok_or(SnapshotError::Malformed(SECTION_NAMES[id as usize]))
    }

    fn sets(&self) -> Result<usize, SnapshotError> {
        let offsets: &[u32] = self.section(SectionId::SetOffsets)?;
        let entries: &[SetEntry] = self.section(SectionId::SetEntries)?;
        let patterns: &[PatternRecord] = self.section(SectionId::Patterns)?;
        rule(
            offsets.first() == Some(&0)
                && offsets.last().is_some_and(|end| *end as usize == entries.len())
                && offsets.is_sorted(),
            SectionId::SetOffsets,
        )?;
        rule(
            entries.iter().all(|entry| {
                (entry.pattern == ANY || (entry.pattern as usize) < patterns.len())
                    && entry.lists & !list::ALL == 0
            }),
            SectionId::SetEntries,
        )?;
        Ok(offsets.len() - 1)
    }

    fn map<T: FromBytes + Immutable + KnownLayout + Ord>(
        &self,
        first_id: SectionId,
        last_id: SectionId,
        sets_id: SectionId,
        sets: usize,
    ) -> Checked {
        let first: &[T] = self.section(first_id)?;
        let last: &[T] = self.section(last_id)?;
        rule(first.len() == last.len(), last_id)?;
        rule(first.iter().zip(last).all(|(first, last)| first <= last), last_id)?;
        rule(first.iter().skip(1).zip(last).all(|(next, last)| next > last), first_id)?;
        let bytes = self.layout.0[sets_id as usize].len();
        let holds = if bytes == first.len() * 2 {
            self.section::<u16>(sets_id)?.iter().all(|set| usize::from(*set) < sets)
        } else {
            bytes == first.len() * 4
                && self.section::<u32>(sets_id)?.iter().all(|set| (*set as usize) < sets)
        };
        rule(holds, sets_id)
    }

    fn index(&self) -> Checked {
        let index: &[u32] = self.section(SectionId::V4Index)?;
        let first: &[u32] = self.section(SectionId::V4First)?;
        // A wrong index would only be a wrong answer, never a wild read; it is
        // derived data all the same and must say what the ranges say.
        let says_so = |(high, count): (usize, &u32)| {
            let count = *count as usize;
            let limit = (high as u64) << 16;
            count <= first.len()
                && (count == 0 || u64::from(first[count - 1]) < limit)
                && first.get(count).is_none_or(|start| u64::from(*start) >= limit)
        };
        rule(
            index.is_empty()
                || (index.len() == INDEX_LENGTH && index.iter().enumerate().all(says_so)),
            SectionId::V4Index,
        )
    }

    fn patterns(&self) -> Checked {
        let patterns: &[PatternRecord] = self.section(SectionId::Patterns)?;
        let blob: &[u8] = self.section(SectionId::Blob)?;
        rule(
            patterns.iter().all(|p| {
                p.length > 0
                    && inside(p.offset, p.length.into(), blob.len())
                    && (1..=reach::SELF | reach::BELOW).contains(&p.reach)
            }),
            SectionId::Patterns,
        )
    }

    fn hosts(&self) -> Checked {
        let hosts: &[HostSlot] = self.section(SectionId::Hosts)?;
        let blob: &[u8] = self.section(SectionId::Blob)?;
        rule(
            (hosts.is_empty() || hosts.len().is_power_of_two())
                // A probe ends at an empty slot, so there has to be one.
                && (hosts.is_empty() || hosts.iter().any(|slot| slot.length == 0))
                && hosts.iter().all(|slot| inside(slot.offset, slot.length.into(), blob.len())),
            SectionId::Hosts,
        )
    }

    fn selection(&self) -> Checked {
        let rules: &[RuleRecord] = self.section(SectionId::Rules)?;
        let always: &[u32] = self.section(SectionId::Always)?;
        let bits: &[u64] = self.section(SectionId::GramBits)?;
        let slots: &[GramSlot] = self.section(SectionId::Grams)?;
        let groups: &[GramGroup] = self.section(SectionId::GramGroups)?;
        let entries: &[GramEntry] = self.section(SectionId::GramEntries)?;
        let postings: &[u32] = self.section(SectionId::Postings)?;
        let blob: &[u8] = self.section(SectionId::Blob)?;
        rule(
            always.is_sorted_by(|a, b| a < b)
                && always.last().is_none_or(|last| (*last as usize) < rules.len()),
            SectionId::Always,
        )?;
        // Hashes are shifted by 32 minus the logarithm, so sizes are 2..=2^31.
        let sized = |length: usize| (2..=1 << 31).contains(&length) && length.is_power_of_two();
        rule(bits.is_empty() || sized(bits.len() * 64), SectionId::GramBits)?;
        rule(bits.is_empty() == slots.is_empty(), SectionId::Grams)?;
        rule(
            slots.is_empty()
                || (sized(slots.len())
                    // A probe ends at an empty slot, so there has to be one.
                    && slots.iter().any(|slot| slot.groups == 0)
                    && slots.iter().all(|s| inside(s.group, s.groups, groups.len()))),
            SectionId::Grams,
        )?;
        let mut next = 0;
        let holds = groups.iter().all(|group| {
            // One after the other, so that checking is linear.
            let in_turn = group.entry == next && inside(group.entry, group.entries, entries.len());
            next = group.entry.saturating_add(group.entries);
            // Parents lead towards the first entry, so following them ends.
            in_turn
                && entries[group.entry as usize..next as usize]
                    .iter()
                    .enumerate()
                    .all(|(number, e)| e.parent == NO_PARENT || (e.parent as usize) < number)
        });
        rule(holds, SectionId::GramGroups)?;
        rule(
            entries.iter().all(|entry| {
                inside(entry.literal, entry.length.into(), blob.len())
                    && inside(entry.posting, entry.postings, postings.len())
            }),
            SectionId::GramEntries,
        )?;
        rule(postings.iter().all(|rule| (*rule as usize) < rules.len()), SectionId::Postings)
    }

    fn rules(&self) -> Checked {
        let rules: &[RuleRecord] = self.section(SectionId::Rules)?;
        let conditions: &[ConditionRecord] = self.section(SectionId::Conditions)?;
        let terms: &[TermRecord] = self.section(SectionId::Terms)?;
        let ranges: &[RangeRecord] = self.section(SectionId::Ranges)?;
        let patterns: &[PatternRecord] = self.section(SectionId::Patterns)?;
        let blob: &[u8] = self.section(SectionId::Blob)?;
        rule(
            rules.iter().all(|r| {
                // A rule without conditions would hold for every request.
                r.conditions > 0
                    && inside(r.condition, r.conditions.into(), conditions.len())
                    && r.flags & !rule_flag::ALL == 0
                    && Zone::from_number(r.zone).is_some()
            }) && rules.is_sorted_by(|a, b| a.id < b.id),
            SectionId::Rules,
        )?;
        rule(
            ranges.iter().all(|range| matches!(range.family, 4 | 6) && range.first <= range.last),
            SectionId::Ranges,
        )?;
        let mut next = 0;
        for condition in conditions {
            // One after the other, so that checking is linear.
            rule(condition.term == next, SectionId::Conditions)?;
            next = condition.term.saturating_add(condition.terms);
            let field = Field::from_number(condition.field);
            rule(
                inside(condition.term, condition.terms, terms.len())
                    && inside(condition.name, condition.name_length.into(), blob.len())
                    && field.is_some(),
                SectionId::Conditions,
            )?;
            let start = condition.term as usize;
            let own = &terms[start..start + condition.terms as usize];
            let needs_terms = !matches!(
                field,
                Some(Field::NoCookie | Field::HeaderAbsent | Field::HeaderPresent)
            );
            rule(own.is_empty() != needs_terms, SectionId::Conditions)?;
            let fits = |term: &TermRecord| {
                term.flags & !term_flag::ALL == 0
                    && match field {
                        Some(Field::Ip) => (term.value as usize) < ranges.len(),
                        Some(Field::Domain) => {
                            term.value == ANY || (term.value as usize) < patterns.len()
                        }
                        Some(Field::Country) => term.value <= u32::from(u16::MAX),
                        _ => inside(term.value, term.length, blob.len()),
                    }
            };
            rule(own.iter().all(fits), SectionId::Terms)?;
        }
        Ok(())
    }
}
