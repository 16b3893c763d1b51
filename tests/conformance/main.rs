//! One set of cases, three engines: the policy in memory, the same policy
//! through a snapshot, and through a snapshot that a live nginx has mapped.
//!
//! Cases are tables in `cases/*.toml`, one file a subject; `case.rs` says what
//! they may hold.

mod case;
mod live;

use case::{Case, Expected, all};
use ipc::snapshot::{Meta, Snapshot, compile};
use policy::Verdict;
use policy::text::Scratch;

/// Runs every request of every case and reports all that differ, not only the first.
fn run(engine: &str, mut ask: impl FnMut(&Case) -> Vec<Verdict>) {
    let mut differences = Vec::new();
    let mut asked = 0;
    for case in all() {
        let verdicts = ask(&case);
        assert_eq!(verdicts.len(), case.request.len());
        for (request, verdict) in case.request.iter().zip(verdicts) {
            asked += 1;
            if let Err(why) = request.expected().holds_for(&verdict) {
                differences.push(format!("{case}: {request}: {why}"));
            }
        }
    }
    assert!(asked > 150, "the cases were not read");
    assert!(differences.is_empty(), "{engine} differs:\n{}", differences.join("\n"));
}

#[test]
fn memory() {
    run("the policy in memory", |case| {
        let policy = case.policy();
        case.request.iter().map(|asked| asked.with_request(|r| policy.evaluate(r))).collect()
    });
}

#[test]
fn snapshot() {
    run("the snapshot", |case| {
        let bytes = compile(&case.policy(), Meta::default()).expect("compiles");
        let snapshot = Snapshot::from_bytes(&bytes).expect("is a snapshot");
        let mut scratch = Scratch::default();
        case.request
            .iter()
            .map(|asked| asked.with_request(|r| snapshot.evaluate(r, &mut scratch)))
            .collect()
    });
}

/// The test of the test: an expectation that does not hold is noticed.
#[test]
fn wrong_expectations_are_noticed() {
    let expected =
        Expected { action: "block", block_type: None, rule: Some(1), reasons: &[], without: &[] };
    assert!(expected.holds_for(&Verdict::pass()).is_err());
    let expected = Expected { action: "pass", reasons: &["rule 1".into()], ..expected };
    assert!(Expected { rule: None, ..expected }.holds_for(&Verdict::pass()).is_err());
}
