//! The nginx module of nwaf: asks the policy about each request and does what it says.
//!
//! ```text
//! nginx ──► ffi (raw pointers, panic guard) ──► phase ──► worker::ask() ──► ipc::Snapshot
//!                                                 │
//!                                     shared zone (one slot a worker) ──► status
//! ```
//!
//! The module has no opinions: what a rule means is in `policy`, what the bytes
//! of a snapshot mean is in `ipc`. Here is only what nginx needs.
//!
//! Invariants:
//! - `unsafe` is confined to `ffi`; everything else is forbidden to use it.
//! - No panic leaves the module, and none takes a worker down.
//! - A request that nothing is found in costs no lock, no system call and no
//!   memory but a few hundred bytes of its own pool.
//! - A missing or refused snapshot never keeps nginx from starting or serving.

#![deny(unsafe_code)]

mod bans_page;
mod body;
mod countries;
mod directives;
mod ffi;
mod guard;
mod journal;
mod judgement;
mod limits;
mod local;
mod metrics;
mod note;
mod phase;
mod record;
mod status;
mod telemetry;
mod worker;
mod zone;
