//! The snapshot file: written once by syncd, mapped by every worker.
//!
//! | file | does |
//! |---|---|
//! | [`format`] | the bytes: header, sections, records |
//! | `compile` | policy or bans -> bytes |
//! | `publish` | bytes -> directory, atomically |
//! | `map` | the only `unsafe` of the crate |
//! | `verify`, `view`, `read` | bytes -> [`Snapshot`] or [`Bans`]; everything is checked once, here |
//! | `lookup`, `select`, `evaluate` | request -> verdict |
//! | `decompile` | a file -> the policy it decides by, for explanations |
//! | `follow` | notices a new file for a worker |
//!
//! Invariants: a published file is never modified; a `Snapshot` exists only for
//! bytes that were verified as a whole; evaluation gives the verdict that
//! [`policy::Policy::evaluate`] gives for the policy that was compiled.

mod compile;
mod decompile;
mod error;
mod evaluate;
mod follow;
pub mod format;
mod lookup;
mod map;
mod publish;
mod read;
mod select;
mod verify;
mod view;

pub use compile::{compile, compile_bans};
pub use error::{CompileError, SnapshotError};
pub use evaluate::{Beside, LimitBans};
pub use follow::{Event, Followed, Follower};
pub use lookup::{LimitInForce, limit_domain};
pub(crate) use map::Words;
pub use publish::{publish, publish_bans};
pub use read::{Bans, Counts, Meta, Snapshot, Trust};

/// Name of the file in force.
pub const CURRENT: &str = "current.nws";
/// Name of the file that was in force before it.
pub const PREVIOUS: &str = "previous.nws";
/// Name of the file with the bans in force.
pub const BANS: &str = "bans.nws";
