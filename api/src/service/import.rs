//! Imports: lists, rules, settings or a whole policy from a file, in one change.
//!
//! All or nothing: one bad line refuses the file, with every bad line named. `Replace`
//! makes each part that the file speaks of what the file says; `Merge` adds to it and
//! takes nothing away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::limits::RULES;
use policy::{Danger, Invalid, Key, Rule, RuleText, Settings, rule_danger};
use serde_json::json;
use wire::v2::{BadLines, Imported, ImportedList, ImportedRules, ImportedSetting, Part};

use super::change::Draft;
use super::list::{self, Entries};
use super::state::{Current, Setting};
use super::{ServiceError, Terms, diff};
use store::Change;

/// Elements between two reports of progress.
const REPORT_EVERY: usize = 10_000;
/// Largest id of an imported rule: ids go on growing from it, in signed columns.
const RULE_ID_MAX: u64 = i64::MAX as u64 / 2;

/// What becomes of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes, unless the file has it too.
    Replace,
    /// It stays.
    Merge,
}

/// An import, understood in form.
#[derive(Debug, Clone)]
pub struct Import {
    /// What the file is about.
    pub part: Part,
    /// What becomes of what is there.
    pub mode: Mode,
    /// Rules keep the ids of the file where these are free; else they get new ones.
    pub keep_ids: bool,
    /// What the file says.
    pub content: Imported,
}

/// An import whose every value has a meaning.
#[derive(Debug)]
pub(super) struct Understood {
    mode: Mode,
    keep_ids: bool,
    settings: Option<BTreeMap<Key, Setting>>,
    block_list: Option<(Option<bool>, Entries)>,
    rules: Option<Vec<UnderstoodRule>>,
}

/// A rule with the id of the file.
#[derive(Debug)]
struct UnderstoodRule {
    id: Option<u64>,
    text: Arc<RuleText>,
    is_danger: bool,
}

impl Understood {
    /// Understands an import. Takes as long as the file is large.
    ///
    /// # Errors
    /// [`ServiceError::BadLines`] with everything that has no meaning.
    pub fn new(import: Import, terms: &Terms) -> Result<Self, ServiceError> {
        let Import { part: _, mode, keep_ids, content } = import;
        let Imported { settings, block_list, rules } = content;
        let mut bad = BadLines::default();
        let settings = settings.map(|given| understand_settings(given, &mut bad));
        let block_list = block_list.map(|given| understand_list(given, &mut bad, terms));
        let rules = rules.map(|given| understand_rules(given, keep_ids, &mut bad, terms));
        let understood = Self { mode, keep_ids, settings, block_list, rules };
        bad.none_or(understood).map_err(ServiceError::BadLines)
    }
}

fn understand_settings(given: Vec<ImportedSetting>, bad: &mut BadLines) -> BTreeMap<Key, Setting> {
    let mut understood = BTreeMap::new();
    for ImportedSetting { key, value, active } in given {
        if let Err(refused) = Settings::parse([(key.name(), value.as_str())]) {
            refused.into_iter().for_each(|why| bad.push(|| why));
        }
        let value = value.trim().to_owned();
        understood.insert(key, Setting { value, active });
    }
    understood
}

fn understand_list(
    given: ImportedList,
    bad: &mut BadLines,
    terms: &Terms,
) -> (Option<bool>, Entries) {
    let ImportedList { active, entries: texts, places } = given;
    let mut parsed = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        if at % REPORT_EVERY == 0 {
            terms.report("checking", at, texts.len());
        }
        match text.parse() {
            Ok(entry) => parsed.push(entry),
            Err(why) => bad.push(|| Invalid::in_field(why, places.name(at))),
        }
    }
    if bad.count > 0 {
        return (active, Entries::default());
    }
    (active, Entries::unique(texts, parsed))
}

fn understand_rules(
    given: ImportedRules,
    keep_ids: bool,
    bad: &mut BadLines,
    terms: &Terms,
) -> Vec<UnderstoodRule> {
    let ImportedRules { rules, places } = given;
    let mut seen: HashMap<u64, usize> = HashMap::new();
    let mut understood = Vec::with_capacity(rules.len());
    let total = rules.len();
    for (at, rule) in rules.into_iter().enumerate() {
        if at % REPORT_EVERY == 0 {
            terms.report("checking", at, total);
        }
        if let Some(id) = rule.id.filter(|_| keep_ids) {
            let text = id.to_string();
            let refuse = |reason: String, remedy| {
                Invalid::new(format!("{}: id", places.name(at)), &text, reason, remedy)
            };
            if id > RULE_ID_MAX {
                let reason = format!("an id is at most {RULE_ID_MAX}");
                bad.push(|| refuse(reason, "choose a smaller one, or import without ids=keep"));
            } else if let Some(first) = seen.insert(id, at) {
                let reason = format!("{} has this id already", places.name(first));
                bad.push(|| refuse(reason, "give each rule an id of its own"));
            }
        }
        match Rule::parse(rule.id.unwrap_or(0), &rule.text) {
            Ok(parsed) => understood.push(UnderstoodRule {
                id: rule.id,
                text: Arc::new(rule.text),
                is_danger: rule_danger(&parsed).is_some(),
            }),
            Err(refused) => {
                for why in refused {
                    let name = places.name(at);
                    let field =
                        if why.field == "rule" { name } else { format!("{name}: {}", why.field) };
                    bad.push(|| why.in_field(field));
                }
            }
        }
    }
    understood
}

