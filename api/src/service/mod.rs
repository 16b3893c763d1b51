//! The use cases: read a policy, change it, wait for a change.
//!
//! [`Service`] is the whole installation: keys, WAF ids, the database's role. [`Tenant`]
//! is the policy of one WAF id. Knows neither HTTP nor SQL. Invariants:
//!
//! * Every policy that leaves this module was understood by the `policy` crate in
//!   full, whatever the store held.
//! * A refused change leaves no trace; an accepted one is one commit.
//! * Writes of this process happen one after the other; writes of another process
//!   are noticed through the revision, and a change computed from an old one is
//!   computed anew.

mod analysis;
mod change;
mod delta;
mod diff;
mod import;
mod list;
mod pulse;
mod state;
mod step;
mod tenant;
mod terms;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use policy::{Danger, Invalid};
use store::{AGENTS_MAX, AgentRow, KeyRow, Pulse, Role, Store, StoreError, WafId};
use wire::v1::{
    BlockListWrite, ExclusionWrite, MlcWrite, ModelWrite, RuleWrite, SettingsWrite, TrainingWrite,
    VhostsWrite,
};
use wire::v2::{BadLines, Part, Revision};

pub use analysis::check_model_bytes;
pub use import::{Import, Mode};
use pulse::Pulses;
pub use state::Current;
pub use tenant::Tenant;
pub use terms::{Foreseen, Once, Outcome, Progress, Terms, Written};
pub use watch::Known;

/// A write, understood in form.
#[derive(Debug, Clone)]
pub enum Write {
    /// `set_dyn_settings`
    Settings(SettingsWrite),
    /// `set_dyn_bl`
    BlockList(BlockListWrite),
    /// `set_dyn_erl`
    Rules(Box<RuleWrite>),
    /// `v2/import`
    Import(Box<Import>),
    /// `set_dyn_wl`
    Exclusions(Box<ExclusionWrite>),
    /// `set_mlc_settings`
    Mlc(MlcWrite),
    /// `set_vhosts_list`
    Vhosts(VhostsWrite),
    /// `set_training_uri`
    Training(TrainingWrite),
    /// `del_models_uri` and `rep_models_uri`
    Models(ModelWrite),
    /// `PUT v2/models/VHOST`
    PutModel(NewModel),
}

/// A behavioural model that is to be stored.
#[derive(Debug, Clone)]
pub struct NewModel {
    /// The virtual host.
    pub vhost: String,
    /// The model.
    pub bytes: Arc<[u8]>,
}

impl Write {
    /// The name of the call, as in the action log.
    pub const fn call(&self) -> &'static str {
        match self {
            Self::Settings(_) => "set_dyn_settings",
            Self::BlockList(_) => "set_dyn_bl",
            Self::Rules(_) => "set_dyn_erl",
            Self::Exclusions(_) => "set_dyn_wl",
            Self::Mlc(_) => "set_mlc_settings",
            Self::Vhosts(_) => "set_vhosts_list",
            Self::Training(_) => "set_training_uri",
            Self::Models(ModelWrite::Delete(_)) => "del_models_uri",
            Self::Models(ModelWrite::Copy { .. }) => "rep_models_uri",
            Self::PutModel(_) => "put_model",
            Self::Import(import) => match import.part {
                Part::BlockList => "import/bl",
                Part::Rules => "import/erl",
                Part::Exclusions => "import/wl",
                Part::Settings => "import/settings",
                Part::Policy => "import/policy",
            },
        }
    }
}

/// Who writes.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Name of the key.
    pub key: String,
    /// The client's address.
    pub address: String,
}

/// Why a call cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Values without meaning.
    #[error("{} value(s) refused, first: {}", .0.len(), .0[0])]
    Invalid(Vec<Invalid>),
    /// Lines of a file without meaning.
    #[error("{} value(s) refused, first: {}", .0.count, .0.first[0])]
    BadLines(BadLines),
    /// The policy is not, or no longer, at a revision that the write is for.
    #[error("the policy is at {0}, which is none of the revisions in If-Match")]
    ChangedSince(Revision),
    /// The key of this request was given to another one before.
    #[error("the Idempotency-Key {0:?} belongs to another request")]
    OtherRequest(String),
    /// What the change is about does not exist.
    #[error("{0}")]
    NotFound(Invalid),
    /// A virtual host is not in the list of those that have models.
    #[error("{0}")]
    NotListed(Invalid),
    /// A report does not follow from what is known.
    #[error("{0}")]
    Contradicts(Invalid),
    /// The resulting policy is almost certainly a mistake.
    #[error("{0}")]
    NeedsForce(Danger),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task died.
    #[error("a task of this call did not finish")]
    Died(#[from] tokio::task::JoinError),
}

