//! What a snapshot costs to ask, to compile and to load.
//! `cargo bench -p nwaf-ipc [-- NAME]`; figures are in `docs/benchmarks.md`.

#[path = "generate.rs"]
mod generate;

use std::hint::black_box;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;

use criterion::{Criterion, criterion_group, criterion_main};
use flate2::Compression;
use flate2::read::GzEncoder;
use generate::{HEADERS, HOST, TARGET, addresses, mixed_rule, numbers, text_rule};
use ipc::snapshot::{Beside, CURRENT, Meta, Snapshot, Trust, compile, publish};
use policy::encoding::Decoder;
use policy::text::Scratch;
use policy::{Action, AddressEntry, Host, Policy, Request, Rule, Settings};

fn snapshot(policy: &Policy) -> Snapshot {
    Snapshot::from_bytes(&compile(policy, Meta::default()).unwrap()).unwrap()
}

fn address_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("address");
    let host = Host::normalised(HOST);
    for count in [1_000, 1_000_000] {
        let policy = Policy { block_list: addresses(count), ..Policy::default() };
        let snapshot = snapshot(&policy);
        println!("address/{count}: {:.2} bytes an entry", snapshot.length() as f64 / count as f64);
        let clients: Vec<IpAddr> =
            numbers(2).map(|n| IpAddr::V4(Ipv4Addr::from(n as u32))).take(1 << 16).collect();
        let mut next = clients.iter().cycle();
        group.bench_function(format!("v4/{count}/any client"), |b| {
            b.iter(|| snapshot.address_lists(*black_box(next.next().unwrap()), host));
        });
        group.bench_function(format!("v4/{count}/same client"), |b| {
            b.iter(|| snapshot.address_lists(black_box(clients[7]), host));
        });
    }
    let v6 = |n: u64| Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(n) << 32);
    let entries: Vec<AddressEntry> =
        numbers(3).map(|n| v6(n).to_string().parse().unwrap()).take(1_000_000).collect();
    let snapshot = snapshot(&Policy { block_list: entries, ..Policy::default() });
    let clients: Vec<IpAddr> = numbers(4).map(|n| IpAddr::V6(v6(n))).take(1 << 16).collect();
    let mut next = clients.iter().cycle();
    group.bench_function("v6/1000000/any client", |b| {
        b.iter(|| snapshot.address_lists(*black_box(next.next().unwrap()), host));
    });
}

fn host_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("host");
    let forms = ["", ".", "*."];
    let names = (0..100_000).map(|n| format!("{}shop{n}.example.com", forms[n % 3]));
    let value = names.collect::<Vec<_>>().join(",");
    let settings = Settings::parse([("nwaf_host_lm", value.as_str())]).unwrap();
    let snapshot = snapshot(&Policy { settings, ..Policy::default() });
    for host in ["www.shop.example.com", "www.shop4711.example.com", "a.b.c.d.example.net"] {
        group.bench_function(format!("100000/{host}"), |b| {
            b.iter(|| snapshot.host_lists(Host::normalised(black_box(host.as_bytes()))));
        });
    }
}

fn evaluation(c: &mut Criterion) {
    let mut group = c.benchmark_group("evaluate");
    let headers = HEADERS.to_vec();
    let request = Request {
        address: Some("198.51.100.7".parse().unwrap()),
        country: Some(*b"DE"),
        ..Request::new(Host::normalised(HOST), TARGET, &headers)
    };
    let mut measure = |name: String, policy: Policy| {
        let snapshot = snapshot(&policy);
        let mut scratch = Scratch::default();
        assert_eq!(
            snapshot.evaluate(&Beside::default(), &request, &mut scratch).action,
            Action::Pass
        );
        group.bench_function(name, |b| {
            b.iter(|| snapshot.evaluate(&Beside::default(), black_box(&request), &mut scratch));
        });
    };
    measure("empty".into(), Policy::default());
    measure(
        "1000000 addresses".into(),
        Policy { block_list: addresses(1_000_000), ..Policy::default() },
    );
    let mut measure_rules = |kind: &str, rule: fn(u64) -> Rule| {
        for count in [10, 1_000, 10_000, 100_000] {
            let rules = (1..=count).map(rule).collect();
            let policy = Policy { block_list: addresses(1_000), rules, ..Policy::default() };
            measure(format!("{count} {kind} rules"), policy);
        }
    };
    measure_rules("text", text_rule);
    measure_rules("mixed", mixed_rule);
}