/// Carries the import out on `draft`.
pub(super) fn apply(
    draft: &mut Draft,
    base: &Current,
    import: &Understood,
) -> Result<(), ServiceError> {
    if let Some(settings) = &import.settings {
        apply_settings(draft, import.mode, settings)?;
    }
    if let Some((active, entries)) = &import.block_list {
        let was_active = base.state.block_list_active;
        let (active, next) = match import.mode {
            // A new list acts unless the file says otherwise.
            Mode::Replace => (active.unwrap_or(true), entries.clone()),
            Mode::Merge => (active.unwrap_or(was_active), entries.joined_to(base)),
        };
        list::replace(draft, base, active, Some(next));
    }
    if let Some(rules) = &import.rules {
        apply_rules(draft, import, rules)?;
    }
    if !draft.changes.is_empty() {
        let counts = |state: &super::state::State| {
            json!({"settings": state.settings.len(), "block_list": state.block_list.len(),
                   "rules": state.rules.len()})
        };
        draft.before = counts(&base.state);
        draft.after = counts(&draft.state);
        draft.after["diff"] = json!(diff::between(&base.state, &draft.state, &draft.list));
    }
    Ok(())
}

fn apply_settings(
    draft: &mut Draft,
    mode: Mode,
    settings: &BTreeMap<Key, Setting>,
) -> Result<(), ServiceError> {
    if mode == Mode::Replace {
        let gone = draft.state.settings.keys().filter(|key| !settings.contains_key(key));
        for key in gone.copied().collect::<Vec<_>>() {
            draft.state.settings.remove(&key);
            draft.changes.push(Change::RemoveSetting(key.name()));
        }
    }
    for (key, setting) in settings {
        if draft.state.settings.get(key) != Some(setting) {
            let Setting { value, active } = setting.clone();
            draft.changes.push(Change::PutSetting { name: key.name(), value, active });
            draft.state.settings.insert(*key, setting.clone());
        }
    }
    draft.judge_settings()
}

/// By id where ids are kept, else by content: a rule that is there, equal in every
/// field, is the same rule.
fn apply_rules(
    draft: &mut Draft,
    import: &Understood,
    rules: &[UnderstoodRule],
) -> Result<(), ServiceError> {
    let before = Arc::clone(&draft.state.rules);
    // Rules that are there and that no rule of the file is yet.
    let mut unmatched: HashMap<&RuleText, Vec<u64>> = HashMap::new();
    for (id, rule) in before.iter().rev() {
        unmatched.entry(rule).or_default().push(*id);
    }
    let mut kept: BTreeMap<u64, &UnderstoodRule> = BTreeMap::new();
    let mut new = Vec::new();
    for rule in rules {
        let id = match rule.id.filter(|_| import.keep_ids) {
            Some(id) if is_free(import.mode, before.get(&id), &rule.text) => Some(id),
            Some(_) => None,
            None => unmatched.get_mut(&*rule.text).and_then(Vec::pop),
        };
        // An id that was matched by content may be the kept one of another rule.
        match id.filter(|id| !kept.contains_key(id)) {
            Some(id) => drop(kept.insert(id, rule)),
            None => new.push(rule),
        }
    }
    let stay = if import.mode == Mode::Merge {
        before.keys().filter(|id| !kept.contains_key(id)).count()
    } else {
        0
    };
    let total = stay + kept.len() + new.len();
    if total > RULES && total > before.len() {
        let reason = format!("there would be {total} rules, more than {RULES}");
        let remedy = "delete rules that are not needed";
        return Err(ServiceError::Invalid(vec![Invalid::new("rules", "", reason, remedy)]));
    }
    if import.mode == Mode::Replace {
        for id in before.keys().filter(|id| !kept.contains_key(id)) {
            draft.put_rule(*id, None);
        }
    }
    let highest = kept.keys().next_back().map_or(0, |id| id + 1);
    draft.state.next_rule_id = draft.state.next_rule_id.max(highest);
    for (id, rule) in kept {
        if before.get(&id).is_none_or(|there| *there != rule.text) {
            draft.put_rule(id, Some(rule.with_id(id)));
        }
    }
    for rule in new {
        let id = draft.state.next_rule_id;
        draft.state.next_rule_id += 1;
        draft.put_rule(id, Some(rule.with_id(id)));
    }
    Ok(())
}

/// Whether a rule of the file may have its id: nobody has it, or whoever has it is
/// replaced, or is the same rule.
fn is_free(mode: Mode, there: Option<&Arc<RuleText>>, text: &RuleText) -> bool {
    mode == Mode::Replace || there.is_none_or(|there| **there == *text)
}

impl UnderstoodRule {
    fn with_id(&self, id: u64) -> (Arc<RuleText>, Option<Danger>) {
        (Arc::clone(&self.text), self.is_danger.then_some(Danger::RuleBlocksAll(id)))
    }
}
