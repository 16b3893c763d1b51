//! Computing a change: from a policy and a write to the next policy, or a refusal.
//!
//! Pure: nothing is stored here. The resulting policy is judged as a whole.

mod analysis;
mod exclusion;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use policy::limits::RULES;
use policy::{AddressEntry, Invalid, Key, Rule, RuleText, Settings, Training, dangers, list};
use serde_json::{Value, json};
use wire::v1::{BlockListWrite, RuleLine, RulePatch, RuleWrite, SettingsWrite};
use wire::v2::{BUNDLE_BYTES, ListChange};

use super::state::{Current, Meaning, Setting, State};
use super::step::Step;
use super::{ServiceError, Write};
use store::Change;

/// Entries of the block list that one row of the action log spells out.
const LOGGED_ENTRIES_MAX: usize = 1_000;

/// Characters of a setting's value that one row of the action log spells out.
const LOGGED_CHARS_MAX: usize = 20_000;

/// Bytes of JSON that the elements of a policy may take, so that nodes can take its
/// bundle: some are left for what is around them, and for texts that JSON writes longer.
const POLICY_BYTES: u64 = BUNDLE_BYTES as u64 - (1 << 20);

/// The answer to a write.
#[derive(Debug)]
pub(super) struct Computed {
    /// The rule it is about.
    pub id: Option<u64>,
    /// What has to be stored; `None` where the write asks for what is there already.
    pub outcome: Option<Outcome>,
}

/// The next policy and how to get there.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The texts.
    pub state: State,
    /// What they mean.
    pub policy: Meaning,
    /// The rows that differ.
    pub changes: Vec<Change>,
    /// How the bundles differ.
    pub step: Step,
    /// Whether this drastic change is made on purpose.
    pub forced: bool,
    /// For the action log.
    pub before: Value,
    /// For the action log.
    pub after: Value,
}

/// What a change is computed with, beside the policy.
#[derive(Debug)]
pub(super) struct Context {
    /// Name of the key.
    pub author: String,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
    /// The generation that the change will make.
    pub generation: u64,
    /// The trainings, where the write is about them.
    pub trainings: Vec<(String, Training)>,
}

/// The next policy while it is being computed; the fields of [`Outcome`].
struct Draft {
    state: State,
    policy: Meaning,
    changes: Vec<Change>,
    /// How the entries of the block list differ, whether they act or not.
    list: ListChange,
    before: Value,
    after: Value,
}

/// Computes a write.
///
/// # Errors
/// Values without meaning, rules and entries that do not exist, and policies that
/// need `force`.
pub(super) fn compute(
    base: &Current,
    context: &Context,
    write: &Write,
    force: bool,
) -> Result<Computed, ServiceError> {
    let mut draft = Draft {
        state: base.state.clone(),
        policy: base.meaning.clone(),
        changes: Vec::new(),
        list: ListChange::default(),
        before: Value::Null,
        after: Value::Null,
    };
    let id = match write {
        Write::Settings(write) => settings(&mut draft, write).map(|()| None),
        Write::BlockList(write) => block_list(&mut draft, base, write).map(|()| None),
        Write::Rules(write) => rules(&mut draft, write).map(Some),
        Write::Exclusions(write) => exclusion::exclusions(&mut draft, write).map(Some),
        Write::Mlc(write) => analysis::mlc(&mut draft, write).map(|()| None),
        Write::Vhosts(write) => analysis::vhosts(&mut draft, write).map(|()| None),
        Write::Training(write) => analysis::training(&mut draft, context, write).map(|()| None),
        Write::Models(write) => analysis::models(&mut draft, context, write).map(|()| None),
        Write::PutModel(model) => analysis::put_model(&mut draft, context, model).map(|()| None),
    }?;
    if draft.changes.is_empty() {
        return Ok(Computed { id, outcome: None });
    }
    // Who asked for the danger that is in force need not ask again for each change.
    let known: HashSet<_> = dangers(&base.meaning.policy).collect();
    let new_danger = dangers(&draft.policy.policy).find(|danger| !known.contains(danger));
    if !force && let Some(danger) = new_danger {
        return Err(ServiceError::NeedsForce(danger));
    }
    // A node refuses to lose nearly everything at once unless it was meant; what an
    // operator removes by a call was meant. Force that was not needed marks nothing,
    // so that a script that always sends it does not disarm the nodes; but the first
    // one in a history says that nodes shall follow this history.
    let forced = new_danger.is_some()
        || (force && base.forced_at == 0)
        || removes_most(base.state.acting_entries(), draft.state.acting_entries())
        || removes_most(base.state.acting_rules(), draft.state.acting_rules())
        || removes_most(base.state.acting_elements(), draft.state.acting_elements());
    let Draft { state, policy, changes, list, before, after } = draft;
    let step = Step::between(&base.state, base.tally(), &state, &changes, list);
    if let Some(why) = too_large(base.tally().bytes(), step.tally.bytes()) {
        return Err(ServiceError::Invalid(vec![why]));
    }
    let outcome = Outcome { state, policy, changes, step, forced, before, after };
    Ok(Computed { id, outcome: Some(outcome) })
}

