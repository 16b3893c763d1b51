//! What a case may hold, and how it becomes a policy and requests.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
use policy::encoding::Decoder;
use policy::{
    Action, AddressEntry, Ban, BanKind, Host, HostLists, Policy, Reason, Request, Rule, RuleText,
    Settings, Source, Verdict, list,
};
use serde::Deserialize;

/// The default of `nwaf_body_limit`.
const BODY_LIMIT: usize = 128 << 10;

/// One policy and what it must say about some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    name: String,
    /// Where the behaviour is written, if not in the file's head.
    pub source: Option<String>,
    /// Whether a live nginx can be asked (default). Not where a request needs
    /// what a client cannot send.
    #[serde(default = "yes")]
    pub live: bool,
    /// Settings by name.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Entries of the block list.
    #[serde(default)]
    pub block_list: Vec<String>,
    /// Bans in force, in the order of the file.
    #[serde(default)]
    pub ban: Vec<BanCase>,
    /// Rules in any order.
    #[serde(default)]
    pub rule: Vec<RuleCase>,
    /// The requests in the order they are sent.
    pub request: Vec<Asked>,
}

/// A ban; without `until` it holds for ever.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanCase {
    /// As an entry of an address list: `[domain=<pattern> ]<addresses>`.
    pub entry: String,
    block_type: u8,
    #[serde(default)]
    rule: u64,
    until: Option<u64>,
}

/// A rule; `base64(text)` stands for its encoded form, as in the specification.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleCase {
    id: u64,
    /// Plain addresses.
    pub ip: Option<String>,
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
    api: bool,
    #[serde(default)]
    noban: bool,
    #[serde(default = "yes")]
    active: bool,
}

/// A request and what is expected of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// When it comes, in seconds since 1970. Such a request is not sent to a live nginx.
    pub time: Option<u64>,
    /// The method as sent.
    #[serde(default = "default_method")]
    pub method: String,
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
    /// The part of the body that was read.
    pub body: Option<String>,
    /// What is done to it before it is sent, in this order: `gzip`, `zlib` or `deflate`, or a
    /// number, the bytes of it that are sent. What the header says is up to `headers`.
    #[serde(default)]
    pub packed: Vec<toml::Value>,
    /// The client's country.
    pub country: Option<String>,
    /// What happens: `pass`, `bypass`, `observe` or `block`.
    pub action: String,
    /// The number of what decided.
    pub block_type: Option<u8>,
    /// The rule that decided.
    pub rule_id: Option<u64>,
    /// Everything that was found, in this order; not looked at where it is not given.
    pub reasons: Option<Vec<String>>,
    /// What must not be found.
    #[serde(default)]
    pub without: Vec<String>,
    /// Sources whose hits are only observed.
    pub observed: Option<Vec<String>>,
    /// Sources whose hits are reported to the API.
    pub reported: Option<Vec<String>>,
    /// The entry of `nwaf_limit` that counts for the host; "none" is none.
    pub limit: Option<String>,
    /// Whether the body may be read.
    pub reads_body: Option<bool>,
    /// The host lists that hold for the host, by their setting.
    pub host_lists: Option<Vec<String>>,
}

/// What an engine says about a request.
#[derive(Debug)]
pub struct Answer {
    /// What happens to it.
    pub verdict: Verdict,
    /// The entry of `nwaf_limit` that counts: rate, window and ban in seconds.
    pub limit: Option<(u32, u32, u32)>,
    /// Whether its body may be read.
    pub reads_body: bool,
    /// The host lists that hold.
    pub host_lists: HostLists,
}

fn yes() -> bool {
    true
}

fn default_method() -> String {
    "GET".into()
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
            api: self.api,
            noban: self.noban,
            active: self.active,
        };
        Rule::parse(self.id, &text).unwrap_or_else(|why| panic!("{self:?}: {why:?}"))
    }
}

impl Case {
    /// The bans beside the policy.
    pub fn bans(&self) -> Vec<Ban> {
        let ban = |ban: &BanCase| {
            let entry: AddressEntry =
                ban.entry.parse().unwrap_or_else(|why| panic!("{self}: {why:?}"));
            let kind = BanKind::from_number(ban.block_type);
            Ban {
                range: entry.range,
                domain: entry.domain,
                kind: kind
                    .unwrap_or_else(|| panic!("{self}: no ban has block type {}", ban.block_type)),
                rule: ban.rule,
                until: ban.until.unwrap_or(u64::MAX),
            }
        };
        self.ban.iter().map(ban).collect()
    }

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
            ..Policy::default()
        }
    }
}

