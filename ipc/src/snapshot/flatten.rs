//! Overlapping address entries -> disjoint ranges with set ids.

use std::collections::{BTreeMap, HashMap};

use super::error::CompileError;
use super::format::SetEntry;

/// Entries with different hosts or lists that may cover one address.
pub const OVERLAP: usize = 4_096;

/// The distinct sets of (list, pattern) pairs, numbered in the order met.
#[derive(Default)]
pub struct Sets {
    ids: HashMap<Vec<SetEntry>, u32>,
    ordered: Vec<Vec<SetEntry>>,
}

impl Sets {
    fn id(&mut self, entries: Vec<SetEntry>) -> u32 {
        let next = self.ordered.len() as u32;
        *self.ids.entry(entries).or_insert_with_key(|entries| {
            self.ordered.push(entries.clone());
            next
        })
    }

    /// The sets in the order of their numbers.
    pub fn ordered(&self) -> &[Vec<SetEntry>] {
        &self.ordered
    }
}

/// One range of addresses and the number of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flat {
    /// First address.
    pub first: u128,
    /// Last address.
    pub last: u128,
    /// Number of the set.
    pub set: u32,
}

/// Cuts entries into disjoint ascending ranges; neighbours with the same set are joined.
///
/// O(n log n) for n entries, times the number of different entries that overlap.
pub fn flatten(
    entries: &[(u128, u128, SetEntry)],
    last_address: u128,
    sets: &mut Sets,
) -> Result<Vec<Flat>, CompileError> {
    // (position, starts here, which entry)
    let mut edges = Vec::with_capacity(entries.len() * 2);
    for (first, last, entry) in entries {
        edges.push((*first, true, *entry));
        if *last < last_address {
            edges.push((last + 1, false, *entry));
        }
    }
    edges.sort_unstable_by_key(|(position, _, _)| *position);
    let mut flat: Vec<Flat> = Vec::with_capacity(entries.len());
    // By (pattern, lists), so that equal sets are built equal.
    let mut active: BTreeMap<(u32, u8), (usize, SetEntry)> = BTreeMap::new();
    let mut at = 0;
    while at < edges.len() {
        let position = edges[at].0;
        while let Some((_, starts, entry)) = edges.get(at).filter(|edge| edge.0 == position) {
            let key = (entry.pattern, entry.lists);
            // An end is always behind its own start, so the entry is there.
            let count = &mut active.entry(key).or_insert((0, *entry)).0;
            *count = if *starts { *count + 1 } else { *count - 1 };
            at += 1;
        }
        active.retain(|_, (count, _)| *count != 0);
        if active.is_empty() {
            continue;
        }
        if active.len() > OVERLAP {
            return Err(CompileError::Overlap(OVERLAP));
        }
        let last = edges.get(at).map_or(last_address, |edge| edge.0 - 1);
        let set = sets.id(active.values().map(|(_, entry)| *entry).collect());
        match flat.last_mut() {
            Some(before) if before.set == set && before.last + 1 == position => before.last = last,
            _ => flat.push(Flat { first: position, last, set }),
        }
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::format::ANY;

    const LAST: u128 = 63;

    fn entry(pattern: u8) -> SetEntry {
        let pattern = if pattern == 0 { ANY } else { u32::from(pattern) };
        SetEntry { pattern, lists: 4, reserved: [0; 3] }
    }

    proptest! {
        /// Every address of a small space, against asking each entry in turn.
        #[test]
        fn the_cut_ranges_say_what_the_entries_say(
            entries in prop::collection::vec((0..=LAST, 0..=LAST, 0u8..4), 0..24)
        ) {
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(a, b, p)| (a.min(b), a.max(b), entry(p)))
                .collect();
            let mut sets = Sets::default();
            let flat = flatten(&entries, LAST, &mut sets).unwrap();
            for pair in flat.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
                prop_assert!(pair[0].set != pair[1].set || pair[0].last + 1 < pair[1].first);
            }
            for address in 0..=LAST {
                let mut expected: Vec<u32> = entries
                    .iter()
                    .filter(|(a, b, _)| (*a..=*b).contains(&address))
                    .map(|(_, _, e)| e.pattern)
                    .collect();
                expected.sort_unstable();
                expected.dedup();
                let got: Vec<u32> = flat
                    .iter()
                    .find(|f| (f.first..=f.last).contains(&address))
                    .map(|f| sets.ordered()[f.set as usize].iter().map(|e| e.pattern).collect())
                    .unwrap_or_default();
                prop_assert_eq!(got, expected);
            }
        }
    }
}
