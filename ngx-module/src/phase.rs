//! What happens to a request: judge it once, then do what the place says.
//!
//! nginx calls [`decide`] twice for each request: first thing in the rewrite
//! phase of a location, which `satisfy any` and the location's own `return` and
//! `try_files` cannot get around (a `return` of the *server* is answered before
//! any location is chosen, and is not judged), and last thing in PREACCESS, when
//! a location's own realip may have changed the client's address. Internal
//! redirects bring the same request here again. A body that rules ask for is
//! judged while it arrives, see `body`.
//!
//! Invariants: the verdict does not depend on the place, only its consequence
//! does; a request is refused at most once, so that the error page is served;
//! subrequests are part of their main request: the main request's data is
//! judged, and where its own place has decided, they are not asked again.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipc::snapshot::{LimitBans, LimitInForce};
use policy::text::Scratch;
use policy::{Action, Host, Source, Verdict};

use crate::body::Read;
use crate::directives::{LocationConf, Mode, OnError};
use crate::ffi::log::{self, Level};
use crate::ffi::request::Request;
use crate::guard::Panic;
use crate::judgement::{Failure, Judgement, Outcome};
use crate::limits::{self, Limits};
use crate::local::{self, Standing};
use crate::worker::{self, InForce};
use crate::zone::Counter;

/// What nginx shall do with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Go,
    /// Answer with this status.
    Refuse(u16),
}

/// When nginx asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// First in REWRITE.
    First,
    /// Last in PREACCESS.
    Last,
}

/// nginx has no memory left for the judgement.
const OUT_OF_MEMORY: Step = Step::Refuse(500);

/// Decides about a request at a place.
#[inline]
pub fn decide(request: Request<'_>, moment: Moment) -> Step {
    let conf = request.location();
    if conf.mode() == Mode::Off {
        return Step::Go;
    }
    if !request.is_main() {
        return decide_part(request, conf);
    }
    let address = match moment {
        Moment::First if conf.late_realip => request.foreseen_address(),
        _ => request.address(),
    };
    let judgement = match request.judgement() {
        Some(judgement) if judgement.refused.get() => return Step::Go,
        Some(judgement) => {
            if judgement.address.get() != address {
                judgement.begin_again(address, || judge(request, judgement, None));
            }
            judgement
        }
        None => match begin(request, address) {
            Some(judgement) => judgement,
            None => return OUT_OF_MEMORY,
        },
    };
    judgement.peer.set(request.peer());
    judgement.placed.set(true);
    apply(request, conf, judgement)
}

/// A subrequest: its main request's place decides, unless that one protects
/// nothing. Then this place is the first that wants to know.
#[cold]
fn decide_part(part: Request<'_>, conf: &LocationConf) -> Step {
    let main = part.main();
    let judgement = match main.judgement() {
        Some(judgement) if judgement.placed.get() => return Step::Go,
        // What follows a refusal is the error page, here too.
        Some(judgement) if judgement.refused_part.get() == Some(part.identity()) => {
            return Step::Go;
        }
        Some(judgement) => judgement,
        None => match begin(main, main.address()) {
            Some(judgement) => judgement,
            None => return OUT_OF_MEMORY,
        },
    };
    apply(part, conf, judgement)
}

/// Decides about a request whose decision panicked.
#[cold]
pub fn after_panic(request: Request<'_>, panic: &Panic) -> Step {
    worker::count(Counter::Errors);
    let told = format!("nwaf: panic at {panic}; nwaf_on_error decides");
    request.log(Level::Error, format_args!("{told}"));
    log::remember(format_args!("{told}"));
    #[cfg(feature = "fault-injection")]
    fault(request.main(), b"panic twice");
    match request.judgement() {
        Some(judgement) if request.is_main() && judgement.refused.get() => Step::Go,
        Some(judgement) => {
            judgement.fail(Failure::Panic);
            apply(request, request.location(), judgement)
        }
        None => last_resort(request),
    }
}

/// Decides where even [`after_panic`] panicked: looks at the directives and
/// touches nothing else.
#[cold]
pub fn last_resort(request: Request<'_>) -> Step {
    let conf = request.location();
    if conf.mode() == Mode::On && conf.on_error() == OnError::Block {
        Step::Refuse(conf.block_status().code())
    } else {
        Step::Go
    }
}

