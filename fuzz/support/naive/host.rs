//! Host patterns, read label by label.

use std::net::Ipv6Addr;

/// Whether a pattern, as written, holds for a host in its normalised form.
///
/// Only for patterns of letters, digits, `-`, `_` and dots, without a port.
pub fn holds(pattern: &str, host: &[u8]) -> bool {
    let pattern = pattern.trim().to_ascii_lowercase();
    if pattern == "*" {
        return true;
    }
    let host: Vec<&[u8]> = host.split(|byte| *byte == b'.').collect();
    let mut wanted: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'.').collect();
    // The root's dot.
    if wanted.len() > 1 && wanted.last() == Some(&&b""[..]) {
        wanted.pop();
    }
    match wanted.first().copied() {
        Some(b"") => host == wanted[1..] || is_below(&host, &wanted[1..]),
        Some(b"*") => is_below(&host, &wanted[1..]),
        _ => host == wanted,
    }
}

/// Whether the last labels of `host` are `domain`, and something stands before them.
fn is_below(host: &[&[u8]], domain: &[&[u8]]) -> bool {
    let more = host.len().saturating_sub(domain.len());
    more > 0 && host[more..] == *domain && host[..more] != [b""]
}

/// A request's host without port, without the root's dot, in lower case; an IPv6
/// literal in its short form.
pub fn normal(host: &[u8]) -> Vec<u8> {
    if let [b'[', rest @ ..] = host {
        let inner =
            rest.split(|byte| *byte == b']').next().filter(|inner| inner.len() < rest.len());
        let address = inner.and_then(|inner| String::from_utf8_lossy(inner).parse().ok());
        return address.map_or(host.to_vec(), |address: Ipv6Addr| format!("[{address}]").into());
    }
    let name = host.split(|byte| *byte == b':').next().unwrap_or(host);
    let name = if let [name @ .., b'.'] = name { name } else { name };
    name.iter().map(u8::to_ascii_lowercase).collect()
}

/// Whether nginx lets a `Host` reach the engines: it answers 400 where a label in
/// the middle is empty.
pub fn is_served(host: &[u8]) -> bool {
    !host.windows(2).any(|pair| pair == b"..")
}
