//! `nwaf_limit` in action: blocked requests counted over sliding windows, and the
//! bans that follow, in memory that the workers of one nginx share.
//!
//! | file | holds |
//! |---|---|
//! | [`key`] | who is counted and banned: an address (or its IPv6 network) for the hosts of an entry |
//! | `memory` | the words, and how they are shared out |
//! | `counts` | the last blocked requests of each address; behind the lock |
//! | `banned` | the bans; read without the lock by every request |
//! | [`zone`] | both together: what callers use |
//!
//! Invariants
//! - A request that is not blocked takes no lock: it reads one word where nobody is
//!   banned, and one bucket where somebody is.
//! - Work under the lock is bounded, whatever an attacker sends and however full the
//!   zone is; nothing is allocated, everything lies in the words given.
//! - Everything is an integer; times are milliseconds of a monotonic clock that the
//!   sharing processes have in common.
//! - A process that dies while it holds the lock leaves counts that the next holder
//!   throws away, and bans that are whole or absent.

#![forbid(unsafe_code)]

mod banned;
mod counts;
pub mod key;
mod memory;
pub mod zone;

pub use key::Key;
pub use zone::{Allowance, Ban, Counted, Lock, Statistics, Zone};
