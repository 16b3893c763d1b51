//! Attacks: what a node hands in, line by line as its journal has them, and how the API
//! hands them out.
//!
//! The decoder is strict about what it knows and lets be what it does not: a field of a
//! newer node is kept and shown, a known one of another type is refused. Nothing that a
//! client of the protected site sent breaks a line, moves a cursor or begins a formula:
//! [`Attack::text`] holds no control character, and [`csv`] escapes them.

pub mod csv;

use std::net::IpAddr;

use policy::Invalid;
use policy::address::canonical;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::v1::{Malformed, parse_body};

/// Attacks of one batch.
pub const BATCH_EVENTS: usize = 1_000;
/// Bytes of one batch: at the limit of events there is room for 4 KiB each, three times
/// what a usual line has.
pub const BATCH_BYTES: usize = 4 << 20;
/// Bytes of one line, without its end: the longest line of a journal.
pub const EVENT_BYTES: usize = 16 << 10;
/// Brackets within brackets of one line; a journal has three.
pub const EVENT_DEPTH: usize = 16;
/// Longest name of a node, in characters.
pub const NODE_CHARS: usize = 128;
/// Longest id of a line, in bytes.
const ID_BYTES: usize = 64;
/// Longest text of those that are searched for, in bytes: as the journal cuts them.
const HOST_BYTES: usize = 256;
const WORD_BYTES: usize = 64;
/// Requests one line may stand for: sums over many lines stay numbers.
const COUNT_MAX: u64 = u32::MAX as u64;
/// How far a node's clock may be ahead, in milliseconds. A clock that was set to local time
/// is wrong by 14 hours at most.
pub const AHEAD_MS: i64 = 86_400_000;
/// How long a line may have been under way, in milliseconds: a year.
pub const BEHIND_MS: i64 = 366 * 86_400_000;

/// One attack, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attack {
    /// The node's name for it.
    pub id: String,
    /// When the request ended, Unix milliseconds.
    pub at_ms: i64,
    /// What happened.
    pub action: AttackAction,
    /// What blocked, or would have.
    pub bt: u8,
    /// The deciding rule; 0 for lists and bans without one.
    pub rule: Option<u64>,
    /// Where the deciding reason was found.
    pub zone: Option<String>,
    /// The client.
    pub client: Option<IpAddr>,
    /// Its country, in upper case.
    pub country: Option<String>,
    /// The host asked for.
    pub host: String,
    /// nginx's `$request_id`.
    pub request_id: String,
    /// Requests the line stands for.
    pub count: u64,
    /// The whole line as JSON on one line, without control characters.
    pub text: String,
}

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttackAction {
    /// It was refused.
    Block,
    /// It passed and was written down.
    Observe,
}

impl AttackAction {
    /// The word in lines, queries and the database.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Observe => "observe",
        }
    }

    /// The action of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Block, Self::Observe].into_iter().find(|action| action.word() == word)
    }
}

/// A line of the journal: the fields this side knows. Further ones are kept in the text.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    id: String,
    time: String,
    request_id: String,
    action: AttackAction,
    bt: u8,
    rule: Option<u64>,
    zone: Option<String>,
    client: Option<IpAddr>,
    country: Option<String>,
    host: String,
    method: String,
    uri: String,
    args: Option<String>,
    status: u16,
    count: u64,
    user_agent: Option<String>,
    referer: Option<String>,
    // Never looked at, and of the right type all the same: whoever reads the answers may
    // rely on the journal's description.
    #[serde(default, rename = "api")]
    _api: bool,
    #[serde(default, rename = "reasons")]
    _reasons: Vec<Reason>,
    #[serde(default, rename = "reasons_found")]
    _reasons_found: u32,
    #[serde(default, rename = "error")]
    _error: Option<String>,
    #[serde(default, rename = "server")]
    _server: String,
    #[serde(default, rename = "protocol")]
    _protocol: String,
    #[serde(default, rename = "request_time")]
    _request_time: u64,
    #[serde(default, rename = "cookie")]
    _cookie: Option<String>,
    #[serde(default, rename = "headers")]
    _headers: Vec<(String, String)>,
    #[serde(default, rename = "body")]
    _body: Option<String>,
    #[serde(default, rename = "generation")]
    _generation: Option<u64>,
    #[serde(default, rename = "session")]
    _session: u64,
    #[serde(default, rename = "truncated")]
    _truncated: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    #[serde(rename = "source")]
    _source: String,
    #[serde(default, rename = "rule")]
    _rule: Option<u64>,
    #[serde(default, rename = "zone")]
    _zone: Option<String>,
    #[serde(default, rename = "observed")]
    _observed: bool,
    #[serde(default, rename = "api")]
    _api: bool,
    #[serde(default, rename = "deciding")]
    _deciding: bool,
}

