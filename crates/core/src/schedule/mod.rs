//! Decides which job of a service is due, and when to look again.
//!
//! [`due`] takes what the plan asks ([`ServiceSchedule`]), what has happened ([`History`], a
//! projection of the journal) and the time. It has no memory: asked twice, it says the same twice;
//! what stops a job from running again is the record of its start.
//!
//! # Invariants
//! - **T1 once.** A run that was missed, or many, is caught up once: the next one counts from the
//!   last start. After a start, nothing is due before the schedule's next time.
//! - **T2 no second run by the clock.** A wall clock that goes back, by up to [`CLOCK_SLACK`], makes
//!   nothing due that was not.
//! - **T3 no standstill by the clock.** A record from further in the future than that was written
//!   by a wrong clock. Waiting for its time could mean years without a backup, so it counts as long
//!   ago: one run, after which the records are right again.
//! - **T4 a failure is tried again**, at growing intervals, for ever: there is no number of failures
//!   after which a service needs no backup.
//! - **T5 order is not time.** What was done after what comes from the journal's order
//!   ([`History::unverified`], [`History::unpruned`]), never from comparing times of two jobs.
//!
//! Deliberately absent: leases, what a job does, and the stream, which follows the WAL and not the clock.

use jiff::{SignedDuration, Timestamp};
use lifeboat_plan::{Advance, Cron, Postgres, Zone};
use std::time::Duration;

mod history;
#[cfg(test)]
mod tests;

pub use history::{HistoryProjection, JobEvent};

/// How long after its first failure a job is tried again; doubled with each further one.
pub const FIRST_RETRY: Duration = Duration::from_secs(60);
/// The longest wait between two tries.
pub const LONGEST_RETRY: Duration = Duration::from_secs(60 * 60);
/// How often is pruned when no backup gives cause to: the window moves on without one.
pub const PRUNE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far back the wall clock may jump and still be believed.
pub const CLOCK_SLACK: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time between two advances, however much WAL comes: each is a whole recovery.
pub const ADVANCE_PAUSE: Duration = Duration::from_secs(60);
/// The longest that [`next_wake`] lets the engine sleep: a clock set forward must be noticed.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(15 * 60);

/// Something to do for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Job {
    /// Take a base backup.
    BaseBackup,
    /// Recover the newest restore point forward, over the WAL since.
    Advance,
    /// Recover the newest restore point that nobody has recovered yet, and look at it.
    Verify,
    /// Remove what retention does not keep.
    Prune,
}

/// What the plan asks for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSchedule {
    /// When a base backup is taken.
    pub base: Cron,
    /// The zone of `base`.
    pub zone: Zone,
    /// Whether anything is ever removed.
    pub prunes: bool,
    /// Whether new restore points are recovered, for which there must be room.
    pub verifies: bool,
    /// How often the newest restore point is recovered forward, if it is.
    pub advance: Option<Advance>,
}

impl ServiceSchedule {
    /// As the plan says; whether there is room to recover restore points, it does not say.
    #[must_use]
    pub fn new(postgres: &Postgres, verifies: bool) -> Self {
        Self {
            base: postgres.base.schedule.clone(),
            zone: postgres.base.time_zone.clone(),
            prunes: postgres.keep.is_some(),
            verifies,
            advance: postgres.advance,
        }
    }
}

/// What became of the newest run of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastRun {
    /// There never was one.
    #[default]
    Never,
    /// It runs now.
    Running,
    /// It succeeded.
    Succeeded {
        /// When it began.
        started: Timestamp,
    },
    /// It failed, or was lost with the process that ran it.
    Failed {
        /// When it failed; for a lost run, when it began.
        at: Timestamp,
        /// Failures since the last success, this one among them.
        in_a_row: u32,
    },
}

/// What has happened to a service, as the journal tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// The newest base backup.
    pub base: LastRun,
    /// The newest verification.
    pub verify: LastRun,
    /// The newest prune.
    pub prune: LastRun,
    /// The newest advance.
    pub advance: LastRun,
    /// Bytes of WAL since the last advance or base backup, if a gauge tells; no journal does.
    pub grown: Option<u64>,
    /// The newest restore point has been neither verified nor found wanting.
    pub unverified: bool,
    /// A restore point was written after the newest prune began.
    pub unpruned: bool,
}

