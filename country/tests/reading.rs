//! What is read from a file is what its format says, and no bytes do harm.

use std::net::IpAddr;

use country::{Code, Countries, CountryError};
use maxminddb::{PathElement, Reader};
use proptest::prelude::*;
use support::Mmdb;
use support::mmdb::{map, text};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn read(database: &Mmdb) -> Countries {
    Countries::from_bytes(&database.bytes()).expect("is a database")
}

fn code(countries: &Countries, at: &str) -> Option<String> {
    countries.of(address(at)).map(|code| String::from_utf8_lossy(&code).into_owned())
}

#[test]
fn the_country_of_both_families_and_of_nobody() {
    let countries = read(&Mmdb::of(&[
        ("1.0.0.0/8", "CH"),
        ("1.2.0.0/16", "de"),
        ("1.2.3.4", "FR"),
        ("255.255.255.255", "TW"),
        ("2001:db8::/32", "US"),
        ("2001:db8:1::/48", "RU"),
        ("ffff::/16", "BR"),
    ]));
    for (at, wanted) in [
        ("1.1.1.1", Some("CH")),
        ("1.2.3.3", Some("DE")),
        ("1.2.3.4", Some("FR")),
        ("1.2.3.5", Some("DE")),
        ("1.3.0.0", Some("CH")),
        ("2.0.0.0", None),
        ("0.255.255.255", None),
        ("255.255.255.255", Some("TW")),
        ("::ffff:1.2.3.4", Some("FR")),
        // 6to4: it is where the address in it is.
        ("2002:102:304::1", Some("FR")),
        ("2001:db8::1", Some("US")),
        ("2001:db8:1::1", Some("RU")),
        ("2001:db9::1", None),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("BR")),
        ("::1.2.3.4", None),
    ] {
        assert_eq!(code(&countries, at).as_deref(), wanted, "{at}");
    }
    assert_eq!((countries.kind(), countries.built_s()), ("Test-Country", support::mmdb::BUILT_S));
    assert_eq!(countries.ranges(), 10);
}

#[test]
fn private_addresses_are_in_no_country_whatever_the_database_says() {
    let countries =
        read(&Mmdb::of(&[("0.0.0.0/1", "CH"), ("128.0.0.0/1", "CH"), ("fc00::/6", "CH")]));
    for private in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "::1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "2002:a00:1::1",
    ] {
        assert_eq!(code(&countries, private), None, "{private}");
    }
    for public in ["11.0.0.1", "100.63.255.255", "100.128.0.0", "192.0.2.1", "ff00::1"] {
        assert_eq!(code(&countries, public).as_deref(), Some("CH"), "{public}");
    }
}

#[test]
fn a_network_around_all_of_ipv4_holds_for_it() {
    let countries = read(&Mmdb::of(&[("::/64", "CH")]));
    assert_eq!(code(&countries, "1.2.3.4").as_deref(), Some("CH"));
    assert_eq!(code(&countries, "0:0:0:1::1").as_deref(), None);
    assert_eq!(code(&countries, "::5:0:1").as_deref(), Some("CH"));
}

#[test]
fn records_without_a_usable_code_say_nothing() {
    let records = Mmdb::of(&[("1.0.0.0/8", "CH")])
        .put_record("2.0.0.0/8", map(&[("registered_country", map(&[("iso_code", text("US"))]))]))
        .put_record("3.0.0.0/8", map(&[("country", map(&[("iso_code", text("USA"))]))]))
        .put_record("4.0.0.0/8", map(&[("country", map(&[("iso_code", text("1Q"))]))]))
        .put_record("5.0.0.0/8", map(&[("country", map(&[]))]))
        .put_record("6.0.0.0/8", map(&[]));
    let countries = read(&records);
    assert_eq!(code(&countries, "1.1.1.1").as_deref(), Some("CH"));
    for n in 2..=6 {
        assert_eq!(code(&countries, &format!("{n}.1.1.1")), None);
    }
}

#[test]
fn what_is_no_country_database_is_refused_with_its_reason() {
    let refused = |bytes: &[u8]| Countries::from_bytes(bytes).expect_err("refused").to_string();
    let good = Mmdb::of(&[("1.0.0.0/8", "CH")]).bytes();
    assert!(refused(b"").contains("not a whole MaxMind database"));
    assert!(refused(b"<html>404</html>").contains("not a whole MaxMind database"));
    assert!(refused(&good[..good.len() / 2]).contains("not a whole MaxMind database"));
    let of_networks =
        Mmdb::new("Test-ASN").put_record("1.0.0.0/8", map(&[("organization", text("x"))]));
    let why = refused(&of_networks.bytes());
    assert!(why.contains("Test-ASN") && why.contains("country.iso_code"), "{why}");
    assert!(refused(&Mmdb::default().bytes()).contains("Test-Country"));
    // The first node leads to itself on both sides.
    let mut circle = good.clone();
    circle[..6].fill(0);
    let why = refused(&circle);
    assert!(why.contains("not a whole MaxMind database"), "{why}");
    // Other words for it, as other vendors have.
    let odd = map(&[("country", text("CH"))]);
    let why = refused(&Mmdb::default().put_record("1.0.0.0/8", odd).bytes());
    assert!(why.contains("a record of it is not that of a country database"), "{why}");
}

