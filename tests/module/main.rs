//! The module in nginx, without API and syncd: phases, modes, variables, log
//! lines, configuration, protocols.

mod bans;
mod bodies;
mod bypasses;
mod config;
mod country;
mod edges;
mod examples;
mod hostile;
mod hosts;
mod journal;
mod judging;
mod life;
mod limits;
mod living;
mod local;
mod metrics;
mod panics;
mod telemetry;
