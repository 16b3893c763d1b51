//! The path from one call to what nginx does: API, syncd, snapshot, module.

mod analysis;
mod churn;
mod deltas;
mod demo;
mod latency;
mod limits;
mod lists;
mod local;
mod refusals;
mod samples;