/// Whether more than 90 % are gone.
fn removes_most(before: usize, after: usize) -> bool {
    after.saturating_mul(10) < before
}

/// Why a policy would be more than a bundle can carry; nothing where it shrinks.
fn too_large(before: u64, after: u64) -> Option<Invalid> {
    (after > POLICY_BYTES && after > before).then(|| {
        let reason = format!("the whole policy would have {after} bytes, more than {POLICY_BYTES}");
        Invalid::new("policy", "", reason, "remove or merge what is not needed")
    })
}

fn settings(draft: &mut Draft, write: &SettingsWrite) -> Result<(), ServiceError> {
    let (mut before, mut after) = (serde_json::Map::new(), serde_json::Map::new());
    let logged = |setting: Option<&Setting>| {
        setting.map_or(Value::Null, |s| match s.value.char_indices().nth(LOGGED_CHARS_MAX) {
            None => json!({"value": s.value, "active": s.active}),
            Some((cut, _)) => {
                json!({"value_begins": s.value[..cut], "bytes": s.value.len(), "active": s.active})
            }
        })
    };
    match write {
        SettingsWrite::Set { active, values } => {
            let mut refused = Vec::new();
            for (key, value) in values {
                if let Err(why) = Settings::parse([(key.name(), value.as_str())]) {
                    refused.extend(why);
                }
            }
            if !refused.is_empty() {
                return Err(ServiceError::Invalid(refused));
            }
            for (key, value) in values {
                let setting = Setting { value: value.trim().to_owned(), active: *active };
                let old = draft.state.settings.get(key);
                if old == Some(&setting) {
                    continue;
                }
                before.insert(key.name().into(), logged(old));
                after.insert(key.name().into(), logged(Some(&setting)));
                let value = setting.value.clone();
                let active = *active;
                draft.changes.push(Change::PutSetting { name: key.name(), value, active });
                draft.state.settings.insert(*key, setting);
            }
        }
        SettingsWrite::Del(names) => {
            let keys: Result<Vec<Key>, Vec<Invalid>> = collect(
                names.iter().map(|name| name.parse::<Key>().map_err(|why| why.in_field("del"))),
            );
            for key in keys.map_err(ServiceError::Invalid)? {
                if let Some(old) = draft.state.settings.remove(&key) {
                    before.insert(key.name().into(), logged(Some(&old)));
                    after.insert(key.name().into(), Value::Null);
                    draft.changes.push(Change::RemoveSetting(key.name()));
                }
            }
        }
    }
    draft.policy.policy.settings = draft.state.active_settings().map_err(ServiceError::Invalid)?;
    (draft.before, draft.after) = (Value::Object(before), Value::Object(after));
    Ok(())
}

