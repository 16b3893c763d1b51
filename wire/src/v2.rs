//! Bundles: a whole policy with its place in history, deltas between them, and what nodes
//! report back.
//!
//! Order is the pair (session, generation), compared in this order; never a
//! clock. The session is larger after every event that could make generations
//! repeat (restore, re-initialisation), so a larger pair is always newer.

pub mod attack;
pub mod ban;
mod delta;
mod diff;
mod exclusion;
mod import;
mod tally;

use std::collections::BTreeMap;

use policy::limits::{EXCLUSIONS, RULES};
use policy::{Exclusion, Invalid, Policy, Rule, RuleText, Settings, list};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use delta::{
    Changes, DELTA_BYTES, Delta, DeltaError, ExclusionsChange, ListChange, ObjectsChange,
    RulesChange,
};
pub use diff::{DIFF_EXAMPLES, Diff, Example, PartDiff, Switch};
pub use exclusion::BundleExclusion;
pub use import::{
    BadLines, ExclusionExport, FileError, Imported, ImportedElement, ImportedElements,
    ImportedList, ImportedMlc, ImportedSetting, LINES_NAMED, MlcExport, Part, Places, PolicyExport,
    PolicyListExport, SettingExport,
};
pub use tally::Tally;

/// Largest bundle that is accepted, in bytes of JSON.
pub const BUNDLE_BYTES: usize = 256 << 20;
/// Longest time a server holds a long poll, in seconds.
pub const WAIT_SECONDS_MAX: u64 = 60;

/// The place of a policy in history.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
)]
pub struct Revision {
    /// Which history; larger is newer.
    pub session: u64,
    /// Which change of that history; grows by one with every committed change.
    pub generation: u64,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.session, self.generation)
    }
}

impl std::str::FromStr for Revision {
    type Err = NoRevision;

    fn from_str(text: &str) -> Result<Self, NoRevision> {
        let (session, generation) = text.split_once('.').ok_or(NoRevision)?;
        // `u64` would take a sign.
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain).ok_or(NoRevision)
        };
        Ok(Self { session: number(session)?, generation: number(generation)? })
    }
}

/// A text that names no revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not SESSION.GENERATION, two whole numbers")]
pub struct NoRevision;

/// A rule with its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleRule {
    /// Identity, unique for ever within a session; never 0.
    pub id: u64,
    /// Expression over addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// Expression over base64 host patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Expression over base64 country codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ua: Option<String>,
    /// Expression over base64 texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referer: Option<String>,
    /// Conditions `base64(name):base64(value)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_headers: Vec<String>,
    /// The request must have no cookie.
    pub no_cookie: bool,
    /// Observe, never block.
    pub lm: bool,
    /// Report hits to the API.
    pub api: bool,
    /// Hits do not count for `nwaf_limit`.
    pub noban: bool,
    /// Whether the rule takes part at all.
    pub active: bool,
}

impl BundleRule {
    /// Joins an identity and a text.
    pub fn new(id: u64, text: RuleText) -> Self {
        let RuleText {
            ip,
            domain,
            country,
            url,
            args,
            body,
            cookie,
            ua,
            referer,
            other_headers,
            no_cookie,
            lm,
            api,
            noban,
            active,
        } = text;
        Self {
            id,
            ip,
            domain,
            country,
            url,
            args,
            body,
            cookie,
            ua,
            referer,
            other_headers,
            no_cookie,
            lm,
            api,
            noban,
            active,
        }
    }

    /// The rule's text without its identity.
    pub fn into_text(self) -> RuleText {
        let Self {
            id: _,
            ip,
            domain,
            country,
            url,
            args,
            body,
            cookie,
            ua,
            referer,
            other_headers,
            no_cookie,
            lm,
            api,
            noban,
            active,
        } = self;
        RuleText {
            ip,
            domain,
            country,
            url,
            args,
            body,
            cookie,
            ua,
            referer,
            other_headers,
            no_cookie,
            lm,
            api,
            noban,
            active,
        }
    }
}

/// What a bundle says: everything that is active, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleContent {
    /// Active settings by name.
    pub settings: BTreeMap<String, String>,
    /// Entries of the block list, none twice; empty where the list is not active.
    pub block_list: Vec<String>,
    /// Active rules in the order of their ids.
    pub rules: Vec<BundleRule>,
    /// Active exclusions in the order of their ids.
    #[serde(default)]
    pub exclusions: Vec<BundleExclusion>,
}

