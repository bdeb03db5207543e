//! Holds readers to so many bytes a second, together.

use lifeboat_base::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest nap: a cancelled backup ends soon.
const NAP_LIMIT: Duration = Duration::from_millis(250);

/// A shared allowance.
#[derive(Debug)]
pub(super) struct Rate {
    bytes_per_second: Option<u64>,
    /// When the next byte may be read.
    next: Mutex<Duration>,
    clock: Arc<dyn Clock>,
}

impl Rate {
    pub(super) fn new(bytes_per_second: Option<u64>, clock: Arc<dyn Clock>) -> Self {
        let next = Mutex::new(clock.monotonic());
        Self { bytes_per_second, next, clock }
    }

    /// How long to wait before reading `bytes` more.
    pub(super) fn delay(&self, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_second.filter(|rate| *rate > 0) else { return Duration::ZERO };
        let now = self.clock.monotonic();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*next).max(now);
        *next = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        begin - now
    }

    /// Waits on this thread before reading `bytes` more.
    pub(super) fn wait(&self, bytes: u64, give_up: impl Fn() -> bool) {
        let mut delay = self.delay(bytes);
        while !delay.is_zero() && !give_up() {
            let nap = delay.min(NAP_LIMIT);
            std::thread::sleep(nap);
            delay -= nap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_base::ManualClock;

    #[test]
    fn bytes_are_spread_over_time() {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1));
        let rate = Rate::new(Some(1000), clock.clone());
        assert_eq!(rate.delay(500), Duration::ZERO);
        assert_eq!(rate.delay(500), Duration::from_millis(500));
        clock.advance(Duration::from_secs(10));
        assert_eq!(rate.delay(1), Duration::ZERO, "what was not used is not saved up");
        assert_eq!(Rate::new(None, clock).delay(u64::MAX), Duration::ZERO);
    }
}
