//! How long to wait before trying again.

use lifeboat_base::Clock;
use std::time::Duration;

/// Waits that double up to a limit, each shortened by chance to at least its half, so that many who lost
/// the same server do not come back in the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, wait: first }
    }

    /// The next wait.
    pub(crate) fn next(&mut self, clock: &dyn Clock) -> Duration {
        let mut random = [0];
        clock.random(&mut random);
        let half = self.wait / 2;
        let chosen = half + half * u32::from(random[0]) / 255;
        self.wait = (self.wait * 2).min(self.longest);
        chosen
    }

    /// It worked: the next trouble begins anew.
    pub(crate) fn reset(&mut self) {
        self.wait = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_base::ManualClock;

    #[test]
    fn waits_grow_to_their_limit_and_begin_anew() {
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH, 1);
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for exponent in 0..20 {
            let full = (first * (1 << exponent.min(10))).min(longest);
            let wait = backoff.next(&clock);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next(&clock) <= first);
    }
}
