//! What a write does, or would do, to a policy: numbers, and the first elements of each
//! kind.
//!
//! An answer stays small however much changes: numbers count everything, examples are
//! at most [`DIFF_EXAMPLES`] of the added, the changed and the removed elements each.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Elements of one kind (added, changed or removed) that one part of a diff shows.
pub const DIFF_EXAMPLES: usize = 100;

/// How one policy becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// Settings, by name.
    pub settings: PartDiff,
    /// Entries of the block list, by text.
    pub block_list: PartDiff,
    /// Given where the block list is switched on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_list_active: Option<Switch>,
    /// Rules, by id.
    pub rules: PartDiff,
    /// Signature exclusions, by id; given where one differs, as what follows.
    #[serde(default, skip_serializing_if = "PartDiff::is_empty")]
    pub exclusions: PartDiff,
    /// Settings of behavioural analysis, by name.
    #[serde(default, skip_serializing_if = "PartDiff::is_empty")]
    pub mlc_settings: PartDiff,
    /// Virtual hosts, by name.
    #[serde(default, skip_serializing_if = "PartDiff::is_empty")]
    pub vhosts: PartDiff,
    /// What else changes, as the action log will have it: the order of virtual hosts,
    /// trainings, models. The name is that of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Example>,
}

/// How one part of a policy becomes another one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct PartDiff {
    /// How many elements come.
    pub added: u64,
    /// How many elements get another content.
    pub changed: u64,
    /// How many elements go.
    pub removed: u64,
    /// The first 100 of each; answers to imports that were carried out have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
}

/// One element that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Example {
    /// Its name, text or id.
    pub name: String,
    /// What was there; null where it comes.
    pub before: Value,
    /// What is there then; null where it goes.
    pub after: Value,
}

/// A flag that turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Switch {
    /// What it was.
    pub before: bool,
    /// What it is then.
    pub after: bool,
}

impl PartDiff {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        (self.added, self.changed, self.removed) == (0, 0, 0)
    }

    /// An element comes.
    pub fn add(&mut self, name: impl ToString, after: impl FnOnce() -> Value) {
        self.added += 1;
        if self.added <= DIFF_EXAMPLES as u64 {
            let example = Example { name: name.to_string(), before: Value::Null, after: after() };
            self.examples.push(example);
        }
    }

    /// An element gets another content.
    pub fn change(&mut self, name: impl ToString, contents: impl FnOnce() -> (Value, Value)) {
        self.changed += 1;
        if self.changed <= DIFF_EXAMPLES as u64 {
            let (before, after) = contents();
            self.examples.push(Example { name: name.to_string(), before, after });
        }
    }

    /// An element goes.
    pub fn remove(&mut self, name: impl ToString, before: impl FnOnce() -> Value) {
        self.removed += 1;
        if self.removed <= DIFF_EXAMPLES as u64 {
            let example = Example { name: name.to_string(), before: before(), after: Value::Null };
            self.examples.push(example);
        }
    }
}

impl Diff {
    /// The same without examples.
    #[must_use]
    pub fn without_examples(mut self) -> Self {
        let Self { settings, block_list, rules, exclusions, mlc_settings, vhosts, .. } = &mut self;
        for part in [settings, block_list, rules, exclusions, mlc_settings, vhosts] {
            part.examples.clear();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_the_first_of_each_kind_shown() {
        let mut part = PartDiff::default();
        for n in 0..DIFF_EXAMPLES + 5 {
            part.add(n, || Value::from(n));
            part.remove(n, || Value::from(n));
            part.change(n, || (Value::from(n), Value::Null));
        }
        assert_eq!((part.added, part.changed, part.removed), (105, 105, 105));
        assert_eq!(part.examples.len(), 3 * DIFF_EXAMPLES);
        let whole = Diff { rules: part, ..Diff::default() };
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Diff>(&json).unwrap(), whole);
        assert_eq!(whole.without_examples().rules.examples, []);
    }
}
