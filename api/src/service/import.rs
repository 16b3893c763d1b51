//! Imports: lists, rules, exclusions, settings or a whole policy from a file, in one change.
//!
//! All or nothing: one bad line refuses the file, with every bad line named. `Replace`
//! makes each part that the file speaks of what the file says; `Merge` adds to it and
//! takes nothing away.

mod analysis;
mod identity;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::limits::{EXCLUSIONS, RULES};
use policy::{
    Danger, Exclusion, ExclusionText, Invalid, Key, Rule, RuleText, Settings, rule_danger,
};
use serde_json::json;
use wire::v2::{BadLines, Imported, ImportedElements, ImportedList, ImportedSetting, Part, Places};

use self::analysis::UnderstoodAnalysis;
use self::identity::{Given, assign};
use super::change::Draft;
use super::list::{self, Entries};
use super::state::{Current, Setting};
use super::{ServiceError, Terms, diff};
use store::Change;

/// Elements between two reports of progress.
const REPORT_EVERY: usize = 10_000;
/// Largest id of an imported element: ids go on growing from it, in signed columns.
const ID_MAX: u64 = i64::MAX as u64 / 2;

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
    /// Rules and exclusions keep the ids of the file where these are free; else they get new ones.
    pub keep_ids: bool,
    /// What the file says.
    pub content: Imported,
}

/// An import whose every value has a meaning.
#[derive(Debug)]
pub(super) struct Understood {
    mode: Mode,
    settings: Option<BTreeMap<Key, Setting>>,
    block_list: Option<(Option<bool>, Entries)>,
    rules: Option<Vec<UnderstoodRule>>,
    exclusions: Option<Vec<Given<ExclusionText>>>,
    analysis: UnderstoodAnalysis,
}

/// A rule with the id of the file.
#[derive(Debug)]
struct UnderstoodRule {
    given: Given<RuleText>,
    is_danger: bool,
}

