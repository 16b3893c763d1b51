//! What the API remembers, and the one trait every database engine implements.
//!
//! A store knows rows and transactions, not meaning: it writes the rows it is told
//! to and hands back what it finds. One store holds several policies, one for each WAF
//! id; nothing of one is ever seen with the id of another. Its promises:
//!
//! * [`Store::commit`] is one transaction: rows, generation and action log, or nothing.
//! * The generation grows by exactly one with every commit, and a commit whose base
//!   is not the stored revision is [`StoreError::Conflict`] and changes nothing.
//! * [`Store::load`] reads everything in one transaction.
//! * A database that only copies another one takes no write ([`StoreError::ReadOnly`]).
//!   Once it is promoted, every WAF id has a new session before anything else is told of
//!   it: generations that were lost on the way are never given again in the old one.
//!
//! [`Bans`] belong to it; [`Events`], the record of attacks, stand beside it.
//!
//! `story` is the conformance test of these promises, for any engine.

#![forbid(unsafe_code)]

mod analysis;
mod bans;
mod events;
mod scope;
#[cfg(feature = "story")]
pub mod story;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use policy::{ExclusionText, RuleText, Training};
use wire::v2::{AgentReport, Revision};

pub use analysis::{AnalysisChange, Model, ModelRow, Reported, StoredAnalysis};
pub use bans::{
    BANS_MAX, BanFilter, BanRow, BanState, Bans, GONE_BANS_MAX, Lift, NewBan, bans_json,
};
pub use events::{
    AttackFilter, AttackId, AttackRow, DAY_MS, DAYS_AHEAD, Events, SUMMARY_EVENTS, Share, Summary,
    address_bytes, address_text, day_of,
};
pub use scope::Scope;

/// Nodes of a WAF id whose latest report is kept; the longest silent ones go first.
pub const AGENTS_MAX: u32 = 10_000;

/// Generations whose changes are kept for nodes that have an older bundle. At a change a
/// second, a node may be away for a quarter of an hour before it needs a whole one.
pub const DELTAS_MAX: u32 = 1_000;

/// Answers to writes that are kept for who asks again, of one WAF id; the oldest go first.
/// Those of a script that imports all day long.
pub const ANSWERS_MAX: u32 = 100_000;

/// How long an answer is kept, in milliseconds. Clients repeat within minutes; a day covers
/// a queue that stood still over night.
pub const ANSWERS_KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// Entries of a list that are written by one statement: few enough for little memory, many
/// enough to cost no more than all at once.
pub const BATCH: usize = 20_000;

/// Keys of a WAF id. Each is compared with what a client shows.
pub const KEYS_MAX: u32 = 1_000;

/// WAF ids of an installation.
pub const WAFS_MAX: usize = 1_000;

/// Name of the WAF id that every installation begins with.
pub const DEFAULT_WAF: &str = "default";

/// Whose policy: keys, settings, rules, nodes and attacks belong to one WAF id each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WafId(pub i64);

impl WafId {
    /// The one that [`DEFAULT_WAF`] names.
    pub const DEFAULT: Self = Self(1);
}

impl fmt::Display for WafId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a database is to its installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It copies a primary.
    Replica {
        /// How old what it shows may be, in milliseconds, by the clocks of both; `None`
        /// where it has not heard of its primary yet.
        lag_ms: Option<u64>,
    },
}

/// A server among its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Names the server and every copy of it.
    pub system: String,
    /// Grows with every promotion of a copy.
    pub timeline: u32,
}

/// Where a WAF id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WafState {
    /// Identity.
    pub id: WafId,
    /// Unique name.
    pub name: String,
    /// Of its policy.
    pub revision: Revision,
    /// The number of the last change of its bans.
    pub bans: u64,
}

/// What is asked most often, read at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// What the database is.
    pub role: Role,
    /// Which primary it is; `None` of a replica, and of a database that has no copies.
    pub history: Option<History>,
    /// Moves with every change of keys.
    pub keys_version: u64,
    /// Every WAF id, in the order of ids.
    pub wafs: Vec<WafState>,
}

impl Pulse {
    /// Where `waf` stands.
    pub fn waf(&self, waf: WafId) -> Option<&WafState> {
        self.wafs.binary_search_by_key(&waf, |state| state.id).ok().map(|at| &self.wafs[at])
    }
}

/// Everything a policy is made of, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its place in history.
    pub revision: Revision,
    /// The last generation in which a drastic change was made on purpose.
    pub forced_at: u64,
    /// The id the next new rule gets.
    pub next_rule_id: u64,
    /// Name, value, active; in the order of names.
    pub settings: Vec<(String, String, bool)>,
    /// Whether the block list acts.
    pub block_list_active: bool,
    /// The block list, in the order it was given.
    pub block_list: Vec<String>,
    /// Rules in the order of their ids.
    pub rules: Vec<(u64, RuleText)>,
    /// Exclusions in the order of their ids.
    pub exclusions: Vec<(u64, ExclusionText)>,
    /// What behavioural analysis is told.
    pub analysis: StoredAnalysis,
}

