//! The schedule against a machine that sleeps, fails and has its clock set.

use super::*;
use proptest::prelude::*;

fn schedule(cron: &str, zone: &str) -> ServiceSchedule {
    let (base, zone) = (cron.parse().unwrap(), zone.parse().unwrap());
    ServiceSchedule { base, zone, prunes: true, verifies: true, advance: None }
}

fn nightly() -> ServiceSchedule {
    schedule("0 3 * * *", "Asia/Taipei")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn succeeded(started: &str) -> History {
    let run = LastRun::Succeeded { started: at(started) };
    History { base: run, verify: run, prune: run, ..History::default() }
}

#[test]
fn the_first_backup_is_due_at_once() {
    let now = at("2026-01-05T10:00:00Z");
    assert_eq!(due(&nightly(), &History::default(), now), [Job::BaseBackup]);
    assert_eq!(next_wake(&nightly(), &History::default(), now), now);
}

#[test]
fn the_next_one_follows_the_schedule() {
    let history = succeeded("2026-01-05T10:00:00Z");
    assert_eq!(due(&nightly(), &history, at("2026-01-05T18:59:59Z")), []);
    assert_eq!(next_wake(&nightly(), &history, at("2026-01-05T18:50:00Z")), at("2026-01-05T19:00:00Z"));
    assert_eq!(due(&nightly(), &history, at("2026-01-05T19:00:00Z")), [Job::BaseBackup]);
    // Far from anything, the sleep has an end all the same.
    let now = at("2026-01-05T12:00:00Z");
    assert_eq!(next_wake(&nightly(), &history, now), later(now, LONGEST_SLEEP));
}

#[test]
fn t1_a_week_of_downtime_is_caught_up_once() {
    let mut history = succeeded("2026-01-05T19:00:00Z");
    history.prune = LastRun::Running;
    let back = at("2026-01-12T10:00:00Z");
    assert_eq!(due(&nightly(), &history, back), [Job::BaseBackup]);
    history.base = LastRun::Running;
    assert_eq!(due(&nightly(), &history, back), []);
    history.base = LastRun::Succeeded { started: back };
    assert_eq!(due(&nightly(), &history, at("2026-01-12T18:59:00Z")), []);
    assert_eq!(due(&nightly(), &history, at("2026-01-12T19:00:00Z")), [Job::BaseBackup]);
}

#[test]
fn a_new_restore_point_is_verified_and_gives_cause_to_prune() {
    let now = at("2026-01-05T10:00:00Z");
    let mut history = succeeded("2026-01-05T09:00:00Z");
    (history.unverified, history.unpruned) = (true, true);
    assert_eq!(due(&nightly(), &history, now), [Job::Verify, Job::Prune]);
    assert_eq!(due(&ServiceSchedule { prunes: false, ..nightly() }, &history, now), [Job::Verify]);
    assert_eq!(due(&ServiceSchedule { verifies: false, ..nightly() }, &history, now), [Job::Prune]);
    history.base = LastRun::Running;
    assert_eq!(due(&nightly(), &history, now), [Job::Verify]);
}

#[test]
fn without_a_backup_it_is_pruned_once_a_day() {
    let history = succeeded("2026-01-05T19:00:00Z");
    let monthly = schedule("0 3 1 * *", "UTC");
    assert_eq!(due(&monthly, &history, at("2026-01-06T18:59:59Z")), []);
    assert_eq!(due(&monthly, &history, at("2026-01-06T19:00:00Z")), [Job::Prune]);
}

#[test]
fn a_restore_point_is_advanced_by_time_or_by_wal_whichever_comes_first() {
    let advance = |every: Option<&str>, wal: Option<&str>| {
        let every = every.map(|every| every.parse().unwrap());
        let wal = wal.map(|wal| wal.parse().unwrap());
        ServiceSchedule { advance: Some(Advance { every, wal }), prunes: false, verifies: false, ..nightly() }
    };
    let both = advance(Some("15m"), Some("1MiB"));
    let base = succeeded("2026-01-05T10:00:00Z");
    let grown = |grown, history: &History| History { grown, ..*history };
    let is_due = |schedule: &ServiceSchedule, history: &History, now: &str| {
        due(schedule, history, at(now)).contains(&Job::Advance)
    };
    assert!(!is_due(&both, &base, "2026-01-05T10:14:59Z"));
    assert!(is_due(&both, &base, "2026-01-05T10:15:00Z"));
    assert!(!is_due(&both, &grown(Some(0), &base), "2026-01-05T10:20:00Z"), "there is nothing to go on to");
    assert!(is_due(&both, &grown(Some(1), &base), "2026-01-05T10:20:00Z"));
    assert!(is_due(&both, &grown(Some(1 << 20), &base), "2026-01-05T10:01:00Z"));
    assert!(!is_due(&both, &grown(Some(1 << 20), &base), "2026-01-05T10:00:59Z"), "not one upon the other");
    assert!(!is_due(&advance(None, Some("1MiB")), &grown(Some(9), &base), "2026-01-05T18:00:00Z"));
    // From the last one on, or the base backup after it; never without one.
    let advanced = History { advance: LastRun::Succeeded { started: at("2026-01-05T10:15:00Z") }, ..base };
    assert!(!is_due(&both, &advanced, "2026-01-05T10:29:00Z"));
    assert!(is_due(&both, &advanced, "2026-01-05T10:30:00Z"));
    let based = History { base: LastRun::Succeeded { started: at("2026-01-05T10:20:00Z") }, ..advanced };
    assert!(!is_due(&both, &based, "2026-01-05T10:30:00Z"));
    assert!(!is_due(&both, &History::default(), "2026-01-05T18:00:00Z"));
    let failed = LastRun::Failed { at: at("2026-01-05T10:15:00Z"), in_a_row: 1 };
    assert!(is_due(&both, &History { advance: failed, ..base }, "2026-01-05T10:16:00Z"));
}

#[test]
fn t4_a_failure_is_tried_again_ever_more_slowly() {
    let failed = at("2026-01-05T10:00:00Z");
    let wait = |in_a_row| {
        let history = History { base: LastRun::Failed { at: failed, in_a_row }, ..History::default() };
        let (_, due_at) = times(&nightly(), &history, failed)[0];
        due_at.duration_since(failed).as_secs()
    };
    let waits: Vec<i64> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 1_000, u32::MAX].map(wait).to_vec();
    assert_eq!(waits, [60, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]);
}

