//! Which bundles are refused although they are well formed: those that go back
//! in history, and those that are almost certainly an accident.
//!
//! Pure: what runs and what came are arguments.

use std::collections::HashSet;

use policy::{Danger, Policy};
use wire::v2::{Bundle, BundleContent, BundleError, Revision};

/// Within one session a policy must have had so many elements before losing them
/// can be called an accident: its API asked for force where it was one.
pub const GUARDED_FROM: u64 = 10;
/// One change may leave a tenth; less needs `force`.
pub const LOSS_FACTOR: u64 = 10;

/// What runs, as far as it decides about what may follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its place in history.
    pub revision: Revision,
    /// Digest of its content, where the bundle is at hand.
    pub digest: Option<String>,
    /// Its elements; see [`size`].
    pub size: u64,
    /// The dangers somebody has accepted already.
    pub dangers: HashSet<Danger>,
}

/// On which terms a bundle is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Its revision can be compared with the running one; v1 has no order.
    pub ordered: bool,
    /// An operator of this node wants it however drastic it is.
    pub forced: bool,
    /// It was refused before and has been the same for long enough to be meant.
    pub settled: bool,
    /// Its digest was computed of its content, which is not done twice: with a million
    /// entries it takes a tenth of the time until a delta is in force.
    pub checked: bool,
}

/// What an operator can do who wants a drastic bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The API made the change in the history that runs.
    Write,
    /// The API began another history.
    Session,
    /// The API cannot carry force.
    Node,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write => {
                "undo the change, repeat it with \"force\": true, or send USR2 to this nwaf-syncd"
            }
            Self::Session => {
                "it is another history than the one that runs: if it is the right one, run \
                 \"nwaf-api session renew\" there or send USR2 to this nwaf-syncd"
            }
            Self::Node => "v1 cannot carry force: undo the change, or send USR2 to this nwaf-syncd",
        })
    }
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A lower generation of the same session.
    #[error(
        "revision {found} is older than {running}, which runs; the endpoint lags behind, or its \
         data was restored without a new session"
    )]
    Backwards {
        /// What came.
        found: Revision,
        /// What runs.
        running: Revision,
    },
    /// An older session.
    #[error(
        "revision {found} is of an older session than {running}, which runs; the endpoint was \
         replaced and should be taken out of service; if it is the right one, run \"nwaf-api \
         session renew\" there or send USR2 to this nwaf-syncd"
    )]
    OlderSession {
        /// What came.
        found: Revision,
        /// What runs.
        running: Revision,
    },
    /// The revision that runs, with another content.
    #[error(
        "revision {0} runs already with another content; two APIs write the same history, or the \
         data was changed by hand"
    )]
    Conflict(Revision),
    /// The bundle is damaged or has values without meaning.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// It would block everybody.
    #[error("{0}, and nobody asked for that by force; {1}")]
    Danger(Danger, Remedy),
    /// It would drop nearly everything.
    #[error(
        "{after} of {before} settings, list entries and rules would be left after {changes} \
         change(s), and nobody asked for that by force; {remedy}"
    )]
    Loss {
        /// Elements that run.
        before: u64,
        /// Elements that would.
        after: u64,
        /// Changes between the two, 1 where that cannot be known.
        changes: u64,
        /// What helps.
        remedy: Remedy,
    },
    /// There is no snapshot of it.
    #[error("it cannot be compiled: {0}")]
    Compile(#[from] ipc::snapshot::CompileError),
}

impl Refusal {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backwards { .. } => "backwards",
            Self::OlderSession { .. } => "older_session",
            Self::Conflict(_) => "conflict",
            Self::Bundle(_) if self.is_damage() => "damaged",
            Self::Bundle(_) => "invalid",
            Self::Danger(..) => "danger",
            Self::Loss { .. } => "loss",
            Self::Compile(_) => "compile",
        }
    }

    /// Whether another copy of the same revision may be good.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Bundle(BundleError::Count { .. } | BundleError::Digest))
    }
}

/// Entries of the block list, rules, and elements of the settings' lists.
pub fn size(content: &BundleContent) -> u64 {
    let elements = |list: &String| list.split(',').filter(|e| !e.trim().is_empty()).count().max(1);
    let settings: usize = content.settings.values().map(elements).sum();
    (content.block_list.len() + content.rules.len() + settings) as u64
}

/// Checks that `found` does not go back behind what runs. A newer session may
/// have any generation.
///
/// # Errors
/// [`Refusal::Backwards`], [`Refusal::OlderSession`].
pub fn order(found: Revision, running: Revision) -> Result<(), Refusal> {
    if found.session < running.session {
        return Err(Refusal::OlderSession { found, running });
    }
    if found < running {
        return Err(Refusal::Backwards { found, running });
    }
    Ok(())
}

