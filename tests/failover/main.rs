//! What happens when the primary is lost? A real PostgreSQL primary with its replica, and
//! the operator's scripts.
//!
//! Invariants: nothing is pretended; each test has servers of its own.

#![forbid(unsafe_code)]

mod clusters;
mod refusals;
mod scripts;
mod servers;
