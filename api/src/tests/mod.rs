//! Tests through the real router, over a real SQLite file.

mod delta;
mod errors;
mod health;
mod history;
mod keys;
mod node;
mod samples;
mod support;