/// A whole policy as the API hands it to nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Its place in history.
    pub revision: Revision,
    /// The last generation in which somebody asked for a drastic change on
    /// purpose (a list emptied, a policy that blocks everybody). A node may
    /// accept a drastic bundle only where this is newer than what it runs.
    pub forced_at: u64,
    /// How many settings, entries, rules and exclusions the content has.
    pub count: u64,
    /// Digest over the content's elements, in hexadecimal.
    pub digest: String,
    /// The policy.
    pub content: BundleContent,
}

/// Why a bundle cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The number of elements differs from the announced one.
    #[error("the bundle announces {announced} elements and has {found}")]
    Count {
        /// What the bundle says.
        announced: u64,
        /// What it holds.
        found: u64,
    },
    /// The content is not what was digested.
    #[error("the digest of the bundle's content does not match")]
    Digest,
    /// Identities are not unique and ascending.
    #[error("rule {0} is out of order")]
    RuleOrder(u64),
    /// As [`BundleError::RuleOrder`], of exclusions.
    #[error("exclusion {0} is out of order")]
    ExclusionOrder(u64),
    /// More rules than [`RULES`].
    #[error("the bundle has more than {RULES} rules")]
    TooManyRules,
    /// More exclusions than [`EXCLUSIONS`].
    #[error("the bundle has more than {EXCLUSIONS} exclusions")]
    TooManyExclusions,
    /// Values without meaning; `rule N` or `exclusion N` precedes the field of one.
    #[error("{} value(s) refused, first: {}", .0.len(), .0[0])]
    Invalid(Vec<Invalid>),
}

impl BundleContent {
    /// Number of settings, entries, rules and exclusions.
    pub fn count(&self) -> u64 {
        let lists = self.block_list.len() + self.rules.len() + self.exclusions.len();
        (self.settings.len() + lists) as u64
    }

    /// The digest of [`Tally`], in hexadecimal. Takes as long as the content is large.
    pub fn digest(&self) -> String {
        Tally::of(self).digest()
    }

    /// Understands the content.
    ///
    /// # Errors
    /// [`BundleError::Invalid`] with every refused value; order and number of rules and
    /// exclusions.
    pub fn to_policy(&self) -> Result<Policy, BundleError> {
        if self.rules.len() > RULES {
            return Err(BundleError::TooManyRules);
        }
        if self.exclusions.len() > EXCLUSIONS {
            return Err(BundleError::TooManyExclusions);
        }
        let mut refused = Vec::new();
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = Settings::parse(settings).map_err(|why| refused.extend(why)).ok();
        let entries = self.block_list.iter().map(String::as_str);
        let block_list = list::parse_each("bl", entries).map_err(|why| refused.extend(why)).ok();
        let mut rules = Vec::with_capacity(self.rules.len());
        let mut last = 0;
        for rule in &self.rules {
            if rule.id <= last {
                return Err(BundleError::RuleOrder(rule.id));
            }
            last = rule.id;
            match Rule::parse(rule.id, &rule.clone().into_text()) {
                Ok(rule) => rules.push(rule),
                Err(why) => refused.extend(of_element("rule", rule.id, why)),
            }
        }
        let mut exclusions = Vec::with_capacity(self.exclusions.len());
        last = 0;
        for exclusion in &self.exclusions {
            if exclusion.id <= last {
                return Err(BundleError::ExclusionOrder(exclusion.id));
            }
            last = exclusion.id;
            match Exclusion::parse(exclusion.id, &exclusion.to_text()) {
                Ok(exclusion) => exclusions.push(exclusion),
                Err(why) => refused.extend(of_element("exclusion", exclusion.id, why)),
            }
        }
        match (settings, block_list) {
            (Some(settings), Some(block_list)) if refused.is_empty() => {
                Ok(Policy { settings, block_list, rules, exclusions })
            }
            _ => Err(BundleError::Invalid(refused)),
        }
    }
}

/// Refusals of what has an id, with its name before the field.
fn of_element(name: &str, id: u64, why: Vec<Invalid>) -> impl Iterator<Item = Invalid> {
    let named = move |invalid: &Invalid| format!("{name} {id}: {}", invalid.field);
    why.into_iter().map(move |invalid| {
        let field = named(&invalid);
        invalid.in_field(field)
    })
}

