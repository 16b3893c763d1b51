//! Where everything stands, asked of the store once for all who ask at the same time.
//!
//! An answer is never older than the question: a caller takes only what the store was
//! asked after the caller came. Two questions are under way at most, however many wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use store::{Pulse, Role, Store, StoreError};
use tokio::sync::Mutex;

/// Shared questions.
#[derive(Debug)]
pub(super) struct Pulses {
    /// Questions that were begun.
    begun: AtomicU64,
    /// The number of the question whose answer is here, and the answer.
    answered: Mutex<(u64, Option<Arc<Pulse>>)>,
    /// What the database was when it was last asked.
    role: RwLock<Role>,
}

impl Default for Pulses {
    fn default() -> Self {
        Self {
            begun: AtomicU64::new(0),
            answered: Mutex::new((0, None)),
            role: RwLock::new(Role::Primary),
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
        let mut answered = self.answered.lock().await;
        if let (number, Some(pulse)) = &*answered
            && *number > newer_than
        {
            return Ok(Arc::clone(pulse));
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        // Should this caller leave, nothing is kept and the next one asks.
        let pulse = Arc::new(store.pulse().await?);
        *self.role.write().unwrap_or_else(PoisonError::into_inner) = pulse.role;
        *answered = (number, Some(Arc::clone(&pulse)));
        Ok(pulse)
    }

    /// What the database was when it was last asked.
    pub fn role(&self) -> Role {
        *self.role.read().unwrap_or_else(PoisonError::into_inner)
    }
}
