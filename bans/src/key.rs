//! Who is counted and banned.

use std::net::{IpAddr, Ipv6Addr};

/// An address, or the IPv6 network it is in, for the hosts of one entry of `nwaf_limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The address as IPv6; IPv4 as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
    address: u128,
    /// A number that names the entry, mixed with the length of an IPv6 network: a /64 is
    /// not the /48 that begins with it.
    domain: u64,
}

impl Key {
    /// The key of a client. Of an IPv6 address the first `v6_prefix` bits (1-128) count,
    /// for whoever has one such address has its network.
    pub fn new(client: IpAddr, v6_prefix: u8, domain: u64) -> Self {
        match client.to_canonical() {
            IpAddr::V4(v4) => Self { address: v4.to_ipv6_mapped().to_bits(), domain },
            IpAddr::V6(v6) => {
                let cut = 128_u32.saturating_sub(v6_prefix.into());
                let address = v6.to_bits() & u128::MAX.checked_shl(cut).unwrap_or_default();
                Self { address, domain: domain ^ u64::from(v6_prefix) }
            }
        }
    }

    /// The number that names the entry; some other number for an IPv6 network of
    /// another length than `v6_prefix`.
    pub fn domain(&self, v6_prefix: u8) -> u64 {
        if self.address().is_ipv6() { self.domain ^ u64::from(v6_prefix) } else { self.domain }
    }

    /// The address; of an IPv6 network its first one.
    pub fn address(&self) -> IpAddr {
        Ipv6Addr::from_bits(self.address).to_canonical()
    }

    /// The key as it lies in memory.
    pub(crate) fn words(&self) -> [u64; 3] {
        [(self.address >> 64) as u64, self.address as u64, self.domain]
    }

    pub(crate) fn from_words([high, low, domain]: [u64; 3]) -> Self {
        Self { address: u128::from(high) << 64 | u128::from(low), domain }
    }

    /// A hash that nobody can foresee without the seeds, so that no choice of
    /// addresses makes a place of the zone crowded. Never 0.
    pub(crate) fn hash(&self, seeds: [u64; 3]) -> u64 {
        let [high, low, domain] = self.words();
        let start = fold(high ^ seeds[0] ^ SPREAD, low ^ seeds[1]);
        fold(start ^ domain ^ seeds[2], SPREAD) | 1
    }
}

/// The golden ratio as a fraction of 2^64, as SplitMix64 uses it: its bits have no pattern.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Both halves of a product: each bit of it depends on all bits of the factors.
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str, prefix: u8) -> Key {
        Key::new(address.parse().unwrap(), prefix, 0)
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_ipv4_is_not() {
        assert_eq!(key("2001:db8::1", 64), key("2001:db8::ffff:2", 64));
        assert_ne!(key("2001:db8::1", 64), key("2001:db8:0:1::1", 64));
        assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
        assert_eq!(key("2001:db8::1", 64).address(), "2001:db8::".parse::<IpAddr>().unwrap());
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
        assert_ne!(key("2001:db8::", 64), key("2001:db8::", 48), "of other networks");
        assert_eq!((key("2001:db8::", 48).domain(48), key("192.0.2.1", 48).domain(64)), (0, 0));
        assert_eq!(key("192.0.2.1", 1).address(), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
