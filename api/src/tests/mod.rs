//! Tests through the real router, over a real SQLite file.

mod errors;
mod history;
mod node;
mod samples;
mod support;
