//! The meaning of nwaf's policy: settings, host and address patterns, extended
//! rules and the order in which they decide.
//!
//! Everything that gives a word of the specification its meaning is here, and
//! every other crate runs this code instead of its own reading: the API refuses
//! with it, syncd compiles with it, the module decides with it.
//!
//! Invariants: no I/O, no clock, no nginx, no `unsafe`. A value that parsed is
//! valid; there is no second validation step.

#![forbid(unsafe_code)]

pub mod address;
pub mod ban;
pub mod body;
pub mod encoding;
pub mod error;
pub mod exclusion;
pub mod explain;
pub mod expression;
pub mod host;
pub mod host_lists;
pub mod keys;
pub mod limit;
pub mod limits;
pub mod list;
pub mod mlc;
pub mod request;
pub mod rule;
pub mod settings;
pub mod text;
pub mod training;
pub mod url;
pub mod verdict;

mod content;
mod evaluate;
mod guard;

pub use address::{AddressEntry, AddressRange};
pub use ban::{Ban, BanKind};
pub use body::BodyExclusion;
pub use error::Invalid;
pub use evaluate::Policy;
pub use exclusion::{Exclusion, ExclusionText};
pub use guard::{Danger, block_list_dangers, danger, dangers, rule_danger, settings_dangers};
pub use host::{Host, HostPattern};
pub use host_lists::HostLists;
pub use keys::{Key, Keys};
pub use limit::Limit;
pub use mlc::{MlcInput, MlcKey, MlcSettings, MlcValue};
pub use request::{Headers, Request};
pub use rule::{Rule, RuleText};
pub use settings::Settings;
pub use training::{Training, TrainingState};
pub use url::UrlPrefix;
pub use verdict::{Action, BlockType, Reason, Reasons, Source, Verdict, Zone};
