//! The tables that are asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Code;

/// In place of a code where nothing is known.
const NONE: Code = [0; 2];

/// Every address with its country.
#[derive(Debug)]
pub struct Countries {
    pub(crate) v4: Table<u32>,
    pub(crate) v6: Table<u128>,
    pub(crate) kind: String,
    pub(crate) built_s: u64,
}

impl Countries {
    /// The country of an address; `None` where the database does not say, and for
    /// private addresses whatever it says. O(log n), allocates nothing.
    ///
    /// An IPv4-mapped address is the IPv4 address, a 6to4 address (2002::/16) is
    /// where the IPv4 address in it is.
    #[inline]
    pub fn of(&self, address: IpAddr) -> Option<Code> {
        let code = match address.to_canonical() {
            IpAddr::V4(v4) => self.of_v4(v4),
            IpAddr::V6(v6) => match v6.segments() {
                [0x2002, high, low, ..] => {
                    self.of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
                }
                _ if is_private_v6(v6) => NONE,
                _ => self.v6.find(v6.into()),
            },
        };
        (code != NONE).then_some(code)
    }

    fn of_v4(&self, v4: Ipv4Addr) -> Code {
        if is_private_v4(v4) { NONE } else { self.v4.find(v4.into()) }
    }

    /// What the database calls itself, for example `GeoLite2-Country`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// When the database was built, seconds since 1970.
    pub fn built_s(&self) -> u64 {
        self.built_s
    }

    /// Ranges of addresses of one country, both families.
    pub fn ranges(&self) -> usize {
        self.v4.ranges() + self.v6.ranges()
    }
}

/// For use inside a network, or with oneself: such addresses are in no country,
/// and a rule for "all but these countries" must not mean them.
fn is_private_v4(v4: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is what providers put between themselves and their customers.
    let shared = u32::from(v4) >> 22 == 0x6440_0000 >> 22;
    v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
}

/// Where the country changes, ascending, and what it is from there on. Neighbours
/// differ. Before the first place nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Table<K> {
    starts: Vec<K>,
    codes: Vec<Code>,
}

impl<K: Copy + Ord> Table<K> {
    /// Says that `code` holds from `first` on up to what is before `next`, `None`
    /// being the end of all addresses. `false` where that does not follow what was
    /// said before.
    #[must_use]
    pub fn append(&mut self, first: K, next: Option<K>, code: Code) -> bool {
        if self.starts.last().is_some_and(|last| *last > first) {
            return false;
        }
        self.change(first, code);
        if let Some(next) = next {
            self.change(next, NONE);
        }
        true
    }

    fn change(&mut self, at: K, code: Code) {
        if self.starts.last() == Some(&at) {
            self.starts.pop();
            self.codes.pop();
        }
        if self.codes.last().copied().unwrap_or(NONE) != code {
            self.starts.push(at);
            self.codes.push(code);
        }
    }

    /// Gives back what was reserved for more.
    pub fn shrink(&mut self) {
        self.starts.shrink_to_fit();
        self.codes.shrink_to_fit();
    }

    #[inline]
    fn find(&self, key: K) -> Code {
        let after = self.starts.partition_point(|start| *start <= key);
        after.checked_sub(1).and_then(|at| self.codes.get(at)).copied().unwrap_or(NONE)
    }

    fn ranges(&self) -> usize {
        self.codes.iter().filter(|code| **code != NONE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_country_are_one_range() {
        let mut table = Table::default();
        assert!(table.append(10u32, Some(20), *b"CH"));
        assert!(table.append(20, Some(30), *b"CH"));
        assert!(table.append(30, Some(40), *b"DE"));
        assert!(table.append(50, None, *b"DE"));
        assert_eq!(table.starts, [10, 30, 40, 50]);
        assert_eq!(table.ranges(), 3);
        let found = [0, 9, 10, 29, 30, 39, 40, 49, 50, u32::MAX].map(|key| table.find(key));
        let [ch, de] = [*b"CH", *b"DE"];
        assert_eq!(found, [NONE, NONE, ch, ch, de, de, NONE, NONE, de, de]);
        assert_eq!(Table::<u32>::default().find(7), NONE);
    }

    #[test]
    fn what_is_out_of_order_is_noticed() {
        let mut table = Table::default();
        assert!(table.append(10u32, Some(20), *b"CH"));
        assert!(!table.append(19, Some(21), *b"DE"));
        assert!(!table.append(10, Some(20), *b"DE"));
    }
}
