//! Prints what nginx's workers write to a traffic ring, one JSON object a line:
//!
//! ```text
//! cargo run -p nwaf-ipc --example telemetry -- /run/nwaf/traffic.ring [--from-start]
//! ```
//! Ends when its output is closed. What was overwritten before it was read is told on
//! standard error.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ipc::events::json;
use ipc::events::ring::RingReader;
use ipc::events::traffic::{FIELDS, Record};

/// How often an empty ring is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: telemetry PATH [--from-start]");
        return ExitCode::from(2);
    };
    let from_start = arguments.next().as_deref() == Some("--from-start");
    match follow(Path::new(&path), from_start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("telemetry: {path}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn follow(path: &Path, from_start: bool) -> io::Result<()> {
    let open = || RingReader::open(path).map_err(io::Error::other);
    let mut reader = open()?;
    if from_start {
        reader.rewind();
    }
    let (start, mut bytes, mut line) = (Instant::now(), Vec::new(), Vec::new());
    let (mut out, mut lost) = (io::stdout().lock(), 0);
    loop {
        let now_ms = start.elapsed().as_millis() as u64;
        while reader.next(now_ms, &mut bytes) {
            if let Some(record) = Record::read(&bytes) {
                line.clear();
                show(&mut line, &record);
                out.write_all(&line)?;
            }
        }
        out.flush()?;
        if reader.lost() > lost {
            lost = reader.lost();
            eprintln!("telemetry: {lost} records were lost so far");
        }
        if !reader.is_at(path) {
            // Another ring; it may not be there yet.
            if let Ok(mut other) = RingReader::open(path) {
                other.rewind();
                (reader, lost) = (other, 0);
                continue;
            }
        }
        thread::sleep(INTERVAL);
    }
}

fn show(line: &mut Vec<u8>, record: &Record<'_>) {
    let address = record.address.map_or("null".to_owned(), |address| format!("\"{address}\""));
    line.extend_from_slice(
        format!(
            "{{\"time_ms\":{},\"request_time\":{},\"action\":\"{}\",\"bt\":{},\"status\":{},\"address\":{address}",
            record.time_ms,
            record.request_time_ms,
            record.action.as_str(),
            record.block_type,
            record.status,
        )
        .as_bytes(),
    );
    for (field, name, _) in FIELDS {
        if let Some(text) = record.field(field) {
            line.extend_from_slice(format!(",\"{name}\":").as_bytes());
            json::string(line, text, usize::MAX >> 1);
        }
    }
    let cut: Vec<_> = FIELDS
        .iter()
        .filter(|(field, ..)| record.is_cut(*field))
        .map(|(_, name, _)| format!("\"{name}\""))
        .collect();
    line.extend_from_slice(format!(",\"truncated\":[{}]}}\n", cut.join(",")).as_bytes());
}
