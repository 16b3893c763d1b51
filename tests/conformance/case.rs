//! What a case may hold, and how it becomes a policy and requests.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::{Action, Host, Policy, Request, Rule, RuleText, Settings, Source, Verdict, list};
use serde::Deserialize;

/// One policy and what it must say about some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    name: String,
    /// Where the behaviour is written, if not in the file's head.
    source: Option<String>,
    /// Whether a live nginx can be asked (default). Not where a request needs
    /// what a client cannot send.
    #[serde(default = "yes")]
    pub live: bool,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    block_list: Vec<String>,
    #[serde(default)]
    rule: Vec<RuleCase>,
    /// The requests in the order they are sent.
    pub request: Vec<Asked>,
}

/// A rule; `base64(text)` stands for its encoded form, as in the specification.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleCase {
    id: u64,
    ip: Option<String>,
    domain: Option<String>,
    country: Option<String>,
    url: Option<String>,
    args: Option<String>,
    body: Option<String>,
    cookie: Option<String>,
    ua: Option<String>,
    referer: Option<String>,
    #[serde(default)]
    other_headers: Vec<String>,
    #[serde(default)]
    no_cookie: bool,
    #[serde(default)]
    lm: bool,
    #[serde(default = "yes")]
    active: bool,
}

/// A request and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The client; none is a unix socket.
    pub address: Option<IpAddr>,
    /// The `Host` header as sent; empty is none.
    #[serde(default = "default_host")]
    pub host: String,
    /// Path and query as sent.
    #[serde(default = "default_target")]
    pub target: String,
    /// Further headers.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    body: Option<String>,
    country: Option<String>,
    action: String,
    block_type: Option<u8>,
    rule_id: Option<u64>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    without: Vec<String>,
}

/// What must be true of a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `$nwaf_action`
    pub action: &'a str,
    /// `$nwaf_block_type`, where the case names it.
    pub block_type: Option<u8>,
    /// The deciding rule, where the case names it.
    pub rule: Option<u64>,
    /// All reasons, where the case names them.
    pub reasons: &'a [String],
    /// Reasons that must not be there.
    pub without: &'a [String],
}

fn yes() -> bool {
    true
}

fn default_host() -> String {
    "example.com".into()
}

fn default_target() -> String {
    "/".into()
}

/// Every case of every file.
pub fn all() -> Vec<Case> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        case: Vec<Case>,
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/cases");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let file: File =
                toml::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            file.case
        })
        .collect()
}

/// Replaces every `base64(text)` by the encoded text.
fn encode(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("base64(") {
        let (before, inner) = rest.split_at(start);
        let inner = &inner["base64(".len()..];
        let end = inner.find(')').expect("base64( without )");
        out.push_str(before);
        out.push_str(&STANDARD.encode(&inner[..end]));
        rest = &inner[end + 1..];
    }
    out + rest
}

impl RuleCase {
    fn rule(&self) -> Rule {
        let field = |text: &Option<String>| text.as_deref().map(encode);
        let text = RuleText {
            ip: self.ip.clone(),
            domain: field(&self.domain),
            country: field(&self.country),
            url: field(&self.url),
            args: field(&self.args),
            body: field(&self.body),
            cookie: field(&self.cookie),
            ua: field(&self.ua),
            referer: field(&self.referer),
            other_headers: self.other_headers.iter().map(|text| encode(text)).collect(),
            no_cookie: self.no_cookie,
            lm: self.lm,
            active: self.active,
            ..RuleText::default()
        };
        Rule::parse(self.id, &text).unwrap_or_else(|why| panic!("{self:?}: {why:?}"))
    }
}

impl Case {
    /// The policy, as syncd would hand it to the compiler.
    pub fn policy(&self) -> Policy {
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let entries = self.block_list.iter().map(String::as_str);
        let mut rules: Vec<_> = self.rule.iter().map(RuleCase::rule).collect();
        rules.sort_by_key(|rule| rule.id);
        Policy {
            settings: Settings::parse(settings).unwrap_or_else(|why| panic!("{self}: {why:?}")),
            block_list: list::parse_each("bl", entries)
                .unwrap_or_else(|why| panic!("{self}: {why:?}")),
            rules,
        }
    }
}

impl Asked {
    /// Calls `ask` with the request as the module would describe it.
    pub fn with_request(&self, ask: impl FnOnce(&Request<'_>) -> Verdict) -> Verdict {
        let host = Host::normalise(self.host.as_bytes());
        // nginx hands the module what follows the host of an absolute target.
        let target = self.target.strip_prefix("http://example.com").unwrap_or(&self.target);
        let (url, args) = Request::split_target(target.as_bytes());
        let mut headers = self.headers.clone();
        if !self.host.is_empty() {
            headers.insert(0, ("Host".into(), self.host.clone()));
        }
        ask(&Request {
            address: self.address,
            host: Host::normalised(&host),
            url,
            args,
            headers: &headers,
            body: self.body.as_ref().map(|body| body.as_bytes()),
            country: self
                .country
                .as_ref()
                .map(|code| code.as_bytes().try_into().expect("two letters")),
        })
    }

    /// What must be true of the verdict.
    pub fn expected(&self) -> Expected<'_> {
        Expected {
            action: &self.action,
            block_type: self.block_type,
            rule: self.rule_id,
            reasons: &self.reasons,
            without: &self.without,
        }
    }
}

impl Expected<'_> {
    /// Says what differs.
    pub fn holds_for(&self, verdict: &Verdict) -> Result<(), String> {
        let names: Vec<_> = verdict.reasons.iter().map(|reason| name(reason.source)).collect();
        self.decides(verdict.action, verdict.block_type() as u8, verdict.rule())?;
        if !self.reasons.is_empty() && self.reasons != names {
            return Err(format!("the reasons are {names:?} and should be {:?}", self.reasons));
        }
        match self.without.iter().find(|unwanted| names.contains(unwanted)) {
            Some(unwanted) => Err(format!("{unwanted} is among the reasons {names:?}")),
            None => Ok(()),
        }
    }

    /// The part of [`Expected::holds_for`] that can be seen from outside nginx.
    pub fn decides(&self, action: Action, block_type: u8, rule: Option<u64>) -> Result<(), String> {
        let got = (action.as_str(), block_type, rule);
        let wanted = (self.action, self.block_type.unwrap_or(block_type), self.rule.or(rule));
        if got == wanted {
            Ok(())
        } else {
            Err(format!("(action, block type, rule) is {got:?} and should be {wanted:?}"))
        }
    }
}

fn name(source: Source) -> String {
    match source {
        Source::HostWhiteList => "host_wl".into(),
        Source::AddressWhiteList => "ip_wl".into(),
        Source::BlockList => "block_list".into(),
        Source::Rule(id) => format!("rule {id}"),
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, " ({source})"))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.map_or("nobody".into(), |address| address.to_string());
        write!(f, "{address} asks {:?} for {}", self.host, self.target)?;
        if self.headers.is_empty() { Ok(()) } else { write!(f, " with {:?}", self.headers) }
    }
}
