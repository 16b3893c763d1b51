//! Host patterns and hosts: a line with a pattern, the rest is a request's host.
//!
//! A pattern that was accepted has a written form that is the same pattern. The normal
//! form of a host, and whether a pattern matches it, are what a reading of the
//! documentation says that shares no code; making a host normal twice changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::{Host, HostPattern};
use support::naive::host;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let written = String::from_utf8_lossy(&data[..end]);
    let raw = data.get(end + 1..).unwrap_or_default();
    let normal = Host::normalise(raw);
    assert_eq!(normal, host::normal(raw), "the normal form of {raw:?}");
    if host::is_served(raw) {
        assert_eq!(Host::normalise(&normal), normal, "normal is not normal");
    }
    let pattern: HostPattern = match written.parse() {
        Ok(pattern) => pattern,
        Err(why) => return support::check_message(&why),
    };
    let shown = pattern.to_string();
    assert_eq!(shown.parse(), Ok(pattern.clone()), "{shown:?} is read as something else");
    let holds = pattern.matches(Host::normalised(&normal));
    // Addresses in brackets and ports are spellings; what they mean is the name they become.
    let by_hand = if written.contains(':') { &shown } else { &*written };
    if !by_hand.starts_with('[') {
        assert_eq!(holds, host::holds(by_hand, &normal), "{written:?} and {raw:?}");
    }
    // A pattern without a wildcard holds for itself, written as a host.
    if let HostPattern::Exact(name) = &pattern {
        let own = Host::normalise(name.as_bytes());
        assert!(pattern.matches(Host::normalised(&own)), "{name:?} is not itself");
    }
});
