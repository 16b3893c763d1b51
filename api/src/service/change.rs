//! Computing a change: from a policy and a write to the next policy, or a refusal.
//!
//! Pure: nothing is stored here. The resulting policy is judged as a whole. What takes
//! time and needs no policy is done before ([`Prepared`]), so that others do not wait.

pub(super) mod analysis;
mod exclusion;

pub(super) use exclusion::exclusion_json;

use std::collections::HashSet;
use std::sync::Arc;

use policy::limits::RULES;
use policy::{
    Danger, Invalid, Key, Rule, RuleText, Settings, Training, rule_danger, settings_dangers,
};
use serde_json::{Value, json};
use wire::v1::{RuleLine, RulePatch, RuleWrite, SettingsWrite};
use wire::v2::{BUNDLE_BYTES, ListChange};

use super::import::{self, Understood};
use super::list::{self, ListWrite};
use super::state::{Current, Meaning, Setting, State};
use super::step::Step;
use super::{ServiceError, Terms, Write};
use store::Change;

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
    pub meaning: Meaning,
    /// The rows that differ.
    pub changes: Vec<Change>,
    /// How the entries of the block list differ, whether they act or not.
    pub list: ListChange,
    /// How the bundles differ.
    pub step: Step,
    /// Why this needs force.
    pub danger: Option<Danger>,
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
pub(super) struct Draft {
    pub state: State,
    pub meaning: Meaning,
    pub changes: Vec<Change>,
    pub list: ListChange,
    pub before: Value,
    pub after: Value,
}

/// A write that was understood as far as it can be without the policy it changes.
#[derive(Debug)]
pub(super) enum Prepared {
    Settings(SettingsWrite),
    BlockList(ListWrite),
    Rules(Box<RuleWrite>),
    Import(Understood),
    /// A write that is small, and understood when it is computed.
    Other(Write),
}

impl Prepared {
    /// Understands a write. Takes as long as the write is large.
    ///
    /// # Errors
    /// Values without meaning.
    pub fn new(write: Write, terms: &Terms) -> Result<Self, ServiceError> {
        Ok(match write {
            Write::Settings(write) => Self::Settings(write),
            Write::BlockList(write) => Self::BlockList(ListWrite::understand(write)?),
            Write::Rules(write) => Self::Rules(write),
            Write::Import(import) => Self::Import(Understood::new(*import, terms)?),
            other => Self::Other(other),
        })
    }
}

/// Computes a write.
///
/// # Errors
/// Values without meaning, rules and entries that do not exist.
pub(super) fn compute(
    base: &Current,
    context: &Context,
    write: &Prepared,
    force: bool,
) -> Result<Computed, ServiceError> {
    let mut draft = Draft {
        state: base.state.clone(),
        meaning: base.meaning.clone(),
        changes: Vec::new(),
        list: ListChange::default(),
        before: Value::Null,
        after: Value::Null,
    };
    let id = match write {
        Prepared::Settings(write) => settings(&mut draft, write).map(|()| None),
        Prepared::BlockList(write) => list::write(&mut draft, base, write).map(|()| None),
        Prepared::Rules(write) => rules(&mut draft, write).map(Some),
        Prepared::Import(import) => import::apply(&mut draft, base, import).map(|()| None),
        Prepared::Other(write) => match write {
            Write::Exclusions(write) => exclusion::exclusions(&mut draft, write).map(Some),
            Write::Mlc(write) => analysis::mlc(&mut draft, write).map(|()| None),
            Write::Vhosts(write) => analysis::vhosts(&mut draft, write).map(|()| None),
            Write::Training(write) => analysis::training(&mut draft, context, write).map(|()| None),
            Write::Models(write) => analysis::models(&mut draft, context, write).map(|()| None),
            Write::PutModel(model) => {
                analysis::put_model(&mut draft, context, model).map(|()| None)
            }
            // These have a prepared form of their own.
            Write::Settings(_) | Write::BlockList(_) | Write::Rules(_) | Write::Import(_) => {
                Ok(None)
            }
        },
    }?;
    if draft.changes.is_empty() {
        return Ok(Computed { id, outcome: None });
    }
    // Who asked for the danger that is in force need not ask again for each change.
    let known: HashSet<_> = base.meaning.dangers(base.state.block_list_active).collect();
    let mut dangers = draft.meaning.dangers(draft.state.block_list_active);
    let danger = dangers.find(|danger| !known.contains(danger));
    drop(dangers);
    // A node refuses to lose nearly everything at once unless it was meant; what an
    // operator removes by a call was meant. Force that was not needed marks nothing,
    // so that a script that always sends it does not disarm the nodes; but the first
    // one in a history says that nodes shall follow this history.
    let forced = danger.is_some()
        || (force && base.forced_at == 0)
        || removes_most(base.state.acting_entries(), draft.state.acting_entries())
        || loses_most_rules(&base.state, &draft.state)
        || loses_most_elements(&base.state, &draft);
    let Draft { state, meaning, changes, list, before, after } = draft;
    let step = Step::between(&base.state, base.tally(), &state, &changes, &list);
    if let Some(why) = too_large(base.tally().bytes(), step.tally.bytes()) {
        return Err(ServiceError::Invalid(vec![why]));
    }
    let outcome = Outcome { state, meaning, changes, list, step, danger, forced, before, after };
    Ok(Computed { id, outcome: Some(outcome) })
}

