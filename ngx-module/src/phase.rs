//! What happens to a request: judge it once, then do what the place says.
//!
//! nginx calls [`decide`] twice for each request: first thing in REWRITE, which
//! `satisfy any`, `return` and `try_files` cannot get around, and last thing in
//! PREACCESS, when a location's own `real_ip_header` may have changed the
//! client's address. Internal redirects bring the same request here again.
//!
//! Invariants: the verdict does not depend on the place, only its consequence
//! does; a request is refused at most once, so that the error page is served;
//! subrequests are part of their main request and not judged.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::IpAddr;

use policy::text::Scratch;
use policy::{Action, Host, Verdict};

use crate::directives::{LocationConf, Mode, OnError};
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::guard::Panic;
use crate::judgement::{Failure, Judgement, Outcome};
use crate::worker;
use crate::zone::Counter;

/// What nginx shall do with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Go,
    /// Answer with this status.
    Refuse(u16),
}

/// Decides about a request at a place.
pub fn decide(request: Request<'_>) -> Step {
    if !request.is_main() {
        return Step::Go;
    }
    let conf = request.location();
    if conf.mode() == Mode::Off {
        return Step::Go;
    }
    let address = request.address();
    let judgement = match request.judgement() {
        Some(judgement) if judgement.refused.get() => return Step::Go,
        Some(judgement) => {
            if judgement.address.get() != address {
                let before = judgement.outcome.replace(Err(Failure::Panic));
                judge(request, address, judgement);
                let same = same(&before, &judgement.outcome.borrow());
                judgement.observed_told.set(judgement.observed_told.get() && same);
            }
            judgement
        }
        None => {
            worker::count(Counter::Requests);
            // Remembered as a failure first: if judging panics, that is what stays.
            let failed = Err(Failure::Panic);
            let Some(judgement) = request.remember(Judgement::new(address, failed)) else {
                return Step::Refuse(500); // nginx is out of memory
            };
            judge(request, address, judgement);
            judgement
        }
    };
    apply(request, conf, judgement)
}

/// Decides about a request whose decision panicked.
pub fn after_panic(request: Request<'_>, panic: &Panic) -> Step {
    worker::count(Counter::Errors);
    request.log(Level::Error, format_args!("nwaf: panic at {panic}; nwaf_on_error decides"));
    match (request.location(), request.judgement()) {
        (_, Some(judgement)) if judgement.refused.get() => Step::Go,
        (conf, Some(judgement)) => {
            judgement.conclude(Err(Failure::Panic));
            apply(request, conf, judgement)
        }
        (conf, None) if conf.mode() == Mode::On && conf.on_error() == OnError::Block => {
            Step::Refuse(conf.block_status().code())
        }
        (_, None) => Step::Go,
    }
}

/// Whether a second judgement found what the first one found.
fn same(before: &Outcome, now: &Outcome) -> bool {
    match (before, now) {
        (Ok(Some(before)), Ok(Some(now))) => before.reasons == now.reasons,
        _ => false,
    }
}

/// The caller has set the outcome to a panic: that stays if judging does not come to its end.
fn judge(request: Request<'_>, address: Option<IpAddr>, judgement: &Judgement) {
    judgement.address.set(address);
    #[cfg(feature = "fault-injection")]
    fault(request);
    let active = worker::active();
    let Some(snapshot) = active.as_deref() else {
        judgement.conclude(Err(Failure::NoSnapshot));
        return;
    };
    let (url, args) = policy::Request::split_target(request.target());
    // nginx has validated the host, put it in lower case and cut port and dot;
    // it leaves the many spellings of an IPv6 address, the only case that allocates.
    let host = request.host();
    let literal = (host.first() == Some(&b'[')).then(|| Host::normalise(host));
    let headers = request.headers();
    let view = policy::Request {
        address,
        host: Host::normalised(literal.as_deref().unwrap_or(host)),
        url,
        args,
        headers: &headers,
        body: None,
        country: None,
    };
    thread_local! {
        // Buffers for decoding, kept so that they are allocated once.
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    let verdict = SCRATCH.with_borrow_mut(|scratch| snapshot.evaluate(&view, scratch));
    judgement.generation.set(Some(snapshot.meta().generation));
    let found = (verdict.action != Action::Pass).then(|| Box::new(verdict));
    judgement.conclude(Ok(found));
}

fn apply(request: Request<'_>, conf: &LocationConf, judgement: &Judgement) -> Step {
    let passive = conf.mode() == Mode::Passive;
    match &*judgement.outcome.borrow() {
        Ok(None) => {
            settle(judgement, Action::Pass);
            Step::Go
        }
        Ok(Some(verdict)) => {
            let verdict = if passive { verdict.observed() } else { **verdict };
            settle(judgement, verdict.action);
            match verdict.action {
                Action::Pass | Action::Bypass => Step::Go,
                Action::Observe => {
                    tell_observed(request, judgement, &verdict, passive);
                    Step::Go
                }
                Action::Block => {
                    tell_observed(request, judgement, &verdict, passive);
                    tell_blocked(request, &verdict);
                    refuse(conf, judgement)
                }
            }
        }
        Err(failure) => {
            if passive || conf.on_error() == OnError::Pass {
                settle(judgement, Action::Pass);
                return Step::Go;
            }
            settle(judgement, Action::Block);
            request.log(
                Level::Error,
                format_args!("nwaf: the request {} blocked: {}", request.id(), failure.as_str()),
            );
            refuse(conf, judgement)
        }
    }
}

/// Records what happened, and counts it where that is new. A request that was
/// observed in one place and blocked in the next counts as both.
fn settle(judgement: &Judgement, action: Action) {
    if judgement.action.replace(action) == action {
        return;
    }
    match action {
        Action::Pass => {}
        Action::Bypass => worker::count(Counter::Bypassed),
        Action::Observe => worker::count(Counter::Observed),
        Action::Block => worker::count(Counter::Blocked),
    }
}

fn refuse(conf: &LocationConf, judgement: &Judgement) -> Step {
    judgement.refused.set(true);
    Step::Refuse(conf.block_status().code())
}

/// Scripts read these two lines: their words are part of the product's contract.
fn tell_blocked(request: Request<'_>, verdict: &Verdict) {
    if let Some(reason) = verdict.deciding {
        request.log(
            Level::Error,
            format_args!(
                "nwaf: the request {} blocked by rule ID {} in zone {}",
                request.id(),
                reason.source.rule_id(),
                reason.zone.as_str()
            ),
        );
    }
}

fn tell_observed(request: Request<'_>, judgement: &Judgement, verdict: &Verdict, passive: bool) {
    if judgement.observed_told.replace(true) {
        return;
    }
    for reason in verdict.reasons.iter().filter(|reason| passive || reason.observed) {
        request.log(
            Level::Warn,
            format_args!(
                "nwaf: the request {} matched rule ID {} in zone {}, observed",
                request.id(),
                reason.source.rule_id(),
                reason.zone.as_str()
            ),
        );
    }
}

/// Lets tests prove that a panic costs one request and nothing else.
#[cfg(feature = "fault-injection")]
fn fault(request: Request<'_>) {
    use policy::request::Headers as _;
    request.headers().visit(&mut |name, value| {
        assert!(
            !(name.eq_ignore_ascii_case(b"x-nwaf-fault") && value == b"panic"),
            "a panic was asked for"
        );
        std::ops::ControlFlow::Continue(())
    });
}
