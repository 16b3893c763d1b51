//! Deltas: what a policy of a million elements needs to say when one of them changed.
//!
//! A delta belongs to one content, which it names by revision and digest, and leads to
//! another one, whose digest it carries. Applied to anything else it is refused: nothing is
//! ever merged. Contents have no entry and no rule id twice, as the API keeps them; for
//! others a delta may not lead where it should, which the digest reveals.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Bundle, BundleContent, BundleExclusion, BundleRule, Revision};

/// Largest delta, in bytes of JSON; what takes more travels as a bundle.
pub const DELTA_BYTES: usize = 16 << 20;

/// How a block list becomes another one.
///
/// First everything `removed` goes, then everything `added` is put at the end. The list is
/// a set: its order has no meaning, and a change of nothing else is no change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListChange {
    /// Entries that go, by their exact text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Entries that come, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
}

/// What has an id.
pub trait Identified {
    /// Unique among its kind.
    fn id(&self) -> u64;
}

impl Identified for BundleRule {
    fn id(&self) -> u64 {
        self.id
    }
}

/// How a list of what has ids becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectsChange<T> {
    /// Ids of those that go.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<u64>,
    /// Those that come, or take the place of the one with their id; in the order of ids.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<T>,
}

/// How rules become others.
pub type RulesChange = ObjectsChange<BundleRule>;
/// How exclusions become others.
pub type ExclusionsChange = ObjectsChange<BundleExclusion>;

impl<T> Default for ObjectsChange<T> {
    fn default() -> Self {
        Self { removed: Vec::new(), set: Vec::new() }
    }
}

/// How a content becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// New values of settings by name; null where a setting goes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Option<String>>,
    /// The block list.
    #[serde(default)]
    pub block_list: ListChange,
    /// The rules.
    #[serde(default)]
    pub rules: RulesChange,
    /// The exclusions.
    #[serde(default)]
    pub exclusions: ExclusionsChange,
}

/// The way from one bundle to a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The bundle it belongs to.
    pub from: Revision,
    /// The digest of that bundle's content.
    pub base: String,
    /// The bundle it leads to.
    pub to: Revision,
    /// `forced_at` of that bundle.
    pub forced_at: u64,
    /// How many settings, entries, rules and exclusions that bundle has.
    pub count: u64,
    /// The digest of that bundle's content.
    pub digest: String,
    /// What differs.
    pub changes: Changes,
}

/// Why a delta leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// It belongs to another bundle.
    #[error("the delta belongs to revision {from} (digest {base}), not to {found}")]
    Base {
        /// What it belongs to.
        from: Revision,
        /// The digest of that.
        base: String,
        /// What it was applied to.
        found: Revision,
    },
    /// The result is not what it should be.
    #[error("the delta to revision {to} does not lead to the digest it announces")]
    Digest {
        /// Where it should lead.
        to: Revision,
    },
}

impl ListChange {
    /// From one list to another, neither of which has an entry twice; and whether this leads
    /// to the other one in its order as well.
    pub fn between(old: &[String], new: &[String]) -> (Self, bool) {
        // What stays in order is found by walking both lists once: no set of a million
        // texts for the change of one.
        let (mut skipped, mut matched) = (Vec::new(), 0);
        for entry in old {
            if new.get(matched) == Some(entry) {
                matched += 1;
            } else {
                skipped.push(entry);
            }
        }
        let rest = &new[matched..];
        let gone: HashSet<&String> = skipped.iter().copied().collect();
        let moved: HashSet<&String> = rest.iter().filter(|entry| gone.contains(entry)).collect();
        let removed = skipped.into_iter().filter(|entry| !moved.contains(entry)).cloned();
        let added = rest.iter().filter(|entry| !moved.contains(entry)).cloned();
        (Self { removed: removed.collect(), added: added.collect() }, moved.is_empty())
    }

    /// Whether both lists are the same.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Changes `list`.
    pub fn apply(&self, list: &mut Vec<String>) {
        if !self.removed.is_empty() {
            let removed: HashSet<&String> = self.removed.iter().collect();
            list.retain(|entry| !removed.contains(entry));
        }
        list.extend_from_slice(&self.added);
    }
}

