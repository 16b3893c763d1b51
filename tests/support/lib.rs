//! The harness: real daemons, a real nginx with the module, and the means to
//! ask them questions.
//!
//! Invariants: every server gets a loopback address and port of its own and a
//! folder of its own; everything waits for a condition, never for a time; every
//! process ends with the value that started it; an nginx whose error log holds
//! an alert, an emergency or a panic fails its test on drop; the folder of a
//! failed test is kept, and its path printed.

#![forbid(unsafe_code)]

pub mod api;
pub mod artifacts;
pub mod balancer;
pub mod curl;
pub mod daemon;
pub mod folder;
pub mod h2;
pub mod http;
pub mod load;
pub mod mmdb;
pub mod net;
pub mod nginx;
pub mod node;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod quiet;
pub mod recorder;
pub mod stack;
pub mod syncd;
pub mod upstream;
pub mod wait;

pub use api::Api;
pub use balancer::Balancer;
pub use curl::curl;
pub use folder::Folder;
pub use http::{Client, Response, Visit};
pub use load::Load;
pub use mmdb::Mmdb;
pub use nginx::{Nginx, Site, Start};
pub use node::Node;
pub use postgres::{Pair, Postgres};
pub use prometheus::Metrics;
pub use quiet::{alone, among_others};
pub use recorder::Recorder;
pub use stack::Stack;
pub use syncd::Syncd;
pub use upstream::Upstream;
pub use wait::eventually;