#[test]
fn t3_a_record_from_a_wrong_clock_does_not_stop_backups_for_years() {
    let mut history = succeeded("2036-01-01T00:00:00Z");
    let now = at("2026-01-05T10:00:00Z");
    assert_eq!(due(&nightly(), &history, now), [Job::BaseBackup]);
    history.base = LastRun::Succeeded { started: now };
    assert_eq!(due(&nightly(), &history, later(now, FIRST_RETRY)), []);
}

#[test]
fn the_schedule_is_read_from_the_plan() {
    let start = lifeboat_plan::Starter {
        name: "p".to_owned(),
        service: "db".to_owned(),
        connection: "host=db".to_owned(),
        data_directory: None,
        copies: vec!["file:///srv/vault".to_owned()],
        time_zone: "Asia/Taipei".to_owned(),
    };
    let plan = lifeboat_plan::load(&lifeboat_plan::starter(&start)).unwrap().plan;
    assert_eq!(ServiceSchedule::new(plan.services[0].postgres.as_ref().unwrap(), true), nightly());
}

fn run() -> impl Strategy<Value = LastRun> {
    let when = (1_700_000_000i64..1_900_000_000).prop_map(|s| Timestamp::from_second(s).unwrap());
    prop_oneof![
        Just(LastRun::Never),
        Just(LastRun::Running),
        when.clone().prop_map(|started| LastRun::Succeeded { started }),
        (when, any::<u32>()).prop_map(|(at, in_a_row)| LastRun::Failed { at, in_a_row }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    (run(), run(), run(), any::<bool>(), any::<bool>()).prop_map(
        |(base, verify, prune, unverified, unpruned)| History {
            base,
            verify,
            prune,
            unverified,
            unpruned,
            ..History::default()
        },
    )
}

fn any_schedule() -> impl Strategy<Value = ServiceSchedule> {
    let crons = vec!["0 3 * * *", "30 2 * * *", "*/5 * * * *", "0 0 29 2 *", "15 4 * * sun"];
    let zones = vec!["UTC", "Asia/Taipei", "Europe/Berlin", "America/New_York"];
    (prop::sample::select(crons), prop::sample::select(zones)).prop_map(|(cron, zone)| schedule(cron, zone))
}

proptest! {
    #[test]
    fn t2_a_clock_that_goes_back_makes_nothing_due(
        schedule in any_schedule(), history in history(), now in 1_700_000_000i64..1_900_000_000, back in 0i64..86_400,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let earlier = Timestamp::from_second(now.as_second() - back).unwrap();
        // Records of the time before the jump; what is from further ahead is T3's.
        let past = |run| match run {
            LastRun::Succeeded { started } => LastRun::Succeeded { started: started.min(now) },
            LastRun::Failed { at, in_a_row } => LastRun::Failed { at: at.min(now), in_a_row },
            run => run,
        };
        let (base, verify, prune) = (past(history.base), past(history.verify), past(history.prune));
        let history = History { base, verify, prune, ..history };
        let before = due(&schedule, &history, now);
        for job in due(&schedule, &history, earlier) {
            prop_assert!(before.contains(&job), "{job:?} became due by going back");
        }
    }

    #[test]
    fn next_wake_is_when_something_becomes_due(
        schedule in any_schedule(), history in history(), now in 1_700_000_000i64..1_900_000_000,
    ) {
        let now = Timestamp::from_second(now).unwrap();
        let wake = next_wake(&schedule, &history, now);
        prop_assert!(wake >= now && wake <= later(now, LONGEST_SLEEP));
        prop_assert_eq!(wake == now, !due(&schedule, &history, now).is_empty());
        if wake < later(now, LONGEST_SLEEP) {
            prop_assert!(!due(&schedule, &history, wake).is_empty());
        }
    }

    /// An engine that polls, runs for a while, fails now and then and has its clock pushed about.
    #[test]
    fn t1_a_life_of_polls_runs_each_time_once(
        schedule in any_schedule(),
        steps in prop::collection::vec((-3_600i64..40_000, 0u8..6), 1..200),
    ) {
        let mut history = History::default();
        let mut now = 1_760_000_000i64;
        let mut last_tick: Option<Timestamp> = None;
        for (passes, outcome) in steps {
            now += passes;
            let time = Timestamp::from_second(now).unwrap();
            if !due(&schedule, &history, time).contains(&Job::BaseBackup) {
                continue;
            }
            if outcome == 0 {
                let in_a_row = match history.base {
                    LastRun::Failed { in_a_row, .. } => in_a_row + 1,
                    _ => 1,
                };
                history.base = LastRun::Failed { at: time, in_a_row };
                continue;
            }
            // The time of the schedule that this run is for lies behind the last success.
            if let (Some(last), LastRun::Succeeded { .. }) = (last_tick, history.base) {
                prop_assert!(next_after(&schedule.base, &schedule.zone, last) <= time);
            }
            last_tick = Some(time);
            history.base = LastRun::Succeeded { started: time };
            prop_assert!(!due(&schedule, &history, time).contains(&Job::BaseBackup));
        }
    }
}
