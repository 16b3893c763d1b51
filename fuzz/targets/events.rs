//! What workers write: any request as a line of the journal and as a record of the ring.
//!
//! A line is JSON of bounded length that says what the request said; a record comes back; no
//! bytes that claim to be a record are more than refused; nothing hidden is shown.
#![no_main]

use ipc::events::json::bytes_of;
use ipc::events::line::{Entry, LINE_MAX, Origin, Writer};
use ipc::events::mask::Masks;
use ipc::events::ring::RECORD_MAX;
use ipc::events::traffic::{Encoder, Field, Record, Traffic};
use libfuzzer_sys::fuzz_target;
use policy::{Action, Verdict};

fuzz_target!(|data: &[u8]| {
    if let Some(record) = Record::read(data) {
        record.field(Field::Body);
    }
    // Apart by a zero byte: target, host, body, then headers as name and value in turn.
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let part = |nth: usize| parts.get(nth).copied().unwrap_or_default();
    let headers: Vec<(&[u8], &[u8])> =
        parts.get(3..).unwrap_or_default().chunks_exact(2).map(|two| (two[0], two[1])).collect();
    let masks = Masks::default();
    let entry = Entry {
        time_ms: data.len() as u64,
        request_id: part(1),
        action: Action::Block,
        verdict: &Verdict::default(),
        block_type: 5,
        error: None,
        client: None,
        country: None,
        host: part(1),
        server: part(1),
        method: part(1),
        target: part(0),
        protocol: part(1),
        status: 403,
        request_time_ms: 0,
        headers: Some(&headers),
        body: Some((part(2), data.len().is_multiple_of(2))),
        session: 0,
        generation: None,
        count: 1,
    };
    let mut writer = Writer::default();
    let line = writer.line(&masks, Origin { started_ms: 1, pid: 1, number: 1 }, &entry);
    assert!(line.len() <= LINE_MAX && line.iter().filter(|byte| **byte == b'\n').count() == 1);
    let line: serde_json::Value = serde_json::from_slice(line).expect("is JSON");
    let host = bytes_of(line["host"].as_str().expect("a host"));
    assert!(part(1).starts_with(&host), "{host:?}");

    let traffic = Traffic {
        time_ms: 1,
        request_time_ms: 2,
        action: Action::Pass,
        block_type: 0,
        status: 200,
        address: None,
        host: part(1),
        method: part(1),
        target: part(0),
        headers: &headers,
        body: entry.body,
    };
    let mut encoder = Encoder::default();
    let bytes = encoder.encode(&masks, &traffic);
    assert!(bytes.len() <= RECORD_MAX);
    assert!(Record::read(bytes).is_some());

    // What follows the name of a secret is hidden, whatever stands before it.
    let secret = [part(0), b"&password=S3CR3T"].concat();
    let mut hidden = Vec::new();
    masks.args(&mut hidden, &secret, usize::MAX >> 1);
    assert!(!hidden.ends_with(b"S3CR3T"));
});
