//! Overlapping address entries -> disjoint ranges with set numbers.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// A set of things that may hold for a range, in ascending order.
pub type Set<T> = Vec<T>;

/// The distinct sets of things that hold together, numbered in the order met;
/// number 0 is the empty set.
pub struct Sets<T> {
    ids: HashMap<Set<T>, u32>,
    ordered: Vec<Set<T>>,
}

impl<T: Hash + Eq + Clone> Default for Sets<T> {
    fn default() -> Self {
        Self { ids: HashMap::from([(Vec::new(), 0)]), ordered: vec![Vec::new()] }
    }
}

impl<T: Hash + Eq + Clone> Sets<T> {
    /// The number of a set, and whether it was not met before.
    fn id(&mut self, things: Set<T>) -> (u32, bool) {
        let next = self.ordered.len() as u32;
        let id = *self.ids.entry(things).or_insert_with_key(|things| {
            self.ordered.push(things.clone());
            next
        });
        (id, id == next)
    }

    /// The sets in the order of their numbers.
    pub fn ordered(&self) -> &[Set<T>] {
        &self.ordered
    }
}

/// One range of addresses and the number of what holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flat {
    /// First address.
    pub first: u128,
    /// Last address.
    pub last: u128,
    /// Number of the set.
    pub set: u32,
}

/// How much may overlap.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Things that may hold for one address.
    pub at_once: usize,
    /// Sum of the sizes of the distinct sets, beyond sixteen for each entry: what is written.
    pub in_all: usize,
    /// Sum of the sizes of the sets of all ranges, beyond 64 for each entry: what is worked through.
    pub work: usize,
}

/// More overlaps than the bounds allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

/// Cuts entries into disjoint ascending ranges; neighbours with the same set are joined.
///
/// O(n log n) for n entries, and the sum of the sizes of the sets, which is bounded.
pub fn flatten<T: Ord + Copy + Hash>(
    entries: &[(u128, u128, T)],
    last_address: u128,
    bounds: Bounds,
    sets: &mut Sets<T>,
) -> Result<Vec<Flat>, TooMuch> {
    // (position, starts here, which thing)
    let mut edges = Vec::with_capacity(entries.len() * 2);
    for (first, last, thing) in entries {
        edges.push((*first, true, *thing));
        if *last < last_address {
            edges.push((last + 1, false, *thing));
        }
    }
    edges.sort_unstable_by_key(|(position, _, _)| *position);
    let mut room = entries.len() * 16 + bounds.in_all;
    let mut work = entries.len() * 64 + bounds.work;
    let mut flat: Vec<Flat> = Vec::with_capacity(entries.len());
    // In ascending order, so that equal sets are built equal.
    let mut active: BTreeMap<T, i64> = BTreeMap::new();
    let mut at = 0;
    while at < edges.len() {
        let position = edges[at].0;
        while let Some((_, starts, thing)) = edges.get(at).filter(|edge| edge.0 == position) {
            *active.entry(*thing).or_default() += if *starts { 1 } else { -1 };
            at += 1;
        }
        active.retain(|_, count| *count != 0);
        if active.is_empty() {
            continue;
        }
        work = work.checked_sub(active.len()).ok_or(TooMuch)?;
        if active.len() > bounds.at_once {
            return Err(TooMuch);
        }
        let last = edges.get(at).map_or(last_address, |edge| edge.0 - 1);
        let (set, is_new) = sets.id(active.keys().copied().collect());
        if is_new {
            // A million addresses under a dozen broad entries share two sets.
            room = room.checked_sub(active.len()).ok_or(TooMuch)?;
        }
        match flat.last_mut() {
            Some(before) if before.set == set && before.last + 1 == position => before.last = last,
            _ => flat.push(Flat { first: position, last, set }),
        }
    }
    Ok(flat)
}