/// Checks that a drastic change was wanted.
///
/// `policy` is the meaning of `bundle`; `running` is what it would replace.
///
/// # Errors
/// [`Refusal::Danger`], [`Refusal::Loss`].
pub fn guard(
    bundle: &Bundle,
    policy: &Policy,
    running: Option<&Running>,
    terms: Terms,
) -> Result<(), Refusal> {
    if terms.forced || is_forced(bundle, running.map(|running| running.revision)) {
        return Ok(());
    }
    let same_session =
        running.is_none_or(|running| running.revision.session == bundle.revision.session);
    let remedy = match (terms.ordered, same_session) {
        (false, _) => Remedy::Node,
        (true, true) => Remedy::Write,
        (true, false) => Remedy::Session,
    };
    let accepted = |danger: &Danger| running.is_some_and(|now| now.dangers.contains(danger));
    if let Some(danger) = policy::dangers(policy).find(|danger| !accepted(danger)) {
        return Err(Refusal::Danger(danger, remedy));
    }
    let Some(running) = running else { return Ok(()) };
    if terms.settled {
        return Ok(());
    }
    let (before, after) = (running.size, size(&bundle.content));
    // Several changes may arrive as one bundle. The API asks for force wherever
    // one change drops so much, so each of them may have left a tenth. Another
    // session owes nothing to what runs: there even a small policy is guarded,
    // because an API with an empty database begins just like that.
    let (changes, least) = if same_session {
        let changes = bundle.revision.generation.saturating_sub(running.revision.generation).max(1);
        (changes, least(before, changes))
    } else {
        (1, before.div_ceil(LOSS_FACTOR))
    };
    if after < least {
        return Err(Refusal::Loss { before, after, changes, remedy });
    }
    Ok(())
}

/// How little `changes` changes, none of which needed force, can leave of `before`.
fn least(before: u64, changes: u64) -> u64 {
    let mut left = before;
    for _ in 0..changes {
        if left < GUARDED_FROM {
            return 0;
        }
        left = left.div_ceil(LOSS_FACTOR);
    }
    left
}

