//! What happens when parts fail: enforcement goes on.

mod drastic;
mod outage;
mod snapshots;
mod writes;
