//! The limits of what is compiled, at the limit and one beyond.

use ipc::snapshot::{Bans, Meta, Snapshot, compile, compile_bans};
use policy::limits::BANS;
use policy::{AddressRange, Ban, BanKind, HostPattern, Policy, list};

#[test]
fn bans() {
    let ban = |n: usize| {
        let address = (n as u32) << 1;
        Ban {
            range: AddressRange::V4 { first: address, last: address },
            domain: HostPattern::Any,
            kind: BanKind::Limit,
            rule: 0,
            until: u64::MAX,
        }
    };
    let mut bans: Vec<Ban> = (0..BANS).map(ban).collect();
    let bytes = compile_bans(&bans, Meta::default()).expect("compiles");
    assert!(Bans::from_bytes(&bytes).is_ok());
    bans.push(ban(BANS));
    let why = compile_bans(&bans, Meta::default()).expect_err("is too much").to_string();
    assert!(why.contains("more than 1000000 bans") && why.contains("networks"), "{why}");
}

#[test]
fn entries_with_different_hosts_on_one_address() {
    let policy = |count: usize| {
        let entries: Vec<_> = (0..count).map(|n| format!("domain=h{n}.com 1.1.1.1")).collect();
        let block_list = list::parse_each("bl", entries.iter().map(String::as_str)).unwrap();
        Policy { block_list, ..Policy::default() }
    };
    let bytes = compile(&policy(4_096), Meta::default()).expect("compiles");
    assert!(Snapshot::from_bytes(&bytes).is_ok());
    let why = compile(&policy(4_097), Meta::default()).expect_err("is too much").to_string();
    assert!(why.contains("at most 4096") && why.contains("merge"), "{why}");
}
