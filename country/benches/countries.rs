//! What reading a database and asking it cost, for one of 500,000 networks, about
//! as many as those of whole countries have.

mod generate;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use country::Countries;
use criterion::{Criterion, criterion_group, criterion_main};
use maxminddb::{PathElement, Reader};

fn countries(criterion: &mut Criterion) {
    let bytes = generate::database();
    let countries = Countries::from_bytes(&bytes).expect("is a database");
    println!("{} bytes, {} ranges", bytes.len(), countries.ranges());
    let mut random = fastrand::Rng::with_seed(2);
    let asked: Vec<IpAddr> = (0..1 << 16)
        .map(|n| match n % 2 {
            0 => IpAddr::V4(Ipv4Addr::from(random.u32(0x0100_0000..))),
            _ => IpAddr::V6(Ipv6Addr::from((0x2a00 << 112) + (random.u128(..) >> 26))),
        })
        .collect();
    for (family, first) in [("v4", 0), ("v6", 1)] {
        let mut at = first;
        criterion.bench_function(&format!("of/{family}"), |bencher| {
            bencher.iter(|| {
                at = (at + 2) % asked.len();
                black_box(countries.of(asked[at]))
            });
        });
    }
    // What it would cost to walk the file's own tree instead.
    let tree = Reader::from_source(&bytes).expect("is a database");
    let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
    for (family, first) in [("v4", 0), ("v6", 1)] {
        let mut at = first;
        criterion.bench_function(&format!("tree/{family}"), |bencher| {
            bencher.iter(|| {
                at = (at + 2) % asked.len();
                let found = tree.lookup(asked[at]).expect("an answer");
                black_box(found.decode_path::<&str>(&path).expect("a code"))
            });
        });
    }
    criterion.bench_function("none/private", |bencher| {
        bencher.iter(|| countries.of(black_box(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    });
    criterion.bench_function("read", |bencher| {
        bencher.iter(|| Countries::from_bytes(black_box(&bytes)).map(|read| read.ranges()));
    });
}

criterion_group!(benches, countries);
criterion_main!(benches);
