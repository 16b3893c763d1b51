//! Which attacks a query means.

use policy::AddressRange;
use store::{AttackFilter, address_bytes};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::IntoParams;
use wire::v2::attack::AttackAction;

use super::super::error::ApiError;
use super::super::poll::Query;
use super::super::v2::field;
use crate::service::ServiceError;

/// The conditions; all that are given hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub struct FilterQuery {
    /// From this moment on: RFC 3339, or seconds since 1970.
    from: Option<String>,
    /// Before this moment.
    to: Option<String>,
    /// The client: address, network or range.
    address: Option<String>,
    /// ISO 3166-1 code.
    country: Option<String>,
    /// The host asked for, exactly.
    host: Option<String>,
    /// Id of the deciding rule.
    rule: Option<u64>,
    /// Block type, 1-11.
    bt: Option<u8>,
    /// `block` or `observe`.
    action: Option<String>,
    /// The node that handed it in.
    node: Option<String>,
    /// As in the error log: `URL`, `ARGS`, ...
    zone: Option<String>,
    /// nginx's `$request_id`.
    request_id: Option<String>,
}

const NAMES: [&str; 13] = [
    "key",
    "token",
    "from",
    "to",
    "address",
    "country",
    "host",
    "rule",
    "bt",
    "action",
    "node",
    "zone",
    "request_id",
];

/// The fields of a query that has conditions.
pub fn names(others: &[&'static str]) -> Vec<&'static str> {
    NAMES.iter().chain(others).copied().collect()
}

/// Understands the conditions.
///
/// # Errors
/// The first one without a meaning.
pub fn parse(query: &Query) -> Result<AttackFilter, ApiError> {
    let text = |name: &str| query.given.get(name).cloned();
    let number = |name: &str, range: std::ops::RangeInclusive<u64>| match query.number(name)? {
        Some(number) if !range.contains(&number) => {
            let reason = format!("not within {}-{}", range.start(), range.end());
            Err(field(name, &number.to_string(), &reason, "give a number that events can have"))
        }
        other => Ok(other),
    };
    // No event has them, and PostgreSQL does not take all of them in a text.
    for name in ["country", "host", "node", "zone", "request_id"] {
        if let Some(text) = query.given.get(name)
            && text.chars().any(char::is_control)
        {
            let reason = "it has a control character, which no event has";
            return Err(field(name, text, reason, "take it out"));
        }
    }
    let addresses = match text("address") {
        Some(text) => {
            let range: AddressRange =
                text.parse().map_err(|why| ServiceError::Invalid(vec![invalid(why)]))?;
            Some(span(range))
        }
        None => None,
    };
    let action = match text("action") {
        Some(word) => Some(AttackAction::from_word(&word).ok_or_else(|| {
            field("action", &word, "this is no action", "write block or observe")
        })?),
        None => None,
    };
    let bt = number("bt", 1..=11)?.and_then(|bt| u8::try_from(bt).ok());
    Ok(AttackFilter {
        from_ms: moment(query, "from")?,
        to_ms: moment(query, "to")?,
        addresses,
        country: text("country").map(|code| code.to_ascii_uppercase()),
        host: text("host").map(|host| host.to_ascii_lowercase()),
        rule: number("rule", 0..=i64::MAX as u64)?,
        bt,
        action,
        node: text("node"),
        zone: text("zone"),
        request_id: text("request_id"),
    })
}

fn invalid(why: policy::Invalid) -> policy::Invalid {
    why.in_field("address")
}

/// First and last address of a range, as they are ordered in the store.
pub fn span(range: AddressRange) -> ([u8; 16], [u8; 16]) {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let (first, last) = match range {
        AddressRange::V4 { first, last } => {
            (Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into())
        }
        AddressRange::V6 { first, last } => {
            (Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into())
        }
    };
    (address_bytes(first), address_bytes(last))
}

/// Unix milliseconds of a field.
fn moment(query: &Query, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query.given.get(name) else { return Ok(None) };
    let seconds = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok());
    let ms = match seconds {
        Some(seconds) => seconds.and_then(|seconds| seconds.checked_mul(1_000)),
        None => OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(|time| i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()),
    };
    let remedy = "write 2026-11-22T14:00:00Z (a + as %2B), or seconds since 1970";
    ms.map(Some).ok_or_else(|| field(name, text, "this is no moment", remedy))
}
