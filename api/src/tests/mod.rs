//! Tests through the real router, over a real SQLite file.

mod analysis;
mod analysis_limits;
mod attacks;
mod bans;
mod bodies;
mod conditions;
mod delta;
mod errors;
mod exclusions;
mod health;
mod history;
mod import;
mod keys;
mod node;
mod openapi;
mod samples;
mod support;
mod watch;
