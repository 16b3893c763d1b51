//! Rules, settings, bans and requests, as text (see `support::case`).
//!
//! No rule makes a parser or an engine panic, and a snapshot gives the verdict of the
//! policy it was compiled from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use support::case::Case;
use support::engines;

fuzz_target!(|data: &[u8]| {
    let case = Case::parse(data);
    let policy = case.policy();
    policy::danger(&policy);
    let Some(file) = engines::compile(&policy) else { return };
    let Some(bans) = engines::compile_bans(&case.bans) else { return };
    let files = engines::read(&file, Some(&bans)).expect("what was compiled can be read");
    engines::check_same(&policy, &case.bans, &files, &case.requests);
});