/// The first firing of `cron` after `after` by the clocks of `zone`.
///
/// Where the calendar ends before it comes round, the last instant there is.
#[must_use]
pub fn next_after(cron: &Cron, zone: &Zone, after: Timestamp) -> Timestamp {
    cron.next_after(zone, after).unwrap_or(Timestamp::MAX)
}

/// The jobs that are due now, in the order in which they should be started.
#[must_use]
pub fn due(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Vec<Job> {
    times(schedule, history, now).into_iter().filter(|(_, at)| *at <= now).map(|(job, _)| job).collect()
}

/// When to ask again, if nothing happens before: not before `now`, and not long after it.
#[must_use]
pub fn next_wake(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Timestamp {
    let latest = later(now, LONGEST_SLEEP);
    let first = times(schedule, history, now).into_iter().map(|(_, at)| at).min();
    first.map_or(latest, |at| at.clamp(now, latest))
}

/// When each job is due, past or future; a job that nothing but an event can make due has no time.
fn times(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Vec<(Job, Timestamp)> {
    let base = base(schedule, history, now).map(|at| (Job::BaseBackup, at));
    let verify = verify(schedule, history, now).map(|at| (Job::Verify, at));
    let prune = prune(schedule, history, now).map(|at| (Job::Prune, at));
    let advance = advance(schedule, history, now).map(|at| (Job::Advance, at));
    [base, advance, verify, prune].into_iter().flatten().collect()
}

fn base(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Option<Timestamp> {
    match believed(history.base, now) {
        LastRun::Running => None,
        LastRun::Never => Some(Timestamp::MIN),
        // T1: from the start, so that a run longer than its interval is followed by one, not by many.
        LastRun::Succeeded { started } => Some(next_after(&schedule.base, &schedule.zone, started)),
        LastRun::Failed { at, in_a_row } => Some(retry_at(at, in_a_row)),
    }
}

fn verify(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Option<Timestamp> {
    if !schedule.verifies || !history.unverified {
        return None;
    }
    match believed(history.verify, now) {
        LastRun::Running => None,
        LastRun::Never | LastRun::Succeeded { .. } => Some(Timestamp::MIN),
        LastRun::Failed { at, in_a_row } => Some(retry_at(at, in_a_row)),
    }
}

fn prune(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Option<Timestamp> {
    // While a base backup runs it would only have to be done again.
    if !schedule.prunes || history.base == LastRun::Running {
        return None;
    }
    match believed(history.prune, now) {
        LastRun::Running => None,
        LastRun::Failed { at, in_a_row } => Some(retry_at(at, in_a_row)),
        _ if history.unpruned => Some(Timestamp::MIN),
        // Nothing was ever written, so nothing is to be removed.
        LastRun::Never => None,
        LastRun::Succeeded { started } => Some(later(started, PRUNE_EVERY)),
    }
}

fn advance(schedule: &ServiceSchedule, history: &History, now: Timestamp) -> Option<Timestamp> {
    let wanted = schedule.advance?;
    // There must be something to begin from, and something to go on to.
    let LastRun::Succeeded { started: base } = believed(history.base, now) else { return None };
    if history.grown == Some(0) {
        return None;
    }
    let last = match believed(history.advance, now) {
        LastRun::Running => return None,
        LastRun::Failed { at, in_a_row } => return Some(retry_at(at, in_a_row)),
        LastRun::Never => base,
        LastRun::Succeeded { started } => started.max(base),
    };
    let is_much = wanted.wal.zip(history.grown).is_some_and(|(limit, grown)| grown >= limit.0.0);
    let much = is_much.then(|| later(last, ADVANCE_PAUSE));
    let every = wanted.every.map(|every| later(last, every.0));
    much.into_iter().chain(every).min()
}

/// T3: a run from beyond the slack in the future is taken as none.
fn believed(last: LastRun, now: Timestamp) -> LastRun {
    let horizon = later(now, CLOCK_SLACK);
    match last {
        LastRun::Succeeded { started: at } | LastRun::Failed { at, .. } if at > horizon => LastRun::Never,
        last => last,
    }
}

/// T4: doubling, up to the longest wait.
fn retry_at(failed: Timestamp, in_a_row: u32) -> Timestamp {
    let doublings = in_a_row.saturating_sub(1).min(16);
    later(failed, FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
