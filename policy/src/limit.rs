//! `nwaf_limit`: after how many blocked requests an address is banned, and for how long.
//!
//! Entries are resolved by host here; counting is the module's.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use crate::limits::{BLOCK_TIME_SECONDS, LIMITS, RATE};
use crate::{Host, HostPattern, Invalid, list};

/// The unit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// `r/s`
    Second,
    /// `r/m`
    Minute,
}

impl Per {
    /// Length of the sliding window, in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
        }
    }
}

/// One entry of `nwaf_limit`: `rate=5r/m block_time=600 [domain=<pattern>]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The hosts it bans for.
    pub domain: HostPattern,
    /// Blocked requests that are still allowed in one unit; 1 to [`RATE`].
    pub rate: u32,
    /// The unit.
    pub per: Per,
    /// Seconds of the ban; 0 never bans.
    pub block_time: u32,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain != HostPattern::Any {
            write!(f, "domain={} ", self.domain)?;
        }
        let unit = if self.per == Per::Second { "r/s" } else { "r/m" };
        write!(f, "rate={}{unit} block_time={}", self.rate, self.block_time)
    }
}

const REMEDY: &str =
    "write rate=5r/m block_time=600, optionally with domain=<pattern>; r/s counts a second";

impl FromStr for Limit {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: String| Invalid::new("nwaf_limit", text, reason, REMEDY);
        let (mut domain, mut rate, mut block_time) = (None, None, None);
        for option in text.split_whitespace() {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| refuse(format!("{option:?} is not an option")))?;
            let twice = match name {
                "domain" => domain.replace(value.parse::<HostPattern>()?).is_some(),
                "rate" => {
                    let (count, per) = match (value.strip_suffix("r/m"), value.strip_suffix("r/s"))
                    {
                        (Some(count), _) => (count, Per::Minute),
                        (_, Some(count)) => (count, Per::Second),
                        _ => return Err(refuse(format!("{value:?} does not end in r/m or r/s"))),
                    };
                    let count = number(count)
                        .filter(|count| (1..=RATE).contains(count))
                        .ok_or_else(|| refuse(format!("a rate is a number of 1-{RATE}")))?;
                    rate.replace((count, per)).is_some()
                }
                "block_time" => {
                    let seconds = number(value)
                        .filter(|seconds| *seconds <= BLOCK_TIME_SECONDS)
                        .ok_or_else(|| {
                            refuse(format!(
                                "block_time is a number of seconds, 0-{BLOCK_TIME_SECONDS}"
                            ))
                        })?;
                    block_time.replace(seconds).is_some()
                }
                _ => return Err(refuse(format!("unknown option {name:?}"))),
            };
            if twice {
                return Err(refuse(format!("{name} is given twice")));
            }
        }
        let (rate, per) = rate.ok_or_else(|| refuse("rate is missing".into()))?;
        let block_time = block_time.ok_or_else(|| refuse("block_time is missing".into()))?;
        Ok(Self { domain: domain.unwrap_or(HostPattern::Any), rate, per, block_time })
    }
}

/// Digits only: `parse` alone would also take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Parses the setting's value: entries, each domain at most once.
///
/// # Errors
/// Bad entries, two entries for one domain, and more than [`LIMITS`] entries.
pub fn parse(field: &str, text: &str) -> Result<Vec<Limit>, Vec<Invalid>> {
    let mut limits = Vec::new();
    add(field, &mut limits, list::parse(field, text)?)?;
    Ok(limits)
}

