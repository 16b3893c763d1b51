//! Makes country databases in the MaxMind DB format, so that tests need nobody
//! else's: one tree of IPv6 with IPv4 in it, nodes of two 24-bit records.
//!
//! The same entries give the same bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// When every database says it was built, seconds since 1970 (2025-11-22T14:00:00Z).
pub const BUILT_S: u64 = 1_763_820_000;

/// Bits of an address; IPv4 is below `::/96`.
const BITS: u8 = 128;

/// What is at one side of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Branch {
    Empty,
    Node(u32),
    /// Number of a record.
    Record(u32),
}

/// A database that is being put together.
#[derive(Debug, Clone)]
pub struct Mmdb {
    kind: String,
    nodes: Vec<[Branch; 2]>,
    /// The bytes of each record.
    records: Vec<Vec<u8>>,
    /// Records by what they say.
    known: BTreeMap<(String, String), u32>,
    aliases: bool,
}

impl Default for Mmdb {
    fn default() -> Self {
        Self::new("Test-Country")
    }
}

impl Mmdb {
    /// An empty database of this type.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            nodes: vec![[Branch::Empty; 2]],
            records: Vec::new(),
            known: BTreeMap::new(),
            aliases: false,
        }
    }

    /// A database with these networks and their countries.
    ///
    /// # Panics
    /// When a network has no meaning.
    pub fn of(networks: &[(&str, &str)]) -> Self {
        networks.iter().fold(Self::default(), |all, (network, code)| all.put(network, code))
    }

    /// Says that a network, `address/length` or one address, is in a country, and
    /// registered in another one. A later entry holds against an earlier one.
    ///
    /// # Panics
    /// When the network has no meaning.
    #[must_use]
    pub fn put(mut self, network: &str, code: &str) -> Self {
        let registered = if code == "ZZ" { "AA" } else { "ZZ" };
        let (number, says) = (self.records.len() as u32, (code.to_owned(), registered.to_owned()));
        let record = *self.known.entry(says).or_insert_with(|| {
            let country = |code| map(&[("iso_code", text(code))]);
            self.records.push(map(&[
                ("country", country(code)),
                ("registered_country", country(registered)),
            ]));
            number
        });
        self.insert(network, Branch::Record(record));
        self
    }

    /// Says something about a network that is given as bytes of the format, see
    /// [`map`] and [`text`].
    ///
    /// # Panics
    /// When the network has no meaning.
    #[must_use]
    pub fn put_record(mut self, network: &str, record: Vec<u8>) -> Self {
        self.records.push(record);
        self.insert(network, Branch::Record(self.records.len() as u32 - 1));
        self
    }

    /// Lets the prefixes that stand for IPv4 addresses lead to them, as databases
    /// that are for sale do.
    #[must_use]
    pub fn with_aliases(mut self) -> Self {
        self.aliases = true;
        self
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// When there is too much for records of 24 bits.
    pub fn bytes(&self) -> Vec<u8> {
        let mut whole = self.clone();
        if self.aliases {
            let v4 = whole.find_v4();
            for (prefix, length) in
                [(0xffff_u128 << 32, 96), (0x2001 << 112, 32), (0x2002 << 112, 16)]
            {
                whole.insert_bits(prefix, length, v4);
            }
        }
        whole.write()
    }

    /// Writes the file as careful people do: another one, renamed over it.
    ///
    /// # Panics
    /// When it cannot.
    pub fn publish(&self, path: &Path) {
        let new = path.with_extension("new");
        std::fs::write(&new, self.bytes()).expect("the database is written");
        crate::folder::set_mode(&new, 0o644);
        std::fs::rename(&new, path).expect("the database is renamed");
    }

    fn insert(&mut self, network: &str, branch: Branch) {
        let (address, length) = match network.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().expect("a length"))),
            None => (network, None),
        };
        let (bits, length) = match address.parse().expect("an address") {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 96 + length.unwrap_or(32)),
            IpAddr::V6(v6) => (u128::from(v6), length.unwrap_or(BITS)),
        };
        self.insert_bits(bits, length, branch);
    }

    fn insert_bits(&mut self, bits: u128, length: u8, branch: Branch) {
        assert!((1..=BITS).contains(&length), "a network of {length} bits");
        let side = |depth: u8| (bits >> (BITS - 1 - depth) & 1) as usize;
        let mut at = 0;
        for depth in 0..length - 1 {
            at = self.step(at, side(depth));
        }
        self.nodes[at][side(length - 1)] = branch;
    }

    /// The node below; what was said about all of it is said about both its sides.
    fn step(&mut self, at: usize, side: usize) -> usize {
        match self.nodes[at][side] {
            Branch::Node(node) => node as usize,
            other => {
                self.nodes.push([other; 2]);
                let node = self.nodes.len() - 1;
                self.nodes[at][side] = Branch::Node(node as u32);
                node
            }
        }
    }

    fn find_v4(&mut self) -> Branch {
        let at = (0..95).fold(0, |at, _| self.step(at, 0));
        Branch::Node(self.step(at, 0) as u32)
    }

    fn write(&self) -> Vec<u8> {
        let mut starts = Vec::new();
        let mut data = Vec::new();
        for record in &self.records {
            starts.push(data.len());
            data.extend_from_slice(record);
        }
        let nodes = self.nodes.len();
        let mut file = Vec::new();
        for branch in self.nodes.iter().flatten() {
            let number = match branch {
                Branch::Empty => nodes,
                Branch::Node(node) => *node as usize,
                // 16 bytes separate tree and data.
                Branch::Record(record) => nodes + 16 + starts[*record as usize],
            };
            assert!(number < 1 << 24, "too much for records of 24 bits");
            file.extend_from_slice(&(number as u32).to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&data);
        file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        file.extend_from_slice(&map(&[
            ("binary_format_major_version", number(5, 2)),
            ("binary_format_minor_version", number(5, 0)),
            ("build_epoch", number(9, BUILT_S)),
            ("database_type", text(&self.kind)),
            ("description", map(&[("en", text("made by a test"))])),
            ("ip_version", number(5, 6)),
            ("languages", head(11, 0)),
            ("node_count", number(6, nodes as u64)),
            ("record_size", number(5, 24)),
        ]));
        file
    }
}

/// A map of the format; values are written already.
///
/// # Panics
/// When it has more than 28 entries.
pub fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = head(7, entries.len());
    for (key, value) in entries {
        out.extend(text(key));
        out.extend_from_slice(value);
    }
    out
}

/// A string of the format.
///
/// # Panics
/// When it has more than 28 bytes.
pub fn text(text: &str) -> Vec<u8> {
    let mut out = head(2, text.len());
    out.extend_from_slice(text.as_bytes());
    out
}

/// A number of the format: type 5, 6 or 9, without its leading zero bytes.
fn number(kind: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let digits = &bytes[value.leading_zeros() as usize / 8..];
    let mut out = head(kind, digits.len());
    out.extend_from_slice(digits);
    out
}

/// What every value begins with: its type and how long it is.
fn head(kind: u8, length: usize) -> Vec<u8> {
    assert!(length < 29, "longer values have another form");
    match kind {
        1..8 => vec![kind << 5 | length as u8],
        _ => vec![length as u8, kind - 7],
    }
}
