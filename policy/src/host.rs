//! Host patterns: `*`, `example.com`, `.example.com`, `*.example.com`.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | every host, also a request without one |
//! | `example.com` | that host |
//! | `.example.com` | that host and every host below it |
//! | `*.example.com` | every host below it, not itself |
//!
//! Source: the specification's sections on `domain` and `nwaf_host_wl`.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::Invalid;
use crate::limits::{HOST_BYTES, LABEL_BYTES};

/// A set of host names. Names are held in lower case, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`
    Any,
    /// `example.com`, an IPv4 address or an IPv6 address in brackets.
    Exact(String),
    /// `.example.com`
    DomainAndBelow(String),
    /// `*.example.com`
    Below(String),
}

impl HostPattern {
    /// Whether the pattern holds for a normalised host. O(length of the pattern).
    pub fn matches(&self, host: Host<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => host.0 == name.as_bytes(),
            Self::DomainAndBelow(name) => host.0 == name.as_bytes() || host.is_below(name),
            Self::Below(name) => host.is_below(name),
        }
    }

    /// Whether every host of the other pattern is one of this. O(length of the pattern).
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Exact(host)) => self.matches(Host(host.as_bytes())),
            (Self::Exact(_), _) => false,
            (Self::Below(name), Self::Below(sub)) => {
                sub == name || Host(sub.as_bytes()).is_below(name)
            }
            (Self::Below(name), Self::DomainAndBelow(sub)) => Host(sub.as_bytes()).is_below(name),
            (Self::DomainAndBelow(name), Self::Below(sub) | Self::DomainAndBelow(sub)) => {
                sub == name || Host(sub.as_bytes()).is_below(name)
            }
        }
    }

    /// The domain of the pattern without its prefix; empty for `*`.
    pub fn domain(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Exact(name) | Self::DomainAndBelow(name) | Self::Below(name) => name,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::DomainAndBelow(name) => write!(f, ".{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str = "write *, example.com, .example.com (with all below) or *.example.com (only below); \
             a comma between two";
        let refuse = |reason: &str| Invalid::new("domain", text, reason, REMEDY);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(refuse("a host pattern is empty"));
        }
        if trimmed == "*" {
            return Ok(Self::Any);
        }
        if let Some(address) = ipv6_literal(trimmed) {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        let (make, rest): (fn(String) -> Self, &str) =
            if let Some(rest) = trimmed.strip_prefix("*.") {
                (Self::Below, rest)
            } else if let Some(rest) = trimmed.strip_prefix('.') {
                (Self::DomainAndBelow, rest)
            } else {
                (Self::Exact, trimmed)
            };
        if rest.starts_with('[') {
            return Err(refuse("only an IPv6 address stands in brackets, alone or before a port"));
        }
        if rest.contains('/') {
            return Err(refuse("a host pattern has no scheme and no path"));
        }
        let name = strip_port(rest).ok_or_else(|| refuse("the port is not a number of 1-65535"))?;
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.contains('*') {
            return Err(refuse("`*` stands only alone or as the first label"));
        }
        if !name.is_ascii() {
            return Err(Invalid::new(
                "domain",
                text,
                "host names are ASCII",
                "write an internationalised name as punycode (xn--...)",
            ));
        }
        if name.len() > HOST_BYTES {
            return Err(refuse("a host name has at most 253 bytes"));
        }
        for label in name.split('.') {
            if label.is_empty() {
                return Err(refuse("a host name has an empty label"));
            }
            if label.len() > LABEL_BYTES {
                return Err(refuse("a label of a host name has at most 63 bytes"));
            }
            if let Some(bad) =
                label.chars().find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
            {
                return Err(refuse(&format!("{bad:?} cannot stand in a host name")));
            }
        }
        Ok(make(name.to_ascii_lowercase()))
    }
}

/// A request's host in the form patterns are compared with: lower case, without
/// port and trailing dot, IPv6 literals in brackets and in their short form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host<'a>(&'a [u8]);