/// Whether somebody asked for a drastic change after what runs.
fn is_forced(bundle: &Bundle, running: Option<Revision>) -> bool {
    match running {
        Some(running) if running.session == bundle.revision.session => {
            bundle.forced_at > running.generation
        }
        _ => bundle.forced_at > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(session: u64, generation: u64) -> Revision {
        Revision { session, generation }
    }

    fn bundle(at: Revision, forced_at: u64, entries: &[&str]) -> Bundle {
        let block_list = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Bundle::seal(at, forced_at, BundleContent { block_list, ..BundleContent::default() })
    }

    fn running(at: Revision, size: u64) -> Running {
        Running { revision: at, digest: None, size, dangers: HashSet::new() }
    }

    const TERMS: Terms = Terms { ordered: true, forced: false, settled: false, checked: false };

    fn judge_on(
        terms: Terms,
        bundle: &Bundle,
        running: Option<&Running>,
    ) -> Result<(), (&'static str, String)> {
        let policy = bundle.to_policy().unwrap();
        guard(bundle, &policy, running, terms).map_err(|why| (why.kind(), why.to_string()))
    }

    fn judge(bundle: &Bundle, running: Option<&Running>) -> Result<(), &'static str> {
        judge_on(TERMS, bundle, running).map_err(|why| why.0)
    }

    #[test]
    fn another_session_is_guarded_however_little_runs() {
        let empty = |forced| bundle(revision(2, 1), forced, &[]);
        for size in [1, 9] {
            let small = running(revision(1, 10), size);
            let (kind, text) = judge_on(TERMS, &empty(0), Some(&small)).unwrap_err();
            assert_eq!(kind, "loss");
            assert!(text.contains("session renew") && text.contains("USR2"), "{text}");
            assert_eq!(judge(&empty(1), Some(&small)), Ok(()));
            assert_eq!(judge_on(Terms { forced: true, ..TERMS }, &empty(0), Some(&small)), Ok(()));
            let one = bundle(revision(2, 1), 0, &["1.1.1.1"]);
            assert_eq!(judge(&one, Some(&small)), Ok(()));
        }
        assert_eq!(judge(&empty(0), Some(&running(revision(1, 10), 0))), Ok(()));
        assert_eq!(judge(&empty(0), None), Ok(()));
    }

    #[test]
    fn settings_count_by_the_elements_of_their_lists() {
        let settings = [("nwaf_ip_wl", "1.1.1.1, 2.2.2.2"), ("nwaf_host_wl", "a.com")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let content = BundleContent { settings, ..bundle(revision(1, 1), 0, &["1.1.1.1"]).content };
        assert_eq!(size(&content), 4);
    }

    #[test]
    fn what_v1_lost_is_meant_once_it_has_settled() {
        let hundred = running(revision(0, 4), 100);
        let terms = Terms { ordered: false, ..TERMS };
        let empty = bundle(revision(0, 5), 0, &[]);
        let (kind, text) = judge_on(terms, &empty, Some(&hundred)).unwrap_err();
        assert_eq!(kind, "loss");
        assert!(text.contains("USR2") && !text.contains("true"), "{text}");
        let settled = Terms { settled: true, ..terms };
        assert_eq!(judge_on(settled, &empty, Some(&hundred)), Ok(()));
        let all = bundle(revision(0, 5), 0, &["0.0.0.0/0"]);
        assert_eq!(judge_on(settled, &all, Some(&hundred)).unwrap_err().0, "danger");
    }

    #[test]
    fn history_only_goes_forward() {
        let at = revision(5, 10);
        assert!(order(revision(5, 11), at).is_ok());
        assert!(order(at, at).is_ok());
        assert!(order(revision(6, 1), at).is_ok());
        assert_eq!(order(revision(5, 9), at).unwrap_err().kind(), "backwards");
        assert_eq!(order(revision(4, 99), at).unwrap_err().kind(), "older_session");
    }

    #[test]
    fn nearly_everything_may_only_go_by_force() {
        let at = revision(1, 10);
        let next = revision(1, 11);
        let hundred = running(at, 100);
        assert_eq!(judge(&bundle(next, 0, &["1.1.1.1"; 9]), Some(&hundred)), Err("loss"));
        assert_eq!(judge(&bundle(next, 0, &["1.1.1.1"; 10]), Some(&hundred)), Ok(()));
        assert_eq!(judge(&bundle(next, 11, &[]), Some(&hundred)), Ok(()));
        // Force that is older than what runs was for something else.
        assert_eq!(judge(&bundle(next, 10, &[]), Some(&hundred)), Err("loss"));
        assert_eq!(judge(&bundle(next, 0, &[]), Some(&running(at, 9))), Ok(()));
        assert_eq!(judge(&bundle(next, 0, &[]), Some(&running(at, 10))), Err("loss"));
        assert_eq!(judge(&bundle(next, 0, &[]), None), Ok(()));
    }

    #[test]
    fn several_changes_in_one_bundle_may_each_leave_a_tenth() {
        let hundred = running(revision(1, 10), 100);
        assert_eq!(judge(&bundle(revision(1, 12), 0, &["1.1.1.1"]), Some(&hundred)), Ok(()));
        assert_eq!(judge(&bundle(revision(1, 12), 0, &[]), Some(&hundred)), Err("loss"));
        assert_eq!(judge(&bundle(revision(1, 13), 0, &[]), Some(&hundred)), Ok(()));
        assert_eq!(judge(&bundle(revision(1, u64::MAX), 0, &[]), Some(&hundred)), Ok(()));
        // Another session counts anew.
        assert_eq!(judge(&bundle(revision(2, 99), 0, &[]), Some(&hundred)), Err("loss"));
        assert_eq!(judge(&bundle(revision(2, 99), 7, &[]), Some(&hundred)), Ok(()));
    }

    #[test]
    fn blocking_everybody_needs_force_once() {
        let all = |at, forced| bundle(at, forced, &["0.0.0.0/0"]);
        let mut now = running(revision(1, 10), 1);
        assert_eq!(judge(&all(revision(1, 11), 0), Some(&now)), Err("danger"));
        assert_eq!(judge(&all(revision(1, 11), 0), None), Err("danger"));
        assert_eq!(judge(&all(revision(1, 11), 11), Some(&now)), Ok(()));
        // It runs already: an unrelated change is not refused for it.
        now.dangers = [Danger::BlocksAllV4].into();
        assert_eq!(judge(&all(revision(1, 12), 11), Some(&now)), Ok(()));
        now.revision = revision(1, 11);
        assert_eq!(judge(&all(revision(1, 12), 11), Some(&now)), Ok(()));
        // It does not hide another one.
        let more = bundle(revision(1, 12), 11, &["0.0.0.0/0", "::/0"]);
        assert_eq!(judge(&more, Some(&now)), Err("danger"));
    }
}
