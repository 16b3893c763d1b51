//! `nwaf-syncd`: keeps one nginx host's snapshot equal to the API's policy.
//!
//! ```text
//! collect -> refuse? -> store -> publish          report, status
//! endpoints   order,    bundle.   current.nws     what became of it
//! v1, v2      guards    json
//! ```
//! `run` is the driver; the other modules are its parts in the order of the flow.
//!
//! Invariants: what is in force is never taken away because of something that
//! went wrong here or at the API; a smaller revision of the same session is never
//! published over a larger one; the key is sent to endpoints and nowhere else.

#![forbid(unsafe_code)]

pub mod collect;
pub mod config;
pub mod key;
pub mod metrics;
pub mod publish;
pub mod refuse;
pub mod report;
pub mod run;
pub mod status;
pub mod store;