/// The first judgement of a main request; `None` where nginx is out of memory.
#[inline]
fn begin<'r>(request: Request<'r>, address: Option<IpAddr>) -> Option<&'r Judgement> {
    worker::count(Counter::Requests);
    // Remembered as a failure first: if judging panics, that is what stays.
    let judgement = request.remember(Judgement::begin(address))?;
    judge(request, judgement, None);
    Some(judgement)
}

/// Asks the policy about a main request, for the judgement's address; `body` is
/// what was read of its body, if anything.
#[inline]
pub fn judge(request: Request<'_>, judgement: &Judgement, body: Option<Read<'_>>) {
    #[cfg(feature = "fault-injection")]
    fault(request, b"panic");
    let asked = worker::ask(|in_force, scratch| {
        // nginx has validated the host, put it in lower case and cut the port; it
        // leaves the many spellings of an IPv6 address, which alone allocate.
        let host = request.host();
        let literal = (host.first() == Some(&b'[')).then(|| Host::normalise(host));
        let headers = request.headers();
        let host = Host::normalised(literal.as_deref().unwrap_or(host));
        let (url, args) = policy::Request::split_target(request.target());
        let view = policy::Request {
            time: in_force.now(),
            method: request.method(),
            address: judgement.address.get(),
            host,
            url,
            args,
            headers: &headers,
            body: body.map(|body| body.sent),
            decoded_body: body.and_then(|body| body.decoded),
            country: in_force.country_for_rules(judgement.address.get()),
        };
        let limits = Limits::of(request).filter(|limits| !limits.is_idle());
        let limit_bans = limits.as_ref().map(|limits| limits as &dyn LimitBans);
        let verdict = in_force.evaluate(limit_bans, &view, scratch);
        judgement.conclude(&verdict);
        judgement.limits.set([in_force.limit_for(&verdict, view.host), None]);
        if let Some(line) = request.other_host_line() {
            judge_other_host(in_force, limit_bans, scratch, view, line, judgement);
        }
        let meta = in_force.policy.meta();
        judgement.generation.set(Some(meta.generation));
        judgement.session.set(meta.session);
    });
    if asked.is_none() {
        judge_without_policy(request, judgement);
    }
}

/// No policy is in force: what nginx's own configuration says about the client and the
/// host holds, and for the rest it is a failure.
#[cold]
fn judge_without_policy(request: Request<'_>, judgement: &Judgement) {
    let standing = |host: &[u8]| {
        let host = Host::normalise(host);
        local::standing(judgement.address.get(), Host::normalised(without_dots(&host)))
    };
    // As for verdicts, the stricter one of two hosts' holds.
    let other = request.other_host_line().map_or(Standing::HostBypass, standing);
    match standing(request.host()).max(other) {
        Standing::HostBypass => judgement.conclude(&Verdict::bypass(Source::HostWhiteList)),
        Standing::AddressBypass => judgement.conclude(&Verdict::bypass(Source::AddressWhiteList)),
        Standing::Observe => judgement.conclude(&Verdict::pass()),
        Standing::Unknown => judgement.fail(Failure::NoSnapshot),
    }
}

/// A request may name two hosts: nginx believes the target's, a site behind it
/// may believe the `Host` line. Of both verdicts the stricter one holds, and a block
/// counts for the limits of both.
#[cold]
fn judge_other_host(
    in_force: &InForce,
    limit_bans: Option<&dyn LimitBans>,
    scratch: &mut Scratch,
    view: policy::Request<'_>,
    line: &[u8],
    judgement: &Judgement,
) {
    let other = Host::normalise(line);
    let host = Host::normalised(without_dots(&other));
    if host == view.host {
        return;
    }
    let verdict = in_force.evaluate(limit_bans, &policy::Request { host, ..view }, scratch);
    if strictness(verdict.action) > strictness(judgement.verdict().action) {
        judgement.conclude(&verdict);
    }
    let [first, _] = judgement.limits.get();
    let is_other = |limit: &LimitInForce| first.is_none_or(|first| first.domain != limit.domain);
    judgement.limits.set([first, in_force.limit_for(&verdict, host).filter(is_other)]);
}