/// One change of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Write a setting.
    PutSetting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// Whether it acts.
        active: bool,
    },
    /// Remove a setting.
    RemoveSetting(&'static str),
    /// Put entries of the block list, none twice, in this order; those that are not
    /// there yet are added, others keep their author and time.
    PlaceBlockEntries(Arc<Vec<String>>),
    /// Remove entries by their exact text.
    RemoveBlockEntries(Vec<String>),
    /// Put entries that are not there yet at the end.
    AppendBlockEntries(Vec<String>),
    /// Switch the block list on or off.
    SetBlockListActive(bool),
    /// Write a rule.
    PutRule(u64, Arc<RuleText>),
    /// Remove a rule.
    RemoveRule(u64),
    /// Write an exclusion. No id is ever given twice.
    PutExclusion(u64, Box<ExclusionText>),
    /// Remove an exclusion.
    RemoveExclusion(u64),
    /// What behavioural analysis is told.
    Analysis(AnalysisChange),
}

/// A write: changes and everything that is recorded with them.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision the changes were computed from.
    pub base: Revision,
    /// The rows.
    pub changes: Vec<Change>,
    /// What they change in the bundle; `None` where that is too much to be kept.
    pub delta: Option<LoggedDelta>,
    /// Whether a drastic change is made on purpose.
    pub forced: bool,
    /// The id the next new rule will get.
    pub next_rule_id: u64,
    /// The entry of the action log; its id and generation are the store's to fill.
    pub action: Action,
    /// The answer, for who asks again.
    pub answer: Option<KeptAnswer>,
    /// Who is told how many entries of the block list are written.
    pub progress: Progress,
}

/// An answer that is given again to who asks again under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Name of the API key of who asked.
    pub author: String,
    /// The client's name for what it asked.
    pub key: String,
    /// Of what was asked; another one is another question.
    pub digest: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// JSON.
    pub answer: String,
}

/// Is called with the number of entries that were written since the last call; nobody, by
/// default.
#[derive(Clone, Default)]
pub struct Progress(pub Option<Arc<dyn Fn(usize) + Send + Sync>>);

impl Progress {
    /// `more` entries are written.
    pub fn report(&self, more: usize) {
        if let Some(told) = &self.0 {
            told(more);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress" } else { "nobody" })
    }
}

/// What one generation changed in the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedDelta {
    /// The digest of the bundle before.
    pub base: String,
    /// JSON of [`wire::v2::Changes`].
    pub changes: String,
}

/// An entry of the action log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Action {
    /// Grows with every entry.
    pub id: i64,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Name of the key.
    pub author: String,
    /// The client's address.
    pub address: String,
    /// The call, for example `set_dyn_bl`.
    pub call: String,
    /// The generation the write made.
    pub generation: u64,
    /// JSON of what was there.
    pub before: String,
    /// JSON of what is there now.
    pub after: String,
}

/// Elements that have a provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Settings, by name.
    Settings,
    /// Entries of the block list, by text.
    BlockList,
    /// Rules, by decimal id.
    Rules,
    /// Exclusions, by decimal id.
    Exclusions,
    /// Settings of behavioural analysis, by name.
    Mlc,
}

/// Who wrote an element and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Name of the key that wrote it last.
    pub author: String,
    /// Creation, Unix milliseconds.
    pub created_ms: i64,
    /// Last change, Unix milliseconds.
    pub updated_ms: i64,
}

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its name, unique in the installation.
    pub name: String,
    /// Whose policy it opens.
    pub waf: WafId,
    /// What it may do.
    pub scope: Scope,
    /// What is kept of it, from which it cannot be computed; unique.
    pub digest: String,
    /// Creation, Unix milliseconds.
    pub created_ms: i64,
}

