//! Signature exclusions as nodes get them: what restricts, without what is for people.

use policy::ExclusionText;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delta::Identified;

/// An active exclusion with its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleExclusion {
    /// Identity, unique for ever within a session; never 0.
    pub id: u64,
    /// Number of a signature, or `*` for all.
    pub rl_id: String,
    /// Host pattern.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Zones joined by `|`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mz: String,
    /// Conditions on the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extension: String,
    /// What the text that was found has to contain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pattern: String,
}

impl BundleExclusion {
    /// Joins an identity and a text.
    pub fn new(id: u64, text: &ExclusionText) -> Self {
        let ExclusionText { rl_id, domain, mz, extension, pattern, comment: _, active: _ } =
            text.clone();
        Self { id, rl_id, domain, mz, extension, pattern }
    }

    /// The text of this active exclusion, without its identity.
    pub fn to_text(&self) -> ExclusionText {
        let Self { id: _, rl_id, domain, mz, extension, pattern } = self.clone();
        ExclusionText { rl_id, domain, mz, extension, pattern, ..ExclusionText::default() }
    }
}

impl Identified for BundleExclusion {
    fn id(&self) -> u64 {
        self.id
    }
}