fn block_list(
    draft: &mut Draft,
    base: &Current,
    write: &BlockListWrite,
) -> Result<(), ServiceError> {
    let old = &base.state.block_list;
    let was_active = base.state.block_list_active;
    let old_parsed = base.meaning.block_list(was_active);
    let (active, next) = match write {
        BlockListWrite::Set { active, entries } => {
            // A new list acts unless the client says otherwise.
            let active = active.unwrap_or(entries.is_some() || was_active);
            (active, entries.as_deref().map(merge).transpose().map_err(ServiceError::Invalid)?)
        }
        BlockListWrite::Clear => (was_active, Some(Entries::default())),
        BlockListWrite::Remove(entries) => (was_active, Some(remove(old, old_parsed, entries)?)),
    };
    let (texts, parsed) = match next {
        Some((texts, parsed)) => (Arc::new(texts), parsed),
        None => (Arc::clone(old), old_parsed.clone()),
    };
    let (change, is_in_order) = ListChange::between(old, &texts);
    draft.changes.extend(list_rows(&change, is_in_order, &texts));
    if active != was_active {
        draft.changes.push(Change::SetBlockListActive(active));
    }
    if draft.changes.is_empty() {
        return Ok(());
    }
    draft.before = logged_list(was_active, old, &change.removed);
    draft.after = logged_list(active, &texts, &change.added);
    draft.list = change;
    draft.state.block_list_active = active;
    draft.state.block_list = texts;
    let (acting, idle) = if active { (parsed, vec![]) } else { (vec![], parsed) };
    draft.policy.policy.block_list = acting;
    draft.policy.idle_block_list = idle;
    Ok(())
}

/// The rows that differ. Where what stays keeps its order and what is added stands at the
/// end, these are a few; else every entry gets its place.
fn list_rows(change: &ListChange, is_in_order: bool, new: &Arc<Vec<String>>) -> Vec<Change> {
    let mut rows = Vec::new();
    if !change.removed.is_empty() {
        rows.push(Change::RemoveBlockEntries(change.removed.clone()));
    }
    if !is_in_order {
        rows.push(Change::PlaceBlockEntries(Arc::clone(new)));
    } else if !change.added.is_empty() {
        rows.push(Change::AppendBlockEntries(change.added.clone()));
    }
    rows
}

/// Texts of entries and, in the same order, what they mean.
type Entries = (Vec<String>, Vec<AddressEntry>);

