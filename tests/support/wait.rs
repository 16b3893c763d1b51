//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const STEP: Duration = Duration::from_millis(5);
/// How long a process may take to become ready or to stop; generous, because
/// the machine may be building something else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there, and returns it with the time it took.
///
/// # Panics
/// After `timeout`, naming `what`.
pub fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return (answer, start.elapsed());
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(STEP);
    }
}