#[test]
fn files_that_cannot_be_trusted_are_refused() {
    let folder = support::Folder::new();
    let path = folder.path().join("countries.mmdb");
    assert!(matches!(Countries::open(&path), Err(CountryError::Io(_))));
    Mmdb::of(&[("1.0.0.0/8", "CH")]).publish(&path);
    assert!(Countries::open(&path).is_ok());
    let link = folder.path().join("link.mmdb");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(Countries::open(&link).is_ok(), "links are how distributions name their databases");
    support::folder::set_mode(&path, 0o646);
    assert!(matches!(Countries::open(&path), Err(CountryError::Writable(0o646))));
    assert!(matches!(Countries::open(folder.path()), Err(CountryError::NotRegular)));
    assert!(matches!(Countries::open("/dev/null".as_ref()), Err(CountryError::NotRegular)));
    let large = std::fs::File::create(folder.path().join("large")).expect("a file");
    large.set_len(country::FILE_MAX + 1).expect("a large file");
    let why = Countries::open(&folder.path().join("large"));
    assert!(matches!(why, Err(CountryError::TooLarge(_))), "{why:?}");
}

/// What the format's own reader says.
fn oracle(bytes: &[u8], at: IpAddr) -> Option<Code> {
    let reader = Reader::from_source(bytes).expect("is a database");
    let found = reader.lookup(at).expect("an answer");
    let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
    let text: Option<&str> = found.decode_path(&path).expect("a code");
    text.map(|text| text.as_bytes().try_into().expect("two letters"))
}

fn network() -> impl Strategy<Value = (IpAddr, u8)> {
    // Few bits that differ, so that networks meet.
    prop_oneof![
        (0u32..16, 1u8..=32).prop_map(|(n, length)| {
            (IpAddr::V4((0x0100_0000 + n * 0x0040_0201).into()), length)
        }),
        (0u128..16, 17u8..=128).prop_map(|(n, length)| {
            (IpAddr::V6(((0x2a00 << 112) + n * 0x0001_0000_0001_0001).into()), length)
        }),
    ]
}

proptest! {
    #[test]
    fn the_tables_say_what_the_tree_says(
        networks in prop::collection::vec((network(), 0..4usize), 1..12),
        aliases: bool,
    ) {
        let codes = ["CH", "DE", "US", "RU"];
        let mut database = Mmdb::default();
        for ((address, length), code) in &networks {
            database = database.put(&format!("{address}/{length}"), codes[*code]);
        }
        if aliases {
            database = database.with_aliases();
        }
        let bytes = database.bytes();
        let countries = Countries::from_bytes(&bytes).expect("is a database");
        for ((address, length), _) in &networks {
            for near in around(*address, *length) {
                prop_assert_eq!(countries.of(near), oracle(&bytes, near), "{}", near);
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = Mmdb::of(&[("1.2.3.0/24", "CH"), ("2a00::/18", "DE")]).with_aliases().bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(countries) = Countries::from_bytes(&bytes) {
            countries.of(address("1.2.3.4"));
            countries.of(address("2a00::1"));
        }
    }
}

/// First and last address of a network and their neighbours; none of them private.
fn around(address: IpAddr, length: u8) -> Vec<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let rest = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            let (first, last) = (u32::from(v4) & !rest, u32::from(v4) | rest);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|n| n & 0x01ff_ffff)
                .map(|n| IpAddr::V4(n.into()))
                .to_vec()
        }
        IpAddr::V6(v6) => {
            let rest = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            let (first, last) = (u128::from(v6) & !rest, u128::from(v6) | rest);
            [first, last, first - 1, last + 1].map(|n| IpAddr::V6(n.into())).to_vec()
        }
    }
}

#[test]
fn asking_allocates_nothing() {
    let countries = read(&Mmdb::of(&[("1.0.0.0/8", "CH"), ("2001:db8::/32", "US")]));
    let asked = ["1.1.1.1", "9.9.9.9", "2001:db8::1", "fe80::1", "2002:101:101::"].map(address);
    let used = allocation_counter::measure(|| {
        assert_eq!(asked.into_iter().filter_map(|at| countries.of(at)).count(), 3);
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}
