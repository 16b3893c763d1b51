//! The snapshot file: written once by syncd, mapped by every worker.
//!
//! | file | does |
//! |---|---|
//! | [`format`] | the bytes: header, sections, records |
//! | `compile`, `flatten`, `grams` | policy -> bytes |
//! | `publish` | bytes -> directory, atomically |
//! | `map` | the only `unsafe` of the crate |
//! | `verify`, `read` | bytes -> [`Snapshot`]; everything is checked once, here |
//! | `evaluate`, `select` | request -> verdict |
//! | `follow` | notices a new file for a worker |
//!
//! Invariants: a published file is never modified; a `Snapshot` exists only for
//! bytes that were verified as a whole; evaluation gives the verdict that
//! [`policy::Policy::evaluate`] gives for the policy that was compiled.

mod compile;
mod error;
mod evaluate;
mod flatten;
mod follow;
pub mod format;
mod grams;
mod map;
mod publish;
mod read;
mod select;
mod verify;

pub use compile::compile;
pub use error::{CompileError, SnapshotError};
pub use follow::{Event, Follower};
pub use publish::publish;
pub use read::{Counts, Meta, Snapshot, Trust};

/// Name of the file in force.
pub const CURRENT: &str = "current.nws";
/// Name of the file that was in force before it.
pub const PREVIOUS: &str = "previous.nws";
