//! Time and randomness as an argument.

use jiff::Timestamp;
use std::sync::Mutex;
use std::time::Duration;

/// What the machine gives that a test must be able to take away: the time, and randomness.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time. May jump, in either direction.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start. Never goes back: waits and leases are measured with it.
    fn monotonic(&self) -> Duration;
    /// Fills `bytes` with unpredictable ones, fit for keys.
    fn random(&self, bytes: &mut [u8]);
}

/// The machine's own clock and randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The clock, its monotonic time beginning now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's randomness")]
    fn random(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("the operating system has no randomness: nothing can be sealed");
    }
}

/// A clock that stands still until it is moved, with randomness that repeats from a seed.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    monotonic: Duration,
    seed: u64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self { state: Mutex::new(ManualState { now, monotonic: Duration::ZERO, seed }) }
    }

    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        state.now += duration;
        state.monotonic += duration;
    }

    /// Sets the wall clock alone, as an administrator or a bad time server would.
    pub fn jump_to(&self, now: Timestamp) {
        self.lock().now = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }

    fn random(&self, bytes: &mut [u8]) {
        let mut state = self.lock();
        for byte in bytes {
            // SplitMix64: enough to be different each time, and the same for the same seed.
            state.seed = state.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            *byte = (z ^ (z >> 31)) as u8;
        }
    }
}