/// A host name without the dots at its end, which mean nothing.
#[inline]
pub fn without_dots(mut host: &[u8]) -> &[u8] {
    while let Some((b'.', rest)) = host.split_last() {
        host = rest;
    }
    host
}

/// White-listed for one host is not white-listed for the other.
fn strictness(action: Action) -> u8 {
    match action {
        Action::Bypass => 0,
        Action::Pass => 1,
        Action::Observe => 2,
        Action::Block => 3,
    }
}

/// Does what a judgement means at a place.
#[inline]
pub fn apply(request: Request<'_>, conf: &LocationConf, judgement: &Judgement) -> Step {
    match judgement.outcome() {
        Outcome::Clean => {
            judgement.action.set(Action::Pass);
            Step::Go
        }
        Outcome::Found => apply_verdict(request, conf, judgement),
        Outcome::Failed(why) => apply_failure(request, conf, judgement, why),
    }
}

#[cold]
fn apply_verdict(request: Request<'_>, conf: &LocationConf, judgement: &Judgement) -> Step {
    let passive = conf.mode() == Mode::Passive;
    let verdict = judgement.verdict();
    let verdict = match verdict.action {
        Action::Block if passive => verdict.observed(),
        Action::Block => limits::count(request, judgement, verdict),
        _ => verdict,
    };
    settle(judgement, verdict.action);
    match verdict.action {
        Action::Pass | Action::Bypass => Step::Go,
        Action::Observe => {
            tell_observed(request, judgement, &verdict, passive);
            Step::Go
        }
        Action::Block => {
            tell_observed(request, judgement, &verdict, passive);
            tell_blocked(request, judgement, &verdict);
            refuse(request, conf, judgement)
        }
    }
}

#[cold]
fn apply_failure(
    request: Request<'_>,
    conf: &LocationConf,
    judgement: &Judgement,
    why: Failure,
) -> Step {
    let passes = conf.on_error() == OnError::Pass && !why.is_overflow();
    if conf.mode() == Mode::Passive || passes {
        settle(judgement, Action::Pass);
        return Step::Go;
    }
    settle(judgement, Action::Block);
    if !judgement.blocked_told.replace(true) {
        request.log(
            Level::Error,
            format_args!("nwaf: the request {} blocked: {}", request.id(), why.as_str()),
        );
    }
    refuse(request, conf, judgement)
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
        Action::Block => worker::count_block(judgement.block_type()),
    }
}

fn refuse(request: Request<'_>, conf: &LocationConf, judgement: &Judgement) -> Step {
    if request.is_main() {
        judgement.refused.set(true);
    } else {
        judgement.refused_part.set(Some(request.identity()));
    }
    Step::Refuse(conf.block_status().code())
}

/// Scripts read these two lines: their words are part of the product's contract.
fn tell_blocked(request: Request<'_>, judgement: &Judgement, verdict: &Verdict) {
    if judgement.blocked_told.replace(true) {
        return;
    }
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
    let observed = verdict.reasons.iter().filter(|reason| passive || reason.observed);
    for reason in observed.filter(|reason| judgement.is_news(reason)) {
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

/// Lets tests prove that a panic costs one request and nothing else: panics where
/// the request's `X-Nwaf-Fault` begins with `wanted`.
#[cfg(feature = "fault-injection")]
pub fn fault(request: Request<'_>, wanted: &[u8]) {
    assert!(!wants_fault(request, wanted), "a panic was asked for");
}

/// Whether the request's `X-Nwaf-Fault` begins with `wanted`.
#[cfg(feature = "fault-injection")]
pub fn wants_fault(request: Request<'_>, wanted: &[u8]) -> bool {
    use policy::request::Headers as _;
    let mut found = false;
    request.headers().visit(&mut |name, value| {
        found |= name.eq_ignore_ascii_case(b"x-nwaf-fault") && value.starts_with(wanted);
        std::ops::ControlFlow::Continue(())
    });
    found
}
