//! The `extension` of an exclusion: conditions on the request, joined by `|$`.
//!
//! `$URL:/a|$ARGS_X:^b` are two conditions. Where they end is decided as the vendor's own
//! tools do: the first `$` goes, then `|$` separates, then the first `:` ends the name. So a
//! value may contain `|`, and a regular expression may end in `$`, but not have `|$` inside.

use std::fmt;

use super::regex;
use crate::limits::{EXCLUSION_CONDITIONS, LITERAL_BYTES};
use crate::request::HeaderClass;
use crate::{Invalid, Zone};

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `URL`, `ARGS`, `BODY`, `COOKIE`, `UA`, `REFERER`; `HEADERS` is the value of any header.
    Zone(Zone),
    /// Any other word: the value of the header with this name (lower case).
    Header(Vec<u8>),
}

/// What it looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// Without suffix: this text.
    Contains(Vec<u8>),
    /// With the suffix `_X`: a match of this regular expression over bytes. It was checked.
    Matches(String),
}

/// One condition of an exclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Where.
    pub place: Place,
    /// What.
    pub test: Test,
}

const ZONES: [Zone; 7] = super::ZONES;
const REMEDY: &str = "write $ZONE:text or $ZONE_X:regex with | between; ZONE is URL, ARGS, BODY, \
     HEADERS, COOKIE, UA, REFERER or the name of a header";

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Zone(zone) => write!(f, "${}", zone.as_str())?,
            Place::Header(name) => write!(f, "${}", String::from_utf8_lossy(name))?,
        }
        match &self.test {
            Test::Contains(text) => write!(f, ":{}", String::from_utf8_lossy(text)),
            Test::Matches(regex) => write!(f, "_X:{regex}"),
        }
    }
}

/// Understands all conditions; every bad one is reported.
pub(super) fn parse(text: &str) -> Result<Vec<Condition>, Vec<Invalid>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let pieces: Vec<&str> = text.strip_prefix('$').unwrap_or(text).split("|$").collect();
    if pieces.len() > EXCLUSION_CONDITIONS {
        let reason = format!("more than {EXCLUSION_CONDITIONS} conditions");
        return Err(vec![Invalid::new(
            "extension",
            text,
            reason,
            "split the exclusion into several",
        )]);
    }
    let (mut conditions, mut refused) = (Vec::new(), Vec::new());
    for (index, piece) in pieces.into_iter().enumerate() {
        match condition(&format!("extension[{index}]"), piece) {
            Ok(condition) => conditions.push(condition),
            Err(why) => refused.push(why),
        }
    }
    if refused.is_empty() { Ok(conditions) } else { Err(refused) }
}

fn condition(field: &str, piece: &str) -> Result<Condition, Invalid> {
    let refuse = |reason: &str| Invalid::new(field, piece, reason, REMEDY);
    let (name, value) =
        piece.split_once(':').ok_or_else(|| refuse("there is no colon after the zone"))?;
    let (word, is_regex) = match name.trim().strip_suffix("_X") {
        Some(word) => (word, true),
        None => (name.trim(), false),
    };
    if value.is_empty() {
        return Err(refuse("there is nothing to look for after the colon"));
    }
    // A list of exclusions has each extension between quotes, on a line of its own.
    if value.contains('"') || value.contains(|c: char| c.is_control()) {
        let reason = "the value has a quote or a control character";
        let remedy = "look for it with a regular expression: \\x22 is a quote, \\n a line's end";
        return Err(Invalid::new(field, piece, reason, remedy));
    }
    let test = if is_regex {
        regex::check(field, value)?;
        Test::Matches(value.to_owned())
    } else if value.len() > LITERAL_BYTES {
        let reason = format!("a value has at most {LITERAL_BYTES} bytes");
        return Err(Invalid::new(field, piece, reason, "look for a shorter part of it"));
    } else {
        Test::Contains(value.as_bytes().to_vec())
    };
    Ok(Condition { place: place(word).ok_or_else(|| refuse("this is no zone and no name"))?, test })
}

fn place(word: &str) -> Option<Place> {
    if let Some(zone) = ZONES.iter().find(|zone| zone.as_str().eq_ignore_ascii_case(word)) {
        return Some(Place::Zone(*zone));
    }
    match HeaderClass::of(word.as_bytes()) {
        HeaderClass::Cookie => return Some(Place::Zone(Zone::Cookie)),
        HeaderClass::UserAgent => return Some(Place::Zone(Zone::UserAgent)),
        HeaderClass::Referer => return Some(Place::Zone(Zone::Referer)),
        HeaderClass::Other => {}
    }
    // The characters of a token (RFC 9110, section 5.6.2), but those with a meaning here.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#%&'*+-.^_`~".contains(&b);
    let is_name = !word.is_empty() && word.len() <= NAME_BYTES && word.bytes().all(is_token);
    is_name.then(|| Place::Header(word.to_ascii_lowercase().into_bytes()))
}

/// Bytes of a header's name.
const NAME_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let conditions = parse(text).unwrap();
        conditions.iter().map(|c| format!("{:?} {:?}", c.place, c.test)).collect()
    }

    #[test]
    fn conditions_end_where_the_vendors_tools_say() {
        assert_eq!(parse(" ").unwrap(), []);
        let contains = |text: &[u8]| Test::Contains(text.to_vec());
        assert_eq!(
            parse("$URL:/a|b|$ARGS_X:^x:y$|$X-Forwarded-For:1|$user-agent:curl|$HEADERS:z")
                .unwrap(),
            [
                Condition { place: Place::Zone(Zone::Url), test: contains(b"/a|b") },
                Condition { place: Place::Zone(Zone::Args), test: Test::Matches("^x:y$".into()) },
                Condition {
                    place: Place::Header(b"x-forwarded-for".to_vec()),
                    test: contains(b"1")
                },
                Condition { place: Place::Zone(Zone::UserAgent), test: contains(b"curl") },
                Condition { place: Place::Zone(Zone::Headers), test: contains(b"z") },
            ]
        );
        assert_eq!(read("URL:/a"), read("$url:/a"));
    }

    #[test]
    fn what_is_no_condition_is_refused_with_its_place() {
        for (text, field) in [
            ("$URL", "extension[0]"),
            ("$URL:", "extension[0]"),
            ("$:x", "extension[0]"),
            ("$_X:x", "extension[0]"),
            ("$URL:a|$", "extension[1]"),
            ("$URL:a|$a b:c", "extension[1]"),
            ("$URL:a\"b", "extension[0]"),
            ("$URL:a\tb", "extension[0]"),
            ("$URL_X:(", "extension[0]"),
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused[0].field, field, "{text}: {refused:?}");
        }
        let many = |n: usize| vec!["$URL:a"; n].join("|");
        assert_eq!(parse(&many(EXCLUSION_CONDITIONS)).unwrap().len(), EXCLUSION_CONDITIONS);
        assert!(parse(&many(EXCLUSION_CONDITIONS + 1)).is_err());
        assert!(parse(&format!("$URL:{}", "x".repeat(LITERAL_BYTES))).is_ok());
        assert!(parse(&format!("$URL:{}", "x".repeat(LITERAL_BYTES + 1))).is_err());
    }
}
