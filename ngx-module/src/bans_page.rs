//! The page of `nwaf_bans`: what `nwaf_limit` has banned here, and lifting it.
//!
//! ```text
//! GET    ?address=A  ?domain=D  ?limit=N      lists
//! DELETE ?address=A  ?domain=D  or  ?all      lifts (only with `nwaf_bans lift`)
//! ```
//! `A` is an address, a network or a range; `D` the domain of an entry of `nwaf_limit`.
//!
//! Invariants: a query that is not understood lifts nothing; no more than
//! [`MOST_LISTED`] bans are put into one answer.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::IpAddr;

use bans::Ban;
use ipc::snapshot::limit_domain;
use policy::{AddressRange, HostPattern, Invalid};

use crate::directives::BansPage;
use crate::ffi::limit_zone::LimitZone;
use crate::ffi::os;
use crate::status::{number, string, write};
use crate::worker;

/// Bans in one answer unless the query asks for another number.
const LISTED: usize = 1_000;
/// Bans in one answer at most: two megabytes.
const MOST_LISTED: usize = 10_000;

/// What the client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET or HEAD.
    List,
    /// DELETE.
    Lift,
    /// Anything else.
    Other,
}

/// Where the bans are.
#[derive(Debug, Clone, Copy)]
pub struct Bans<'a> {
    /// The zone; none where the module is off everywhere.
    pub zone: Option<&'a LimitZone>,
    /// Bits of an IPv6 address that are banned together.
    pub ipv6_prefix: u8,
}

/// Status and text of the answer.
pub fn answer(page: BansPage, method: Method, query: &[u8], bans: Bans<'_>) -> (u16, String) {
    let outcome = match (method, page) {
        (Method::List, _) => Query::parse(query, bans).and_then(|query| match query.all {
            true => Err("all: is for DELETE; a list without a query shows all".to_owned()),
            false => Ok(list(&query, bans)),
        }),
        (Method::Lift, BansPage::Lift) => {
            Query::parse(query, bans).and_then(|query| lift(&query, bans))
        }
        (Method::Lift, BansPage::List) => {
            return (405, error("this page only lists; write nwaf_bans lift; to lift bans"));
        }
        (Method::Other, _) => return (405, error("use GET, or DELETE to lift bans")),
    };
    match outcome {
        Ok(text) => (200, text),
        Err(why) => (400, error(&why)),
    }
}

fn error(why: &str) -> String {
    let mut out = "{\"status\":\"error\",\"error\":".to_owned();
    string(&mut out, why);
    out.push_str("}\n");
    out
}

fn list(query: &Query, bans: Bans<'_>) -> String {
    let now = os::monotonic_ms();
    let all = bans.zone.into_iter().flat_map(|zone| zone.bans(now));
    let mut found: Vec<Ban> = all.filter(|ban| query.picks(ban)).collect();
    let total = found.len();
    // The newest are what people look for.
    found.sort_by_key(|ban| std::cmp::Reverse((ban.since, ban.until)));
    found.truncate(query.limit.unwrap_or(LISTED));
    let domains = domains();
    let mut out = String::with_capacity(64 + found.len() * 200);
    write(&mut out, format_args!("{{\"status\":\"success\",\"total\":{total},\"bans\":["));
    for (nth, ban) in found.iter().enumerate() {
        out.push_str(if nth > 0 { ",\n" } else { "\n" });
        one(&mut out, ban, now, bans.ipv6_prefix, &domains);
    }
    out.push_str("]}\n");
    out
}

fn one(
    out: &mut String,
    ban: &Ban,
    now: u64,
    ipv6_prefix: u8,
    domains: &HashMap<u64, HostPattern>,
) {
    write(out, format_args!("{{\"address\":\"{}", ban.key.address()));
    if ban.key.address().is_ipv6() {
        write(out, format_args!("/{ipv6_prefix}"));
    }
    out.push_str("\",\"domain\":");
    match domains.get(&ban.key.domain(ipv6_prefix)) {
        Some(domain) => string(out, &domain.to_string()),
        // Its entry is gone; so is the ban's effect.
        None => out.push_str("null"),
    }
    out.push_str(",\"bt\":6");
    number(out, "rule", (ban.rule > 0).then_some(ban.rule));
    let wall = u64::try_from(worker::since_1970().as_millis()).unwrap_or(u64::MAX);
    let since = os::utc(wall.saturating_sub(now.saturating_sub(ban.since)));
    let until = os::utc(wall.saturating_add(ban.until - now));
    let left = (ban.until - now).div_ceil(1000);
    write(out, format_args!(",\"since\":\"{since}\",\"until\":\"{until}\",\"left_s\":{left}"));
    write(out, format_args!(",\"blocked\":{}}}", ban.blocked));
}

