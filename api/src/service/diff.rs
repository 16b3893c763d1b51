//! What differs between two policies, for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use wire::v1::RuleLine;
use wire::v2::{Diff, ListChange, PartDiff, Switch};

use super::analysis::MlcSetting;
use super::change::{analysis, exclusion_json, logged_setting};
use super::state::State;

/// From `base` to `next`; `list` is how the entries of the block list differ.
///
/// Linear in the number of rules where rules differ, else in what changed.
pub(super) fn between(base: &State, next: &State, list: &ListChange) -> Diff {
    let mut diff = Diff::default();
    for (key, new) in &next.settings {
        match base.settings.get(key) {
            None => diff.settings.add(key, || logged_setting(Some(new))),
            Some(old) if old != new => {
                diff.settings
                    .change(key, || (logged_setting(Some(old)), logged_setting(Some(new))));
            }
            Some(_) => {}
        }
    }
    for (key, old) in &base.settings {
        if !next.settings.contains_key(key) {
            diff.settings.remove(key, || logged_setting(Some(old)));
        }
    }
    for entry in &list.removed {
        diff.block_list.remove(entry, || Value::from(entry.as_str()));
    }
    for entry in &list.added {
        diff.block_list.add(entry, || Value::from(entry.as_str()));
    }
    let (before, after) = (base.block_list_active, next.block_list_active);
    diff.block_list_active = (before != after).then_some(Switch { before, after });
    if !Arc::ptr_eq(&base.rules, &next.rules) {
        rules(&mut diff, base, next);
    }
    let exclusion = |id: &u64, text: &Arc<policy::ExclusionText>| exclusion_json(*id, text);
    maps(&mut diff.exclusions, &base.exclusions, &next.exclusions, exclusion);
    let setting = |_: &policy::MlcKey, setting: &MlcSetting| analysis::logged(Some(setting));
    maps(&mut diff.mlc_settings, &base.analysis.mlc, &next.analysis.mlc, setting);
    if !Arc::ptr_eq(&base.analysis.vhosts, &next.analysis.vhosts) {
        let names = |state: &State| -> BTreeMap<String, ()> {
            state.analysis.vhosts.iter().map(|vhost| (vhost.clone(), ())).collect()
        };
        let vhost = |name: &String, (): &()| Value::from(name.as_str());
        maps(&mut diff.vhosts, &names(base), &names(next), vhost);
    }
    diff
}

/// How two maps differ.
fn maps<K: Ord + ToString, V: PartialEq>(
    diff: &mut PartDiff,
    base: &BTreeMap<K, V>,
    next: &BTreeMap<K, V>,
    shown: impl Fn(&K, &V) -> Value,
) {
    for (key, new) in next {
        match base.get(key) {
            None => diff.add(key.to_string(), || shown(key, new)),
            Some(old) if old != new => {
                diff.change(key.to_string(), || (shown(key, old), shown(key, new)));
            }
            Some(_) => {}
        }
    }
    for (key, old) in base.iter().filter(|(key, _)| !next.contains_key(key)) {
        diff.remove(key.to_string(), || shown(key, old));
    }
}

fn rules(diff: &mut Diff, base: &State, next: &State) {
    let line = |id: u64, rule: &policy::RuleText| json!(RuleLine::new(id, rule, None));
    for (id, new) in next.rules.iter() {
        match base.rules.get(id) {
            None => diff.rules.add(id, || line(*id, new)),
            Some(old) if old != new => {
                diff.rules.change(id, || (line(*id, old), line(*id, new)));
            }
            Some(_) => {}
        }
    }
    for (id, old) in base.rules.iter() {
        if !next.rules.contains_key(id) {
            diff.rules.remove(id, || line(*id, old));
        }
    }
}
