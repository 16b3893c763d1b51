//! Which element of a file is which one that is there.
//!
//! By id where ids are kept, else by content: an element that is there, equal in every
//! field, is the same one. No id is ever given twice.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::Mode;

/// An element of a file.
#[derive(Debug)]
pub(super) struct Given<T> {
    /// The id that it is to have, where ids are kept.
    pub id: Option<u64>,
    /// What it says.
    pub text: Arc<T>,
}

/// What becomes of the elements of a file and of those that are there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Ids that go.
    pub gone: Vec<u64>,
    /// Ids that are written, and which element of the file they get.
    pub put: Vec<(u64, usize)>,
    /// How many elements there will be.
    pub total: usize,
    /// The id that the next new element gets.
    pub next_id: u64,
}

/// Gives each element of a file an id. O(n log n).
pub(super) fn assign<T: Eq + Hash>(
    before: &BTreeMap<u64, Arc<T>>,
    given: &[&Given<T>],
    mode: Mode,
    mut next_id: u64,
) -> Assigned {
    // Elements that are there and that none of the file is yet.
    let mut unmatched: HashMap<&T, Vec<u64>> = HashMap::new();
    for (id, text) in before.iter().rev() {
        unmatched.entry(text).or_default().push(*id);
    }
    let mut kept: BTreeMap<u64, usize> = BTreeMap::new();
    let mut new = Vec::new();
    for (at, element) in given.iter().enumerate() {
        let id = match element.id {
            Some(id) if is_free(mode, before.get(&id), &element.text) => Some(id),
            Some(_) => None,
            None => unmatched.get_mut(&*element.text).and_then(Vec::pop),
        };
        // An id that was matched by content may be the kept one of another element.
        match id.filter(|id| !kept.contains_key(id)) {
            Some(id) => drop(kept.insert(id, at)),
            None => new.push(at),
        }
    }
    let others = before.keys().filter(|id| !kept.contains_key(id));
    let gone: Vec<u64> =
        if mode == Mode::Replace { others.clone().copied().collect() } else { Vec::new() };
    let stay = others.count() - gone.len();
    let total = stay + kept.len() + new.len();
    let highest = kept.keys().next_back().map_or(0, |id| id + 1);
    next_id = next_id.max(highest);
    let differs =
        |(id, at): &(u64, usize)| before.get(id).is_none_or(|there| *there != given[*at].text);
    let mut put: Vec<_> = kept.into_iter().filter(differs).collect();
    for at in new {
        put.push((next_id, at));
        next_id += 1;
    }
    Assigned { gone, put, total, next_id }
}

/// Whether an element of the file may have its id: nobody has it, or whoever has it is
/// replaced, or is the same one.
fn is_free<T: Eq>(mode: Mode, there: Option<&Arc<T>>, text: &T) -> bool {
    mode == Mode::Replace || there.is_none_or(|there| **there == *text)
}
