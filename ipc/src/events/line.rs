//! A blocked or observed request as one line of the attack journal.
//!
//! The line is a JSON object; `docs/journal.md` tells its fields. Every field has a limit
//! here, secrets are hidden, and what was cut is named in `truncated`.
//!
//! Invariants: any bytes in, one line of valid JSON out, with no line break but the last
//! byte; at most [`LINE_MAX`] bytes.

use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;
use std::ops::ControlFlow;

use policy::request::{HeaderClass, Headers};
use policy::{Action, BanKind, Reason, Source, Verdict, limits};

use super::json;
use super::mask::Masks;

/// Longest line, with its line break: what log shippers take as one message by default.
pub const LINE_MAX: usize = 16 << 10;
/// Bytes of a body that are shown, before they are escaped.
pub const BODY_MAX: usize = 2 << 10;
/// Bytes of each field, as they are in the line. Together they stay below [`LINE_MAX`].
pub mod limit {
    /// Path and query.
    pub const URI: usize = 2048;
    /// The query.
    pub const ARGS: usize = 2048;
    /// `User-Agent`
    pub const USER_AGENT: usize = 512;
    /// `Referer`
    pub const REFERER: usize = 1024;
    /// `Cookie`
    pub const COOKIE: usize = 1024;
    /// Names and values of all other headers together.
    pub const HEADERS: usize = 2560;
    /// Value of one other header.
    pub const HEADER: usize = 512;
    /// The body.
    pub const BODY: usize = 3072;
    /// Host, server.
    pub const HOST: usize = 256;
    /// Method, protocol, request id.
    pub const WORD: usize = 64;
}

/// Who blocked or observed, and when.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// What tells this worker from every other one of its host, ever: when it started, in
    /// milliseconds since 1970, and its process id.
    pub started_ms: u64,
    /// Process id.
    pub pid: u32,
    /// How many lines it has written before.
    pub number: u64,
}

/// Everything a line says.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// When the request was over, in milliseconds since 1970.
    pub time_ms: u64,
    /// nginx's `$request_id`.
    pub request_id: &'a [u8],
    /// What happened in the end.
    pub action: Action,
    /// What was found; nothing where a failure blocked.
    pub verdict: &'a Verdict,
    /// The number of what blocked or would have.
    pub block_type: u8,
    /// Why the request was blocked without being judged.
    pub error: Option<&'a str>,
    /// The client; none for a unix socket, and where several clients are meant.
    pub client: Option<IpAddr>,
    /// Its country.
    pub country: Option<[u8; 2]>,
    /// The host asked for.
    pub host: &'a [u8],
    /// Name of the server that answered.
    pub server: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The target as sent: path and query.
    pub target: &'a [u8],
    /// As in `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// The answer's status; 0 where none was sent.
    pub status: u16,
    /// How long nginx worked on it.
    pub request_time_ms: u64,
    /// All header lines.
    pub headers: Option<&'a dyn Headers>,
    /// What was judged of the body, and whether that is only its beginning.
    pub body: Option<(&'a [u8], bool)>,
    /// The policy that decided.
    pub session: u64,
    /// Its number.
    pub generation: Option<u64>,
    /// How many requests the line stands for.
    pub count: u64,
}

/// Writes lines; keeps its buffers.
#[derive(Debug, Default)]
pub struct Writer {
    masked: Vec<u8>,
    line: Vec<u8>,
}

impl Writer {
    /// The line of an entry, with its line break. Linear in what is shown.
    pub fn line(&mut self, masks: &Masks, origin: Origin, entry: &Entry<'_>) -> &[u8] {
        self.line.clear();
        let mut line =
            Line { out: &mut self.line, masked: &mut self.masked, masks, cut: Vec::new() };
        line.write(origin, entry);
        &self.line
    }
}

struct Line<'w> {
    out: &'w mut Vec<u8>,
    masked: &'w mut Vec<u8>,
    masks: &'w Masks,
    /// Fields that were cut.
    cut: Vec<&'static str>,
}