impl Asked {
    /// Calls `ask` with the request as the module would describe it.
    pub fn with_request<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let host = Host::normalise(self.host.as_bytes());
        // nginx hands the module what follows the host of an absolute target.
        let target = self.target.strip_prefix("http://example.com").unwrap_or(&self.target);
        let mut headers = self.headers.clone();
        if !self.host.is_empty() {
            headers.insert(0, ("Host".into(), self.host.clone()));
        }
        let body = self.sent_body();
        let mut decoder = Decoder::default();
        let decoded = decoder.decode(&headers, body.as_deref().unwrap_or_default(), BODY_LIMIT);
        ask(&Request {
            time: self.time.unwrap_or(0),
            method: self.method.as_bytes(),
            address: self.address,
            body: body.as_deref(),
            decoded_body: decoded.text,
            country: self
                .country
                .as_ref()
                .map(|code| code.as_bytes().try_into().expect("two letters")),
            ..Request::new(Host::normalised(&host), target.as_bytes(), &headers)
        })
    }

    /// The body as it is sent.
    pub fn sent_body(&self) -> Option<Vec<u8>> {
        let packed = |body: Vec<u8>, step: &toml::Value| {
            let level = Compression::default();
            let mut out = Vec::new();
            let read = match (step.as_str(), step.as_integer()) {
                (Some("gzip"), _) => GzEncoder::new(&body[..], level).read_to_end(&mut out),
                (Some("zlib"), _) => ZlibEncoder::new(&body[..], level).read_to_end(&mut out),
                (Some("deflate"), _) => DeflateEncoder::new(&body[..], level).read_to_end(&mut out),
                (_, Some(length)) => (&body[..length as usize]).read_to_end(&mut out),
                _ => panic!("{self}: nothing packs as {step}"),
            };
            read.expect("a slice is read");
            out
        };
        let body = self.body.as_ref()?.clone().into_bytes();
        Some(self.packed.iter().fold(body, packed))
    }

    /// Whether a client can send it: its time is nobody's to choose.
    pub fn can_be_sent(&self) -> bool {
        self.time.is_none()
    }

    /// The client that sends it: where a request does not name one, one of its country,
    /// or one that no case names.
    pub fn client(&self) -> IpAddr {
        let of_country = |code: &String| match code.as_bytes() {
            [a, b] => IpAddr::from([198, 18, *a, *b]),
            _ => panic!("{code:?} is not two letters"),
        };
        self.address
            .or_else(|| self.country.as_ref().map(of_country))
            .unwrap_or(IpAddr::from([198, 51, 100, 99]))
    }

    /// Says what of an answer is not as expected.
    pub fn check(&self, answer: &Answer) -> Result<(), String> {
        let Answer { verdict, limit, reads_body, host_lists } = answer;
        self.decides(verdict.action, verdict.block_type() as u8, verdict.rule())?;
        let names = |wanted: fn(&Reason) -> bool| -> Vec<_> {
            verdict.reasons.iter().filter(|r| wanted(r)).map(|r| name(r.source)).collect()
        };
        let reasons = names(|_| true);
        let as_expected = |what: &str, expected: &[String], got: Vec<String>| {
            if *expected == got {
                Ok(())
            } else {
                Err(format!("{what} is {got:?} and should be {expected:?}"))
            }
        };
        if let Some(expected) = &self.reasons {
            as_expected("the reasons", expected, reasons.clone())?;
        }
        if let Some(expected) = &self.observed {
            as_expected("what is observed", expected, names(|reason| reason.observed))?;
        }
        if let Some(expected) = &self.reported {
            as_expected("what is reported", expected, names(|reason| reason.api))?;
        }
        if let Some(expected) = &self.host_lists {
            let keys = host_lists.keys().map(|key| key.to_string()).collect();
            as_expected("the host lists", expected, keys)?;
        }
        if let Some(expected) = &self.limit {
            let limit = limit.map_or("none".into(), |(rate, window, block_time)| {
                let unit = if window == 1 { "r/s" } else { "r/m" };
                format!("rate={rate}{unit} block_time={block_time}")
            });
            as_expected("the limit", std::slice::from_ref(expected), vec![limit])?;
        }
        if self.reads_body.is_some_and(|expected| expected != *reads_body) {
            return Err(format!("whether the body may be read is {reads_body}"));
        }
        match self.without.iter().find(|unwanted| reasons.contains(unwanted)) {
            Some(unwanted) => Err(format!("{unwanted} is among the reasons {reasons:?}")),
            None => Ok(()),
        }
    }

    /// The part of [`Asked::check`] that can be seen from outside nginx.
    pub fn decides(&self, action: Action, block_type: u8, rule: Option<u64>) -> Result<(), String> {
        let got = (action.as_str(), block_type, rule);
        let wanted =
            (self.action.as_str(), self.block_type.unwrap_or(block_type), self.rule_id.or(rule));
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
        Source::Ban(kind, _) => format!("ban {}", kind as u8),
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
        write!(f, "{address} asks {:?} to {} {}", self.host, self.method, self.target)?;
        if self.headers.is_empty() { Ok(()) } else { write!(f, " with {:?}", self.headers) }
    }
}
