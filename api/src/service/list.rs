//! The block list: what a write makes of it.
//!
//! Entries are parsed and repeated ones dropped before a write has its turn
//! ([`Entries::understand`]): others do not wait for a million addresses.

use std::collections::HashMap;
use std::sync::Arc;

use policy::{AddressEntry, Invalid, list};
use serde_json::{Value, json};
use wire::v1::BlockListWrite;
use wire::v2::ListChange;

use super::ServiceError;
use super::change::Draft;
use super::state::Current;
use store::Change;

/// Entries of the block list that one row of the action log spells out.
const LOGGED_ENTRIES_MAX: usize = 1_000;

/// Texts of entries and, in the same order, what they mean; none twice.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    pub texts: Arc<Vec<String>>,
    pub parsed: Arc<Vec<AddressEntry>>,
}

/// A write of the block list whose entries are understood.
#[derive(Debug)]
pub(super) enum ListWrite {
    Set { active: Option<bool>, entries: Option<Entries> },
    Clear,
    Remove { texts: Vec<String>, parsed: Vec<AddressEntry> },
}

impl ListWrite {
    pub fn understand(write: BlockListWrite) -> Result<Self, ServiceError> {
        let understood = match write {
            BlockListWrite::Set { active, entries } => entries
                .map(Entries::understand)
                .transpose()
                .map(|entries| Self::Set { active, entries }),
            BlockListWrite::Clear => Ok(Self::Clear),
            BlockListWrite::Remove(texts) => {
                list::parse_each("del", texts.iter().map(String::as_str))
                    .map(|parsed| Self::Remove { texts, parsed })
            }
        };
        understood.map_err(ServiceError::Invalid)
    }
}

impl Entries {
    /// Parses entries and drops repeated ones; the first stays.
    fn understand(texts: Vec<String>) -> Result<Self, Vec<Invalid>> {
        let parsed = list::parse_each("bl", texts.iter().map(String::as_str))?;
        Ok(Self::unique(texts, parsed))
    }