/// A whole batch: one line of JSON an attack, empty lines between them allowed.
///
/// # Errors
/// Every line that is refused, once each, with a field that begins with `events[N]`: N
/// counts the lines that are not empty from 0, so that whoever sent them can drop those and
/// send the rest. See [`refused_index`].
pub fn parse_batch(body: &[u8], now_ms: i64) -> Result<Vec<Attack>, Vec<Invalid>> {
    let (mut attacks, mut refused) = (Vec::new(), Vec::new());
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (index, line) in lines.enumerate() {
        let place = format!("events[{index}]");
        if index >= BATCH_EVENTS {
            let reason = format!("a batch has at most {BATCH_EVENTS} events");
            refused.push(Invalid::new(place, "", reason, "send the rest in another batch"));
            break;
        }
        match Attack::parse(line, now_ms) {
            Ok(attack) => attacks.push(attack),
            Err(why) if why.field.is_empty() => refused.push(why.in_field(place)),
            Err(why) => {
                let field = format!("{place}.{}", why.field);
                refused.push(why.in_field(field));
            }
        }
    }
    if refused.is_empty() { Ok(attacks) } else { Err(refused) }
}

/// Which event of a batch a refusal is about.
pub fn refused_index(field: &str) -> Option<usize> {
    field.strip_prefix("events[")?.split_once(']')?.0.parse().ok()
}

/// The name of a node.
///
/// # Errors
/// It is empty, too long, or has control characters.
pub fn check_node(node: &str) -> Result<(), Invalid> {
    if !node.is_empty() && node.chars().count() <= NODE_CHARS && !node.chars().any(is_unsafe) {
        return Ok(());
    }
    let reason =
        format!("a name of a node has 1-{NODE_CHARS} characters, none of them a control character");
    Err(Invalid::new("node", node, reason, "give the host's name"))
}