/// Lays two lists of disjoint ascending ranges over each other; `pair` numbers
/// what holds together, 0 standing for a list that says nothing. Linear.
pub fn overlay(a: &[Flat], b: &[Flat], mut pair: impl FnMut(u32, u32) -> u32) -> Vec<Flat> {
    let mut flat = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut next = 0;
    loop {
        let (x, y) = (a.peek(), b.peek());
        let starts = [x, y].into_iter().flatten().map(|range| range.first.max(next));
        let Some(first) = starts.min() else { return flat };
        let holds = |range: Option<&&Flat>| range.filter(|r| r.first <= first).map(|r| r.set);
        // Up to where what holds at `first` stays the same.
        let ends = [x, y].into_iter().flatten();
        let ends = ends.map(|r| if r.first <= first { r.last } else { r.first - 1 });
        let last = ends.min().unwrap_or(first);
        let set = pair(holds(x).unwrap_or(0), holds(y).unwrap_or(0));
        flat.push(Flat { first, last, set });
        a.next_if(|range| range.last == last);
        b.next_if(|range| range.last == last);
        let Some(after) = last.checked_add(1) else { return flat };
        next = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LAST: u128 = 63;
    const BOUNDS: Bounds = Bounds { at_once: 24, in_all: 0, work: 0 };

    type Entries = Vec<(u128, u128, u8)>;

    fn entries() -> impl Strategy<Value = Entries> {
        let entry = (0..=LAST, 0..=LAST, 0u8..4).prop_map(|(a, b, t)| (a.min(b), a.max(b), t));
        prop::collection::vec(entry, 0..24)
    }

    /// What holds at an address, by asking each entry in turn.
    fn scan(entries: &Entries, address: u128) -> Vec<u8> {
        let mut things: Vec<u8> = (0..4)
            .filter(|t| entries.iter().any(|(a, b, e)| e == t && *a <= address && address <= *b))
            .collect();
        things.sort_unstable();
        things
    }

    fn find(flat: &[Flat], address: u128) -> u32 {
        flat.iter().find(|f| (f.first..=f.last).contains(&address)).map_or(0, |f| f.set)
    }

    proptest! {
        #[test]
        fn the_cut_ranges_say_what_the_entries_say(entries in entries()) {
            let mut sets = Sets::default();
            let flat = flatten(&entries, LAST, BOUNDS, &mut sets).unwrap();
            for pair in flat.windows(2) {
                prop_assert!(pair[0].last < pair[1].first);
                prop_assert!(pair[0].set != pair[1].set || pair[0].last + 1 < pair[1].first);
            }
            for address in 0..=LAST {
                let set = &sets.ordered()[find(&flat, address) as usize];
                prop_assert_eq!(set, &scan(&entries, address));
            }
        }

        #[test]
        fn an_overlay_says_what_both_say(a in entries(), b in entries()) {
            let (mut sets_a, mut sets_b) = (Sets::default(), Sets::default());
            let flat_a = flatten(&a, LAST, BOUNDS, &mut sets_a).unwrap();
            let flat_b = flatten(&b, LAST, BOUNDS, &mut sets_b).unwrap();
            let mut pairs = vec![(0, 0)];
            let both = overlay(&flat_a, &flat_b, |x, y| {
                pairs.push((x, y));
                pairs.len() as u32 - 1
            });
            prop_assert!(both.windows(2).all(|pair| pair[0].last < pair[1].first));
            for address in 0..=LAST {
                let (x, y) = pairs[find(&both, address) as usize];
                prop_assert_eq!(&sets_a.ordered()[x as usize], &scan(&a, address));
                prop_assert_eq!(&sets_b.ordered()[y as usize], &scan(&b, address));
            }
        }
    }

    #[test]
    fn the_whole_space_and_its_ends_are_ranges_like_others() {
        let mut sets = Sets::default();
        let all = [(0, u128::MAX, 1u8), (u128::MAX, u128::MAX, 2)];
        let flat = flatten(&all, u128::MAX, BOUNDS, &mut sets).unwrap();
        assert_eq!(flat.iter().map(|f| f.last).collect::<Vec<_>>(), [u128::MAX - 1, u128::MAX]);
        assert_eq!(overlay(&flat, &flat, |x, _| x), flat);
        assert_eq!(overlay(&[], &flat, |_, y| y), flat);
    }

    #[test]
    fn what_overlaps_beyond_the_bounds_is_noticed() {
        let nested: Vec<_> = (0..40u128).map(|n| (n, 100 - n, n as u32)).collect();
        let cut = |bounds| flatten(&nested, u128::MAX, bounds, &mut Sets::default()).map(drop);
        let enough = Bounds { at_once: 40, in_all: 10_000, work: 0 };
        assert_eq!(cut(enough), Ok(()));
        assert_eq!(cut(Bounds { at_once: 39, ..enough }), Err(TooMuch));
        assert_eq!(cut(Bounds { in_all: 0, ..enough }), Err(TooMuch));
    }

    #[test]
    fn sets_that_repeat_are_paid_for_once() {
        // Twenty broad entries over many single ones: two sets in all.
        let broad = (0..20).map(|n| (0, LAST, n));
        let entries: Vec<_> = broad.chain((0..=LAST).step_by(2).map(|n| (n, n, 20))).collect();
        let mut sets = Sets::default();
        let flat = flatten(&entries, LAST, BOUNDS, &mut sets).unwrap();
        assert_eq!((flat.len(), sets.ordered().len()), (LAST as usize + 1, 3));
    }
}
