//! The JSON words between api, syncd and their clients.
//!
//! * [`v1`] is the vendor's dialect, kept because existing scripts speak it. No
//!   other crate knows its spellings.
//! * [`v2`] is our own: whole bundles, numbered.

#![forbid(unsafe_code)]

pub mod v1;
pub mod v2;
