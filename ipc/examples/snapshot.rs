//! Publishes a generated policy, for benchmarks and experiments:
//! `cargo run --release --example snapshot -- DIR ADDRESSES RULES [GENERATION]`
//!
//! Addresses are spread over the whole IPv4 space from a fixed seed; none of
//! them is in 127.0.0.0/8, so that benign load from this machine passes. Every
//! rule searches its own word in path, query and user agent.

use std::path::PathBuf;
use std::time::Instant;

use ipc::snapshot::{Meta, compile, publish};
use policy::{AddressEntry, AddressRange, HostPattern, Policy, Rule, RuleText};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, addresses, rules, generation @ ..] = arguments.as_slice() else {
        return Err("usage: snapshot DIR ADDRESSES RULES [GENERATION]".into());
    };
    let generation = generation.first().map_or(Ok(1), |text| text.parse())?;
    let policy = Policy {
        block_list: spread(addresses.parse()?),
        rules: (1..=rules.parse()?).map(rule).collect(),
        ..Policy::default()
    };
    let started = Instant::now();
    let bytes = compile(&policy, Meta { session: 1, generation, created_ms: 0 })?;
    let compiled = started.elapsed();
    publish(&PathBuf::from(dir), &bytes)?;
    println!("{} bytes, compiled in {} ms", bytes.len(), compiled.as_millis());
    Ok(())
}

/// Entries as a real list has them: most are single addresses, some are networks.
fn spread(count: usize) -> Vec<AddressEntry> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(|| {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
    .filter_map(|random| {
        let bits = [0, 0, 0, 0, 8, 4][(random >> 32) as usize % 6];
        let first = (random as u32) >> bits << bits;
        (first >> 24 != 127).then(|| AddressEntry {
            range: AddressRange::V4 { first, last: first | ((1u32 << bits) - 1) },
            domain: HostPattern::Any,
            api: false,
        })
    })
    .take(count)
    .collect()
}

fn rule(id: u64) -> Rule {
    use base64::Engine as _;
    let word = |zone: &str| {
        let plain = format!("{zone}-attack-{id:05}");
        Some(base64::engine::general_purpose::STANDARD.encode(plain))
    };
    let text = RuleText { ..RuleText::default() };
    let text = match id % 3 {
        0 => RuleText { url: word("url"), ..text },
        1 => RuleText { args: word("args"), ..text },
        _ => RuleText { ua: word("ua"), ..text },
    };
    Rule::parse(id, &text).expect("a generated rule is valid")
}
