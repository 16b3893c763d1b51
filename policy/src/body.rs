//! Whose bodies are read: `nwaf_body_exclude` and `nwaf_put_body_exclude`.

use std::fmt;
use std::str::FromStr;

use crate::url::path_as_served;
use crate::{Host, HostPattern, Invalid};

/// One entry of `nwaf_body_exclude`: `*` or `host/path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BodyExclusion {
    /// The hosts.
    pub host: HostPattern,
    /// The exact path as nginx serves it: decoded, `//` and `/../` resolved, with its
    /// leading slash; `None` for `*`, which is every path of every host.
    pub path: Option<Vec<u8>>,
}

impl BodyExclusion {
    /// Whether the entry holds for a host and the path as nginx serves it.
    pub fn matches(&self, host: Host<'_>, path: &[u8]) -> bool {
        self.path.as_deref().is_none_or(|own| own == path) && self.host.matches(host)
    }
}

impl fmt::Display for BodyExclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str("*"),
            Some(path) => write!(f, "{}{}", self.host, String::from_utf8_lossy(path)),
        }
    }
}

impl FromStr for BodyExclusion {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const REMEDY: &str = "write * or host/path, for example example.com/upload";
        let refuse = |reason: &str| Invalid::new("nwaf_body_exclude", text, reason, REMEDY);
        if text == "*" {
            return Ok(Self { host: HostPattern::Any, path: None });
        }
        let slash = text.find('/').ok_or_else(|| refuse("there is no path after the host"))?;
        let (host, path) = text.split_at(slash);
        if host.is_empty() {
            return Err(refuse("there is no host before the path"));
        }
        let path = path_as_served(path).map_err(refuse)?;
        Ok(Self { host: host.parse()?, path: Some(path) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LITERAL_BYTES;

    #[test]
    fn paths_are_held_as_nginx_serves_them() {
        let path = |text: &str| text.parse::<BodyExclusion>().expect(text).path.unwrap();
        assert_eq!(path("a.com/up%20load//x/../y"), b"/up load/y");
        assert_eq!(path(".a.com:8080/"), b"/");
        assert_eq!("*/feed".parse::<BodyExclusion>().unwrap().host, HostPattern::Any);
        for bad in ["", "a.com", "a..com/x", "a.com/x?y", "a.com/x#y", "/x", "a.com/\u{1}"] {
            assert!(bad.parse::<BodyExclusion>().is_err(), "{bad:?} was accepted");
        }
        let why = "/upload".parse::<BodyExclusion>().unwrap_err();
        assert_eq!(
            (why.value.as_str(), why.reason.as_str()),
            ("/upload", "there is no host before the path")
        );
        let long = format!("a.com/{}", "x".repeat(LITERAL_BYTES - 1));
        assert!(long.parse::<BodyExclusion>().is_ok());
        assert!(format!("{long}x").parse::<BodyExclusion>().is_err());
    }
}
