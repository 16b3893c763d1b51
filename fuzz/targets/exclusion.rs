//! Exclusions: a line for each field, as the API gets them.
//!
//! What is accepted has one spelling, survives the list that shows it, and its regular
//! expressions are taken by the engine that will run them, within its limit of memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::exclusion::Test;
use policy::{Exclusion, ExclusionText};
use support::check_message;
use wire::v1::{ExclusionLine, exclusions_text, read_exclusions};

/// Bytes of a compiled expression; the engine's own default.
const COMPILED_BYTES: usize = 10 << 20;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n').map(str::to_owned);
    let mut line = || lines.next().unwrap_or_default();
    let text = ExclusionText {
        rl_id: line(),
        domain: line(),
        mz: line(),
        extension: line(),
        pattern: line(),
        comment: line(),
        active: line().is_empty(),
    };
    let exclusion = match Exclusion::parse(7, &text) {
        Ok(exclusion) => exclusion,
        Err(refused) => {
            assert!(!refused.is_empty(), "refused without a reason");
            return refused.iter().for_each(check_message);
        }
    };
    let spelled = exclusion.spelled(&text);
    assert_eq!(Exclusion::parse(7, &spelled).as_ref(), Ok(&exclusion));
    assert_eq!(exclusion.spelled(&spelled), spelled);
    let line = ExclusionLine { id: 7, exclusion: &spelled, provenance: None };
    let shown = exclusions_text([line], true);
    assert_eq!(read_exclusions(&shown), Ok(vec![(7, spelled)]), "{shown}");
    let words: Vec<&str> = shown.split_whitespace().collect();
    assert!(words[3] == "True" || words[3] == "False", "{shown}");
    assert!(words[5].starts_with("wl:") && words[6].starts_with("domain="), "{shown}");
    for condition in &exclusion.conditions {
        if let Test::Matches(expression) = &condition.test {
            let built = regex::bytes::RegexBuilder::new(expression)
                .unicode(false)
                .size_limit(COMPILED_BYTES)
                .build();
            assert!(built.is_ok(), "{expression}: {built:?}");
        }
    }
});
