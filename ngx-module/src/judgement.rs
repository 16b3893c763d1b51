//! What is known about one request while nginx works on it.
//!
//! A judgement belongs to the main request and survives internal redirects, so
//! that each request is judged once for each address it is seen to come from,
//! and refused at most once.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::net::IpAddr;

use ipc::snapshot::LimitInForce;
use policy::{Action, BlockType, Reason, Verdict};

use crate::body::Body;
use crate::record::Kept;

/// How judging ended, independent of the place the request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was found, as in nearly every request.
    Clean,
    /// There is a verdict.
    Found,
    /// The policy could not be asked: `nwaf_on_error` of the place decides.
    Failed(Failure),
}

/// Why a request could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No snapshot is in force.
    NoSnapshot,
    /// The module panicked.
    Panic,
    /// The body is longer than `nwaf_body_limit`, and `nwaf_body_overflow` is `block`.
    BodyTooLong,
    /// The same for what its `Content-Encoding` hides.
    DecodedTooLong,
    /// Its `Content-Encoding` is not known or does not hold, and `nwaf_body_overflow` is `block`.
    Undecodable,
    /// Another module's body filter keeps the body in a file.
    BodyInFile,
}

impl Failure {
    /// For the error log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSnapshot => "no snapshot is in force",
            Self::Panic => "the module failed",
            Self::BodyTooLong => "its body is longer than nwaf_body_limit",
            Self::DecodedTooLong => {
                "its body is longer than nwaf_body_limit once decoded, or a bomb"
            }
            Self::Undecodable => "its body cannot be decoded as its Content-Encoding says",
            Self::BodyInFile => "another module keeps its body in a file",
        }
    }

    /// Whether `nwaf_body_overflow` has decided to block, and `nwaf_on_error` is not asked.
    pub fn is_overflow(self) -> bool {
        matches!(self, Self::BodyTooLong | Self::DecodedTooLong | Self::Undecodable)
    }
}

/// Tells apart the objects nginx keeps while a request lives: its parts, and the
/// addresses of its client. Only ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub usize);

/// The memory of one main request.
#[derive(Debug)]
pub struct Judgement {
    /// The client's address in nginx's memory when a place last decided.
    pub peer: Cell<Option<Identity>>,
    /// The address it was judged for.
    pub address: Cell<Option<IpAddr>>,
    /// How that ended.
    outcome: Cell<Outcome>,
    /// What was found; what it costs in memory is paid by requests with a hit.
    verdict: RefCell<Option<Box<Verdict>>>,
    /// Generation of the policy that was asked.
    pub generation: Cell<Option<u64>>,
    /// The limits a block of it counts for: those of both hosts where it names two. Nothing
    /// where it does not count.
    pub limits: Cell<[Option<LimitInForce>; 2]>,
    /// What happened to the request in the places it has been in.
    pub action: Cell<Action>,
    /// Observed hits that have been written to the error log.
    told: RefCell<Vec<Reason>>,
    /// The block has been written to the error log.
    pub blocked_told: Cell<bool>,
    /// A place has decided about the request itself, not only about a part of it.
    pub placed: Cell<bool>,
    /// A refusal was returned to nginx: what follows is the error page.
    pub refused: Cell<bool>,
    /// The same for the subrequest that was refused last.
    pub refused_part: Cell<Option<Identity>>,
    /// What has become of the body.
    pub body: RefCell<Body>,
    /// The beginning of a body that was judged, for those who record it.
    pub kept: RefCell<Option<Kept>>,
    /// History of the policy that was asked.
    pub session: Cell<u64>,
}

impl Judgement {
    /// One that will be made for `address`: a failure until it is concluded.
    pub fn begin(address: Option<IpAddr>) -> Self {
        Self {
            peer: Cell::new(None),
            address: Cell::new(address),
            outcome: Cell::new(Outcome::Failed(Failure::Panic)),
            verdict: RefCell::new(None),
            generation: Cell::new(None),
            limits: Cell::default(),
            action: Cell::new(Action::Pass),
            told: RefCell::new(Vec::new()),
            blocked_told: Cell::new(false),
            placed: Cell::new(false),
            refused: Cell::new(false),
            refused_part: Cell::new(None),
            body: RefCell::new(Body::Unseen),
            kept: RefCell::new(None),
            session: Cell::new(0),
        }
    }

    /// Begins once more, for another address. What was observed is told again
    /// unless the new verdict is the old one.
    pub fn begin_again(&self, address: Option<IpAddr>, judge: impl FnOnce()) {
        self.address.set(address);
        self.fail(Failure::Panic);
        let before = self.verdict.take();
        judge();
        let same = match (&before, &*self.verdict.borrow()) {
            (Some(before), Some(now)) => before.reasons == now.reasons,
            _ => false,
        };
        if !same {
            self.told.borrow_mut().clear();
        }
    }

    /// Whether an observed hit has not been told yet; from now on it has.
    pub fn is_news(&self, reason: &Reason) -> bool {
        let mut told = self.told.borrow_mut();
        let news = !told.contains(reason);
        if news {
            told.push(*reason);
        }
        news
    }

    /// Judging has ended with a verdict.
    #[inline]
    pub fn conclude(&self, verdict: &Verdict) {
        if verdict.action == Action::Pass {
            self.outcome.set(Outcome::Clean);
        } else {
            *self.verdict.borrow_mut() = Some(Box::new(*verdict));
            self.outcome.set(Outcome::Found);
        }
    }

    /// Judging has failed.
    pub fn fail(&self, why: Failure) {
        self.outcome.set(Outcome::Failed(why));
    }

    /// How judging ended.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        self.outcome.get()
    }

    /// What was found; nothing where the outcome is not [`Outcome::Found`].
    pub fn verdict(&self) -> Verdict {
        match self.outcome.get() {
            Outcome::Found => self.verdict.borrow().as_deref().copied().unwrap_or_default(),
            Outcome::Clean | Outcome::Failed(_) => Verdict::pass(),
        }
    }

    /// The specification's number for what blocked, or would have.
    pub fn block_type(&self) -> BlockType {
        match self.outcome.get() {
            Outcome::Failed(_) if self.action.get() == Action::Block => BlockType::InternalError,
            _ => self.verdict().block_type(),
        }
    }

    /// The deciding extended rule.
    pub fn rule(&self) -> Option<u64> {
        self.verdict().rule()
    }
}