/// The domains of the limits in force, by the numbers that bans know them by.
fn domains() -> HashMap<u64, HostPattern> {
    let limits = worker::active().as_deref().map(|active| active.limits()).unwrap_or_default();
    limits.into_iter().map(|limit| (limit_domain(&limit.domain), limit.domain)).collect()
}

fn lift(query: &Query, bans: Bans<'_>) -> Result<String, String> {
    if !query.all && query.address.is_none() && query.domain.is_none() {
        return Err("name address= or domain=, or all to lift every ban".to_owned());
    }
    // Who writes it hopes to lift so many; all that the rest names would be lifted.
    if query.limit.is_some() {
        return Err("limit: is for lists; DELETE lifts all that address= and domain= name".into());
    }
    let now = os::monotonic_ms();
    let lifted = bans.zone.map_or(0, |zone| zone.lift(now, |ban| query.picks(ban)));
    Ok(format!("{{\"status\":\"success\",\"lifted\":{lifted}}}\n"))
}

/// What is wrong with a value, under the name it has in the query.
fn refusal(name: &str, why: &Invalid) -> String {
    format!("{name}: \"{}\": {}; {}", why.value, why.reason, why.remedy)
}

/// A query, understood.
#[derive(Debug)]
struct Query {
    address: Option<AddressRange>,
    domain: Option<u64>,
    all: bool,
    limit: Option<usize>,
    /// Addresses in the network of an IPv6 address, less one.
    ipv6_rest: u128,
    /// Bits of the network.
    ipv6_prefix: u8,
}

impl Query {
    fn parse(query: &[u8], bans: Bans<'_>) -> Result<Self, String> {
        let ipv6_prefix = bans.ipv6_prefix;
        let ipv6_rest = u128::MAX.checked_shr(ipv6_prefix.into()).unwrap_or_default();
        let mut parsed =
            Self { address: None, domain: None, all: false, limit: None, ipv6_rest, ipv6_prefix };
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => (&pair[..at], decoded(&pair[at + 1..])?),
                None => (pair, String::new()),
            };
            let twice = match name {
                b"address" => {
                    let range = value.parse().map_err(|why| refusal("address", &why))?;
                    parsed.address.replace(range).is_some()
                }
                b"domain" => {
                    let domain: HostPattern =
                        value.parse().map_err(|why| refusal("domain", &why))?;
                    parsed.domain.replace(limit_domain(&domain)).is_some()
                }
                b"all" if value.is_empty() => std::mem::replace(&mut parsed.all, true),
                b"limit" => {
                    let count = value.parse().ok().filter(|count| *count <= MOST_LISTED);
                    let reason = || format!("limit: must be a number of 0-{MOST_LISTED}");
                    parsed.limit.replace(count.ok_or_else(reason)?).is_some()
                }
                other => {
                    let name = String::from_utf8_lossy(other);
                    return Err(format!("{name}: use address=, domain=, limit= or all"));
                }
            };
            if twice {
                return Err(format!("{}: is given twice", String::from_utf8_lossy(name)));
            }
        }
        Ok(parsed)
    }

    fn picks(&self, ban: &Ban) -> bool {
        let inside = |range| match (range, ban.key.address()) {
            // A ban of a network is named by any address inside.
            (AddressRange::V6 { first, last }, IpAddr::V6(network)) => {
                let network = network.to_bits();
                first <= network | self.ipv6_rest && network <= last
            }
            (range, address) => range.contains(address),
        };
        let domain = ban.key.domain(self.ipv6_prefix);
        self.address.is_none_or(inside) && self.domain.is_none_or(|own| own == domain)
    }
}

/// A value with its percent signs decoded (RFC 3986, section 2.1).
fn decoded(value: &[u8]) -> Result<String, String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err("a % is not followed by two digits".to_owned()),
            },
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a value is not UTF-8".to_owned())
}
