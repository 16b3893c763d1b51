//! What syncd and nginx exchange on one host.
//!
//! [`snapshot`] is a whole policy in one immutable file that every nginx worker
//! maps and asks without copying or parsing.

#![deny(unsafe_code)]

pub mod events;
pub mod snapshot;