impl Understood {
    /// Understands an import. Takes as long as the file is large.
    ///
    /// # Errors
    /// [`ServiceError::BadLines`] with everything that has no meaning.
    pub fn new(import: Import, terms: &Terms) -> Result<Self, ServiceError> {
        let Import { part: _, mode, keep_ids, content } = import;
        let Imported { settings, block_list, rules, exclusions, mlc_settings, vhosts } = content;
        let mut bad = BadLines::default();
        let settings = settings.map(|given| understand_settings(given, &mut bad));
        let block_list = block_list.map(|given| understand_list(given, &mut bad, terms));
        let rules = rules.map(|given| understand_rules(given, keep_ids, &mut bad, terms));
        let exclusions = exclusions.map(|given| understand_exclusions(given, keep_ids, &mut bad));
        let analysis = UnderstoodAnalysis::new(mlc_settings, vhosts, &mut bad);
        let understood = Self { mode, settings, block_list, rules, exclusions, analysis };
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
    given: ImportedElements<RuleText>,
    keep_ids: bool,
    bad: &mut BadLines,
    terms: &Terms,
) -> Vec<UnderstoodRule> {
    let ImportedElements { elements, places } = given;
    let mut ids = Ids { keep: keep_ids, seen: HashMap::new() };
    let mut understood = Vec::with_capacity(elements.len());
    let total = elements.len();
    for (at, rule) in elements.into_iter().enumerate() {
        if at % REPORT_EVERY == 0 {
            terms.report("checking", at, total);
        }
        let id = ids.take(rule.id, at, &places, bad);
        match Rule::parse(rule.id.unwrap_or(0), &rule.text) {
            Ok(parsed) => understood.push(UnderstoodRule {
                given: Given { id, text: Arc::new(rule.text) },
                is_danger: rule_danger(&parsed).is_some(),
            }),
            Err(refused) => refuse(refused, "rule", &places.name(at), bad),
        }
    }
    understood
}

fn understand_exclusions(
    given: ImportedElements<ExclusionText>,
    keep_ids: bool,
    bad: &mut BadLines,
) -> Vec<Given<ExclusionText>> {
    let ImportedElements { elements, places } = given;
    let mut ids = Ids { keep: keep_ids, seen: HashMap::new() };
    let mut understood = Vec::with_capacity(elements.len());
    for (at, exclusion) in elements.into_iter().enumerate() {
        let id = ids.take(exclusion.id, at, &places, bad);
        match Exclusion::parse(exclusion.id.unwrap_or(0), &exclusion.text) {
            Ok(parsed) => {
                understood.push(Given { id, text: Arc::new(parsed.spelled(&exclusion.text)) });
            }
            Err(refused) => refuse(refused, "exclusion", &places.name(at), bad),
        }
    }
    understood
}

/// Names what is wrong with an element; `whole` is the field that means all of it.
fn refuse(refused: Vec<Invalid>, whole: &str, name: &str, bad: &mut BadLines) {
    for why in refused {
        let field =
            if why.field == whole { name.to_owned() } else { format!("{name}: {}", why.field) };
        bad.push(|| why.in_field(field));
    }
}

/// The ids of a file, if they are to be kept.
struct Ids {
    keep: bool,
    /// And who has them.
    seen: HashMap<u64, usize>,
}

impl Ids {
    /// The id that an element is to keep.
    fn take(
        &mut self,
        id: Option<u64>,
        at: usize,
        places: &Places,
        bad: &mut BadLines,
    ) -> Option<u64> {
        let id = id.filter(|_| self.keep)?;
        let text = id.to_string();
        let refuse = |reason: String, remedy| {
            Invalid::new(format!("{}: id", places.name(at)), &text, reason, remedy)
        };
        if id > ID_MAX {
            let reason = format!("an id is at most {ID_MAX}");
            bad.push(|| refuse(reason, "choose a smaller one, or import without ids=keep"));
        } else if let Some(first) = self.seen.insert(id, at) {
            let reason = format!("{} has this id already", places.name(first));
            bad.push(|| refuse(reason, "give each element an id of its own"));
        }
        Some(id)
    }
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
    if let Some(exclusions) = &import.exclusions {
        apply_exclusions(draft, import, exclusions)?;
    }
    import.analysis.apply(draft, import.mode)?;
    if !draft.changes.is_empty() {
        let counts = |state: &super::state::State| {
            json!({"settings": state.settings.len(), "block_list": state.block_list.len(),
                   "rules": state.rules.len(), "exclusions": state.exclusions.len(),
                   "mlc_settings": state.analysis.mlc.len(), "vhosts": state.analysis.vhosts.len()})
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

fn apply_rules(
    draft: &mut Draft,
    import: &Understood,
    rules: &[UnderstoodRule],
) -> Result<(), ServiceError> {
    let before = Arc::clone(&draft.state.rules);
    let given: Vec<_> = rules.iter().map(|rule| &rule.given).collect();
    let assigned = assign(&before, &given, import.mode, draft.state.next_rule_id);
    expect_room("rules", assigned.total, before.len(), RULES)?;
    for id in assigned.gone {
        draft.put_rule(id, None);
    }
    for (id, at) in assigned.put {
        let rule = &rules[at];
        let danger = rule.is_danger.then_some(Danger::RuleBlocksAll(id));
        draft.put_rule(id, Some((Arc::clone(&rule.given.text), danger)));
    }
    draft.state.next_rule_id = assigned.next_id;
    Ok(())
}

fn apply_exclusions(
    draft: &mut Draft,
    import: &Understood,
    exclusions: &[Given<ExclusionText>],
) -> Result<(), ServiceError> {
    let given: Vec<_> = exclusions.iter().collect();
    let before = &draft.state.exclusions;
    let assigned = assign(before, &given, import.mode, draft.state.next_exclusion_id);
    expect_room("exclusions", assigned.total, before.len(), EXCLUSIONS)?;
    for id in assigned.gone {
        draft.changes.push(Change::RemoveExclusion(id));
        draft.state.exclusions.remove(&id);
    }
    for (id, at) in assigned.put {
        let text = &exclusions[at].text;
        draft.changes.push(Change::PutExclusion(id, Box::new((**text).clone())));
        draft.state.exclusions.insert(id, Arc::clone(text));
    }
    draft.state.next_exclusion_id = assigned.next_id;
    Ok(())
}

/// What is too much already may shrink.
fn expect_room(what: &str, total: usize, before: usize, most: usize) -> Result<(), ServiceError> {
    if total <= most || total <= before {
        return Ok(());
    }
    let reason = format!("there would be {total} {what}, more than {most}");
    let remedy = format!("delete {what} that are not needed");
    Err(ServiceError::Invalid(vec![Invalid::new(what, "", reason, &remedy)]))
}
