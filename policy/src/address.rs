//! Addresses: single, CIDR, range; and list entries with an optional host pattern.
//!
//! IPv4-mapped IPv6 is IPv4 everywhere, so that a dual-stack listener cannot be
//! used to walk around an IPv4 entry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::{Host, HostPattern, Invalid};

/// An inclusive range of addresses of one family, `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressRange {
    /// IPv4, host byte order.
    V4 {
        /// Lowest address.
        first: u32,
        /// Highest address.
        last: u32,
    },
    /// IPv6, host byte order.
    V6 {
        /// Lowest address.
        first: u128,
        /// Highest address.
        last: u128,
    },
}

/// IPv4-mapped IPv6 becomes IPv4, everything else stays.
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

impl AddressRange {
    /// Whether `address` (mapped IPv4 included) lies in the range. O(1).
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, canonical(address)) {
            (Self::V4 { first, last }, IpAddr::V4(a)) => (*first..=*last).contains(&u32::from(a)),
            (Self::V6 { first, last }, IpAddr::V6(a)) => (*first..=*last).contains(&u128::from(a)),
            _ => false,
        }
    }

    /// Whether the range is the whole of its family.
    pub fn is_everything(&self) -> bool {
        matches!(
            self,
            Self::V4 { first: 0, last: u32::MAX } | Self::V6 { first: 0, last: u128::MAX }
        )
    }

    fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        if let (IpAddr::V4(a), IpAddr::V4(b)) = (canonical(first), canonical(last)) {
            return Some(Self::V4 { first: a.into(), last: b.into() });
        }
        // An IPv6 range may begin or end among the mapped addresses, as ::/80 does;
        // nobody is ever seen to come from those.
        match (first, last) {
            (IpAddr::V6(a), IpAddr::V6(b)) => Some(Self::V6 { first: a.into(), last: b.into() }),
            _ => None,
        }
    }

    fn network(address: IpAddr, prefix: u32) -> Self {
        match address {
            IpAddr::V4(a) => {
                let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
                let first = u32::from(a) & !host;
                Self::V4 { first, last: first | host }
            }
            // ::ffff:a.b.c.d/96 and longer lies inside the mapped IPv4 space.
            IpAddr::V6(a) => match a.to_ipv4_mapped() {
                Some(v4) if prefix >= 96 => Self::network(IpAddr::V4(v4), prefix - 96),
                _ => {
                    let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
                    let first = u128::from(a) & !host;
                    Self::V6 { first, last: first | host }
                }
            },
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4 { first, last } if first == last => Ipv4Addr::from(first).fmt(f),
            Self::V4 { first, last } => {
                write!(f, "{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last))
            }
            Self::V6 { first, last } if first == last => Ipv6Addr::from(first).fmt(f),
            Self::V6 { first, last } => {
                write!(f, "{}-{}", Ipv6Addr::from(first), Ipv6Addr::from(last))
            }
        }
    }
}

impl FromStr for AddressRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str = "write an IPv4 or IPv6 address, a network (192.0.2.0/24) or a range (192.0.2.1-192.0.2.9)";
        let refuse = |reason: String| Invalid::new("ip", text, reason, REMEDY);
        let parse = |part: &str| {
            part.trim()
                .parse::<IpAddr>()
                .map_err(|_| refuse(format!("{:?} is not an IP address", part.trim())))
        };
        if text.trim().is_empty() {
            return Err(refuse("an address is empty".into()));
        }
        if let Some((address, prefix)) = text.split_once('/') {
            let address = parse(address)?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix: u32 = prefix
                .trim()
                .parse()
                .ok()
                .filter(|p| *p <= most && prefix.trim().bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| {
                    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                    refuse(format!("the prefix length of an {family} network is 0-{most}"))
                })?;
            return Ok(Self::network(address, prefix));
        }
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (parse(first)?, parse(last)?);
            let range = Self::between(first, last).ok_or_else(|| {
                refuse("the two ends of a range are of different families".into())
            })?;
            let ordered = match range {
                Self::V4 { first, last } => first <= last,
                Self::V6 { first, last } => first <= last,
            };
            return if ordered {
                Ok(range)
            } else {
                Err(refuse("the first address of a range is above the last".into()))
            };
        }
        let address = canonical(parse(text)?);
        Ok(Self::between(address, address).expect("one address has one family"))
    }
}