/// The latest report of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// What it said.
    pub report: AgentReport,
    /// Where it came from.
    pub address: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// What a database's driver said.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first; compute the change anew.
    #[error("the stored policy is at {stored}, not at {base} as expected")]
    Conflict {
        /// What the commit was computed from.
        base: Revision,
        /// What is there.
        stored: Revision,
    },
    /// The database copies another one and takes no writes.
    #[error("the database is a replica and takes no writes")]
    ReadOnly,
    /// There is no such WAF id.
    #[error("there is no WAF id {0}")]
    NoWaf(WafId),
    /// Another process holds the write lock for longer than the store waits.
    #[error("the store is busy")]
    Busy(#[source] Cause),
    /// A row holds what no write of this program can have put there.
    #[error("{row} in the store is corrupt: {reason}")]
    Corrupt {
        /// Which row.
        row: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are [`KEYS_MAX`] keys of this WAF id.
    #[error("there are {KEYS_MAX} keys already")]
    TooManyKeys,
    /// There are [`WAFS_MAX`] WAF ids.
    #[error("there are {WAFS_MAX} WAF ids already")]
    TooManyWafs,
    /// A key, or a WAF id, with this name or digest exists.
    #[error("there is one with this name or value already")]
    Exists,
    /// The schema is not the one of this program and may not be changed.
    #[error(
        "the database is not prepared for this version; start it once without ro_mode on the \
         primary, or, if a newer version prepared it, use that one"
    )]
    Schema(#[source] Cause),
    /// The file is something else, or damaged beyond reading.
    #[error(
        "the file is no database or is damaged; restore it from a backup, or name another file"
    )]
    NoDatabase(#[source] Cause),
    /// This user may not read or write it.
    #[error(
        "this user may not read and write the database; correct its password or its rights, \
         the database and its tables must belong to it"
    )]
    NoPermission(#[source] Cause),
    /// Anything else.
    #[error("the store does not answer")]
    Unavailable(#[source] Cause),
}

/// A database.
#[async_trait]
pub trait Store: Bans {
    /// The record of attacks beside it.
    fn events(&self) -> &dyn Events;

    /// Where everything stands; also the health check. Cheap: it is asked for each request.
    async fn pulse(&self) -> Result<Pulse, StoreError>;

    /// The whole policy of a WAF id.
    async fn load(&self, waf: WafId) -> Result<Stored, StoreError>;

    /// Writes; the new revision is `base` with the next generation.
    async fn commit(&self, waf: WafId, commit: Commit) -> Result<Revision, StoreError>;

    /// The answer that `author` got for what it calls `key`, unless at `now_ms` it is older
    /// than [`ANSWERS_KEPT_MS`].
    async fn answer(
        &self,
        waf: WafId,
        author: &str,
        key: &str,
        now_ms: i64,
    ) -> Result<Option<KeptAnswer>, StoreError>;

    /// Keeps an answer to what changed nothing, at most [`ANSWERS_MAX`] of them.
    /// [`StoreError::Exists`] where there is one for its key already.
    async fn keep_answer(&self, waf: WafId, answer: KeptAnswer) -> Result<(), StoreError>;

    /// What the generations after `after`, up to `last`, changed, in their order; fewer
    /// where not all of them are known. Of one session the latest [`DELTAS_MAX`] are known
    /// at most, of together at most [`wire::v2::DELTA_BYTES`].
    async fn deltas(
        &self,
        waf: WafId,
        after: Revision,
        last: u64,
    ) -> Result<Vec<LoggedDelta>, StoreError>;

    /// Who wrote the elements of `part`, by their name.
    async fn provenance(
        &self,
        waf: WafId,
        part: Part,
    ) -> Result<HashMap<String, Provenance>, StoreError>;

    /// The newest `limit` entries of the action log with an id below `before`, newest first.
    async fn actions(&self, waf: WafId, before: i64, limit: u32)
    -> Result<Vec<Action>, StoreError>;

    /// Forgets entries of the action log, of every WAF id, older than `before_ms`, at most
    /// `most` of them: short transactions keep nobody waiting. How many.
    async fn forget_actions(&self, before_ms: i64, most: u32) -> Result<u64, StoreError>;

    /// The training of every listed virtual host, in the order of the list.
    async fn trainings(&self, waf: WafId) -> Result<Vec<(String, Training)>, StoreError>;

    /// Takes down how far a training is. It is no change of the policy: the generation
    /// stays where it is.
    async fn report_training(
        &self,
        waf: WafId,
        vhost: &str,
        progress: u8,
        samples: u64,
    ) -> Result<Reported, StoreError>;

    /// The behavioural model of a virtual host.
    async fn model(&self, waf: WafId, vhost: &str) -> Result<Option<Model>, StoreError>;

    /// Keeps a node's latest report; at most [`AGENTS_MAX`] nodes.
    async fn put_agent(&self, waf: WafId, agent: AgentRow) -> Result<(), StoreError>;

    /// The latest report of every node, by name.
    async fn agents(&self, waf: WafId) -> Result<Vec<AgentRow>, StoreError>;

    /// The version of all keys, and every key by name.
    async fn keys(&self) -> Result<(u64, Vec<KeyRow>), StoreError>;

    /// Adds a key, and an entry of its WAF id's action log.
    async fn add_key(&self, key: KeyRow, action: Action) -> Result<(), StoreError>;

    /// Removes a key, of one WAF id where that is given, and writes an entry of the action
    /// log; whether there was such a key.
    async fn remove_key(
        &self,
        name: &str,
        of: Option<WafId>,
        action: Action,
    ) -> Result<bool, StoreError>;

    /// Adds a WAF id with an empty policy, whose session is `now_ms`.
    async fn add_waf(&self, name: &str, now_ms: u64) -> Result<WafId, StoreError>;

    /// Removes a WAF id with everything that belongs to it, its keys included; whether
    /// there was one.
    async fn remove_waf(&self, waf: WafId) -> Result<bool, StoreError>;

    /// Begins a new session for every WAF id, each `max(session + 1, now_ms)`. For a
    /// database that was restored and would otherwise repeat generations.
    async fn renew_sessions(&self, now_ms: u64) -> Result<(), StoreError>;

    /// Puts everything where it belongs and ends; nothing works afterwards.
    async fn close(&self);
}