impl Line<'_> {
    fn write(&mut self, origin: Origin, entry: &Entry<'_>) {
        let Origin { started_ms, pid, number } = origin;
        self.show("{\"id\":\"", format_args!("{started_ms:x}-{pid}-{number}\""));
        self.show(",\"time\":\"", format_args!("{}\"", Utc(entry.time_ms)));
        self.plain("request_id", entry.request_id, limit::WORD);
        self.show(",\"action\":\"", format_args!("{}\"", entry.action.as_str()));
        self.show(",\"bt\":", entry.block_type);
        let deciding = entry.verdict.deciding;
        self.number("rule", deciding.map(|reason| reason.source.rule_id()));
        match deciding {
            Some(reason) => self.show(",\"zone\":\"", format_args!("{}\"", reason.zone.as_str())),
            None => self.raw(",\"zone\":null"),
        }
        self.show(",\"api\":", deciding.is_none_or(|reason| reason.api));
        self.reasons(entry);
        if let Some(error) = entry.error {
            self.plain("error", error.as_bytes(), limit::HOST);
        }
        match entry.client {
            Some(client) => self.show(",\"client\":\"", format_args!("{client}\"")),
            None => self.raw(",\"client\":null"),
        }
        match entry.country {
            Some(country) => self.plain("country", &country, limit::WORD),
            None => self.raw(",\"country\":null"),
        }
        self.plain("host", entry.host, limit::HOST);
        self.plain("server", entry.server, limit::HOST);
        self.plain("method", entry.method, limit::WORD);
        let query = entry.target.iter().position(|byte| *byte == b'?');
        let (path, args) = entry.target.split_at(query.unwrap_or(entry.target.len()));
        self.masked("uri", limit::URI, |masks, out, most| masks.path(out, path, most));
        match query {
            Some(_) => {
                self.masked("args", limit::ARGS, |masks, out, most| masks.args(out, args, most));
            }
            None => self.raw(",\"args\":null"),
        }
        self.plain("protocol", entry.protocol, limit::WORD);
        self.show(",\"status\":", entry.status);
        self.show(",\"request_time\":", entry.request_time_ms);
        if let Some(headers) = entry.headers {
            self.headers(headers);
        }
        if let Some((body, part)) = entry.body {
            let is_cut = part || body.len() > BODY_MAX;
            // A little more than is shown, so that a number at the end is known for what it is.
            self.masked("body", limit::BODY, |masks, out, most| {
                masks.body(out, body, is_cut, most.min(BODY_MAX))
            });
        }
        self.number("generation", entry.generation);
        self.show(",\"session\":", entry.session);
        self.show(",\"count\":", entry.count);
        self.raw(",\"truncated\":[");
        for (nth, name) in std::mem::take(&mut self.cut).iter().enumerate() {
            self.show(if nth > 0 { ",\"" } else { "\"" }, format_args!("{name}\""));
        }
        self.raw("]}\n");
    }

    fn reasons(&mut self, entry: &Entry<'_>) {
        let Verdict { deciding, reasons, .. } = entry.verdict;
        self.raw(",\"reasons\":[");
        // What decided is shown in the place of the last one where it was found after those kept.
        let missing = deciding.filter(|decided| !reasons.iter().any(|kept| kept == decided));
        let kept = limits::REASONS - usize::from(missing.is_some());
        for (nth, reason) in reasons.iter().take(kept).chain(missing.iter()).enumerate() {
            self.raw(if nth > 0 { "," } else { "" });
            self.reason(reason, deciding.as_ref() == Some(reason), entry.action);
        }
        // A line that sums up keeps only what decided.
        let found = reasons.found().max(u32::from(missing.is_some()));
        self.show("],\"reasons_found\":", found);
    }

    fn reason(&mut self, reason: &Reason, decides: bool, action: Action) {
        let observed = reason.observed || action == Action::Observe;
        self.show("{\"source\":\"", format_args!("{}\"", source_word(reason.source)));
        self.show(",\"rule\":", reason.source.rule_id());
        self.show(",\"zone\":\"", format_args!("{}\"", reason.zone.as_str()));
        self.show(",\"observed\":", observed);
        self.show(",\"api\":", reason.api);
        self.show(",\"deciding\":", decides);
        self.raw("}");
    }

    /// The three headers with fields of their own, and then the others.
    fn headers(&mut self, headers: &dyn Headers) {
        for (class, name, most) in [
            (HeaderClass::UserAgent, "user_agent", limit::USER_AGENT),
            (HeaderClass::Referer, "referer", limit::REFERER),
            (HeaderClass::Cookie, "cookie", limit::COOKIE),
        ] {
            let mut found = false;
            // Several cookie lines are followed by all of them joined; of others the first counts.
            self.masked.clear();
            let (masks, masked) = (self.masks, &mut *self.masked);
            let mut whole = true;
            headers.visit(&mut |line, value| {
                if HeaderClass::of(line) != class || (found && class != HeaderClass::Cookie) {
                    return ControlFlow::Continue(());
                }
                found = true;
                masked.clear();
                whole = match class {
                    HeaderClass::Cookie => masks.cookies(masked, value, most),
                    HeaderClass::Referer => masks.url(masked, value, most),
                    _ => masks.text(masked, value, most),
                };
                ControlFlow::Continue(())
            });
            self.show(",\"", format_args!("{name}\":"));
            if found {
                let shown = json::string(self.out, self.masked, most);
                self.note(name, whole && shown);
            } else {
                self.raw("null");
            }
        }
        self.others(headers);
    }

    fn others(&mut self, headers: &dyn Headers) {
        // Brackets, quotes and commas of one header.
        const FRAME: usize = 8;
        self.raw(",\"headers\":[");
        let (masks, masked) = (self.masks, &mut *self.masked);
        let out = &mut *self.out;
        let (start, end) = (out.len(), out.len() + limit::HEADERS);
        let mut whole = true;
        headers.visit(&mut |name, value| {
            if HeaderClass::of(name) != HeaderClass::Other {
                return ControlFlow::Continue(());
            }
            let room = end.saturating_sub(out.len() + FRAME);
            if room == 0 {
                whole = false;
                return ControlFlow::Break(());
            }
            out.extend_from_slice(if out.len() > start { b",[" } else { b"[" });
            let before = out.len();
            whole &= json::string(out, name, room.min(limit::HEADER));
            out.push(b',');
            let most = room.saturating_sub(out.len() - before).min(limit::HEADER);
            masked.clear();
            whole &= masks.header(masked, name, value, most);
            whole &= json::string(out, masked, most);
            out.push(b']');
            ControlFlow::Continue(())
        });
        self.raw("]");
        self.note("headers", whole);
    }

    fn plain(&mut self, name: &'static str, text: &[u8], most: usize) {
        self.show(",\"", format_args!("{name}\":"));
        let whole = json::string(self.out, text, most);
        self.note(name, whole);
    }

    fn masked(
        &mut self,
        name: &'static str,
        most: usize,
        mask: impl FnOnce(&Masks, &mut Vec<u8>, usize) -> bool,
    ) {
        self.masked.clear();
        let whole = mask(self.masks, self.masked, most);
        self.show(",\"", format_args!("{name}\":"));
        let shown = json::string(self.out, self.masked, most);
        self.note(name, whole && shown);
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        self.show(",\"", format_args!("{name}\":"));
        match value {
            Some(value) => json::number(self.out, value),
            None => self.raw("null"),
        }
    }

    fn note(&mut self, name: &'static str, whole: bool) {
        if !whole {
            self.cut.push(name);
        }
    }

    fn show(&mut self, before: &str, value: impl Display) {
        self.raw(before);
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// The word for what found something.
pub fn source_word(source: Source) -> &'static str {
    match source {
        Source::HostWhiteList => "host_white_list",
        Source::AddressWhiteList => "address_white_list",
        Source::Ban(BanKind::LaterAnalysis, _) => "ban_later_analysis",
        Source::Ban(BanKind::Limit, _) => "ban_limit",
        Source::Ban(BanKind::BruteForce, _) => "ban_brute_force",
        Source::Ban(BanKind::Flood, _) => "ban_flood",
        Source::Ban(BanKind::Ddos, _) => "ban_ddos",
        Source::BlockList => "block_list",
        Source::Rule(_) => "extended_rule",
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
struct Utc(u64);

impl Display for Utc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day is last.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = year + era * 400 + next;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1000
        )
    }
}

#[cfg(test)]
mod tests;