/// The one service of a process.
pub struct Service {
    store: Arc<dyn Store>,
    pulses: Arc<Pulses>,
    /// With their version.
    keys: RwLock<(u64, Arc<Vec<KeyRow>>)>,
    /// The version of the keys when the store was last looked at; see [`Service::follow`].
    keys_version: tokio::sync::watch::Sender<u64>,
    tenants: RwLock<HashMap<WafId, Arc<Tenant>>>,
    /// What nodes report while the database takes no writes.
    reports: std::sync::Mutex<BTreeMap<(WafId, String), AgentRow>>,
}

impl Service {
    /// A service over `store`; nothing is read yet.
    pub fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            store,
            pulses: Arc::default(),
            keys: RwLock::default(),
            keys_version: tokio::sync::watch::Sender::new(0),
            tenants: RwLock::default(),
            reports: std::sync::Mutex::default(),
        })
    }

    /// The store, for what needs no understanding: keys, the action log.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Where everything stands now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pulse(&self) -> Result<Arc<Pulse>, StoreError> {
        self.pulses.ask(&*self.store).await
    }

    /// What the database was when it was last asked.
    pub fn role(&self) -> Role {
        self.pulses.role()
    }

    /// Every key, as of `pulse` or later; read from the store only if one changed.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn keys(&self, pulse: &Pulse) -> Result<Arc<Vec<KeyRow>>, StoreError> {
        {
            let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if known.0 == pulse.keys_version && pulse.keys_version != 0 {
                return Ok(Arc::clone(&known.1));
            }
        }
        let (version, keys) = self.store.keys().await?;
        let keys = Arc::new(keys);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = (version, Arc::clone(&keys));
        Ok(keys)
    }

    /// The version of the keys each time that it moves.
    pub fn keys_versions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.keys_version.subscribe()
    }

    /// The policy of a WAF id; nothing of it is read yet.
    pub fn tenant(&self, waf: WafId) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.read().unwrap_or_else(PoisonError::into_inner).get(&waf)
        {
            return Arc::clone(tenant);
        }
        let new = || Tenant::new(waf, Arc::clone(&self.store), Arc::clone(&self.pulses));
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(waf).or_insert_with(new))
    }

    /// Every policy somebody asked for.
    fn loaded_tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets the policy of a WAF id that was removed.
    fn forget_tenant(&self, waf: WafId) {
        self.tenants.write().unwrap_or_else(PoisonError::into_inner).remove(&waf);
    }

    /// Keeps a node's latest report: in the store, or here where that takes no writes.
    /// There, like here, the longest silent nodes go first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn put_agent(
        &self,
        waf: WafId,
        agent: AgentRow,
        is_writable: bool,
    ) -> Result<(), StoreError> {
        if is_writable {
            match self.store.put_agent(waf, agent.clone()).await {
                Err(StoreError::ReadOnly) => {}
                other => return other,
            }
        }
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.insert((waf, agent.report.node.clone()), agent);
        if reports.len() > AGENTS_MAX as usize {
            let silent = reports.iter().min_by_key(|(_, agent)| agent.at_ms);
            if let Some(node) = silent.map(|(node, _)| node.clone()) {
                reports.remove(&node);
            }
        }
        Ok(())
    }

    /// The latest report of every node of a WAF id, by name.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn agents(&self, waf: WafId) -> Result<Vec<AgentRow>, StoreError> {
        let stored = self.store.agents(waf).await?;
        let mut agents: BTreeMap<String, AgentRow> =
            stored.into_iter().map(|agent| (agent.report.node.clone(), agent)).collect();
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, node), agent) in reports.iter().filter(|((of, _), _)| *of == waf) {
            if agents.get(node).is_none_or(|stored| stored.at_ms < agent.at_ms) {
                agents.insert(node.clone(), agent.clone());
            }
        }
        Ok(agents.into_values().collect())
    }
}

/// Unix milliseconds of now.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
