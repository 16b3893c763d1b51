//! Counts wrong keys per client address.
//!
//! Only wrong keys are ever refused with "too many": a right one always gets in,
//! so that nobody can lock out a neighbour behind the same address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong keys of one address within [`WINDOW`] that are still answered with 401.
pub const FAILURES_MAX: u32 = 30;
/// How long failures count.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted at a time.
const ADDRESSES_MAX: usize = 10_000;

/// The counters.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<HashMap<IpAddr, (Instant, u32)>>);

impl Limiter {
    /// Counts a wrong key.
    ///
    /// # Errors
    /// There were too many; how long to wait.
    pub fn count(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = network(client);
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&client) {
            windows.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
            if windows.len() >= ADDRESSES_MAX {
                // A flood from everywhere: forgetting is cheaper than growing.
                windows.clear();
            }
        }
        let (since, failures) = windows.entry(client).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *failures) = (now, 0);
        }
        *failures = failures.saturating_add(1);
        if *failures > FAILURES_MAX { Err(WINDOW - now.duration_since(*since)) } else { Ok(()) }
    }
}

/// One IPv6 client usually owns a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_refused_until_the_window_ends() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..FAILURES_MAX {
            limiter.count(client, start).unwrap();
        }
        assert_eq!(limiter.count(neighbour, start), Err(WINDOW));
        limiter.count(other, start).unwrap();
        limiter.count(client, start + WINDOW).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::default();
        let now = Instant::now();
        for n in 0..(ADDRESSES_MAX as u32 * 2) {
            let _ = limiter.count(IpAddr::V4(n.into()), now);
        }
        assert!(limiter.0.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
