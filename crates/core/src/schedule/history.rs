//! What has happened to a service's jobs, projected from the journal.

use super::{History, Job, LastRun};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One event of a job, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum JobEvent {
    /// It was about to begin: recorded before the first act.
    Started {
        /// Which.
        job: Job,
    },
    /// It did what it should.
    Succeeded {
        /// Which.
        job: Job,
        /// What came of it, for a reader.
        summary: String,
    },
    /// It did not.
    Failed {
        /// Which.
        job: Job,
        /// Why, for a reader.
        reason: String,
    },
}

impl JobEvent {
    /// The job that it is about.
    #[must_use]
    pub fn job(&self) -> Job {
        match self {
            Self::Started { job } | Self::Succeeded { job, .. } | Self::Failed { job, .. } => *job,
        }
    }
}

/// A [`History`] that grows with each event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryProjection {
    history: History,
    base: Run,
    verify: Run,
    prune: Run,
    advance: Run,
}

/// What is known of one job besides its last run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Run {
    started: Option<Timestamp>,
    failures_in_a_row: u32,
    /// A restore point was written since its newest run began: that run has not seen it (T5).
    is_overtaken: bool,
}

impl HistoryProjection {
    /// Takes an event in, in the journal's order; `at` is when it was recorded.
    pub fn apply(&mut self, event: &JobEvent, at: Timestamp) {
        let job = event.job();
        let (run, last) = self.of(job);
        match event {
            JobEvent::Started { .. } => {
                // A start after a start: the first was lost with its process.
                if let Some(lost) = run.started.replace(at) {
                    fail(run, last, lost);
                }
                run.is_overtaken = false;
                *last = LastRun::Running;
            }
            JobEvent::Succeeded { .. } => {
                let started = run.started.take().unwrap_or(at);
                run.failures_in_a_row = 0;
                *last = LastRun::Succeeded { started };
                let is_overtaken = run.is_overtaken;
                match job {
                    Job::BaseBackup => {
                        (self.history.unpruned, self.history.unverified) = (true, true);
                        (self.prune.is_overtaken, self.verify.is_overtaken) = (true, true);
                    }
                    // It proves what it makes.
                    Job::Advance => (self.history.unpruned, self.prune.is_overtaken) = (true, true),
                    Job::Prune => self.history.unpruned = is_overtaken,
                    Job::Verify => self.history.unverified = is_overtaken,
                }
            }
            JobEvent::Failed { .. } => {
                run.started = None;
                fail(run, last, at);
            }
        }
    }

    /// What has happened, for one who begins now: what still seems to run was lost with its process.
    pub fn take_over(&mut self) {
        for job in [Job::BaseBackup, Job::Verify, Job::Prune, Job::Advance] {
            let (run, last) = self.of(job);
            if let Some(lost) = run.started.take() {
                fail(run, last, lost);
            }
        }
    }

    /// What has happened.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    fn of(&mut self, job: Job) -> (&mut Run, &mut LastRun) {
        match job {
            Job::BaseBackup => (&mut self.base, &mut self.history.base),
            Job::Verify => (&mut self.verify, &mut self.history.verify),
            Job::Prune => (&mut self.prune, &mut self.history.prune),
            Job::Advance => (&mut self.advance, &mut self.history.advance),
        }
    }
}

fn fail(run: &mut Run, last: &mut LastRun, at: Timestamp) {
    run.failures_in_a_row = run.failures_in_a_row.saturating_add(1);
    *last = LastRun::Failed { at, in_a_row: run.failures_in_a_row };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const JOB: Job = Job::BaseBackup;

    fn started() -> JobEvent {
        JobEvent::Started { job: JOB }
    }

    fn failed() -> JobEvent {
        JobEvent::Failed { job: JOB, reason: String::new() }
    }

    fn succeeded(job: Job) -> JobEvent {
        JobEvent::Succeeded { job, summary: String::new() }
    }

    #[test]
    fn failures_in_a_row_count_until_a_success() {
        let mut projection = HistoryProjection::default();
        for second in [1, 3] {
            projection.apply(&started(), at(second));
            projection.apply(&failed(), at(second + 1));
        }
        assert_eq!(projection.history().base, LastRun::Failed { at: at(4), in_a_row: 2 });
        projection.apply(&started(), at(5));
        assert_eq!(projection.history().base, LastRun::Running);
        projection.apply(&succeeded(JOB), at(9));
        assert_eq!(projection.history().base, LastRun::Succeeded { started: at(5) });
        projection.apply(&started(), at(10));
        projection.apply(&failed(), at(11));
        assert_eq!(projection.history().base, LastRun::Failed { at: at(11), in_a_row: 1 });
    }

    #[test]
    fn a_run_that_was_lost_with_its_process_counts_as_failed_when_it_began() {
        let mut projection = HistoryProjection::default();
        projection.apply(&started(), at(1));
        projection.take_over();
        assert_eq!(projection.history().base, LastRun::Failed { at: at(1), in_a_row: 1 });
        projection.apply(&started(), at(5));
        projection.apply(&started(), at(7));
        projection.take_over();
        assert_eq!(projection.history().base, LastRun::Failed { at: at(7), in_a_row: 3 });
    }

    #[test]
    fn a_backup_gives_cause_to_prune_until_a_prune_succeeds() {
        let mut projection = HistoryProjection::default();
        projection.apply(&started(), at(1));
        projection.apply(&succeeded(JOB), at(2));
        assert!(projection.history().unpruned);
        projection.apply(&JobEvent::Started { job: Job::Prune }, at(3));
        projection.apply(&succeeded(Job::Prune), at(4));
        assert!(!projection.history().unpruned);
    }

    proptest! {
        /// Jobs side by side, in any order, under a clock that jumps.
        #[test]
        fn t5_what_is_left_to_do_follows_from_the_order_alone(
            steps in prop::collection::vec((0_usize..3, prop::bool::weighted(0.8), 0_i64..100), 0..40),
        ) {
            let jobs = [Job::BaseBackup, Job::Verify, Job::Prune];
            let mut projection = HistoryProjection::default();
            let mut began = [None; 3];
            // Places in the journal: the newest restore point, and where those that have seen all began.
            let (mut written, mut seen) = (None, [None; 3]);
            for (place, (which, succeeds, second)) in steps.into_iter().enumerate() {
                let job = jobs[which];
                let event = match began[which].take() {
                    None => {
                        began[which] = Some(place);
                        JobEvent::Started { job }
                    }
                    Some(start) if succeeds => {
                        match job {
                            Job::BaseBackup => written = Some(place),
                            _ => seen[which] = Some(start),
                        }
                        succeeded(job)
                    }
                    Some(_) => JobEvent::Failed { job, reason: String::new() },
                };
                projection.apply(&event, at(second));
                let History { unverified, unpruned, .. } = *projection.history();
                prop_assert_eq!((unverified, unpruned), (written > seen[1], written > seen[2]));
            }
        }
    }
}
