//! Addresses, networks, ranges and entries of address lists.
//!
//! A range that was accepted has a written form that is the same range, and its two
//! ends belong to it while their neighbours do not.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use policy::{AddressEntry, AddressRange, Host, HostPattern};
use support::is_itself;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match text.parse::<AddressRange>() {
        Ok(range) => check_range(range),
        Err(why) => support::check_message(&why),
    }
    match text.parse::<AddressEntry>() {
        Ok(entry) => check_entry(&entry),
        Err(why) => support::check_message(&why),
    }
});

fn check_range(range: AddressRange) {
    let (first, last, before, after) = ends(range);
    for end in [first, last] {
        assert_eq!(range.contains(end), is_itself(end), "{range} and its end {end}");
    }
    for outside in [before, after].into_iter().flatten() {
        assert!(!range.contains(outside), "{range} contains {outside}");
    }
    for address in [first, last] {
        if let IpAddr::V4(v4) = address {
            assert!(range.contains(v4.to_ipv6_mapped().into()), "{range} and mapped {v4}");
        }
    }
    assert_eq!(range.to_string().parse(), Ok(range), "{range} is read as something else");
    assert_eq!(range.is_everything(), before.is_none() && after.is_none(), "{range}");
}

fn check_entry(entry: &AddressEntry) {
    let AddressEntry { range, domain, api } = entry;
    let report = if *api { "yes" } else { "no" };
    let text = format!("api={report} {range} domain={domain}");
    assert_eq!(text.parse().as_ref(), Ok(entry), "{text:?} is another entry");
    let (first, ..) = ends(*range);
    if !is_itself(first) {
        return;
    }
    let (host, other): (String, &[u8]) = match domain {
        HostPattern::Any => return,
        HostPattern::Below(name) => (format!("a.{name}"), b"a.invalid"),
        HostPattern::Exact(name) | HostPattern::DomainAndBelow(name) => (name.clone(), b""),
    };
    assert!(entry.matches(first, Host::normalised(host.as_bytes())), "{text:?} and {host}");
    if domain.domain() != "invalid" && domain.domain() != "a.invalid" {
        assert!(!entry.matches(first, Host::normalised(other)), "{text:?} and {other:?}");
    }
}

/// Both ends and their neighbours outside, where there are any.
fn ends(range: AddressRange) -> (IpAddr, IpAddr, Option<IpAddr>, Option<IpAddr>) {
    match range {
        AddressRange::V4 { first, last } => {
            assert!(first <= last);
            let address = |number: u32| IpAddr::V4(number.into());
            let before = first.checked_sub(1).map(address);
            (address(first), address(last), before, last.checked_add(1).map(address))
        }
        AddressRange::V6 { first, last } => {
            assert!(first <= last);
            let address = |number: u128| IpAddr::V6(number.into());
            let before = first.checked_sub(1).map(address);
            (address(first), address(last), before, last.checked_add(1).map(address))
        }
    }
}
