//! Exclusions: which hits of signatures do not count.
//!
//! An exclusion holds for a hit if everything it names does: the signature, the host, one of
//! the zones, every condition on the request, the text that was found. What it does not name
//! is no restriction.
//!
//! Here an exclusion is understood and checked. It takes effect where signatures are
//! evaluated; a policy without signatures has nothing to exclude.

mod extension;
mod regex;

use std::fmt;

use crate::limits::{COMMENT_BYTES, LITERAL_BYTES};
use crate::rule::host;
use crate::{HostPattern, Invalid, Zone};

pub use extension::{Condition, Place, Test};

/// An exclusion as it travels and is stored. An empty text names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExclusionText {
    /// Number of a signature, or `*` for all.
    pub rl_id: String,
    /// Host pattern, plain or base64.
    pub domain: String,
    /// Zones joined by `|`.
    pub mz: String,
    /// Conditions on the request: `$URL:text|$ARGS_X:regex`.
    pub extension: String,
    /// What the text that was found has to contain.
    pub pattern: String,
    /// For people.
    pub comment: String,
    /// Whether it takes part at all.
    pub active: bool,
}

impl Default for ExclusionText {
    fn default() -> Self {
        Self {
            rl_id: String::new(),
            domain: String::new(),
            mz: String::new(),
            extension: String::new(),
            pattern: String::new(),
            comment: String::new(),
            active: true,
        }
    }
}

/// Which signatures an exclusion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signatures {
    /// `*`
    All,
    /// The one with this id; never 0.
    One(u64),
}

/// An exclusion that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Identity.
    pub id: u64,
    /// Whether it takes part at all.
    pub active: bool,
    /// The signatures.
    pub signatures: Signatures,
    /// The hosts; [`HostPattern::Any`] where none is named.
    pub domain: HostPattern,
    /// The zones, in the order of [`ZONES`]; empty for all. See [`Exclusion::has_zone`].
    pub zones: Vec<Zone>,
    /// Conditions on the request; all must hold.
    pub conditions: Vec<Condition>,
    /// The text found by the signature has to contain this; empty for any text.
    pub pattern: Vec<u8>,
}

/// The zones that `mz` may name, in the order in which they are written.
pub const ZONES: [Zone; 7] = [
    Zone::Url,
    Zone::Args,
    Zone::Body,
    Zone::Headers,
    Zone::Cookie,
    Zone::UserAgent,
    Zone::Referer,
];

impl fmt::Display for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(id) => id.fmt(f),
        }
    }
}

impl Exclusion {
    /// Understands an exclusion; every bad field is reported.
    ///
    /// # Errors
    /// Missing or malformed fields, unknown zones, regular expressions that are wrong or too
    /// large, and the limits of [`crate::limits`].
    pub fn parse(id: u64, source: &ExclusionText) -> Result<Self, Vec<Invalid>> {
        let mut refused = Vec::new();
        let signatures = signatures(&source.rl_id).map_err(|why| refused.push(why)).ok();
        let domain = match source.domain.trim() {
            "" => Some(HostPattern::Any),
            text => host("domain", text).map_err(|why| refused.push(why)).ok(),
        };
        let zones = zones(&source.mz).map_err(|why| refused.push(why)).ok();
        let conditions =
            extension::parse(&source.extension).map_err(|why| refused.extend(why)).ok();
        for (field, text, most) in [
            ("pattern", &source.pattern, LITERAL_BYTES),
            ("comment", &source.comment, COMMENT_BYTES),
        ] {
            if text.len() > most {
                let reason = format!("the text has more than {most} bytes");
                refused.push(Invalid::new(field, text, reason, "write a shorter one"));
            } else if text.contains(|c: char| c.is_control()) {
                let reason = "there is a control character in the text";
                refused.push(Invalid::new(field, text, reason, "write one line of text"));
            }
        }
        match (signatures, domain, zones, conditions) {
            (Some(signatures), Some(domain), Some(zones), Some(conditions))
                if refused.is_empty() =>
            {
                let (active, pattern) = (source.active, source.pattern.clone().into_bytes());
                Ok(Self { id, active, signatures, domain, zones, conditions, pattern })
            }
            _ => Err(refused),
        }
    }

    /// Whether hits in a zone are meant. `HEADERS` is every header, those that have a zone
    /// of their own included.
    pub fn has_zone(&self, zone: Zone) -> bool {
        let is_header = matches!(zone, Zone::Cookie | Zone::UserAgent | Zone::Referer);
        self.zones.is_empty()
            || self.zones.contains(&zone)
            || (is_header && self.zones.contains(&Zone::Headers))
    }

    /// The text this was parsed from, in the one spelling that is kept and shown.
    #[must_use]
    pub fn spelled(&self, source: &ExclusionText) -> ExclusionText {
        let conditions: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
        let zones: Vec<&str> = self.zones.iter().map(|zone| zone.as_str()).collect();
        ExclusionText {
            rl_id: self.signatures.to_string(),
            domain: match (&self.domain, source.domain.trim()) {
                (HostPattern::Any, "") => String::new(),
                (pattern, _) => pattern.to_string(),
            },
            mz: zones.join("|"),
            extension: conditions.join("|"),
            ..source.clone()
        }
    }
}