impl Attack {
    /// One line.
    ///
    /// # Errors
    /// What is wrong with it; the field is empty where it is the line as a whole.
    pub fn parse(line: &[u8], now_ms: i64) -> Result<Self, Invalid> {
        let line = line.trim_ascii();
        let whole = |reason: String, remedy: &str| {
            Invalid::new("", &String::from_utf8_lossy(&line[..line.len().min(200)]), reason, remedy)
        };
        if line.len() > EVENT_BYTES {
            let reason = format!("a line has at most {EVENT_BYTES} bytes");
            return Err(whole(reason, "leave out its body and headers, or drop it"));
        }
        if depth(line) > EVENT_DEPTH {
            let reason = format!("there are more than {EVENT_DEPTH} brackets within brackets");
            return Err(whole(reason, "drop the line"));
        }
        let parsed: Line = parse_body(line).map_err(|why| match why {
            Malformed::Field(why) => why,
            Malformed::Json { column, reason, .. } => {
                whole(format!("not valid JSON: {reason} at column {column}"), "drop the line")
            }
        })?;
        let at_ms = at(&parsed.time, now_ms)?;
        let is_name = |id: &str| {
            let mut bytes = id.bytes();
            !id.is_empty()
                && id.len() <= ID_BYTES
                && bytes
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        };
        if !is_name(&parsed.id) {
            let reason = format!("an id has 1-{ID_BYTES} letters, digits, - _ . or :");
            return Err(Invalid::new("id", &parsed.id, reason, "give the journal's id"));
        }
        if !(1..=11).contains(&parsed.bt) {
            let reason = "a block type is 1-11";
            return Err(Invalid::new("bt", &parsed.bt.to_string(), reason, "give the journal's"));
        }
        if parsed.rule.is_some_and(|rule| i64::try_from(rule).is_err()) {
            let reason = format!("a rule's id is at most {}", i64::MAX);
            let rule = parsed.rule.unwrap_or_default().to_string();
            return Err(Invalid::new("rule", &rule, reason, "drop the line"));
        }
        if !(1..=COUNT_MAX).contains(&parsed.count) {
            let reason = format!("a line stands for 1-{COUNT_MAX} requests");
            let count = parsed.count.to_string();
            return Err(Invalid::new("count", &count, reason, "give the journal's count"));
        }
        let zone = parsed.zone.as_deref().unwrap_or_default();
        for (name, text, most) in [
            ("request_id", parsed.request_id.as_str(), WORD_BYTES),
            ("zone", zone, WORD_BYTES),
            ("host", &parsed.host, HOST_BYTES),
            ("method", &parsed.method, WORD_BYTES),
        ] {
            if text.len() > most || text.chars().any(is_unsafe) {
                let reason = format!("it has at most {most} bytes, none of a control character");
                return Err(Invalid::new(name, text, reason, "cut it, and replace them"));
            }
        }
        if let Some(code) = &parsed.country
            && !(code.len() == 2 && code.bytes().all(|b| b.is_ascii_alphanumeric()))
        {
            let reason = "a country is two letters";
            return Err(Invalid::new("country", code, reason, "give its ISO 3166-1 code, or null"));
        }
        // The parser has seen that it is UTF-8.
        let text = one_line(&String::from_utf8_lossy(line));
        Ok(Self {
            id: parsed.id,
            at_ms,
            action: parsed.action,
            bt: parsed.bt,
            rule: parsed.rule,
            zone: parsed.zone,
            client: parsed.client.map(canonical),
            country: parsed.country.map(|code| code.to_ascii_uppercase()),
            host: parsed.host,
            request_id: parsed.request_id,
            count: parsed.count,
            text,
        })
    }
}

/// Unix milliseconds of a line's time.
fn at(time: &str, now_ms: i64) -> Result<i64, Invalid> {
    let parsed = OffsetDateTime::parse(time, &Rfc3339).map_err(|_| {
        let remedy = "write it as 2026-11-22T14:00:00.123Z";
        Invalid::new("time", time, "not a time of RFC 3339", remedy)
    })?;
    let at_ms = i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    if at_ms > now_ms.saturating_add(AHEAD_MS) {
        let reason = "this is more than a day in the future";
        let remedy = "set the node's clock; send the line again when its time has come";
        return Err(Invalid::new("time", time, reason, remedy));
    }
    if at_ms < now_ms.saturating_sub(BEHIND_MS) || at_ms < 0 {
        let reason = "this is more than a year ago";
        return Err(Invalid::new("time", time, reason, "drop the line"));
    }
    Ok(at_ms)
}

/// Brackets within brackets, outside of texts. One pass, no recursion: what parses
/// afterwards may recurse.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Characters that move a cursor, end a line somewhere, or turn the direction of what
/// follows.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Valid JSON on one line, with the same meaning. In valid JSON a control character is
/// whitespace between values, and any other unsafe one is inside of a text.
fn one_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if !is_unsafe(character) {
            out.push(character);
        } else if character >= '\u{7f}' {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    out
}

/// One attack as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttackView {
    /// Identity within a WAF id: time and number, as `1763820000123.42`.
    pub id: String,
    /// The node that handed it in.
    pub node: String,
    /// When it was handed in, RFC 3339.
    pub received: String,
    /// The line of the node's journal.
    #[schema(value_type = Object)]
    pub event: Box<RawValue>,
}

#[cfg(test)]
mod tests;