impl<'a> Host<'a> {
    /// Wraps bytes that are normalised already (see [`Host::normalise`]).
    pub const fn normalised(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The normalised bytes; empty where the request named no host.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Normalises a `Host` header's value. Borrows unless a byte has to change.
    pub fn normalise(raw: &[u8]) -> Cow<'_, [u8]> {
        if raw.first() == Some(&b'[') {
            let end = raw.iter().position(|b| *b == b']').map_or(raw.len(), |at| at + 1);
            return match std::str::from_utf8(&raw[..end]).ok().and_then(ipv6_literal) {
                Some(address) => Cow::Owned(format!("[{address}]").into_bytes()),
                None => Cow::Borrowed(raw),
            };
        }
        let end = raw.iter().position(|b| *b == b':').unwrap_or(raw.len());
        let name = raw[..end].strip_suffix(b".").unwrap_or(&raw[..end]);
        if name.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }

    fn is_below(self, name: &str) -> bool {
        let (host, name) = (self.0, name.as_bytes());
        host.len() > name.len() + 1
            && host.ends_with(name)
            && host[host.len() - name.len() - 1] == b'.'
    }
}

/// `::1`, `[::1]` or `[::1]:8080`, as an address.
fn ipv6_literal(text: &str) -> Option<Ipv6Addr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if port_is_fine { address.parse().ok() } else { None };
    }
    text.parse().ok()
}

fn strip_port(text: &str) -> Option<&str> {
    match text.split_once(':') {
        None => Some(text),
        Some((name, port)) => is_port(port).then_some(name),
    }
}

/// Digits only: `parse` alone would also take a sign.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, host: &str) -> bool {
        let pattern: HostPattern = pattern.parse().expect("pattern");
        pattern.matches(Host::normalised(&Host::normalise(host.as_bytes())))
    }

    #[test]
    fn the_four_forms_match_what_the_specification_says() {
        assert!(holds("*", "anything"));
        assert!(holds("*", ""));
        assert!(holds("example.com", "EXAMPLE.com:8080"));
        assert!(holds("Example.COM", "example.com."));
        assert!(!holds("example.com", "a.example.com"));
        assert!(holds(".example.com", "example.com"));
        assert!(holds(".example.com", "a.b.example.com"));
        assert!(!holds(".example.com", "badexample.com"));
        assert!(holds("*.example.com", "a.example.com"));
        assert!(!holds("*.example.com", "example.com"));
        assert!(!holds("*.example.com", ".example.com"));
    }

    #[test]
    fn a_pattern_covers_what_it_matches_all_of() {
        let patterns = [
            "*",
            "a.com",
            ".a.com",
            "*.a.com",
            "b.a.com",
            ".b.a.com",
            "*.b.a.com",
            "c.com",
            "ba.com",
        ];
        // Enough hosts to tell any two of these patterns apart.
        let hosts = ["a.com", "b.a.com", "c.b.a.com", "x.a.com", "c.com", "d.c.com", "ba.com", "z"];
        for one in patterns {
            for other in patterns {
                let all = hosts.iter().all(|host| !holds(other, host) || holds(one, host));
                let [one, other] = [one, other].map(|p| p.parse::<HostPattern>().unwrap());
                assert_eq!(one.covers(&other), all, "{one} covers {other}");
            }
        }
    }

    #[test]
    fn ipv6_literals_are_compared_in_their_short_form() {
        assert!(holds("[0:0::1]", "[::1]:80"));
        assert!(holds("::1", "[0:0:0:0:0:0:0:1]"));
        assert!(!holds("::1", "[::2]"));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in [
            "",
            ".",
            "*.",
            "a*b.com",
            "*.*.com",
            "a..b",
            "a b",
            "пример.рф",
            "a:99999",
            "a:0",
            "a:+80",
            "a:",
            "[::1]:0",
            "[::1]:+80",
            "a/b",
            "http://a.com",
            "[::1",
            "[::1]x",
            "*.[::1]",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?} was accepted");
        }
        assert!(format!("{}.com", "a".repeat(64)).parse::<HostPattern>().is_err());
        assert!(format!("{}com", "abc.".repeat(63)).parse::<HostPattern>().is_err());
    }
}
