//! Bans as they are asked for and shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::{AddressRange, HostPattern, Invalid};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

/// Bans of one request.
pub const BANS_AT_ONCE: usize = 1_000;
/// Longest ban, in seconds: a year.
pub const BAN_SECONDS: u64 = 366 * 86_400;
/// Longest reason, in characters.
pub const BAN_REASON_CHARS: usize = 256;
/// Block types a ban may have: later analysis, limit, brute force, by hand, flood, DDoS.
pub const BAN_TYPES: [u8; 6] = [4, 6, 7, 8, 9, 10];
/// The block type of a ban that does not say: one made by hand, like an entry of the block list.
const BY_HAND: u8 = 8;
/// Shortest prefixes of networks: a larger part of the internet is no attacker.
const PREFIX_MIN: (u32, u32) = (8, 16);

/// A ban to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Address, network or range.
    pub address: String,
    /// Host pattern; every host where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Block type: 4, 6, 7, 8 (the default), 9 or 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bt: Option<u8>,
    /// The rule that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u64>,
    /// Why, in words; at most 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long, in seconds; or `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Until when, RFC 3339; or `seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A ban that has a meaning; every text in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The addresses.
    pub range: AddressRange,
    /// The hosts.
    pub domain: HostPattern,
    /// Block type.
    pub bt: u8,
    /// The rule that led to it; 0 for none.
    pub rule: u64,
    /// Why.
    pub reason: String,
    /// When it ends, Unix milliseconds.
    pub until_ms: i64,
}

/// A ban as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanView {
    /// Identity, for lifting.
    pub id: i64,
    /// The number of its last change.
    pub number: u64,
    /// Address, network or range.
    pub address: String,
    /// Host pattern; `*` for every host.
    pub domain: String,
    /// Block type.
    pub bt: u8,
    /// The rule that led to it; 0 for none.
    pub rule: u64,
    /// Why.
    pub reason: String,
    /// Name of the key that made it.
    pub source: String,
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ends, RFC 3339.
    pub until: String,
    /// Whether it is over: lifted, or at its end. Only in answers to `since`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lifted: bool,
}

impl BanRequest {
    /// Understands the request.
    ///
    /// # Errors
    /// Every refused value.
    pub fn parse(&self, now_ms: i64) -> Result<Ban, Vec<Invalid>> {
        let mut refused = Vec::new();
        let mut keep = |why: Invalid, field: &str| refused.push(why.in_field(field));
        let range = range(&self.address).map_err(|why| keep(why, "address")).ok();
        let domain = self.domain.as_deref().unwrap_or("*").parse::<HostPattern>();
        let domain = domain.map_err(|why| keep(why, "domain")).ok();
        let bt = self.bt.unwrap_or(BY_HAND);
        if !BAN_TYPES.contains(&bt) {
            let reason = "a ban has the block type 4, 6, 7, 8, 9 or 10";
            keep(Invalid::new("bt", &bt.to_string(), reason, "leave it out for 8"), "bt");
        }
        let rule = self.rule.unwrap_or(0);
        if i64::try_from(rule).is_err() {
            let reason = format!("a rule's id is at most {}", i64::MAX);
            keep(Invalid::new("rule", &rule.to_string(), reason, "leave it out"), "rule");
        }
        let reason = self.reason.clone().unwrap_or_default();
        let is_line = !reason.chars().any(super::attack::is_unsafe);
        if reason.chars().count() > BAN_REASON_CHARS || !is_line {
            let why = format!(
                "a reason is one line of at most {BAN_REASON_CHARS} characters, none of them a control character"
            );
            keep(Invalid::new("reason", &reason, why, "shorten it"), "reason");
        }
        let until_ms = self.until_ms(now_ms).map_err(|why| refused.push(why)).ok();
        match (range, domain, until_ms) {
            (Some(range), Some(domain), Some(until_ms)) if refused.is_empty() => {
                Ok(Ban { range, domain, bt, rule, reason, until_ms })
            }
            _ => Err(refused),
        }
    }

    fn until_ms(&self, now_ms: i64) -> Result<i64, Invalid> {
        let remedy = "give seconds (1-31622400), or until as 2026-11-22T14:00:00Z";
        let most = BAN_SECONDS as i64 * 1_000;
        match (self.seconds, self.until.as_deref()) {
            (Some(seconds), None) if (1..=BAN_SECONDS).contains(&seconds) => {
                Ok(now_ms + seconds as i64 * 1_000)
            }
            (Some(seconds), None) => {
                let reason = format!("a ban lasts 1-{BAN_SECONDS} seconds");
                Err(Invalid::new("seconds", &seconds.to_string(), reason, remedy))
            }
            (None, Some(until)) => {
                let refuse = |reason: &str| Invalid::new("until", until, reason, remedy);
                let time = OffsetDateTime::parse(until, &Rfc3339)
                    .map_err(|_| refuse("not a time of RFC 3339"))?;
                let until_ms = time.unix_timestamp_nanos() / 1_000_000;
                let until_ms = i64::try_from(until_ms).map_err(|_| refuse("out of range"))?;
                match until_ms - now_ms {
                    ..=0 => Err(refuse("this is not in the future")),
                    left if left > most => Err(refuse("a ban lasts a year at most")),
                    _ => Ok(until_ms),
                }
            }
            (None, None) => {
                Err(Invalid::new("seconds", "", "a ban has an end, and none is given", remedy))
            }
            (Some(_), Some(_)) => {
                Err(Invalid::new("until", "", "the end is given twice", "give one of both"))
            }
        }
    }
}

