//! Where everything stands, asked of the store once for all who ask at the same time.
//!
//! An answer is never older than the question: a caller takes only what the store was
//! asked after the caller came. Two questions are under way at most, however many wait.
//! While the store does not answer, one caller at a time finds out whether it does again;
//! all others are told at once, so that nobody waits behind questions that end in nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use store::{Pulse, Role, Store, StoreError};
use tokio::sync::Mutex;

/// How long it is taken for granted that a store which did not answer still does not.
/// Shorter than the time between two looks at the role.
const REST: Duration = Duration::from_millis(200);

/// A question without an answer.
#[derive(Debug, Clone)]
struct Failure {
    at: Instant,
    why: String,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.why.into())
    }
}

/// Shared questions.
#[derive(Debug)]
pub(super) struct Pulses {
    /// Questions that were begun.
    begun: AtomicU64,
    /// The number of the question whose answer is here, and the answer.
    answered: Mutex<(u64, Option<Arc<Pulse>>)>,
    /// What the database was when it was last asked.
    role: RwLock<Role>,
    /// The last question, if the store did not answer it.
    failure: RwLock<Option<Failure>>,
}

impl Default for Pulses {
    fn default() -> Self {
        Self {
            begun: AtomicU64::new(0),
            answered: Mutex::new((0, None)),
            role: RwLock::new(Role::Primary),
            failure: RwLock::default(),
        }
    }
}

impl Pulses {
    /// Where everything stands now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn ask(&self, store: &dyn Store) -> Result<Arc<Pulse>, StoreError> {
        // A question that was begun before may have been answered before.
        let newer_than = self.begun.load(Ordering::SeqCst);
        let free = self.answered.try_lock().ok();
        if let Some(failure) = self.failure()
            && (free.is_none() || failure.at.elapsed() < REST)
        {
            return Err(failure.into());
        }
        let mut answered = match free {
            Some(answered) => answered,
            None => {
                let answered = self.answered.lock().await;
                // The question that was waited for was the first without an answer.
                if let Some(failure) = self.failure() {
                    return Err(failure.into());
                }
                answered
            }
        };
        if let (number, Some(pulse)) = &*answered
            && *number > newer_than
        {
            return Ok(Arc::clone(pulse));
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        // Should this caller leave, nothing is kept and the next one asks.
        let pulse = store.pulse().await;
        let unanswered = match &pulse {
            Err(StoreError::Unavailable(why)) => {
                Some(Failure { at: Instant::now(), why: why.to_string() })
            }
            _ => None,
        };
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = unanswered;
        let pulse = Arc::new(pulse?);
        *self.role.write().unwrap_or_else(PoisonError::into_inner) = pulse.role;
        *answered = (number, Some(Arc::clone(&pulse)));
        Ok(pulse)
    }

    fn failure(&self) -> Option<Failure> {
        self.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the database was when it was last asked.
    pub fn role(&self) -> Role {
        *self.role.read().unwrap_or_else(PoisonError::into_inner)
    }
}
