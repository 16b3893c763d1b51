//! `nwaf-soak SECONDS`: the whole product under load, with another policy every second.
//!
//! API, syncd and an nginx of four workers with everything turned on; visitors that are
//! let through, blocked, banned, and that send bodies. Every minute a line says what was
//! answered and how much memory the workers hold. Ends with 1 if a request was not answered, was
//! answered with another status than it should be, a worker was lost, or memory grew.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use support::folder::give_to_workers;
use support::nginx::resident_kib;
use support::{Folder, Load, Site, Stack};

const WORKERS: u32 = 4;
const VISITORS: usize = 8;
/// By how much memory may grow after the first tenth of the time, in percent.
const GROWTH: u64 = 3;
/// Between two changes of the policy.
const SECOND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.as_slice() {
        [seconds] => seconds.parse().ok().filter(|seconds| *seconds >= 20),
        _ => None,
    };
    let Some(seconds) = seconds else {
        eprintln!("usage: nwaf-soak SECONDS (20 or more)");
        return ExitCode::from(2);
    };
    match run(seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("nwaf-soak: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(seconds: u64) -> Result<(), String> {
    let journal = Folder::new();
    give_to_workers(journal.path());
    let site = Site {
        workers: WORKERS,
        http: format!(
            "nwaf on; nwaf_zone 1m; nwaf_journal {0} max_size=1m; nwaf_telemetry {0}/traffic.ring size=1m;",
            journal.path().display()
        ),
        ..Site::default()
    };
    let stack = Stack::with(site);
    let workers = stack.nginx.workers();
    for (call, fields) in [
        // "/attack", "evil"
        ("set_dyn_erl", json!({"add": {"url": "L2F0dGFjaw==", "active": true}})),
        ("set_dyn_erl", json!({"add": {"body": "ZXZpbA==", "active": true}})),
        (
            "set_dyn_settings",
            json!({"set": {"nwaf_limit": "rate=100r/m block_time=5", "active": "true"}}),
        ),
    ] {
        stack.change(call, fields);
    }
    let visit = |target: &str, client: &str| stack.visit(target).from(client);
    let post = |client: &str, body: &str| visit("/form", client).method("POST").body(body);
    let mut passing = vec![
        visit("/", "198.51.100.1"),
        visit("/shop?item=4&colour=r%C3%B6d", "198.51.100.2").header("Cookie", "a=b; c=d"),
        post("198.51.100.3", "name=value&other=1"),
        post("198.51.100.3", &format!(r#"{{"items":"{}"}}"#, "x".repeat(20_000))),
    ];
    let mut blocked = vec![visit("/", "203.0.113.1"), post("198.51.100.4", "something=evil")];
    for nth in 0..50 {
        passing.push(visit("/page", &format!("192.0.2.{nth}")));
        blocked.push(visit("/attack", &format!("10.1.{nth}.1")));
    }
    stack.api.set_block_list(&["203.0.113.1"]);
    stack.in_step();
    let address = stack.nginx.address();
    let passing = Load::start(address, VISITORS / 2, &passing);
    let blocked = Load::start(address, VISITORS / 2, &blocked);

    let resident = || workers.iter().map(|pid| resident_kib(*pid)).sum::<u64>();
    let (begun, mut first, mut most, mut changes) = (Instant::now(), 0, 0, 0_u64);
    while begun.elapsed().as_secs() < seconds {
        let next = begun + SECOND * (u32::try_from(changes).unwrap_or(u32::MAX) + 1);
        let other = format!("192.0.2.{}", 100 + changes % 100);
        stack.api.set_block_list(&["203.0.113.1", &other]);
        changes += 1;
        let now = resident();
        if begun.elapsed().as_secs() >= seconds / 10 {
            first = if first == 0 { now } else { first };
            most = most.max(now);
        }
        if changes % 60 == 0 {
            let total = &stack.nginx.status()["total"];
            println!("{changes} changes, {} requests, {now} KiB resident", total["requests"]);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    stack.in_step();
    let (passed, refused, last) = (passing.stop(), blocked.stop(), resident());
    let status = stack.nginx.status();
    println!(
        "{seconds} s, {changes} changes, {} answers 200, {} answers 403, {} and {} failed; \
         resident {first} KiB after a tenth of the time, {last} KiB at the end, {most} KiB at most; \
         {} bans, {} lines and {} dropped, {} records, {} errors",
        passed.answers(),
        refused.answers(),
        passed.failed,
        refused.failed,
        status["zone"]["made"],
        status["total"]["journal_lines"],
        status["total"]["journal_dropped"],
        status["total"]["telemetry_records"],
        status["total"]["errors"],
    );
    let only = |tally: &support::load::Tally, status: u16| {
        tally.failed == 0 && tally.statuses.keys().all(|seen| *seen == status)
    };
    match () {
        () if !only(&passed, 200) => Err(format!("of those that pass: {passed:?}")),
        () if !only(&refused, 403) => Err(format!("of those that are refused: {refused:?}")),
        () if stack.nginx.workers() != workers => Err("a worker was lost".to_owned()),
        () if last * 100 > first * (100 + GROWTH) => Err("memory has grown".to_owned()),
        () => Ok(()),
    }
}
