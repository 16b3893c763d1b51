//! What a key may do.

use std::str::FromStr;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Admin,
    /// What a node needs: reading the policy, reporting, handing in attacks.
    Node,
    /// What the detectors need: what a node reads and the settings of detection; writing
    /// bans, the progress of training and models.
    Mlc,
    /// Reading everything.
    Read,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Node, Self::Mlc, Self::Read];

    /// The word in commands and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Node => "node",
            Self::Mlc => "mlc",
            Self::Read => "read",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("{text:?} is no scope; the scopes are admin, node, mlc, read"))
    }
}