/// Puts `more` entries behind those that are there.
///
/// # Errors
/// As [`parse`], about all of them together. Nothing is added then.
pub(crate) fn add(
    field: &str,
    limits: &mut Vec<Limit>,
    mut more: Vec<Limit>,
) -> Result<(), Vec<Invalid>> {
    if limits.len() + more.len() > LIMITS {
        let reason = format!("more than {LIMITS} entries");
        return Err(vec![Invalid::new(field, "", reason, "use .example.com for many hosts")]);
    }
    let mut seen = HashSet::new();
    // A walk over those before, for lines of one entry are the rule.
    let twice = more.iter().enumerate().filter(|(_, limit)| {
        !seen.insert(&limit.domain) || limits.iter().any(|own| own.domain == limit.domain)
    });
    let refused: Vec<_> = twice
        .map(|(index, limit)| {
            let reason = format!("the domain {} has another entry already", limit.domain);
            let remedy = "leave one entry for each domain, and one without domain=";
            Invalid::new(format!("{field}[{index}]"), &limit.to_string(), reason, remedy)
        })
        .collect();
    if refused.is_empty() {
        limits.append(&mut more);
        Ok(())
    } else {
        Err(refused)
    }
}

/// How closely a pattern names a host it matches; larger is closer: the host
/// itself, then the longest domain, `*.d` before `.d`, and `*` last.
pub(crate) fn closeness(pattern: &HostPattern) -> (u8, usize, u8) {
    match pattern {
        HostPattern::Exact(_) => (2, 0, 0),
        HostPattern::Below(domain) => (1, domain.len(), 1),
        HostPattern::DomainAndBelow(domain) => (1, domain.len(), 0),
        HostPattern::Any => (0, 0, 0),
    }
}

/// The entry that counts for a host: the most specific one that matches it.
pub fn resolve<'a>(limits: &'a [Limit], host: Host<'_>) -> Option<&'a Limit> {
    let matching = limits.iter().filter(|limit| limit.domain.matches(host));
    matching.max_by_key(|limit| closeness(&limit.domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order_and_only_once() {
        let limit: Limit = "block_time=0 rate=3r/s domain=*.a.com".parse().unwrap();
        assert_eq!((limit.rate, limit.per.seconds(), limit.block_time), (3, 1, 0));
        assert_eq!(limit.to_string(), "domain=*.a.com rate=3r/s block_time=0");
        assert_eq!(limit.to_string().parse(), Ok(limit));
        for bad in [
            "",
            "rate=5 block_time=1",
            "rate=5r/m",
            "block_time=5",
            "rate=0r/m block_time=1",
            "rate=1000001r/m block_time=1",
            "rate=+5r/m block_time=1",
            "rate=5r/m block_time=-1",
            "rate=5r/m block_time=31536001",
            "rate=5r/m rate=6r/m block_time=1",
            "rate=5r/h block_time=1",
            "rate=r/m block_time=1",
            "rate=5r/m block_time=1 domain=a..b",
            "rate=5r/m block_time=1 burst=5",
        ] {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_domain_has_one_entry() {
        let refused = parse(
            "nwaf_limit",
            "rate=1r/m block_time=1, domain=a.com rate=1r/m block_time=1, domain=A.com rate=2r/m block_time=1",
        )
        .unwrap_err();
        assert_eq!(refused.len(), 1);
        assert!(refused[0].field == "nwaf_limit[2]" && refused[0].reason.contains("a.com"));
        assert!(parse("l", "rate=1r/m block_time=1, domain=* rate=1r/m block_time=1").is_err());
        let many: Vec<_> =
            (0..=LIMITS).map(|n| format!("domain=h{n}.a rate=1r/m block_time=1")).collect();
        assert!(parse("l", &many[..LIMITS].join(",")).is_ok());
        assert!(parse("l", &many.join(",")).unwrap_err()[0].reason.contains("more than"));
    }

    #[test]
    fn the_most_specific_domain_counts() {
        let text = "rate=1r/m block_time=1, domain=.b.com rate=2r/m block_time=1, \
            domain=*.b.com rate=3r/m block_time=1, domain=.com rate=4r/m block_time=1, \
            domain=x.b.com rate=5r/m block_time=1";
        let limits = parse("nwaf_limit", text).unwrap();
        let rate = |host: &str| resolve(&limits, Host::normalised(host.as_bytes())).unwrap().rate;
        for (host, expected) in
            [("b.com", 2), ("a.b.com", 3), ("x.b.com", 5), ("y.x.b.com", 3), ("a.com", 4), ("", 1)]
        {
            assert_eq!(rate(host), expected, "{host}");
        }
    }
}
