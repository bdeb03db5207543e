//! Waiting by asking again, up to a deadline.

use std::time::{Duration, Instant};

/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(5);

/// Looks until `look` finds something, at most for `limit`.
pub(crate) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(POLL);
    }
}
