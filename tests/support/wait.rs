//! Waiting for a condition.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Time between two looks at a condition.
const STEP: Duration = Duration::from_millis(5);
/// How long a process may take to become ready or to stop; generous, because
/// the machine may be building something else at the same time.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `timeout`, and more where everything is slower: `NWAF_TEST_SLOWNESS` times as long.
///
/// # Panics
/// When `NWAF_TEST_SLOWNESS` is not a number from 1 to 1000.
pub fn at_this_pace(timeout: Duration) -> Duration {
    static SLOWNESS: LazyLock<u32> =
        LazyLock::new(|| match std::env::var("NWAF_TEST_SLOWNESS").as_deref() {
            Err(_) | Ok("") => 1,
            Ok(text) => match text.parse() {
                Ok(factor @ 1..=1000) => factor,
                _ => panic!("NWAF_TEST_SLOWNESS {text:?} is not a number from 1 to 1000"),
            },
        });
    timeout * *SLOWNESS
}

/// Asks until the answer is there, and returns it with the time it took.
///
/// # Panics
/// After `timeout`, naming `what`.
pub fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let (start, timeout) = (Instant::now(), at_this_pace(timeout));
    loop {
        if let Some(answer) = ask() {
            return (answer, start.elapsed());
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(STEP);
    }
}