impl<T: Identified + Clone + PartialEq> ObjectsChange<T> {
    /// From one list to another, both in the order of ids.
    fn between(old: &[T], new: &[T]) -> Self {
        let before: BTreeMap<u64, &T> = old.iter().map(|object| (object.id(), object)).collect();
        let after: HashSet<u64> = new.iter().map(T::id).collect();
        let is_new = |object: &&T| before.get(&object.id()) != Some(object);
        Self {
            removed: before.keys().copied().filter(|id| !after.contains(id)).collect(),
            set: new.iter().filter(is_new).cloned().collect(),
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.set.is_empty()
    }

    fn apply(&self, objects: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let set = self.set.iter().map(T::id);
        let replaced: HashSet<u64> = self.removed.iter().copied().chain(set).collect();
        objects.retain(|object| !replaced.contains(&object.id()));
        objects.extend_from_slice(&self.set);
        objects.sort_by_key(T::id);
    }

    /// Adds a later change to what is known of each id.
    fn join(self, known: &mut BTreeMap<u64, Option<T>>) {
        known.extend(self.removed.into_iter().map(|id| (id, None)));
        known.extend(self.set.into_iter().map(|object| (object.id(), Some(object))));
    }

    /// The change that leads to what is known of each id.
    fn joined(known: BTreeMap<u64, Option<T>>) -> Self {
        let mut joined = Self::default();
        for (id, object) in known {
            match object {
                Some(object) => joined.set.push(object),
                None => joined.removed.push(id),
            }
        }
        joined
    }
}

impl Changes {
    /// From one content to another.
    pub fn between(old: &BundleContent, new: &BundleContent) -> Self {
        let gone = old.settings.keys().filter(|name| !new.settings.contains_key(*name));
        let set =
            new.settings.iter().filter(|(name, value)| old.settings.get(*name) != Some(value));
        Self {
            settings: gone
                .map(|name| (name.clone(), None))
                .chain(set.map(|(name, value)| (name.clone(), Some(value.clone()))))
                .collect(),
            block_list: ListChange::between(&old.block_list, &new.block_list).0,
            rules: RulesChange::between(&old.rules, &new.rules),
            exclusions: ExclusionsChange::between(&old.exclusions, &new.exclusions),
        }
    }

    /// Changes `content`, whatever it is; see [`Delta::apply`].
    pub fn apply(&self, content: &mut BundleContent) {
        for (name, value) in &self.settings {
            match value {
                Some(value) => drop(content.settings.insert(name.clone(), value.clone())),
                None => drop(content.settings.remove(name)),
            }
        }
        self.block_list.apply(&mut content.block_list);
        self.rules.apply(&mut content.rules);
        self.exclusions.apply(&mut content.exclusions);
    }

    /// Changes that follow each other, as one. Linear in all of them: a thousand small
    /// ones after a large one must not walk through the large one a thousand times.
    #[must_use]
    pub fn joined(steps: impl IntoIterator<Item = Self>) -> Self {
        let mut settings = BTreeMap::new();
        let mut removed = Vec::new();
        // Entries that came and did not go again, and the order in which they came.
        let mut came: HashMap<String, usize> = HashMap::new();
        let mut next = 0;
        let (mut rules, mut exclusions) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            settings.extend(step.settings);
            // What came on the way was not there before, or has been removed before.
            let list = step.block_list;
            removed.extend(list.removed.into_iter().filter(|entry| came.remove(entry).is_none()));
            for entry in list.added {
                came.insert(entry, next);
                next += 1;
            }
            step.rules.join(&mut rules);
            step.exclusions.join(&mut exclusions);
        }
        let mut added: Vec<_> = came.into_iter().collect();
        added.sort_unstable_by_key(|(_, at)| *at);
        let added = added.into_iter().map(|(entry, _)| entry).collect();
        Self {
            settings,
            block_list: ListChange { removed, added },
            rules: RulesChange::joined(rules),
            exclusions: ExclusionsChange::joined(exclusions),
        }
    }
}

impl Delta {
    /// The way from `old` to `new`.
    pub fn between(old: &Bundle, new: &Bundle) -> Self {
        Self {
            from: old.revision,
            base: old.digest.clone(),
            to: new.revision,
            forced_at: new.forced_at,
            count: new.count,
            digest: new.digest.clone(),
            changes: Changes::between(&old.content, &new.content),
        }
    }

    /// The bundle this delta leads to. The result has been checked, so a base that is not
    /// what it says it is does not get through either. Takes as long as the bundle is large.
    ///
    /// # Errors
    /// See [`DeltaError`].
    pub fn apply(&self, base: Bundle) -> Result<Bundle, DeltaError> {
        if base.revision != self.from || base.digest != self.base {
            let (from, found) = (self.from, base.revision);
            return Err(DeltaError::Base { from, base: self.base.clone(), found });
        }
        let mut content = base.content;
        self.changes.apply(&mut content);
        let bundle = Bundle::seal(self.to, self.forced_at, content);
        if bundle.count != self.count || bundle.digest != self.digest {
            return Err(DeltaError::Digest { to: self.to });
        }
        Ok(bundle)
    }
}

#[cfg(test)]
mod tests;
