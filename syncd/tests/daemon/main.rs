//! The real `nwaf-syncd` process against an API that misbehaves in ways a real
//! one does not: hanging, lying, cutting short. What a real API does is tested
//! with a real API elsewhere.

mod deltas;
mod fake;
mod faults;
mod node;
mod process;
mod refusals;
mod vendor;
