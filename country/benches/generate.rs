//! A database to measure with: 500,000 networks, about as many as those of whole
//! countries have, with the same content each time.

use std::net::{Ipv4Addr, Ipv6Addr};

use support::Mmdb;

const V4: u32 = 300_000;
const V6: u32 = 200_000;

/// The bytes of the database.
pub fn database() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut code = || format!("{}{}", random.char('A'..='Z'), random.char('A'..='J'));
    let mut all = Mmdb::default();
    for n in 0..V4 {
        let address = Ipv4Addr::from(0x0100_0000 + n * 0x2800);
        all = all.put(&format!("{address}/21"), &code());
    }
    for n in 0..V6 {
        let address = Ipv6Addr::from((0x2a00 << 112) + (u128::from(n) << 84));
        all = all.put(&format!("{address}/44"), &code());
    }
    all.bytes()
}