    /// Drops repeated ones; the first stays. O(n log n) time, four bytes an entry beside
    /// what is given.
    pub fn unique(mut texts: Vec<String>, mut parsed: Vec<AddressEntry>) -> Self {
        let is_new = first_of_equals(&parsed);
        let mut keep = is_new.iter();
        texts.retain_mut(|text| {
            let is_new = keep.next().is_some_and(|new| *new);
            if is_new && !is_spelled_plainly(text) {
                // One space between words: an entry is one line of the answer.
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            is_new
        });
        let mut keep = is_new.iter();
        parsed.retain(|_| keep.next().is_some_and(|new| *new));
        // What a million texts were read into is often twice as large as they are.
        texts.shrink_to_fit();
        parsed.shrink_to_fit();
        Self { texts: Arc::new(texts), parsed: Arc::new(parsed) }
    }

    /// The entries of `base`, then those of these that are not there yet.
    pub fn joined_to(&self, base: &Current) -> Self {
        let old = &base.state.block_list;
        let texts = old.iter().chain(&*self.texts).cloned().collect();
        let parsed = base.meaning.block_list.iter().chain(&*self.parsed).cloned().collect();
        Self::unique(texts, parsed)
    }
}

/// Which entries mean what none before them means.
fn first_of_equals(parsed: &[AddressEntry]) -> Vec<bool> {
    let meaning = |at: u32| {
        let entry = &parsed[at as usize];
        (entry.range, &entry.domain, entry.api)
    };
    // Lists have ten million entries at most.
    let mut order: Vec<u32> = (0..u32::try_from(parsed.len()).unwrap_or(u32::MAX)).collect();
    order.sort_unstable_by(|a, b| meaning(*a).cmp(&meaning(*b)).then(a.cmp(b)));
    let mut is_new = vec![true; parsed.len()];
    for pair in order.windows(2) {
        if meaning(pair[0]) == meaning(pair[1]) {
            is_new[pair[1] as usize] = false;
        }
    }
    is_new
}

/// Whether there is nothing around the words and one space between two.
fn is_spelled_plainly(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.is_ascii()
        && !bytes.first().is_some_and(u8::is_ascii_whitespace)
        && !bytes.last().is_some_and(u8::is_ascii_whitespace)
        && bytes.iter().all(|byte| *byte == b' ' || !(byte.is_ascii_whitespace() || *byte == 0x0b))
        && !text.contains("  ")
}

/// Writes the block list into `draft`.
pub(super) fn write(
    draft: &mut Draft,
    base: &Current,
    write: &ListWrite,
) -> Result<(), ServiceError> {
    let was_active = base.state.block_list_active;
    let (active, next) = match write {
        // A new list acts unless the client says otherwise.
        ListWrite::Set { active, entries } => {
            (active.unwrap_or(entries.is_some() || was_active), entries.clone())
        }
        ListWrite::Clear => (was_active, Some(Entries::default())),
        ListWrite::Remove { texts, parsed } => (was_active, Some(remove(base, texts, parsed)?)),
    };
    replace(draft, base, active, next);
    if !draft.changes.is_empty() {
        draft.before = logged_list(was_active, &base.state.block_list, &draft.list.removed);
        draft.after = logged_list(active, &draft.state.block_list, &draft.list.added);
    }
    Ok(())
}

/// Puts other entries, or none other, in the place of those of `base`.
pub(super) fn replace(draft: &mut Draft, base: &Current, active: bool, next: Option<Entries>) {
    if let Some(Entries { texts, parsed }) = next {
        let old = &base.state.block_list;
        let (change, is_in_order) = ListChange::between(old, &texts);
        let rows = list_rows(&change, is_in_order, &texts);
        if !rows.is_empty() {
            draft.changes.extend(rows);
            draft.list = change;
            draft.state.block_list = texts;
            draft.meaning.set_block_list(parsed);
        }
    }
    if active != base.state.block_list_active {
        draft.changes.push(Change::SetBlockListActive(active));
        draft.state.block_list_active = active;
    }
}

/// The rows that differ. Where what stays keeps its order and what is added stands at the
/// end, these are a few; else every entry gets its place.
fn list_rows(change: &ListChange, is_in_order: bool, new: &Arc<Vec<String>>) -> Vec<Change> {
    let mut rows = Vec::new();
    if !change.removed.is_empty() {
        rows.push(Change::RemoveBlockEntries(change.removed.clone()));
    }
    // Where nothing stays, every entry has a new place and none is copied to say so.
    if !is_in_order || (change.added.len() == new.len() && !new.is_empty()) {
        rows.push(Change::PlaceBlockEntries(Arc::clone(new)));
    } else if !change.added.is_empty() {
        rows.push(Change::AppendBlockEntries(change.added.clone()));
    }
    rows
}

/// The list without entries, found by what they mean; `api=yes` makes no difference.
fn remove(
    base: &Current,
    texts: &[String],
    unwanted: &[AddressEntry],
) -> Result<Entries, ServiceError> {
    let mut found: HashMap<_, bool> =
        unwanted.iter().map(|e| ((e.range, &e.domain), false)).collect();
    let (mut kept, mut parsed) = (Vec::new(), Vec::new());
    for (text, entry) in base.state.block_list.iter().zip(&*base.meaning.block_list) {
        if let Some(found) = found.get_mut(&(entry.range, &entry.domain)) {
            *found = true;
        } else {
            kept.push(text.clone());
            parsed.push(entry.clone());
        }
    }
    let missing: Vec<&str> = unwanted
        .iter()
        .zip(texts)
        .filter(|(e, _)| !found[&(e.range, &e.domain)])
        .map(|(_, text)| text.trim())
        .collect();
    if missing.is_empty() {
        return Ok(Entries { texts: Arc::new(kept), parsed: Arc::new(parsed) });
    }
    Err(ServiceError::NotFound(Invalid::new(
        "del",
        &missing.join(", "),
        "the block list has no such entry",
        "name entries as get_dyn_bl shows them; nothing was removed",
    )))
}

/// The list for the action log: in full if it is short, else what changed of it.
fn logged_list(active: bool, entries: &[String], only_here: &[String]) -> Value {
    if entries.len() <= LOGGED_ENTRIES_MAX {
        return json!({"active": active, "bl": entries});
    }
    let only_here = &only_here[..only_here.len().min(LOGGED_ENTRIES_MAX)];
    json!({"active": active, "entries": entries.len(), "only_here": only_here})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn edits_are_local_where_order_is_kept() {
        for (old, new, removed, appended, placed) in [
            ("", "", "", "", false),
            ("a b c", "a c", "b", "", false),
            ("a b c", "b c d e", "a", "d e", false),
            ("a b c", "", "a b c", "", false),
            ("", "a b", "", "", true),
            ("a b", "c d", "a b", "", true),
            ("a b c", "c a b", "", "", true),
            ("a b c", "d a c", "b", "", true),
        ] {
            let (change, is_in_order) = ListChange::between(&texts(old), &texts(new));
            let all = Arc::new(texts(new));
            let mut rows = list_rows(&change, is_in_order, &all);
            if placed {
                assert_eq!(rows.pop(), Some(Change::PlaceBlockEntries(all)), "{old} -> {new}");
            }
            let mut expected = Vec::new();
            if !removed.is_empty() {
                expected.push(Change::RemoveBlockEntries(texts(removed)));
            }
            if !appended.is_empty() {
                expected.push(Change::AppendBlockEntries(texts(appended)));
            }
            assert_eq!(rows, expected, "{old} -> {new}");
        }
    }

    #[test]
    fn equal_entries_are_one_and_spaces_are_single() {
        let given: Vec<String> = [
            "1.1.1.1",
            " 1.1.1.1 ",
            "1.1.1.1  api=yes",
            "1.1.1.7/24",
            "1.1.1.0/24",
            "2.2.2.2\tapi=yes",
            "domain=a.com 1.1.1.1",
        ]
        .map(str::to_owned)
        .into();
        let entries = Entries::understand(given).unwrap();
        let expected =
            ["1.1.1.1", "1.1.1.1 api=yes", "1.1.1.7/24", "2.2.2.2 api=yes", "domain=a.com 1.1.1.1"];
        assert_eq!(*entries.texts, expected);
        assert_eq!(entries.parsed.len(), 5);
    }
}
