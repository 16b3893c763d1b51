//! A policy in memory: its texts, its meaning, its bundle.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use policy::{
    AddressEntry, Danger, Exclusion, ExclusionText, Invalid, Key, Rule, RuleText, Settings,
    block_list_dangers, list, rule_danger, settings_dangers,
};
use wire::v2::{Bundle, BundleContent, BundleExclusion, BundleRule, Revision, Tally};

use super::analysis::Analysis;

use store::{StoreError, Stored};

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As the operator wrote it.
    pub value: String,
    /// Whether it acts.
    pub active: bool,
}

/// The texts of a policy. Cloning is cheap: what is large is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Settings.
    pub settings: BTreeMap<Key, Setting>,
    /// Whether the block list acts.
    pub block_list_active: bool,
    /// Entries, none twice.
    pub block_list: Arc<Vec<String>>,
    /// Rules by id.
    pub rules: Arc<BTreeMap<u64, Arc<RuleText>>>,
    /// The id the next new rule gets; larger than every id ever given.
    pub next_rule_id: u64,
    /// Exclusions by id.
    pub exclusions: BTreeMap<u64, Arc<ExclusionText>>,
    /// The id the next new exclusion gets; larger than every id ever given.
    pub next_exclusion_id: u64,
    /// What behavioural analysis is told; no part of the bundle.
    pub analysis: Analysis,
}

/// What was found when the texts were parsed, and is needed again. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct Meaning {
    /// The entries of the block list, in the order of the texts, whether they act or not.
    pub block_list: Arc<Vec<AddressEntry>>,
    /// The dangers of the block list, should it act.
    pub block_list_dangers: Arc<[Danger]>,
    /// The dangers of the settings that act.
    pub settings_dangers: Arc<[Danger]>,
    /// Those rules that act and are dangers.
    pub rule_dangers: BTreeMap<u64, Danger>,
}

impl Meaning {
    /// Takes other entries of the block list.
    pub fn set_block_list(&mut self, entries: Arc<Vec<AddressEntry>>) {
        self.block_list_dangers = block_list_dangers(&entries).collect();
        self.block_list = entries;
    }

    /// Every danger of the policy.
    pub fn dangers(&self, block_list_active: bool) -> impl Iterator<Item = Danger> {
        let listed = if block_list_active { &*self.block_list_dangers } else { &[] };
        let fixed = listed.iter().chain(&*self.settings_dangers);
        fixed.chain(self.rule_dangers.values()).copied()
    }
}

/// A revision of the policy: texts and meaning together.
#[derive(Debug)]
pub struct Current {
    /// Its place in history.
    pub revision: Revision,
    /// The last generation in which a drastic change was made on purpose.
    pub forced_at: u64,
    /// The texts.
    pub state: State,
    /// What they mean.
    pub meaning: Meaning,
    tally: Tally,
    bundle: OnceLock<Arc<[u8]>>,
}

impl Current {
    /// Texts, their meaning, and the tally of the bundle they make.
    pub fn new(
        revision: Revision,
        forced_at: u64,
        state: State,
        meaning: Meaning,
        tally: Tally,
    ) -> Self {
        Self { revision, forced_at, state, meaning, tally, bundle: OnceLock::new() }
    }

