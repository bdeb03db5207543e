//! What a holder and a waiter do next. Pure: time is an argument, and always one's own monotonic clock.

use super::Epoch;
use std::time::Duration;

/// The times of a lease. [`Timing::DEFAULT`] but in tests; all who share a scope must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long an epoch is good for.
    pub ttl: Duration,
    /// What the holder stops earlier, and the waiter waits longer.
    pub margin: Duration,
    /// How often the holder renews.
    pub renew_every: Duration,
    /// How often a waiter looks.
    pub poll_every: Duration,
}

impl Timing {
    /// A holder that vanishes is replaced within 15 s: 11 s of patience, a look each second on either
    /// side of it, and time for the requests.
    pub const DEFAULT: Self = Self {
        ttl: Duration::from_secs(10),
        margin: Duration::from_secs(1),
        renew_every: Duration::from_millis(3_333),
        poll_every: Duration::from_secs(1),
    };

    /// How long after asking for its epoch a holder may act.
    #[must_use]
    pub fn hold(&self) -> Duration {
        self.ttl.saturating_sub(self.margin)
    }

    /// How long after first seeing an epoch a waiter leaves it alone.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.ttl + self.margin
    }
}

/// The highest epoch, as a waiter just saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its number; 0 if there is none.
    pub epoch: Epoch,
    /// Whether its holder has let go.
    pub released: bool,
}

/// Since when a waiter has seen an epoch unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The epoch.
    pub epoch: Epoch,
    /// When it was seen first: read from the clock *after* the store answered.
    pub since: Duration,
}

/// What a waiter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaiterMove {
    /// Try to create this epoch.
    Take(Epoch),
    /// Look again after this long.
    Wait(Duration),
}

/// What a waiter that saw `seen` at `now` does, having watched `watch`.
#[must_use]
pub fn waiter(watch: Option<Watch>, seen: Seen, now: Duration, timing: &Timing) -> (Watch, WaiterMove) {
    let watch = match watch {
        Some(watch) if watch.epoch == seen.epoch => watch,
        _ => Watch { epoch: seen.epoch, since: now },
    };
    let waited = now.saturating_sub(watch.since);
    if seen.epoch == Epoch(0) || seen.released || waited >= timing.patience() {
        return (watch, WaiterMove::Take(seen.epoch.next()));
    }
    (watch, WaiterMove::Wait(timing.poll_every.min(timing.patience() - waited)))
}

/// What a holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderMove {
    /// Go on acting; renew after this long.
    Rest(Duration),
    /// Go on acting, and renew now.
    Renew,
    /// Do not act; renew, which succeeds if nobody has taken over.
    Stop,
}

/// What a holder does at `now` that asked for its newest epoch at `asked`.
#[must_use]
pub fn holder(asked: Duration, now: Duration, timing: &Timing) -> HolderMove {
    let age = now.saturating_sub(asked);
    if age >= timing.hold() {
        HolderMove::Stop
    } else if age >= timing.renew_every {
        HolderMove::Renew
    } else {
        HolderMove::Rest(timing.renew_every - age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn e1_the_default_keeps_its_promises() {
        let timing = Timing::DEFAULT;
        assert!(timing.hold() < timing.patience());
        // Two tries to renew fit before the holder must stop.
        assert!(timing.renew_every + 2 * super::super::REQUEST_LIMIT < timing.hold());
        let takeover = timing.patience() + 2 * timing.poll_every;
        assert!(takeover <= Duration::from_secs(13), "two seconds are left for the requests");
    }

    proptest! {
        /// One holder dies at some moment; a waiter looks whenever it likes, its clock off and its rate
        /// wrong by up to a tenth. It never takes while the holder may act, and takes soon enough.
        #[test]
        fn e1_nobody_takes_while_the_holder_may_act(
            renewals in prop::collection::vec(1_u64..9_000, 0..8),
            polls in prop::collection::vec(1_u64..1_500, 400),
            request_ms in 0_u64..2_000,
            rate in 0.9_f64..1.1,
            offset in 0_u64..1_000_000,
        ) {
            let timing = Timing::DEFAULT;
            let ms = Duration::from_millis;
            // True time of each epoch's request; it is in the store `request_ms` later at the latest.
            let mut asked = vec![0];
            for gap in renewals {
                let last = asked[asked.len() - 1];
                asked.push(last + gap);
            }
            let mut now = 0;
            let mut watch = None;
            let mut taken = None;
            for poll in polls {
                now += poll;
                let made = asked.iter().filter(|at| **at + request_ms <= now).count();
                let seen = Seen { epoch: Epoch(made as u64), released: false };
                let local = Duration::from_secs_f64((now as f64 * rate + offset as f64) / 1000.0);
                let (next, decision) = waiter(watch, seen, local, &timing);
                watch = Some(next);
                if let WaiterMove::Take(epoch) = decision {
                    // An epoch that is in the store by now, or still on its way, refuses ours.
                    if made > 0 && epoch.0 as usize > asked.len() {
                        taken = Some(now);
                        break;
                    }
                }
            }
            let last = asked[asked.len() - 1];
            let taken = taken.expect("400 polls are enough");
            prop_assert_eq!(holder(ms(last), ms(taken), &timing), HolderMove::Stop);
            // At most: seen late, patience by a slow clock, seen late again.
            prop_assert!(taken - last <= request_ms + 1_500 + 12_223 + 1_500, "{}", taken - last);
        }

        #[test]
        fn a_released_lease_is_free_and_a_changed_epoch_starts_anew(
            first in 1_u64..50, second in 1_u64..50, at in 0_u64..100_000, gap in 0_u64..100_000,
        ) {
            let timing = Timing::DEFAULT;
            let ms = Duration::from_millis;
            let free = Seen { epoch: Epoch(first), released: true };
            prop_assert_eq!(waiter(None, free, ms(at), &timing).1, WaiterMove::Take(Epoch(first + 1)));
            let seen = |epoch| Seen { epoch: Epoch(epoch), released: false };
            let (watch, _) = waiter(None, seen(first), ms(at), &timing);
            let (_, then) = waiter(Some(watch), seen(second), ms(at + gap), &timing);
            let may = first == second && ms(gap) >= timing.patience();
            prop_assert_eq!(matches!(then, WaiterMove::Take(_)), may);
        }
    }
}
