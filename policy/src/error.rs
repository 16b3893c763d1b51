//! The one shape of "this value is refused".

use std::fmt;

/// Longest piece of a refused value that is repeated in a message, in characters.
const QUOTED_CHARS: usize = 80;

/// A value that cannot be part of a policy: what, where, why and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Name of the setting or rule field, for example `nwaf_ip_wl` or `other_headers[1]`.
    pub field: String,
    /// The refused piece as it was given, cut to 80 characters.
    pub value: String,
    /// Why it is refused.
    pub reason: String,
    /// What would be accepted.
    pub remedy: String,
}

impl Invalid {
    /// Builds a refusal; `value` is cut to 80 characters.
    pub fn new(
        field: impl Into<String>,
        value: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let mut short: String = value.chars().take(QUOTED_CHARS).collect();
        if short.len() < value.len() {
            short.push_str("...");
        }
        Self { field: field.into(), value: short, reason: reason.into(), remedy: remedy.into() }
    }

    /// The same refusal under the name of the field that held the value.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}; {}", self.field, self.value, self.reason, self.remedy)
    }
}

impl std::error::Error for Invalid {}
