//! Everything a reader relies on is checked here, once, so that asking a
//! snapshot needs no checks of its own. No bytes make this panic.

use policy::{BanKind, HostLists, Keys, Zone};
use zerocopy::FromBytes as _;

use super::error::SnapshotError;
use super::format::*;
use super::view::View;

type Checked = Result<(), SnapshotError>;

/// Checks a whole file that holds a policy.
pub fn policy(bytes: &[u8]) -> Result<View<'_>, SnapshotError> {
    verify(bytes, kind::POLICY)
}

/// Checks a whole file that holds bans.
pub fn bans(bytes: &[u8]) -> Result<View<'_>, SnapshotError> {
    verify(bytes, kind::BANS)
}

/// The CRC-32 of a file as its header holds it: over all bytes, the field itself zero.
pub fn checksum(bytes: &[u8]) -> u32 {
    const FIELD: std::ops::Range<usize> = 20..24;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..FIELD.start]);
    hasher.update(&[0; 4]);
    hasher.update(&bytes[FIELD.end..]);
    hasher.finalize()
}

fn verify(bytes: &[u8], kind: u32) -> Result<View<'_>, SnapshotError> {
    let found = bytes.len() as u64;
    let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
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
    if header.kind != kind {
        return Err(SnapshotError::Kind);
    }
    let view = View::find(header, bytes)?;
    view.header()?;
    view.addresses()?;
    view.patterns()?;
    view.names(view.body_paths, SectionId::BodyPaths)?;
    view.names(view.header_names, SectionId::HeaderNames)?;
    view.hosts()?;
    view.rules()?;
    view.conditions()?;
    view.selection()?;
    view.bans()?;
    Ok(view)
}

fn rule(holds: bool, id: SectionId) -> Checked {
    if holds { Ok(()) } else { Err(SnapshotError::Malformed(SECTION_NAMES[id as usize])) }
}

fn inside<T>(first: u32, count: u32, records: &[T]) -> bool {
    u64::from(first) + u64::from(count) <= records.len() as u64
}

/// Whether `starts` cuts `records` into consecutive sets.
fn cuts<T>(starts: &[u32], records: &[T]) -> bool {
    starts.first() == Some(&0)
        && starts.last().is_some_and(|end| *end as usize == records.len())
        && starts.is_sorted()
}

/// Whether a table by hash has a size that can be probed, and an empty slot at
/// which every probe ends.
fn probed<T>(slots: &[T], is_empty: impl Fn(&T) -> bool) -> bool {
    slots.is_empty() || (slots.len().is_power_of_two() && slots.iter().any(is_empty))
}

