//! One set of cases, five engines: the policy in memory, the same policy
//! through a snapshot, and through a snapshot that a live nginx has mapped; the last two
//! also with the settings from nginx's own configuration.
//!
//! Cases are tables in `cases/*.toml`, one file a subject; `case.rs` says what
//! they may hold, `coverage.rs` fails where something of the policy is in none.

mod case;
mod coverage;
mod limits;
mod live;

use case::{Answer, Asked, Case, all};
use ipc::snapshot::{Bans, Beside, Meta, Snapshot, compile, compile_bans};
use policy::Policy;
use policy::text::Scratch;

/// Runs every request of every case and reports all that differ, not only the first.
fn run(engine: &str, mut ask: impl FnMut(&Case) -> Vec<Answer>) {
    let mut differences = Vec::new();
    let mut asked = 0;
    for case in all() {
        let answers = ask(&case);
        assert_eq!(answers.len(), case.request.len());
        for (request, answer) in case.request.iter().zip(answers) {
            asked += 1;
            if let Err(why) = request.check(&answer) {
                differences.push(format!("{case}: {request}: {why}"));
            }
        }
    }
    assert!(asked > 700, "the cases were not read");
    assert!(differences.is_empty(), "{engine} differs:\n{}", differences.join("\n"));
}

#[test]
fn memory() {
    run("the policy in memory", |case| {
        let (policy, bans) = (case.policy(), case.bans());
        let ask = |asked: &Asked| {
            asked.with_request(|r| Answer {
                verdict: policy.evaluate(&bans, r),
                limit: policy
                    .settings
                    .limit(r.host)
                    .map(|limit| (limit.rate, limit.per.seconds(), limit.block_time)),
                reads_body: policy.settings.reads_body(
                    r.method,
                    r.host,
                    r.url,
                    &mut Scratch::default(),
                ),
                host_lists: policy.settings.host_lists(r.host),
            })
        };
        case.request.iter().map(ask).collect()
    });
}

#[test]
fn snapshot() {
    run("the snapshot", |case| {
        let bytes = compile(&case.policy(), Meta::default()).expect("compiles");
        let snapshot = Snapshot::from_bytes(&bytes).expect("is a snapshot");
        let bytes = compile_bans(&case.bans(), Meta::default()).expect("compiles");
        let bans = Bans::from_bytes(&bytes).expect("are bans");
        let mut scratch = Scratch::default();
        let mut ask = |asked: &Asked| {
            asked.with_request(|r| {
                let verdict = snapshot.evaluate(&Beside::bans(&bans), r, &mut scratch);
                scratch.begin();
                Answer {
                    verdict,
                    limit: snapshot
                        .limit(r.host)
                        .map(|limit| (limit.rate, limit.window, limit.block_time)),
                    reads_body: snapshot.reads_body(r.method, r.host, r.url, &mut scratch),
                    host_lists: snapshot.host_lists(r.host),
                }
            })
        };
        case.request.iter().map(&mut ask).collect()
    });
}

/// The settings from nginx's own configuration, everything else from the API.
#[test]
fn snapshot_and_local_settings() {
    run("a snapshot beside local settings", |case| {
        let snapshot = |policy: &Policy| {
            let bytes = compile(policy, Meta::default()).expect("compiles");
            Snapshot::from_bytes(&bytes).expect("is a snapshot")
        };
        let Policy { settings, block_list, rules, .. } = case.policy();
        let local = snapshot(&Policy { settings, ..Policy::default() });
        let policy = snapshot(&Policy { block_list, rules, ..Policy::default() });
        let bytes = compile_bans(&case.bans(), Meta::default()).expect("compiles");
        let bans = Bans::from_bytes(&bytes).expect("are bans");
        let beside = Beside { local: Some(&local), ..Beside::bans(&bans) };
        let mut scratch = Scratch::default();
        let mut ask = |asked: &Asked| {
            asked.with_request(|r| {
                let verdict = policy.evaluate(&beside, r, &mut scratch);
                scratch.begin();
                Answer {
                    verdict,
                    limit: local
                        .limit(r.host)
                        .map(|limit| (limit.rate, limit.window, limit.block_time)),
                    reads_body: local.reads_body(r.method, r.host, r.url, &mut scratch),
                    host_lists: local.host_lists(r.host),
                }
            })
        };
        case.request.iter().map(&mut ask).collect()
    });
}

/// The test of the test: an expectation that does not hold is noticed.
#[test]
fn wrong_expectations_are_noticed() {
    let case = |expected: &str| -> Asked { toml::from_str(expected).expect("a request") };
    let answer = Answer {
        verdict: policy::Verdict::pass(),
        limit: Some((5, 60, 600)),
        reads_body: true,
        host_lists: policy::HostLists::OBSERVE,
    };
    assert_eq!(case("action = 'pass'").check(&answer), Ok(()));
    for wrong in [
        "action = 'block'",
        "action = 'pass'\nblock_type = 5",
        "action = 'pass'\nrule_id = 1",
        "action = 'pass'\nreasons = ['rule 1']",
        "action = 'pass'\nobserved = ['rule 1']",
        "action = 'pass'\nreported = ['rule 1']",
        "action = 'pass'\nlimit = 'none'",
        "action = 'pass'\nreads_body = false",
        "action = 'pass'\nhost_lists = []",
    ] {
        assert!(case(wrong).check(&answer).is_err(), "{wrong}");
    }
}