fn loses_most_rules(base: &State, next: &State) -> bool {
    // Counted only where they may differ: there may be a hundred thousand.
    !Arc::ptr_eq(&base.rules, &next.rules) && removes_most(base.acting_rules(), next.acting_rules())
}

fn loses_most_elements(base: &State, draft: &Draft) -> bool {
    let of_settings =
        |change: &Change| matches!(change, Change::PutSetting { .. } | Change::RemoveSetting(_));
    draft.changes.iter().any(of_settings)
        && removes_most(base.acting_elements(), draft.state.acting_elements())
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

impl Draft {
    /// Understands the settings that act.
    ///
    /// # Errors
    /// Together they have no meaning.
    pub fn judge_settings(&mut self) -> Result<(), ServiceError> {
        let settings = self.state.active_settings().map_err(ServiceError::Invalid)?;
        self.meaning.settings_dangers = settings_dangers(&settings).collect();
        Ok(())
    }

    /// Writes or removes a rule, which was understood if it is to be written.
    pub fn put_rule(&mut self, id: u64, rule: Option<(Arc<RuleText>, Option<Danger>)>) {
        self.meaning.rule_dangers.remove(&id);
        let rules = Arc::make_mut(&mut self.state.rules);
        match rule {
            Some((text, danger)) => {
                self.meaning.rule_dangers.extend(danger.map(|danger| (id, danger)));
                self.changes.push(Change::PutRule(id, Arc::clone(&text)));
                rules.insert(id, text);
            }
            None => {
                self.changes.push(Change::RemoveRule(id));
                rules.remove(&id);
            }
        }
    }
}

/// A setting for people; of a long value the beginning.
pub(super) fn logged_setting(setting: Option<&Setting>) -> Value {
    setting.map_or(Value::Null, |s| match s.value.char_indices().nth(LOGGED_CHARS_MAX) {
        None => json!({"value": s.value, "active": s.active}),
        Some((cut, _)) => {
            json!({"value_begins": s.value[..cut], "bytes": s.value.len(), "active": s.active})
        }
    })
}

fn settings(draft: &mut Draft, write: &SettingsWrite) -> Result<(), ServiceError> {
    let (mut before, mut after) = (serde_json::Map::new(), serde_json::Map::new());
    let logged = logged_setting;
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
    draft.judge_settings()?;
    (draft.before, draft.after) = (Value::Object(before), Value::Object(after));
    Ok(())
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

    let danger = parsed.as_ref().and_then(rule_danger);
    draft.put_rule(id, text.map(|text| (Arc::new(text), danger)));
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

    #[test]
    fn a_policy_may_grow_as_far_as_nodes_can_take_it() {
        assert_eq!(too_large(0, POLICY_BYTES), None);
        assert!(too_large(0, POLICY_BYTES + 1).is_some());
        // What is too large already may shrink.
        assert_eq!(too_large(POLICY_BYTES + 9, POLICY_BYTES + 8), None);
        assert_eq!(too_large(POLICY_BYTES + 9, POLICY_BYTES + 9), None);
    }
}