/// Parses entries and drops repeated ones; the first stays.
fn merge(entries: &[String]) -> Result<Entries, Vec<Invalid>> {
    let parsed: Vec<AddressEntry> = list::parse_each("bl", entries.iter().map(String::as_str))?;
    let mut seen = HashSet::with_capacity(parsed.len());
    let is_new: Vec<bool> =
        parsed.iter().map(|e| seen.insert((e.range, &e.domain, e.api))).collect();
    drop(seen);
    let texts = entries.iter().zip(&is_new).filter(|(_, new)| **new);
    // One space between words: an entry is one line of the answer.
    let texts =
        texts.map(|(text, _)| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let parsed = parsed.into_iter().zip(is_new).filter_map(|(e, new)| new.then_some(e)).collect();
    Ok((texts, parsed))
}

/// The list without entries, found by what they mean; `api=yes` makes no difference.
fn remove(
    texts: &[String],
    parsed: &[AddressEntry],
    unwanted: &[String],
) -> Result<Entries, ServiceError> {
    let named: Vec<AddressEntry> = list::parse_each("del", unwanted.iter().map(String::as_str))
        .map_err(ServiceError::Invalid)?;
    let mut found: HashMap<_, bool> = named.iter().map(|e| ((e.range, &e.domain), false)).collect();
    let mut kept = Entries::default();
    for (text, entry) in texts.iter().zip(parsed) {
        if let Some(found) = found.get_mut(&(entry.range, &entry.domain)) {
            *found = true;
        } else {
            kept.0.push(text.clone());
            kept.1.push(entry.clone());
        }
    }
    let missing: Vec<&str> = named
        .iter()
        .zip(unwanted)
        .filter(|(e, _)| !found[&(e.range, &e.domain)])
        .map(|(_, text)| text.trim())
        .collect();
    if missing.is_empty() {
        return Ok(kept);
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

fn rules(draft: &mut Draft, write: &RuleWrite) -> Result<u64, ServiceError> {
    let (id, text) = match write {
        RuleWrite::Add(patch) => {
            if draft.state.rules.len() >= RULES {
                let reason = format!("there are {RULES} rules already");
                let remedy = "delete rules that are not needed";
                return Err(ServiceError::Invalid(vec![Invalid::new("add", "", reason, remedy)]));
            }
            let id = draft.state.next_rule_id;
            draft.state.next_rule_id += 1;
            (id, Some(patched(RuleText::default(), patch)))
        }
        RuleWrite::Update(id, patch) => {
            let rule = find(&draft.state, *id, "upd.id")?;
            (*id, Some(patched((**rule).clone(), patch)))
        }
        RuleWrite::Delete(id) => {
            find(&draft.state, *id, "del.id")?;
            (*id, None)
        }
    };
    let old = draft.state.rules.get(&id).cloned();
    if old.as_deref() == text.as_ref() {
        return Ok(id);
    }
    let operation = if matches!(write, RuleWrite::Add(_)) { "add" } else { "upd" };
    // What is wrong with the rule as a whole is wrong with the operation.
    let named = |why: Invalid| if why.field == "rule" { why.in_field(operation) } else { why };
    let parsed = text
        .as_ref()
        .map(|text| Rule::parse(id, text))
        .transpose()
        .map_err(|refused| ServiceError::Invalid(refused.into_iter().map(named).collect()))?;
    let logged = |rule: Option<&RuleText>| {
        rule.map_or(Value::Null, |rule| json!(RuleLine::new(id, rule, None)))
    };
    (draft.before, draft.after) = (logged(old.as_deref()), logged(text.as_ref()));

    let acting = &mut draft.policy.policy.rules;
    let place = acting.binary_search_by_key(&id, |rule| rule.id);
    match (place, parsed.filter(|rule| rule.active)) {
        (Ok(at), Some(rule)) => acting[at] = rule,
        (Ok(at), None) => drop(acting.remove(at)),
        (Err(at), Some(rule)) => acting.insert(at, rule),
        (Err(_), None) => {}
    }
    match text {
        Some(text) => {
            draft.changes.push(Change::PutRule(id, Box::new(text.clone())));
            draft.state.rules.insert(id, Arc::new(text));
        }
        None => {
            draft.changes.push(Change::RemoveRule(id));
            draft.state.rules.remove(&id);
        }
    }
    Ok(id)
}

fn patched(mut rule: RuleText, patch: &RulePatch) -> RuleText {
    patch.clone().apply(&mut rule);
    rule
}

fn find<'a>(state: &'a State, id: u64, field: &str) -> Result<&'a Arc<RuleText>, ServiceError> {
    state.rules.get(&id).ok_or_else(|| {
        ServiceError::NotFound(Invalid::new(
            field,
            &id.to_string(),
            "there is no rule with this id",
            "get_dyn_erl lists the rules with their ids",
        ))
    })
}

fn collect<T>(results: impl Iterator<Item = Result<T, Invalid>>) -> Result<Vec<T>, Vec<Invalid>> {
    let mut refused = Vec::new();
    let parsed = results.filter_map(|r| r.map_err(|why| refused.push(why)).ok()).collect();
    if refused.is_empty() { Ok(parsed) } else { Err(refused) }
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
            ("", "a b", "", "a b", false),
            ("a b", "c d", "a b", "c d", false),
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
    fn a_policy_may_grow_as_far_as_nodes_can_take_it() {
        assert_eq!(too_large(0, POLICY_BYTES), None);
        assert!(too_large(0, POLICY_BYTES + 1).is_some());
        // What is too large already may shrink.
        assert_eq!(too_large(POLICY_BYTES + 9, POLICY_BYTES + 8), None);
        assert_eq!(too_large(POLICY_BYTES + 9, POLICY_BYTES + 9), None);
    }

    #[test]
    fn equal_entries_are_one_and_spaces_are_single() {
        let given: Vec<String> =
            ["1.1.1.1", " 1.1.1.1 ", "1.1.1.1  api=yes", "1.1.1.7/24", "1.1.1.0/24"]
                .map(str::to_owned)
                .into();
        let (kept, parsed) = merge(&given).unwrap();
        assert_eq!(kept, ["1.1.1.1", "1.1.1.1 api=yes", "1.1.1.7/24"]);
        assert_eq!(parsed.len(), 3);
    }
}