impl View<'_> {
    fn header(&self) -> Checked {
        let header = self.header;
        let holds = header.strides.iter().all(|stride| usize::from(*stride) <= STRIDE_MAX)
            && HostLists::from_bits(header.any_host).is_some()
            && Keys::from_bits(header.given).is_some()
            && header.no_bodies <= 1
            && self.is_limit(header.any_limit);
        if holds { Ok(()) } else { Err(SnapshotError::Malformed("header")) }
    }

    fn is_limit(&self, number: u32) -> bool {
        number == NONE || (number as usize) < self.limits.len()
    }

    fn is_pattern(&self, number: u32) -> bool {
        number == ANY || (number as usize) < self.patterns.len()
    }

    fn addresses(&self) -> Checked {
        rule(cuts(self.list_sets, self.list_entries), SectionId::ListSets)?;
        rule(cuts(self.member_sets, self.members), SectionId::MemberSets)?;
        rule(
            self.list_entries
                .iter()
                .all(|entry| self.is_pattern(entry.pattern) && entry.lists & !list::ALL == 0),
            SectionId::ListEntries,
        )?;
        let (lists, members) = (self.list_sets.len() - 1, self.member_sets.len() - 1);
        rule(
            self.sets
                .iter()
                .all(|set| (set.lists as usize) < lists && (set.members as usize) < members),
            SectionId::Sets,
        )?;
        let sets = self.sets.len();
        let index = self.v4_index;
        let ranges = self.v4_ranges;
        rule(
            if ranges.is_empty() {
                index.is_empty()
            } else {
                index.len() == INDEX_LENGTH && cuts(index, ranges)
            },
            SectionId::V4Index,
        )?;
        let ordered = |network: &[V4Range]| {
            network.iter().all(|range| range.first <= range.last && (range.set as usize) < sets)
                && network.is_sorted_by(|a, b| a.last < b.first)
        };
        let in_order = index
            .windows(2)
            .all(|ends| ranges.get(ends[0] as usize..ends[1] as usize).is_some_and(ordered));
        rule(in_order, SectionId::V4Ranges)?;
        let (first, last) = (self.v6_first, self.v6_last);
        rule(first.len() == last.len(), SectionId::V6Last)?;
        rule(first.iter().zip(last).all(|(first, last)| first <= last), SectionId::V6Last)?;
        rule(first.iter().skip(1).zip(last).all(|(next, last)| next > last), SectionId::V6First)?;
        rule(first.iter().step_by(V6_BLOCK).eq(self.v6_index), SectionId::V6Index)?;
        rule(
            self.v6_sets.len() == first.len()
                && self.v6_sets.iter().all(|set| (*set as usize) < sets),
            SectionId::V6Sets,
        )
    }

    fn patterns(&self) -> Checked {
        rule(
            self.patterns.iter().all(|p| {
                p.length > 0
                    && inside(p.offset, p.length.into(), self.blob)
                    && (1..=reach::SELF | reach::BELOW).contains(&p.reach)
            }),
            SectionId::Patterns,
        )
    }

    /// A table by name. What its items say is checked with all postings at once:
    /// slots may share items, so that one by one could take quadratic time.
    fn names(&self, slots: &[NameSlot], id: SectionId) -> Checked {
        rule(
            probed(slots, |slot| slot.length == 0)
                && slots.iter().all(|slot| {
                    inside(slot.offset, slot.length.into(), self.blob)
                        && inside(slot.item, slot.items, self.postings)
                }),
            id,
        )
    }

    fn hosts(&self) -> Checked {
        rule(
            self.limits.iter().all(|limit| {
                matches!(limit.window, 1 | 60) && limit.rate > 0 && self.is_pattern(limit.pattern)
            }),
            SectionId::Limits,
        )?;
        let count =
            |slot: &HostSlot| slot.rules_itself_count.saturating_add(slot.rules_below_count);
        rule(
            probed(self.hosts, |slot| slot.length == 0)
                && self.hosts.iter().all(|slot| {
                    inside(slot.offset, slot.length.into(), self.blob)
                        && HostLists::from_bits(slot.itself).is_some()
                        && HostLists::from_bits(slot.below).is_some()
                        && self.is_limit(slot.limit_itself)
                        && self.is_limit(slot.limit_below)
                        && inside(slot.rules_itself, count(slot), self.postings)
                }),
            SectionId::Hosts,
        )
    }

    fn rules(&self) -> Checked {
        rule(
            self.rules.iter().all(|r| {
                // A rule without conditions would hold for every request.
                r.conditions > 0
                    && inside(r.condition, r.conditions.into(), self.conditions)
                    && r.flags & !rule_flag::ALL == 0
                    && Zone::from_number(r.zone).is_some()
            }) && self.rules.is_sorted_by(|a, b| a.id < b.id),
            SectionId::Rules,
        )?;
        rule(
            self.ranges.iter().all(|r| matches!(r.family, 4 | 6) && r.first <= r.last),
            SectionId::Ranges,
        )?;
        // Members are bans in a file of bans, which has no rules.
        let most = if self.header.kind == kind::BANS { self.bans.len() } else { self.rules.len() };
        rule(self.members.iter().all(|member| (*member as usize) < most), SectionId::Members)
    }

    fn conditions(&self) -> Checked {
        let mut next = 0;
        for condition in self.conditions {
            // One after the other, so that checking is linear.
            rule(condition.term == next, SectionId::Conditions)?;
            next = condition.term.saturating_add(condition.terms);
            let Some(field) = Field::from_number(condition.field) else {
                return rule(false, SectionId::Conditions);
            };
            rule(
                inside(condition.term, condition.terms, self.terms)
                    && inside(condition.name, condition.name_length.into(), self.blob),
                SectionId::Conditions,
            )?;
            let start = condition.term as usize;
            let own = &self.terms[start..start + condition.terms as usize];
            let needs_terms =
                !matches!(field, Field::NoCookie | Field::HeaderAbsent | Field::HeaderPresent);
            rule(own.is_empty() != needs_terms, SectionId::Conditions)?;
            let fits = |term: &TermRecord| {
                term.flags & !term_flag::ALL == 0
                    && match field {
                        Field::Ip => (term.value as usize) < self.ranges.len(),
                        Field::Domain => self.is_pattern(term.value),
                        Field::Country => term.value <= u32::from(u16::MAX),
                        _ => {
                            // What the search has seen is remembered by number, so a number
                            // beyond all literals would take memory for nothing.
                            let numbers = self.terms.len().max(self.gram_entries.len());
                            inside(term.value, term.length, self.blob)
                                && (term.literal == NONE || (term.literal as usize) < numbers)
                        }
                    }
            };
            rule(own.iter().all(fits), SectionId::Terms)?;
        }
        Ok(())
    }

    fn selection(&self) -> Checked {
        let always = self.always;
        rule(
            always.is_sorted_by(|a, b| a < b)
                && always.last().is_none_or(|last| (*last as usize) < self.rules.len()),
            SectionId::Always,
        )?;
        rule(
            self.countries.is_sorted_by(|a, b| a.code < b.code)
                && self.countries.iter().all(|c| inside(c.item, c.items, self.postings)),
            SectionId::Countries,
        )?;
        let (bits, slots) = (self.gram_bits, self.grams);
        // Hashes are shifted by 32 minus the logarithm, so sizes are 2..=2^31.
        let sized = |length: usize| (2..=1 << 31).contains(&length) && length.is_power_of_two();
        rule(bits.is_empty() || sized(bits.len() * 64), SectionId::GramBits)?;
        rule(bits.is_empty() == slots.is_empty(), SectionId::Grams)?;
        rule(
            slots.is_empty()
                || (sized(slots.len())
                    && probed(slots, |slot| slot.groups == 0)
                    && slots.iter().all(|s| inside(s.group, s.groups, self.gram_groups))),
            SectionId::Grams,
        )?;
        let entries = self.gram_entries;
        let mut next = 0;
        let holds = self.gram_groups.iter().all(|group| {
            // One after the other, so that checking is linear.
            let in_turn = group.entry == next && inside(group.entry, group.entries, entries);
            next = group.entry.saturating_add(group.entries);
            // Parents lead towards the first entry, so following them ends.
            in_turn
                && entries[group.entry as usize..next as usize]
                    .iter()
                    .enumerate()
                    .all(|(number, e)| e.parent == NONE || (e.parent as usize) < number)
        });
        rule(holds, SectionId::GramGroups)?;
        rule(
            entries.iter().all(|entry| {
                inside(entry.literal, entry.length.into(), self.blob)
                    && inside(entry.posting, entry.postings, self.postings)
                    && (entry.number as usize) < entries.len()
            }),
            SectionId::GramEntries,
        )?;
        // Which of the two an item is follows from who points to it; neither is
        // looked up without asking whether it exists.
        let most = self.rules.len().max(self.patterns.len());
        let is_item = |item: &u32| *item == ANY || (*item as usize) < most;
        rule(self.postings.iter().all(is_item), SectionId::Postings)
    }

    fn bans(&self) -> Checked {
        rule(
            self.bans.iter().all(|ban| {
                u8::try_from(ban.kind).is_ok_and(|kind| BanKind::from_number(kind).is_some())
                    && self.is_pattern(ban.pattern)
            }),
            SectionId::Bans,
        )
    }
}