/// One entry of an address list: `[domain=<pattern> ]<addresses>[ api=yes]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressEntry {
    /// The addresses.
    pub range: AddressRange,
    /// The hosts the entry acts for; [`HostPattern::Any`] where none was written.
    pub domain: HostPattern,
    /// Whether hits of a block-list entry are reported to the API (`api=yes`).
    pub api: bool,
}

impl AddressEntry {
    /// Whether the entry holds for a client and the host it asked.
    pub fn matches(&self, address: IpAddr, host: Host<'_>) -> bool {
        self.range.contains(address) && self.domain.matches(host)
    }
}

impl fmt::Display for AddressEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain != HostPattern::Any {
            write!(f, "domain={} ", self.domain)?;
        }
        write!(f, "{}{}", self.range, if self.api { " api=yes" } else { "" })
    }
}

impl FromStr for AddressEntry {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str =
            "write [domain=<pattern> ]<address, network or range>[ api=yes], a comma between two";
        let refuse = |reason: String| Invalid::new("entry", text, reason, REMEDY);
        let (mut range, mut domain, mut api) = (None, None, None);
        // A range may be written with spaces around its dash.
        let joined = text.replace(" - ", "-");
        for word in joined.split_whitespace() {
            let twice = if let Some(pattern) = word.strip_prefix("domain=") {
                domain.replace(pattern.parse::<HostPattern>()?).is_some()
            } else if let Some(value) = word.strip_prefix("api=") {
                let report = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(refuse(format!("api={value} is neither api=yes nor api=no"))),
                };
                api.replace(report).is_some()
            } else if word.contains('=') {
                return Err(refuse(format!("unknown option {word:?}")));
            } else {
                range.replace(word.parse::<AddressRange>()?).is_some()
            };
            if twice {
                return Err(refuse(format!("{word:?} comes after another of its kind")));
            }
        }
        let range = range.ok_or_else(|| refuse("the entry has no address".into()))?;
        Ok(Self { range, domain: domain.unwrap_or(HostPattern::Any), api: api.unwrap_or(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect(text)
    }

    #[test]
    fn host_bits_are_masked_and_ends_are_inclusive() {
        assert_eq!(range("1.1.1.77/24"), range("1.1.1.0-1.1.1.255"));
        assert_eq!(range("0.0.0.0/0"), range("0.0.0.0-255.255.255.255"));
        assert_eq!(range("2001:db8::1/32"), range("2001:db8::/32"));
        assert!(range("::/0").is_everything());
        assert!(range("4.4.4.4-5.5.5.5").contains("5.5.5.5".parse().unwrap()));
        assert!(!range("4.4.4.4-5.5.5.5").contains("5.5.5.6".parse().unwrap()));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(range("::ffff:1.2.3.4"), range("1.2.3.4"));
        assert_eq!(range("::ffff:1.2.3.4/120"), range("1.2.3.0/24"));
        assert!(range("1.2.3.4").contains("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!range("::/0").contains("1.2.3.4".parse().unwrap()));
        let ends_among_them = range("::/80");
        assert_eq!(range(&ends_among_them.to_string()), ends_among_them);
        assert!(ends_among_them.contains("::1".parse().unwrap()));
        assert!(!ends_among_them.contains("1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn bad_addresses_are_refused() {
        for bad in [
            "",
            "1.1.1.0/33",
            "::/129",
            "5.5.5.5-4.4.4.4",
            "1.1.1.1-::1",
            "1.1.1",
            "01.1.1.1",
            "1.1.1.1/",
            "1.1.1.1/+8",
            "a",
            "1.1.1.1-",
            "-1.1.1.1",
        ] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn entries_carry_their_options_once() {
        let entry: AddressEntry = "domain=*.example.com 1.1.1.0/24 api=yes".parse().unwrap();
        assert_eq!(entry.domain, HostPattern::Below("example.com".into()));
        assert!(entry.api);
        let spaced: AddressEntry = "1.1.1.1 - 1.1.1.9".parse().unwrap();
        assert_eq!(spaced.range, range("1.1.1.1-1.1.1.9"));
        for bad in [
            "domain=a.com",
            "1.1.1.1 2.2.2.2",
            "domain=a domain=b 1.1.1.1",
            "api=1 1.1.1.1",
            "x=1 1.1.1.1",
        ] {
            assert!(bad.parse::<AddressEntry>().is_err(), "{bad:?} was accepted");
        }
    }
}
