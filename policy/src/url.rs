//! Places on a site: a host pattern and the beginning of a path.
//!
//! `example.com/auth` is `/auth`, `/auth/reset_password` and whatever else begins so;
//! `*/feed` is `/feed` of every host. The path is compared as nginx serves it.

use std::fmt;
use std::str::FromStr;

use crate::limits::LITERAL_BYTES;
use crate::text::Scratch;
use crate::{Host, HostPattern, Invalid};

/// A host pattern with or without the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UrlPrefix {
    /// The hosts.
    pub host: HostPattern,
    /// How paths begin, as nginx serves them: decoded, `//` and `/../` resolved, with the
    /// leading slash. `None` where only a host was written: every path.
    pub path: Option<Vec<u8>>,
}

impl UrlPrefix {
    /// Whether a host and the path as nginx serves it are within. O(length of both).
    pub fn matches(&self, host: Host<'_>, path: &[u8]) -> bool {
        self.path.as_deref().is_none_or(|own| path.starts_with(own)) && self.host.matches(host)
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.path.as_deref().map_or(Ok(()), |path| f.write_str(&String::from_utf8_lossy(path)))
    }
}

impl FromStr for UrlPrefix {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str =
            "write host/path, for example example.com/auth, or */auth for every host";
        let text = text.trim();
        let refuse = |reason: &str| Invalid::new("url", text, reason, REMEDY);
        let (host, path) = match text.find('/') {
            Some(slash) => (&text[..slash], Some(&text[slash..])),
            None => (text, None),
        };
        if host.is_empty() && path.is_some() {
            return Err(refuse("there is no host before the path"));
        }
        // `https://a` has no path, and a host that only looks like one.
        if host.ends_with(':') || path.is_some_and(|path| path.starts_with("//")) {
            return Err(refuse("there is no scheme before the host"));
        }
        let path = path.map(path_as_served).transpose().map_err(refuse)?;
        Ok(Self { host: host.parse()?, path })
    }
}

/// A path as people write it, in the form that nginx compares; or why it is none.
pub(crate) fn path_as_served(path: &str) -> Result<Vec<u8>, &'static str> {
    if path.contains(['?', '#']) {
        return Err("a path has no query and no fragment");
    }
    if path.len() > LITERAL_BYTES {
        return Err("the path is longer than 4096 bytes");
    }
    if path.contains(|c: char| c.is_ascii_control()) {
        return Err("there is a control character in the path");
    }
    // People write paths as browsers show them; nginx compares what they mean.
    Ok(Scratch::default().path_as_served(path.as_bytes()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(prefix: &str, host: &str, path: &str) -> bool {
        let prefix: UrlPrefix = prefix.parse().expect(prefix);
        prefix.matches(Host::normalised(host.as_bytes()), path.as_bytes())
    }

    #[test]
    fn a_path_covers_what_begins_with_it() {
        assert!(holds("example.com/auth", "example.com", "/auth"));
        assert!(holds("example.com/auth", "example.com", "/auth/reset_password"));
        assert!(!holds("example.com/auth", "example.com", "/Auth"));
        assert!(!holds("example.com/auth", "a.example.com", "/auth"));
        assert!(holds(".example.com/auth", "a.example.com", "/auth"));
        assert!(!holds("*.example.com/auth", "example.com", "/auth"));
        assert!(holds("*/feed", "any", "/feed/1"));
        assert!(holds("example.com", "example.com", "/whatever"));
        assert!(holds("a.com/x%20y//z/../", "a.com", "/x y/"));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for bad in [
            "",
            "/auth",
            "a..b/x",
            "a.com/x?y",
            "a.com/#x",
            "a.com/\u{1}",
            "http://a.com/x",
            "a b/x",
        ] {
            assert!(bad.parse::<UrlPrefix>().is_err(), "{bad:?} was accepted");
        }
        let long = format!("a.com/{}", "x".repeat(LITERAL_BYTES - 1));
        assert!(long.parse::<UrlPrefix>().is_ok());
        assert!(format!("{long}x").parse::<UrlPrefix>().is_err());
    }
}
