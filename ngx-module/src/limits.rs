//! `nwaf_limit` at work: who is banned, and what a blocked request leads to.
//!
//! Counting itself is in the crate `bans`; here it meets the request. A request that
//! is not blocked asks without a lock, and where nobody is banned with one look at one word.
//!
//! Invariants: a main request is counted at most once for each limit of its hosts; only what
//! a place really blocks is counted, never what it observes; what the white lists let
//! through never comes here.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use bans::{Allowance, Counted, Key};
use ipc::snapshot::{LimitBans, LimitInForce};
use policy::Verdict;

use crate::ffi::limit_zone::LimitZone;
use crate::ffi::log::{self, Level};
use crate::ffi::os;
use crate::ffi::request::Request;
use crate::judgement::Judgement;
use crate::worker;
use crate::zone::Counter;

/// The zone at the moment of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'r> {
    zone: &'r LimitZone,
    ipv6_prefix: u8,
    now: u64,
}

impl<'r> Limits<'r> {
    /// The zone of a request's configuration.
    #[inline]
    pub fn of(request: Request<'r>) -> Option<Self> {
        let conf = request.main_conf();
        let zone = conf.limit_zone.as_ref()?;
        let ipv6_prefix = conf.zone.unwrap_or_default().ipv6_prefix;
        Some(Self { zone, ipv6_prefix, now: os::monotonic_ms() })
    }

    /// Whether nobody is banned.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.zone.is_idle(self.now)
    }

    fn key(&self, address: IpAddr, domain: u64) -> Key {
        Key::new(address, self.ipv6_prefix, domain)
    }

    /// Counts for one limit; the rule that led to a ban, where there is one now.
    fn count(
        &self,
        request: Request<'_>,
        address: IpAddr,
        limit: LimitInForce,
        rule: u64,
    ) -> Option<u64> {
        let LimitInForce { rate, window, block_time, domain } = limit;
        let allowance = Allowance { rate, window_s: window, block_s: block_time };
        let key = self.key(address, domain);
        match self.zone.count(&key, allowance, rule, self.now) {
            Counted::Within => None,
            Counted::Exceeded { .. } => {
                worker::count(Counter::Bans);
                request.log(
                    Level::Warn,
                    format_args!(
                        "nwaf: {} banned for {block_time} s after more than {rate} blocked \
                         requests in {window} s, the last by rule ID {rule}",
                        key.address()
                    ),
                );
                Some(rule)
            }
            Counted::Overtaken { rule } => Some(rule),
        }
    }
}

impl LimitBans for Limits<'_> {
    fn banned_by(&self, address: IpAddr, limit: &LimitInForce) -> Option<u64> {
        self.zone.stop(&self.key(address, limit.domain), self.now)
    }
}

/// Counts a request that is being blocked. Where it exceeds a limit, or another request of
/// its address has just done so, the verdict becomes a ban.
#[cold]
pub fn count(request: Request<'_>, judgement: &Judgement, verdict: Verdict) -> Verdict {
    // Taken, so that it is counted once.
    let counts = judgement.limits.take();
    let Some(address) = judgement.address.get() else { return verdict };
    if counts.iter().all(Option::is_none) {
        return verdict;
    }
    let Some(limits) = Limits::of(request) else { return verdict };
    #[cfg(feature = "fault-injection")]
    crate::ffi::limit_zone::DIE.set(crate::phase::wants_fault(request, b"die in lock"));
    let rule = verdict.rule().unwrap_or_default();
    let mut led_by = None;
    for limit in counts.into_iter().flatten() {
        led_by = led_by.or(limits.count(request, address, limit, rule));
    }
    if let Some(lost) = limits.zone.losses_to_tell(limits.now) {
        log::cycle(
            Level::Error,
            format_args!(
                "nwaf: nwaf_zone is full: {lost} addresses lost their counts or bans; \
                 make it larger"
            ),
        );
    }
    match led_by {
        None => verdict,
        Some(rule) => {
            let banned = verdict.banned(rule);
            judgement.conclude(&banned);
            banned
        }
    }
}
