//! The path from one call to what nginx does: API, syncd, snapshot, module.

mod churn;
mod demo;
mod latency;
mod lists;
mod refusals;
mod samples;