impl Bundle {
    /// Seals a content with its place in history.
    pub fn seal(revision: Revision, forced_at: u64, content: BundleContent) -> Self {
        let (count, digest) = (content.count(), content.digest());
        Self { revision, forced_at, count, digest, content }
    }

    /// Checks count and digest and understands the content.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn to_policy(&self) -> Result<Policy, BundleError> {
        let found = self.content.count();
        if found != self.count {
            return Err(BundleError::Count { announced: self.count, found });
        }
        if self.content.digest() != self.digest {
            return Err(BundleError::Digest);
        }
        self.content.to_policy()
    }
}

/// What a node says about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentReport {
    /// Name of the node, at most 128 characters.
    pub node: String,
    /// The bundle the report is about.
    pub revision: Revision,
    /// What became of it.
    pub state: AgentState,
    /// Why it was refused; at most 1,024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a bundle on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Published to nginx.
    Published,
    /// Refused; the previous one goes on.
    Refused,
}

/// The one shape of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Always `error`.
    pub status: String,
    /// Stable word for programs, for example `invalid_value`.
    pub code: String,
    /// One sentence for people: field, value, reason, remedy.
    pub message: String,
    /// Every refused value, where there is more to say than one sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Names this request in the server's log.
    pub request_id: String,
}

/// One refused value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Name of the field.
    pub field: String,
    /// The refused piece.
    pub value: String,
    /// Why.
    pub reason: String,
    /// What would be accepted.
    pub remedy: String,
}

impl From<Invalid> for FieldError {
    fn from(invalid: Invalid) -> Self {
        let Invalid { field, value, reason, remedy } = invalid;
        Self { field, value, reason, remedy }
    }
}

#[cfg(test)]
mod tests {
    use policy::ExclusionText;

    use super::*;

    fn content() -> BundleContent {
        BundleContent {
            settings: [("nwaf_ip_wl".to_owned(), "127.0.0.1".to_owned())].into(),
            block_list: vec!["2.2.2.2".into()],
            rules: vec![BundleRule::new(
                3,
                RuleText { ip: Some("1.1.1.1".into()), ..RuleText::default() },
            )],
            exclusions: vec![exclusion(4, "URL")],
        }
    }

    fn exclusion(id: u64, mz: &str) -> BundleExclusion {
        let (rl_id, mz) = ("942100".to_owned(), mz.to_owned());
        BundleExclusion::new(id, &ExclusionText { rl_id, mz, ..ExclusionText::default() })
    }

    #[test]
    fn a_bundle_survives_its_json_form() {
        let bundle = Bundle::seal(Revision { session: 1, generation: 2 }, 0, content());
        let text = serde_json::to_string(&bundle).unwrap();
        let read: Bundle = serde_json::from_str(&text).unwrap();
        assert_eq!(read, bundle);
        let policy = read.to_policy().unwrap();
        assert_eq!((policy.rules[0].id, policy.exclusions[0].id), (3, 4));
    }

    #[test]
    fn tampering_is_noticed() {
        let sealed = Bundle::seal(Revision::default(), 0, content());
        let mut changed = sealed.clone();
        changed.content.block_list[0] = "3.3.3.3".into();
        assert_eq!(changed.to_policy(), Err(BundleError::Digest));
        let mut shorter = sealed.clone();
        shorter.content.rules.clear();
        assert!(matches!(shorter.to_policy(), Err(BundleError::Count { .. })));
        let mut twice = content();
        twice.rules.push(twice.rules[0].clone());
        assert_eq!(twice.to_policy(), Err(BundleError::RuleOrder(3)));
        let mut twice = content();
        twice.exclusions.push(exclusion(4, ""));
        assert_eq!(twice.to_policy(), Err(BundleError::ExclusionOrder(4)));
        twice.exclusions[1] = exclusion(5, "URI");
        let Err(BundleError::Invalid(why)) = twice.to_policy() else { panic!("accepted") };
        assert_eq!(why[0].field, "exclusion 5: mz");
    }

    #[test]
    fn newer_sessions_win_over_higher_generations() {
        let old = Revision { session: 1, generation: 900 };
        assert!(Revision { session: 2, generation: 1 } > old);
        assert!(Revision { session: 1, generation: 899 } < old);
    }
}