/// 4 KiB of a body of each type, clean, under rules that all look at bodies.
fn bodies(c: &mut Criterion) {
    let mut group = c.benchmark_group("body");
    let rules = |count| -> Vec<Rule> { (1..=count).map(|n| mixed_rule(12 * n + 9)).collect() };
    let without =
        snapshot(&Policy { rules: (1..=1_000).map(text_rule).collect(), ..Policy::default() });
    let with = snapshot(&Policy { rules: rules(1_000), ..Policy::default() });
    let fill = |piece: &str| piece.repeat(4_096 / piece.len() + 1).into_bytes();
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsome value\r\n";
    let coded = "--b\r\nContent-Transfer-Encoding: base64\r\n\r\nYXJ0aWNsZSBhcnRpY2xl\r\n";
    for (name, content_type, body) in [
        ("form", "application/x-www-form-urlencoded", fill("colour=blue&size=43&note=a+b%21&")),
        ("file", "image/png", fill("\u{89}PNG~0123456789abcdef")),
        ("json", "application/json", fill(r#"{"colour":"blue","size":43},"#)),
        ("json, escaped", "application/json", fill(r#"{"colour":"\u0062lue","url":"\/a"},"#)),
        ("xml", "application/xml", fill("<item colour='blue'>43</item>")),
        ("xml, references", "application/xml", fill("<item colour='&#98;lue'>&lt;43</item>")),
        ("multipart", "multipart/form-data; boundary=b", fill(part)),
        ("multipart, base64", "multipart/form-data; boundary=b", fill(coded)),
    ] {
        let mut headers = HEADERS.to_vec();
        headers.push(("Content-Type", content_type));
        let request =
            Request { body: Some(&body), ..Request::new(Host::normalised(HOST), TARGET, &headers) };
        let mut scratch = Scratch::default();
        let mut measure = |name: &str, snapshot: &Snapshot| {
            assert_eq!(
                snapshot.evaluate(&Beside::default(), &request, &mut scratch).action,
                Action::Pass
            );
            group.bench_function(name, |b| {
                b.iter(|| snapshot.evaluate(&Beside::default(), black_box(&request), &mut scratch));
            });
        };
        measure(&format!("{name}, no rule about bodies"), &without);
        measure(name, &with);
    }
    let (text, mut packed) = (fill(r#"{"colour":"blue","size":43},"#), Vec::new());
    let mut encoder = GzEncoder::new(&text[..], Compression::default());
    encoder.read_to_end(&mut packed).unwrap();
    let headers = vec![("Content-Encoding", "gzip")];
    let mut decoder = Decoder::default();
    group.bench_function("gzip, decoding", |b| {
        b.iter(|| {
            decoder.decode(black_box(&headers), black_box(&packed), 128 << 10).text.map(<[u8]>::len)
        });
    });
}

fn life(c: &mut Criterion) {
    let mut group = c.benchmark_group("life");
    group.sample_size(10);
    let big = Policy {
        block_list: addresses(1_000_000),
        rules: (1..=10_000).map(mixed_rule).collect(),
        ..Policy::default()
    };
    group.bench_function("compile 1000000 addresses, 10000 rules", |b| {
        b.iter(|| compile(black_box(&big), Meta::default()).unwrap());
    });
    let many = Policy { rules: (1..=100_000).map(text_rule).collect(), ..Policy::default() };
    group.bench_function("compile 100000 texts", |b| {
        b.iter(|| compile(black_box(&many), Meta::default()).unwrap());
    });
    for (name, policy) in [("1000000 addresses, 10000 rules", &big), ("100000 texts", &many)] {
        let dir = tempfile::tempdir().unwrap();
        publish(dir.path(), &compile(policy, Meta::default()).unwrap()).unwrap();
        let path = dir.path().join(CURRENT);
        let trust = Trust { owner: std::fs::metadata(&path).unwrap().uid() };
        println!("life/{name}: {} bytes", std::fs::metadata(&path).unwrap().len());
        group.bench_function(format!("map and verify {name}"), |b| {
            b.iter(|| Snapshot::open(&path, trust).unwrap());
        });
    }
}

criterion_group!(benches, address_lookup, host_lookup, evaluation, bodies, life);
criterion_main!(benches);
