//! What a record of the traffic ring and a line of the attack journal cost a worker.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ipc::events::line::{Entry, Origin, Writer};
use ipc::events::mask::Masks;
use ipc::events::ring::{Ring, SIZE_MIN};
use ipc::events::traffic::{Encoder, Traffic};
use policy::{Action, Verdict};

/// What a browser sends.
const HEADERS: [(&str, &str); 8] = [
    ("Host", "shop.example.test"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/126.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),
    ("Accept-Language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example.test/catalogue/shoes?page=3&sort=price"),
    ("Cookie", "lang=de; theme=dark; PHPSESSID=8c0cf11d5f8e48c1a5a4c6a0b54f6a3b"),
    ("Connection", "keep-alive"),
];

fn events(criterion: &mut Criterion) {
    let headers = HEADERS.to_vec();
    let masks = Masks::default();
    let traffic = Traffic {
        time_ms: 1_763_820_000_123,
        request_time_ms: 12,
        action: Action::Pass,
        block_type: 0,
        status: 200,
        address: Some([192, 0, 2, 1].into()),
        host: b"shop.example.test",
        method: b"GET",
        target: b"/catalogue/shoes/running?page=4&sort=price&brand=any",
        headers: &headers,
        body: None,
    };
    let mut encoder = Encoder::default();
    criterion.bench_function("record", |bencher| {
        bencher.iter(|| encoder.encode(&masks, black_box(&traffic)).len());
    });

    let folder = tempfile::tempdir().expect("a folder");
    let ring = Ring::open(&folder.path().join("ring"), SIZE_MIN).expect("a ring");
    let record = encoder.encode(&masks, &traffic).to_vec();
    criterion.bench_function("ring", |bencher| bencher.iter(|| ring.write(black_box(&record))));

    let verdict = Verdict { action: Action::Block, ..Verdict::default() };
    let entry = Entry {
        time_ms: traffic.time_ms,
        request_id: b"8c0cf11d5f8e48c1a5a4c6a0b54f6a3b",
        action: Action::Block,
        verdict: &verdict,
        block_type: 5,
        error: None,
        client: traffic.address,
        country: None,
        host: traffic.host,
        server: traffic.host,
        method: traffic.method,
        target: traffic.target,
        protocol: b"HTTP/1.1",
        status: 403,
        request_time_ms: 0,
        headers: Some(&headers),
        body: None,
        session: 1_763_820_000_000,
        generation: Some(812),
        count: 1,
    };
    let origin = Origin { started_ms: traffic.time_ms, pid: 4711, number: 17 };
    let mut writer = Writer::default();
    criterion.bench_function("line", |bencher| {
        bencher.iter(|| writer.line(&masks, origin, black_box(&entry)).len());
    });
}

criterion_group!(benches, events);
criterion_main!(benches);
