//! What is known about one request while nginx works on it.
//!
//! A judgement belongs to the main request and survives internal redirects, so
//! that each request is judged once for each address it is seen to come from,
//! and refused at most once.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use policy::{Action, BlockType, Verdict};

/// How judging ended, independent of the place the request is in: what was found,
/// or why the policy could not be asked and `nwaf_on_error` of the place decides.
/// Nearly every request is `Ok(None)`, nothing found; the rest may cost memory.
pub type Outcome = Result<Option<Box<Verdict>>, Failure>;

/// Why a request could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No snapshot is in force.
    NoSnapshot,
    /// The module panicked.
    Panic,
}

impl Failure {
    /// For the error log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSnapshot => "no snapshot is in force",
            Self::Panic => "the module failed",
        }
    }
}

/// The memory of one main request.
#[derive(Debug)]
pub struct Judgement {
    /// The address it was judged for.
    pub address: Cell<Option<IpAddr>>,
    /// How that ended.
    pub outcome: RefCell<Outcome>,
    /// Generation of the policy that was asked.
    pub generation: Cell<Option<u64>>,
    /// What happened to the request in the places it has been in.
    pub action: Cell<Action>,
    /// Observed hits have been written to the error log.
    pub observed_told: Cell<bool>,
    /// A refusal was returned to nginx: what follows is the error page.
    pub refused: Cell<bool>,
}

impl Judgement {
    /// A first judgement.
    pub fn new(address: Option<IpAddr>, outcome: Outcome) -> Self {
        Self {
            address: Cell::new(address),
            outcome: RefCell::new(outcome),
            generation: Cell::new(None),
            action: Cell::new(Action::Pass),
            observed_told: Cell::new(false),
            refused: Cell::new(false),
        }
    }

    /// Replaces how judging ended.
    pub fn conclude(&self, outcome: Outcome) {
        *self.outcome.borrow_mut() = outcome;
    }

    /// The specification's number for what blocked, or would have.
    pub fn block_type(&self) -> BlockType {
        match &*self.outcome.borrow() {
            Ok(Some(verdict)) => verdict.block_type(),
            Err(_) if self.action.get() == Action::Block => BlockType::InternalError,
            Ok(None) | Err(_) => BlockType::None,
        }
    }

    /// The deciding extended rule.
    pub fn rule(&self) -> Option<u64> {
        self.outcome.borrow().as_ref().ok()?.as_ref()?.rule()
    }
}
