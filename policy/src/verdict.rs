//! Verdicts: what happens to a request, and why.
//!
//! The order of decisions (design of the product, "Verdict order"):
//! host white list and address white list end the analysis (bypass); then the
//! first *blocking* reason of bans, block list and extended rules decides. A stage
//! that blocked ends the analysis after itself, so that a listed address costs
//! one lookup. Observation (passive lists, rules with `lm`) records and never
//! blocks, and lets the analysis go on.

use std::fmt;

use crate::BanKind;
use crate::limits::REASONS;

/// What happens to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Action {
    /// Nothing was found.
    #[default]
    Pass = 0,
    /// White-listed: not analysed, not recorded.
    Bypass = 1,
    /// Something was found and recorded; the request goes on.
    Observe = 2,
    /// Refused.
    Block = 3,
}

impl Action {
    /// The word users see in `$nwaf_action`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Bypass => "bypass",
            Self::Observe => "observe",
            Self::Block => "block",
        }
    }
}

/// The number of the specification's `BT` for what decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
#[repr(u8)]
pub enum BlockType {
    /// Not blocked.
    #[default]
    None = 0,
    /// A ban by the later analysis.
    LaterAnalysis = 4,
    /// An extended rule.
    ExtendedRule = 5,
    /// A ban by `nwaf_limit`.
    LimitBan = 6,
    /// A ban for brute force.
    BruteForce = 7,
    /// The block list.
    BlockList = 8,
    /// A ban for flooding.
    Flood = 9,
    /// A ban for DDoS.
    Ddos = 10,
    /// An internal error, with `nwaf_on_error block`.
    InternalError = 11,
}

impl BlockType {
    /// Everything that blocks, in the order of the numbers.
    pub const BLOCKING: [Self; 8] = [
        Self::LaterAnalysis,
        Self::ExtendedRule,
        Self::LimitBan,
        Self::BruteForce,
        Self::BlockList,
        Self::Flood,
        Self::Ddos,
        Self::InternalError,
    ];

    /// The word that metrics use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LaterAnalysis => "later_analysis",
            Self::ExtendedRule => "extended_rule",
            Self::LimitBan => "limit_ban",
            Self::BruteForce => "brute_force",
            Self::BlockList => "block_list",
            Self::Flood => "flood",
            Self::Ddos => "ddos",
            Self::InternalError => "internal_error",
        }
    }
}

/// The part of the request a hit was found in; the words of the error log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Zone {
    /// The client's address.
    #[default]
    Ip = 0,
    /// The host.
    Domain = 1,
    /// The client's country.
    Country = 2,
    /// The path.
    Url = 3,
    /// The query.
    Args = 4,
    /// The body.
    Body = 5,
    /// Any header without a zone of its own.
    Headers = 6,
    /// `Cookie`
    Cookie = 7,
    /// `User-Agent`
    UserAgent = 8,
    /// `Referer`
    Referer = 9,
}

impl Zone {
    /// The word users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "IP",
            Self::Domain => "DOMAIN",
            Self::Country => "COUNTRY",
            Self::Url => "URL",
            Self::Args => "ARGS",
            Self::Body => "BODY",
            Self::Headers => "HEADERS",
            Self::Cookie => "COOKIE",
            Self::UserAgent => "UA",
            Self::Referer => "REFERER",
        }
    }

    /// The zone with this number in the snapshot.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Ip,
            1 => Self::Domain,
            2 => Self::Country,
            3 => Self::Url,
            4 => Self::Args,
            5 => Self::Body,
            6 => Self::Headers,
            7 => Self::Cookie,
            8 => Self::UserAgent,
            9 => Self::Referer,
            _ => return None,
        })
    }
}

/// What found something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `nwaf_host_wl`
    HostWhiteList,
    /// `nwaf_ip_wl`
    AddressWhiteList,
    /// A ban, and the rule that led to it (0 for none).
    Ban(BanKind, u64),
    /// An entry of the block list.
    BlockList,
    /// The extended rule with this id.
    Rule(u64),
}

impl Source {
    /// The rule id users see; 0 for lists.
    pub const fn rule_id(self) -> u64 {
        match self {
            Self::Rule(id) | Self::Ban(_, id) => id,
            _ => 0,
        }
    }

