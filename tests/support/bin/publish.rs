//! `nwaf-publish DIR KIND`: publishes a small policy for scripts that look at nginx as
//! a whole. `KIND` is `empty`, or `bodies`: rules that look at every part of a
//! request, its body included, and hold for none that anybody sends by chance.

use std::path::PathBuf;
use std::process::ExitCode;

use ipc::snapshot::{Meta, compile, publish};
use policy::{Policy, Rule, RuleText};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, kind] = arguments.as_slice() else {
        eprintln!("usage: nwaf-publish DIR empty|bodies");
        return ExitCode::from(2);
    };
    match policy(kind).and_then(|policy| put(&PathBuf::from(dir), &policy)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("nwaf-publish: {kind} in {dir}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn put(dir: &std::path::Path, policy: &Policy) -> Result<(), String> {
    let bytes = compile(policy, Meta { session: 1, generation: 1, created_ms: 0 })
        .map_err(|why| why.to_string())?;
    publish(dir, &bytes).map_err(|why| why.to_string())
}

fn policy(kind: &str) -> Result<Policy, String> {
    match kind {
        "empty" => Ok(Policy::default()),
        "bodies" => {
            // "nwaf-publish-hit"
            let hit = || Some("bndhZi1wdWJsaXNoLWhpdA==".to_owned());
            let header = vec!["eC1ud2Fm:bndhZi1wdWJsaXNoLWhpdA==".to_owned()];
            let texts = [
                RuleText { body: hit(), ..RuleText::default() },
                RuleText { url: hit(), ..RuleText::default() },
                RuleText { args: hit(), ..RuleText::default() },
                RuleText { cookie: hit(), ua: hit(), ..RuleText::default() },
                RuleText { other_headers: header, ..RuleText::default() },
            ];
            let rules = (1..).zip(&texts).map(|(id, text)| Rule::parse(id, text));
            let rules = rules.collect::<Result<_, _>>().map_err(|why| format!("{why:?}"))?;
            Ok(Policy { rules, ..Policy::default() })
        }
        other => Err(format!("{other:?} is neither empty nor bodies")),
    }
}
