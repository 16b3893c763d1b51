//! Publishes a generated policy, for benchmarks and experiments:
//! `cargo run --release --example snapshot -- DIR ADDRESSES RULES text|mixed|list|refuse|limit [GENERATION]`
//!
//! `text`: every rule searches its own word in path, query or user agent. `mixed`:
//! rules of every kind that can be selected. `list`: text rules, and everybody on loopback is
//! on the block list. `refuse`: one more rule that blocks every path. `limit`: one that blocks
//! `/attack`, and an hour's ban for the second such request.

#[path = "../benches/generate.rs"]
#[expect(dead_code, reason = "the benchmarks use the rest of it")]
mod generate;

use std::path::PathBuf;
use std::time::Instant;

use ipc::snapshot::{Meta, compile, publish};
use policy::{Policy, Rule, RuleText};

fn blocking(url: &str) -> Result<Rule, String> {
    let text = RuleText { url: Some(url.to_owned()), ..RuleText::default() };
    Rule::parse(u64::MAX, &text).map_err(|why| format!("{why:?}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, addresses, rules, kind, generation @ ..] = arguments.as_slice() else {
        return Err(
            "usage: snapshot DIR ADDRESSES RULES text|mixed|list|refuse|limit [GENERATION]".into(),
        );
    };
    let rule = match kind.as_str() {
        "text" | "list" | "refuse" | "limit" => generate::text_rule,
        "mixed" => generate::mixed_rule,
        other => {
            return Err(format!("{other:?} is neither text, mixed, list, refuse nor limit").into());
        }
    };
    let generation = generation.first().map_or(Ok(1), |text| text.parse())?;
    let mut policy = Policy {
        block_list: generate::addresses(addresses.parse()?),
        rules: (1..=rules.parse()?).map(rule).collect(),
        ..Policy::default()
    };
    match kind.as_str() {
        "list" => policy.block_list.push("127.0.0.0/8".parse()?),
        // "/"
        "refuse" => policy.rules.push(blocking("Lw==")?),
        "limit" => {
            // "/attack"
            policy.rules.push(blocking("L2F0dGFjaw==")?);
            policy.settings.limit.push("rate=1r/m block_time=3600".parse()?);
        }
        _ => {}
    }
    let started = Instant::now();
    let bytes = compile(&policy, Meta { session: 1, generation, created_ms: 0 })?;
    let compiled = started.elapsed();
    publish(&PathBuf::from(dir), &bytes)?;
    println!("{} bytes, compiled in {} ms", bytes.len(), compiled.as_millis());
    Ok(())
}
