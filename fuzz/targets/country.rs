//! Country databases: bytes that claim to be an `.mmdb` file.
//!
//! No bytes make the reader panic or go in circles; what it accepts answers for every
//! address, with codes in capital letters, and for private ones with nothing.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use country::Countries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let countries = match Countries::from_bytes(data) {
        Ok(countries) => countries,
        Err(why) => return support::check_message(&why),
    };
    for n in 0..=u8::MAX {
        for rest in [0, 1, 0x1234_5678_9abc_def0, u128::MAX] {
            let v4 = u32::from(n) << 24 | rest as u32 >> 8;
            let v6 = u128::from(n) << 120 | rest >> 8;
            ask(&countries, Ipv4Addr::from(v4).into());
            ask(&countries, Ipv6Addr::from(v6).into());
        }
    }
    for private in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        assert_eq!(countries.of(private), None, "{private} is in a country");
    }
});

fn ask(countries: &Countries, address: IpAddr) {
    if let Some(code) = countries.of(address) {
        assert!(code.iter().all(u8::is_ascii_uppercase), "{address} is in {code:?}");
    }
}
