//! The one shape of "this value is refused".

use std::fmt;

/// Longest piece of a refused value that is repeated in a message, in characters.
const QUOTED_CHARS: usize = 80;
/// Longest reason or name of a field, in characters: both may repeat what was sent.
const SAID_CHARS: usize = 200;

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
    /// Builds a refusal; what may repeat the input is cut.
    pub fn new(
        field: impl Into<String>,
        value: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: cut(field.into(), SAID_CHARS),
            value: cut(value.into(), QUOTED_CHARS),
            reason: cut(reason.into(), SAID_CHARS),
            remedy: remedy.into(),
        }
    }

    /// The same refusal under the name of the field that held the value.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = cut(field.into(), SAID_CHARS);
        self
    }
}

fn cut(text: String, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}; {}", self.field, self.value, self.reason, self.remedy)
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_does_not_repeat_a_large_input() {
        let huge = "ü".repeat(1_000_000);
        let refusal = Invalid::new(huge.clone(), &huge, huge.clone(), "short").in_field(huge);
        assert!(refusal.to_string().len() < 2_000);
    }
}