    /// Understands what the store held.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first row that has no meaning.
    pub fn from_stored(stored: Stored) -> Result<Self, StoreError> {
        let mut settings = BTreeMap::new();
        for (name, value, active) in stored.settings {
            let row = || format!("setting {name}");
            let key: Key = name.parse().map_err(|why: Invalid| corrupt(row(), &[why]))?;
            Settings::parse([(name.as_str(), value.as_str())])
                .map_err(|why| corrupt(row(), &why))?;
            settings.insert(key, Setting { value, active });
        }
        let entries = list::parse_each("bl", stored.block_list.iter().map(String::as_str))
            .map_err(|why| corrupt("block list".to_owned(), &why))?;
        let mut meaning = Meaning::default();
        meaning.set_block_list(Arc::new(entries));
        let mut rules = BTreeMap::new();
        for (id, text) in stored.rules {
            let row = || format!("rule {id}");
            if id >= stored.next_rule_id {
                let reason = format!("its id is not below {}", stored.next_rule_id);
                return Err(StoreError::Corrupt { row: row(), reason });
            }
            let rule = Rule::parse(id, &text).map_err(|why| corrupt(row(), &why))?;
            meaning.rule_dangers.extend(rule_danger(&rule).map(|danger| (id, danger)));
            rules.insert(id, Arc::new(text));
        }
        let next_exclusion_id = stored.analysis.next_exclusion_id;
        let mut exclusions = BTreeMap::new();
        for (id, text) in stored.exclusions {
            let row = || format!("exclusion {id}");
            if id >= next_exclusion_id {
                let reason = format!("its id is not below {next_exclusion_id}");
                return Err(StoreError::Corrupt { row: row(), reason });
            }
            Exclusion::parse(id, &text).map_err(|why| corrupt(row(), &why))?;
            exclusions.insert(id, Arc::new(text));
        }
        let state = State {
            settings,
            block_list_active: stored.block_list_active,
            block_list: Arc::new(stored.block_list),
            rules: Arc::new(rules),
            next_rule_id: stored.next_rule_id,
            exclusions,
            next_exclusion_id,
            analysis: Analysis::from_stored(stored.analysis)?,
        };
        let settings = state.active_settings().map_err(|why| corrupt("settings".into(), &why))?;
        meaning.settings_dangers = settings_dangers(&settings).collect();
        let tally = state.tally();
        Ok(Self::new(stored.revision, stored.forced_at, state, meaning, tally))
    }

    /// Count, size and digest of the bundle.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The bundle's JSON; made once, then shared. Takes as long as the policy is large.
    pub fn bundle(&self) -> Arc<[u8]> {
        let json = self.bundle.get_or_init(|| {
            let bundle = Bundle {
                revision: self.revision,
                forced_at: self.forced_at,
                count: self.tally.count(),
                digest: self.tally.digest(),
                content: self.state.content(),
            };
            serde_json::to_vec(&bundle).expect("plain data has a JSON form").into()
        });
        Arc::clone(json)
    }

    /// Whether [`Self::bundle`] answers at once.
    pub fn has_bundle(&self) -> bool {
        self.bundle.get().is_some()
    }
}

impl State {
    /// The active settings, understood.
    pub fn active_settings(&self) -> Result<Settings, Vec<Invalid>> {
        let active = self.settings.iter().filter(|(_, setting)| setting.active);
        Settings::parse(active.map(|(key, setting)| (key.name(), setting.value.as_str())))
    }

    /// How many entries of the block list act.
    pub fn acting_entries(&self) -> usize {
        if self.block_list_active { self.block_list.len() } else { 0 }
    }

    /// How many rules act.
    pub fn acting_rules(&self) -> usize {
        self.rules.values().filter(|rule| rule.active).count()
    }

    /// How many elements the lists of acting settings have, a setting being one at least.
    pub fn acting_elements(&self) -> usize {
        let acting = self.settings.values().filter(|setting| setting.active);
        let elements = |s: &Setting| s.value.split(',').filter(|e| !e.trim().is_empty()).count();
        acting.map(|setting| elements(setting).max(1)).sum()
    }

    fn content(&self) -> BundleContent {
        let active = self.settings.iter().filter(|(_, setting)| setting.active);
        BundleContent {
            settings: active.map(|(key, s)| (key.name().to_owned(), s.value.clone())).collect(),
            block_list: if self.block_list_active { (*self.block_list).clone() } else { vec![] },
            rules: self
                .rules
                .iter()
                .filter(|(_, rule)| rule.active)
                .map(|(id, rule)| BundleRule::new(*id, (**rule).clone()))
                .collect(),
            exclusions: self
                .exclusions
                .iter()
                .filter(|(_, exclusion)| exclusion.active)
                .map(|(id, exclusion)| BundleExclusion::new(*id, exclusion))
                .collect(),
        }
    }
}

pub(super) fn corrupt(row: String, why: &[Invalid]) -> StoreError {
    let reason = why.first().map_or_else(String::new, ToString::to_string);
    StoreError::Corrupt { row, reason }
}