fn signatures(text: &str) -> Result<Signatures, Invalid> {
    let text = text.trim();
    if text == "*" {
        return Ok(Signatures::All);
    }
    let id = text.parse().ok().filter(|id| *id > 0 && *id <= i64::MAX as u64);
    match id {
        Some(id) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Signatures::One(id)),
        _ => {
            let reason = if text.is_empty() {
                "no signature is named"
            } else {
                "this is not the id of a signature"
            };
            Err(Invalid::new(
                "rl_id",
                text,
                reason,
                "write the number of a signature, or * for all",
            ))
        }
    }
}

fn zones(text: &str) -> Result<Vec<Zone>, Invalid> {
    let mut named = [false; ZONES.len()];
    for word in text.split('|').map(str::trim).filter(|_| !text.trim().is_empty()) {
        match ZONES.iter().position(|zone| zone.as_str().eq_ignore_ascii_case(word)) {
            Some(at) => named[at] = true,
            None => {
                let remedy = format!(
                    "write one or more of {} with | between, or nothing for all",
                    ZONES.map(Zone::as_str).join(", ")
                );
                return Err(Invalid::new("mz", word, "there is no such zone", remedy));
            }
        }
    }
    Ok(ZONES.into_iter().zip(named).filter_map(|(zone, named)| named.then_some(zone)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rl_id: &str, domain: &str, mz: &str, extension: &str) -> ExclusionText {
        ExclusionText {
            rl_id: rl_id.into(),
            domain: domain.into(),
            mz: mz.into(),
            extension: extension.into(),
            ..ExclusionText::default()
        }
    }

    #[test]
    fn the_samples_of_the_specification_are_understood() {
        let sample = text("50001", "example.com", "URL", "$URL_X:/test");
        let parsed = Exclusion::parse(1, &sample).unwrap();
        assert_eq!(parsed.signatures, Signatures::One(50001));
        assert_eq!(parsed.domain, HostPattern::Exact("example.com".into()));
        assert_eq!(parsed.zones, [Zone::Url]);
        assert_eq!(
            parsed.conditions,
            [Condition { place: Place::Zone(Zone::Url), test: Test::Matches("/test".into()) }]
        );
        let updated = ExclusionText { pattern: "ABC".into(), ..sample };
        assert_eq!(Exclusion::parse(1, &updated).unwrap().pattern, b"ABC");
        let all = Exclusion::parse(1, &text("*", "", "", "")).unwrap();
        assert_eq!((all.signatures, all.domain), (Signatures::All, HostPattern::Any));
    }

    #[test]
    fn one_spelling_is_kept() {
        let given = text(" 007 ", "Ki5leGFtcGxlLmNvbQ==", "args | url|URL", "URL:/A|$x-Api_X:a|b");
        let parsed = Exclusion::parse(1, &given).unwrap();
        let kept = parsed.spelled(&given);
        assert_eq!((kept.rl_id.as_str(), kept.domain.as_str()), ("7", "*.example.com"));
        assert_eq!(
            (kept.mz.as_str(), kept.extension.as_str()),
            ("URL|ARGS", "$URL:/A|$x-api_X:a|b")
        );
        assert_eq!(Exclusion::parse(1, &kept), Ok(parsed.clone()));
        assert_eq!(parsed.spelled(&kept), kept);
    }

    #[test]
    fn headers_are_all_headers() {
        let has =
            |mz: &str, zone| Exclusion::parse(1, &text("1", "", mz, "")).unwrap().has_zone(zone);
        assert!(has("", Zone::Body));
        assert!(has("HEADERS", Zone::Cookie) && has("HEADERS", Zone::Headers));
        assert!(!has("HEADERS", Zone::Url));
        assert!(has("COOKIE", Zone::Cookie) && !has("COOKIE", Zone::Headers));
    }

    #[test]
    fn bad_fields_are_named_all_at_once() {
        for (field, source) in [
            ("rl_id", text("", "", "", "")),
            ("rl_id", text("0", "", "", "")),
            ("rl_id", text("+1", "", "", "")),
            ("rl_id", text("1.5", "", "", "")),
            ("rl_id", text("9223372036854775808", "", "", "")),
            ("domain", text("1", "a..b", "", "")),
            ("mz", text("1", "", "URL|X", "")),
            ("mz", text("1", "", "URL|", "")),
            ("extension", text("1", "", "", "$URL")),
            ("pattern", ExclusionText { pattern: "a\nb".into(), ..text("1", "", "", "") }),
            ("pattern", ExclusionText { pattern: "x".repeat(4_097), ..text("1", "", "", "") }),
            ("comment", ExclusionText { comment: "x".repeat(1_025), ..text("1", "", "", "") }),
        ] {
            let refused = Exclusion::parse(1, &source).unwrap_err();
            assert!(refused[0].field.starts_with(field), "{source:?}: {refused:?}");
        }
        let refused = Exclusion::parse(1, &text("x", "a..b", "Y", "$Z")).unwrap_err();
        assert_eq!(refused.len(), 4, "{refused:?}");
    }
}
