//! What happens when the primary is lost? A real PostgreSQL primary with its replica, the
//! operator's scripts, the API on each, the balancer, and syncd.
//!
//! Invariants: nothing is pretended; each test has servers of its own; times are printed,
//! and only those that are promised are asserted.

#![forbid(unsafe_code)]

mod backup;
mod balancer;
mod clusters;
mod promotion;
mod refusals;
mod scripts;
mod servers;
mod site;