/// The addresses of a ban.
///
/// # Errors
/// They are none, or too many.
pub fn range(text: &str) -> Result<AddressRange, Invalid> {
    let range: AddressRange = text.parse()?;
    let is_too_large = match range {
        AddressRange::V4 { first, last } => last - first > u32::MAX >> PREFIX_MIN.0,
        AddressRange::V6 { first, last } => last - first > u128::MAX >> PREFIX_MIN.1,
    };
    if !is_too_large {
        return Ok(range);
    }
    let (v4, v6) = PREFIX_MIN;
    let reason = format!("a ban covers at most an IPv4 /{v4} or an IPv6 /{v6}");
    let remedy = "ban a smaller network; whole continents belong into the block list";
    Err(Invalid::new("address", text, reason, remedy))
}

/// The one spelling of a range: an address, a network where it is one, else both ends.
pub fn spelled(range: AddressRange) -> String {
    let ((first, last), bits) = match range {
        AddressRange::V4 { first, last } => {
            ((IpAddr::from(Ipv4Addr::from(first)), u128::from(first ^ last)), 32)
        }
        AddressRange::V6 { first, last } => {
            ((IpAddr::from(Ipv6Addr::from(first)), first ^ last), 128)
        }
    };
    // Ends that differ in exactly the lowest bits, all 0 in one and all 1 in the other.
    let host_bits = u128::BITS - last.leading_zeros();
    let zeros = match range {
        AddressRange::V4 { first, .. } => u128::from(first),
        AddressRange::V6 { first, .. } => first,
    };
    let is_network = last & last.wrapping_add(1) == 0 && zeros & last == 0;
    match host_bits {
        0 => first.to_string(),
        _ if is_network => format!("{first}/{}", bits - host_bits),
        _ => range.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_820_000_000;

    fn request(address: &str) -> BanRequest {
        BanRequest { address: address.to_owned(), seconds: Some(60), ..BanRequest::default() }
    }

    #[test]
    fn an_address_has_one_spelling() {
        for (text, expected) in [
            ("1.1.1.1", "1.1.1.1"),
            ("1.1.1.9/24", "1.1.1.0/24"),
            ("1.1.1.0-1.1.1.255", "1.1.1.0/24"),
            ("1.1.1.1-1.1.1.2", "1.1.1.1-1.1.1.2"),
            ("1.1.1.0-1.1.1.2", "1.1.1.0-1.1.1.2"),
            ("1.1.1.1-1.1.2.0", "1.1.1.1-1.1.2.0"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2001:DB8::1/64", "2001:db8::/64"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(spelled(range(text).unwrap()), expected);
            assert_eq!(range(expected).unwrap(), range(text).unwrap());
        }
        for too_large in ["0.0.0.0/0", "10.0.0.0/7", "10.0.0.0-11.0.0.0", "::/0", "2000::/15"] {
            assert!(range(too_large).is_err(), "{too_large}");
        }
        range("2000::/16").unwrap();
    }

    #[test]
    fn a_ban_has_an_end() {
        let ban = request("1.1.1.1").parse(NOW).unwrap();
        assert_eq!((ban.until_ms, ban.bt, ban.domain), (NOW + 60_000, 8, HostPattern::Any));
        let until = |text: &str| BanRequest {
            seconds: None,
            until: Some(text.to_owned()),
            ..request("1.1.1.1")
        };
        let ban = until("2025-11-22T14:00:01Z").parse(NOW).unwrap();
        assert_eq!(ban.until_ms, NOW + 1_000);
        for (bad, field) in [
            (BanRequest { seconds: None, ..request("1.1.1.1") }, "seconds"),
            (BanRequest { seconds: Some(0), ..request("1.1.1.1") }, "seconds"),
            (BanRequest { seconds: Some(BAN_SECONDS + 1), ..request("1.1.1.1") }, "seconds"),
            (BanRequest { seconds: Some(u64::MAX), ..request("1.1.1.1") }, "seconds"),
            (BanRequest { seconds: Some(1), ..until("2025-11-22T14:00:01Z") }, "until"),
            (until("2025-11-22T14:00:00Z"), "until"),
            (until("2026-11-24T14:00:00Z"), "until"),
            (until("9999-12-31T23:59:59Z"), "until"),
            (until("tomorrow"), "until"),
            (request("1.1.1"), "address"),
            (request("0.0.0.0/0"), "address"),
            (BanRequest { domain: Some("a b".into()), ..request("1.1.1.1") }, "domain"),
            (BanRequest { bt: Some(5), ..request("1.1.1.1") }, "bt"),
            (BanRequest { rule: Some(u64::MAX), ..request("1.1.1.1") }, "rule"),
            (BanRequest { reason: Some("a\nb".into()), ..request("1.1.1.1") }, "reason"),
            (BanRequest { reason: Some("x".repeat(257)), ..request("1.1.1.1") }, "reason"),
        ] {
            let refused = bad.parse(NOW).unwrap_err();
            assert_eq!((refused.len(), refused[0].field.as_str()), (1, field), "{bad:?}");
        }
    }
}
