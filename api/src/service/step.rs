//! What a write changes in the bundle: the difference that travels to nodes, and the
//! digest that follows it. Costs as much as the write, not as the policy.

use std::sync::Arc;

use policy::Key;
use wire::v2::{BundleExclusion, BundleRule, Changes, DELTA_BYTES, ListChange, Tally};

use super::state::State;
use store::Change;

/// Bytes of JSON around an entry: two quotation marks and a comma.
const ENTRY_JSON_BYTES: usize = 3;

/// The way from one bundle to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// What differs.
    pub changes: Changes,
    /// The tally of the next bundle.
    pub tally: Tally,
    /// There is more than [`Step::changes`] says, and than a delta holds.
    is_too_much: bool,
}

impl Step {
    /// The way from `base`, whose tally is `tally`, to `next`.
    ///
    /// `rows` are the rows that differ, `list` how the entries of the block list do,
    /// whether they act or not.
    pub fn between(
        base: &State,
        tally: &Tally,
        next: &State,
        rows: &[Change],
        list: &ListChange,
    ) -> Self {
        let mut step =
            Self { changes: Changes::default(), tally: tally.clone(), is_too_much: false };
        for row in rows {
            match row {
                Change::PutSetting { name, .. } | Change::RemoveSetting(name) => {
                    step.setting(base, next, name);
                }
                Change::PutRule(id, _) | Change::RemoveRule(id) => step.rule(base, next, *id),
                Change::PutExclusion(id, _) | Change::RemoveExclusion(id) => {
                    step.exclusion(base, next, *id);
                }
                // Of this nodes are told otherwise.
                Change::Analysis(_) => {}
                Change::PlaceBlockEntries(_)
                | Change::RemoveBlockEntries(_)
                | Change::AppendBlockEntries(_)
                | Change::SetBlockListActive(_) => {}
            }
        }
        let all = |list: &ListChange| (list.removed.len(), list.added.len());
        match (base.block_list_active, next.block_list_active) {
            (true, true) if all(list) != (0, 0) => step.block_list(&list.removed, &list.added),
            (true, false) => step.block_list(&base.block_list, &[]),
            (false, true) => step.block_list(&[], &next.block_list),
            (true, true) | (false, false) => {}
        }
        step
    }

    fn setting(&mut self, base: &State, next: &State, name: &'static str) {
        let Ok(key) = name.parse::<Key>() else { return };
        let (old, new) = (base.acting_setting(key), next.acting_setting(key));
        // Told of once, also where it was written twice.
        if old == new || self.changes.settings.contains_key(name) {
            return;
        }
        if let Some(old) = old {
            self.tally.remove_setting(name, old);
        }
        if let Some(new) = new {
            self.tally.add_setting(name, new);
        }
        self.changes.settings.insert(name.to_owned(), new.map(str::to_owned));
    }

    fn rule(&mut self, base: &State, next: &State, id: u64) {
        let (old, new) = (base.acting_rule(id), next.acting_rule(id));
        if old == new {
            return;
        }
        if let Some(old) = &old {
            self.tally.remove_rule(old);
        }
        match new {
            Some(new) => {
                self.tally.add_rule(&new);
                self.changes.rules.set.push(new);
            }
            None => self.changes.rules.removed.push(id),
        }
    }

    fn exclusion(&mut self, base: &State, next: &State, id: u64) {
        let (old, new) = (base.acting_exclusion(id), next.acting_exclusion(id));
        if old == new {
            return;
        }
        if let Some(old) = &old {
            self.tally.remove_exclusion(old);
        }
        match new {
            Some(new) => {
                self.tally.add_exclusion(&new);
                self.changes.exclusions.set.push(new);
            }
            None => self.changes.exclusions.removed.push(id),
        }
    }

    fn block_list(&mut self, removed: &[String], added: &[String]) {
        for entry in removed {
            self.tally.remove_entry(entry);
        }
        for entry in added {
            self.tally.add_entry(entry);
        }
        // Asked first: a million entries need not be copied to be found too many.
        let least = |entry: &String| entry.len() + ENTRY_JSON_BYTES;
        let bytes: usize = removed.iter().chain(added).map(least).sum();
        if bytes > DELTA_BYTES {
            self.is_too_much = true;
        } else {
            self.changes.block_list =
                ListChange { removed: removed.to_vec(), added: added.to_vec() };
        }
    }

    /// The changes as JSON; `None` where they are too many to be kept.
    pub fn json(&self) -> Option<String> {
        if self.is_too_much {
            return None;
        }
        let json = serde_json::to_string(&self.changes).expect("plain data has a JSON form");
        (json.len() <= DELTA_BYTES).then_some(json)
    }
}

impl State {
    /// The tally of the bundle; takes as long as the policy is large.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (key, setting) in self.settings.iter().filter(|(_, setting)| setting.active) {
            tally.add_setting(key.name(), &setting.value);
        }
        for entry in self.block_list.iter().take(self.acting_entries()) {
            tally.add_entry(entry);
        }
        for id in self.rules.keys() {
            if let Some(rule) = self.acting_rule(*id) {
                tally.add_rule(&rule);
            }
        }
        for id in self.exclusions.keys() {
            if let Some(exclusion) = self.acting_exclusion(*id) {
                tally.add_exclusion(&exclusion);
            }
        }
        tally
    }

    fn acting_setting(&self, key: Key) -> Option<&str> {
        let setting = self.settings.get(&key).filter(|setting| setting.active);
        setting.map(|setting| setting.value.as_str())
    }

    fn acting_rule(&self, id: u64) -> Option<BundleRule> {
        let rule = self.rules.get(&id).filter(|rule| rule.active);
        rule.map(|rule| BundleRule::new(id, Arc::unwrap_or_clone(Arc::clone(rule))))
    }

    fn acting_exclusion(&self, id: u64) -> Option<BundleExclusion> {
        let exclusion = self.exclusions.get(&id).filter(|exclusion| exclusion.active);
        exclusion.map(|exclusion| BundleExclusion::new(id, exclusion))
    }
}