    /// The block type of a block by this source.
    pub const fn block_type(self) -> BlockType {
        match self {
            Self::HostWhiteList | Self::AddressWhiteList => BlockType::None,
            Self::Ban(kind, _) => kind.block_type(),
            Self::BlockList => BlockType::BlockList,
            Self::Rule(_) => BlockType::ExtendedRule,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostWhiteList => f.write_str("nwaf_host_wl"),
            Self::AddressWhiteList => f.write_str("nwaf_ip_wl"),
            Self::Ban(..) => f.write_str("a ban"),
            Self::BlockList => f.write_str("the block list"),
            Self::Rule(id) => write!(f, "rule {id}"),
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// What found it.
    pub source: Source,
    /// Where it was found.
    pub zone: Zone,
    /// Whether it is only observed.
    pub observed: bool,
    /// Whether the hit is reported to the API.
    pub api: bool,
    /// Whether a block by it counts for `nwaf_limit`: hits of rules without `noban`.
    /// An address that is shut out already is not counted once more.
    pub counts: bool,
}

/// Up to eight reasons in the order found, without allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons {
    items: [Option<Reason>; REASONS],
    /// How many were found, kept or not.
    found: u32,
}

impl Reasons {
    /// The kept reasons in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &Reason> {
        self.items.iter().flatten()
    }

    /// How many reasons were found; above [`REASONS`] the rest was not kept.
    pub fn found(&self) -> u32 {
        self.found
    }

    fn push(&mut self, reason: Reason) {
        if let Some(slot) = self.items.get_mut(self.found as usize) {
            *slot = Some(reason);
        }
        self.found = self.found.saturating_add(1);
    }
}

/// The outcome for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What happens.
    pub action: Action,
    /// The reason that decided: the white list, the first block, else the first observation.
    pub deciding: Option<Reason>,
    /// Everything that was found.
    pub reasons: Reasons,
    /// Whether anything that blocks counts for `nwaf_limit`.
    pub counts: bool,
}

impl Verdict {
    /// Nothing found.
    pub fn pass() -> Self {
        Self::default()
    }

    /// White-listed by `source`.
    pub fn bypass(source: Source) -> Self {
        let zone = if source == Source::HostWhiteList { Zone::Domain } else { Zone::Ip };
        let reason = Reason { source, zone, observed: false, api: false, counts: false };
        let mut reasons = Reasons::default();
        reasons.push(reason);
        Self { action: Action::Bypass, deciding: Some(reason), reasons, counts: false }
    }

    /// The block type: of the block, or of what would have blocked.
    pub fn block_type(&self) -> BlockType {
        self.deciding.map_or(BlockType::None, |reason| reason.source.block_type())
    }

    /// The id of the deciding rule, where a rule decided or led to the deciding ban.
    pub fn rule(&self) -> Option<u64> {
        match self.deciding?.source.rule_id() {
            0 => None,
            id => Some(id),
        }
    }

    /// The verdict of a request that led to a ban by `nwaf_limit`, or was overtaken by
    /// one: what was found stays recorded, and the ban decides.
    #[must_use]
    pub fn banned(mut self, rule: u64) -> Self {
        let source = Source::Ban(BanKind::Limit, rule);
        let reason = Reason { source, zone: Zone::Ip, observed: false, api: true, counts: false };
        self.reasons.push(reason);
        self.action = Action::Block;
        self.deciding = Some(reason);
        self
    }

    /// The verdict of a place that records and never blocks (`nwaf passive`).
    #[must_use]
    pub fn observed(mut self) -> Self {
        if self.action == Action::Block {
            self.action = Action::Observe;
        }
        self
    }
}

/// Collects hits in the order of the stages and applies observation.
#[derive(Debug, Default)]
pub struct Decision {
    observe_all: bool,
    verdict: Verdict,
}

impl Decision {
    /// Starts a decision; `observe_all` where a passive list holds.
    pub fn new(observe_all: bool) -> Self {
        Self { observe_all, verdict: Verdict::pass() }
    }

    /// Records a hit. `observed` is the hit's own passive flag.
    pub fn hit(&mut self, reason: Reason) {
        let observed = reason.observed || self.observe_all;
        let reason = Reason { observed, ..reason };
        self.verdict.reasons.push(reason);
        self.verdict.counts |= reason.counts && !observed;
        if !observed && self.verdict.action != Action::Block {
            self.verdict.action = Action::Block;
            self.verdict.deciding = Some(reason);
        } else if self.verdict.deciding.is_none() {
            self.verdict.action = Action::Observe;
            self.verdict.deciding = Some(reason);
        }
    }

    /// Records a ban.
    pub fn ban(&mut self, kind: BanKind, rule: u64, observed: bool) {
        let source = Source::Ban(kind, rule);
        self.hit(Reason { source, zone: Zone::Ip, observed, api: true, counts: false });
    }

    /// Records that the block list names the address.
    pub fn block_listed(&mut self, api: bool) {
        let source = Source::BlockList;
        self.hit(Reason { source, zone: Zone::Ip, observed: false, api, counts: false });
    }

    /// Whether a stage has blocked, so that later stages need not run.
    pub fn is_blocked(&self) -> bool {
        self.verdict.action == Action::Block
    }

    /// The verdict.
    pub fn finish(self) -> Verdict {
        self.verdict
    }
}
