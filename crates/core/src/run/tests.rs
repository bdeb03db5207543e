//! A world that fails in every way, and a run that must come out of it with each destructive act done once.

use super::*;
use crate::run::rules::Leads;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an act may still be under way after its machine has died.
const SETTLES: Duration = Duration::from_secs(30);
/// Turns after which a run of a few steps must have ended.
const TURNS_LIMIT: usize = 5_000;

fn rules(class: Class) -> Rules {
    Rules {
        class,
        doing: Doing::Machine,
        needs: Vec::new(),
        is_conditional: false,
        has_probe: false,
        has_verify: false,
        has_undo: false,
        approvals: 0,
        tries: 1,
        pause: Duration::from_secs(1),
        settles: SETTLES,
        on_failure: OnFailure::Stop,
    }
}

fn run_of(steps: Vec<Rules>) -> RunRules {
    RunRules::new("ana".to_owned(), steps).unwrap()
}

/// Fate, as a row of numbers; all ends well when it has run out.
struct Tape(std::vec::IntoIter<u8>);

impl Tape {
    fn one_of(&mut self, ways: u8) -> u8 {
        self.0.next().map_or(0, |fate| fate % ways)
    }
}

/// What steps do to the world.
#[derive(Default)]
struct World {
    /// How often each step took effect, and was taken back.
    done: BTreeMap<StepNumber, (u32, u32)>,
    /// Effects that are still under way, and when they arrive.
    coming: Vec<(Timestamp, StepNumber, Side)>,
}

impl World {
    fn take(&mut self, step: StepNumber, side: Side) {
        let (acts, undoes) = self.done.entry(step).or_default();
        match side {
            Side::Act => *acts += 1,
            Side::Undo => *undoes += 1,
        }
    }

    fn is_done(&self, step: StepNumber) -> bool {
        self.done.get(&step).is_some_and(|(acts, undoes)| acts > undoes)
    }

    fn arrive(&mut self, now: Timestamp) {
        let coming = std::mem::take(&mut self.coming);
        let (arrived, coming): (Vec<_>, Vec<_>) = coming.into_iter().partition(|(at, ..)| *at <= now);
        self.coming = coming;
        for (_, step, side) in arrived {
            self.take(step, side);
        }
    }
}

/// A run, its journal, the machine that carries it and the people around it.
struct Theatre {
    run: RunRules,
    journal: Vec<(Event, Timestamp)>,
    state: State,
    world: World,
    now: Timestamp,
    tape: Tape,
    /// Steps that people told to repeat.
    repeated: BTreeSet<StepNumber>,
    /// How often people spoke, so that all do.
    spoken: usize,
    /// Whether anything but probes and undoing was begun after an abort.
    acted_after_abort: bool,
}

impl Theatre {
    fn new(run: RunRules, fate: Vec<u8>) -> Self {
        let state = State::new(&run);
        let (now, tape) = (Timestamp::UNIX_EPOCH, Tape(fate.into_iter()));
        Self {
            run,
            journal: Vec::new(),
            state,
            world: World::default(),
            now,
            tape,
            repeated: BTreeSet::new(),
            spoken: 0,
            acted_after_abort: false,
        }
    }

    fn record(&mut self, event: Event) -> Result<(), Misfit> {
        self.state.apply(&self.run, &event, self.now)?;
        self.journal.push((event, self.now));
        Ok(())
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
        self.world.arrive(self.now);
    }

    /// The machine dies, and another takes over, knowing the journal alone.
    fn take_over(&mut self) {
        let mut state = State::new(&self.run);
        for (event, at) in &self.journal {
            state.apply(&self.run, event, *at).unwrap();
        }
        assert_eq!(state, self.state, "the journal tells all");
        self.pass(Duration::from_secs(12));
        self.record(Event::Carried { by: "another".to_owned() }).unwrap();
    }

    fn found(&mut self, step: StepNumber) -> Found {
        match (self.tape.one_of(5), self.world.is_done(step)) {
            (1, _) => Found::Unknown,
            (_, true) => Found::Done,
            (_, false) => Found::NotDone,
        }
    }

    fn act(&mut self, step: StepNumber, side: Side, attempt: u32) {
        if self.tape.one_of(12) == 1 {
            return self.take_over();
        }
        self.record(Event::Intended { step, side, attempt }).unwrap();
        self.acted_after_abort |= self.state.aborted.is_some() && side == Side::Act;
        let came = |outcome| Event::Came { step, side, attempt, outcome };
        match self.tape.one_of(8) {
            0 | 1 => {
                self.world.take(step, side);
                self.record(came(Outcome::Done)).unwrap();
            }
            2 => self.record(came(Outcome::Failed { why: "refused".to_owned() })).unwrap(),
            3 => self.record(came(Outcome::Unknown { why: "no answer".to_owned() })).unwrap(),
            4 => {
                self.world.take(step, side);
                self.record(came(Outcome::Unknown { why: "no answer".to_owned() })).unwrap();
            }
            5 => self.take_over(),
            6 => {
                self.world.take(step, side);
                self.take_over();
            }
            _ => {
                // On its way while its machine dies, as late as can be.
                let late = self.now.checked_add(SETTLES).unwrap();
                self.world.coming.push((late, step, side));
                self.take_over();
            }
        }
    }

    /// People see the world as it is, once nothing is under way, and say so.
    fn answer(&mut self, step: StepNumber) {
        // What was done beside it may have made the question needless.
        let Some((ask, shown)) = self.state.steps[step.index()].asked.clone() else { return };
        self.spoken += 1 + usize::from(self.tape.one_of(2));
        let by = ["ana", "bo", "chen"][self.spoken % 3].to_owned();
        while !self.world.coming.is_empty() {
            self.pass(SETTLES);
        }
        let is_done = self.world.is_done(step);
        let saw = || "with my own eyes".to_owned();
        let answer = match ask {
            Ask::Approval => {
                let event = match self.tape.one_of(8) {
                    1 => Event::BrokeGlass { step, by, reason: "alone".to_owned() },
                    _ => Event::Approved { step, by: by.clone(), shown },
                };
                return self.record(event).unwrap();
            }
            Ask::Condition if self.tape.one_of(3) == 1 => Answer::No,
            Ask::Condition => Answer::Yes,
            Ask::Choice => Answer::Chose { option: 0 },
            Ask::Work if self.tape.one_of(4) == 1 => Answer::Failed { why: "no".to_owned() },
            Ask::Work => {
                self.world.take(step, Side::Act);
                Answer::Done { saw: saw() }
            }
            Ask::Doubt { side: Side::Act } | Ask::Failure { side: Side::Act } if is_done => {
                Answer::Done { saw: saw() }
            }
            Ask::Doubt { side: Side::Undo } | Ask::Failure { side: Side::Undo } if !is_done => {
                Answer::Done { saw: saw() }
            }
            Ask::Doubt { .. } | Ask::Failure { .. } => match self.tape.one_of(3) {
                1 => Answer::Skip { why: "we live without".to_owned() },
                _ => {
                    self.repeated.insert(step);
                    Answer::Again
                }
            },
        };
        self.record(Event::Answered { step, by, answer }).unwrap();
    }

    fn turn(&mut self) {
        let next = next(&self.run, &self.state, &BTreeSet::new(), self.now);
        if self.tape.one_of(40) == 1 && self.state.aborted.is_none() {
            let undo = self.tape.one_of(2) == 0;
            let (by, reason) = ("ana".to_owned(), "enough".to_owned());
            return self.record(Event::Aborted { by, undo, reason }).unwrap();
        }
        for effect in next.effects.clone() {
            let fits = match effect {
                Effect::Probe(step) => {
                    let found = self.found(step);
                    self.record(Event::Probed { step, found })
                }
                Effect::Ask(step, ask) => {
                    self.record(Event::Asked { step, ask, shown: format!("of {}", step.0) })
                }
                Effect::Act { step, side, attempt } => {
                    // What was decided beside another act may no longer be so.
                    if standing(&self.run, &self.state, step, self.now) == Standing::Act(side, attempt) {
                        self.act(step, side, attempt);
                    }
                    Ok(())
                }
                Effect::Verify(step) => {
                    let wrong = (!self.world.is_done(step) || self.tape.one_of(9) == 1)
                        .then(|| "not as wanted".to_owned());
                    self.record(Event::Verified { step, wrong })
                }
                Effect::Abandon(step) => {
                    let reason = format!("step {} failed", step.0);
                    self.record(Event::Aborted { by: "lifeboat".to_owned(), undo: true, reason })
                }
                Effect::End(ending) => self.record(Event::Ended(ending)),
            };
            // After a take-over in the same turn, some of it is no longer due.
            let _ = fits;
        }
        if let Some(step) = next.asked.first() {
            self.answer(*step);
        } else if next.effects.is_empty() {
            let wake = next.wake.expect("something is due, someone is asked, or time will tell");
            let time = wake.duration_since(self.now).max(SignedDuration::ZERO);
            self.pass(time.unsigned_abs());
        }
    }

    fn play(&mut self) -> Ending {
        for _ in 0..TURNS_LIMIT {
            if let Some(ending) = self.state.ending() {
                return ending.clone();
            }
            self.turn();
        }
        panic!("it does not end: {:?}", self.journal.iter().rev().take(20).collect::<Vec<_>>());
    }
}

prop_compose! {
    fn any_rules()(
        class in prop::sample::select(vec![Class::Read, Class::Idempotent, Class::Destructive]),
        doing in prop::sample::select(vec![Doing::Machine, Doing::Machine, Doing::Machine, Doing::Person]),
        (is_conditional, has_probe, has_verify, has_undo) in any::<(bool, bool, bool, bool)>(),
        (approvals, tries) in (0..3_u32, 1..4_u32),
        needs in 0..3_u32,
        on_failure in prop::sample::select(vec![OnFailure::Stop, OnFailure::Undo, OnFailure::GoOn]),
    ) -> Rules {
        // How far back, until it is in a run.
        let needs = vec![StepNumber(needs)];
        Rules { doing, needs, is_conditional, has_probe, has_verify, has_undo, approvals, tries, on_failure, ..rules(class) }
    }
}

prop_compose! {
    fn any_run()(mut steps in prop::collection::vec(any_rules(), 1..6)) -> RunRules {
        for (at, rules) in (0_u32..).zip(&mut steps) {
            // Zero steps back: it needs none.
            rules.needs = rules.needs.iter().filter(|back| back.0 > 0 && back.0 <= at).map(|back| StepNumber(at - back.0)).collect();
        }
        run_of(steps)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// R1, R2, R4, R5, R6 and R3, over everything that can go wrong.
    #[test]
    fn r1_to_r6_whatever_fails_each_destructive_act_happens_once(run in any_run(), fate in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut theatre = Theatre::new(run.clone(), fate);
        let ending = theatre.play();
        while !theatre.world.coming.is_empty() {
            theatre.pass(SETTLES);
        }
        prop_assert!(!theatre.acted_after_abort, "R6");
        for (step, rules) in run.steps() {
            let (acts, undoes) = theatre.world.done.get(&step).copied().unwrap_or_default();
            if rules.class == Class::Destructive {
                prop_assert!(acts <= 1 + undoes && undoes <= acts, "R2: step {} {acts} {undoes} in {:?}", step.0, theatre.journal);
            }
            let standing = standing(&run, &theatre.state, step, theatre.now);
            prop_assert!(standing.is_over(), "R5");
            if ending == Ending::Completed && rules.has_verify && standing == Standing::Done {
                prop_assert!(acts > undoes, "a verified step was done");
            }
            if let Ending::Aborted { left, undone } = &ending && rules.class == Class::Destructive && acts > undoes {
                prop_assert!(left.contains(&step) && !undone.contains(&step), "R5: what stays is told");
            }
        }
        let mut agreed: BTreeMap<StepNumber, BTreeSet<String>> = BTreeMap::new();
        let mut glass = BTreeSet::new();
        let mut over = BTreeSet::new();
        let mut replayed = State::new(&run);
        for (event, at) in &theatre.journal {
            match event {
                Event::Approved { step, by, .. } => _ = agreed.entry(*step).or_default().insert(by.clone()),
                Event::BrokeGlass { step, .. } => _ = glass.insert(*step),
                Event::Intended { step, side: Side::Act, .. } => {
                    let rules = run.step(*step).unwrap();
                    let by = agreed.get(step).cloned().unwrap_or_default();
                    let others = by.iter().any(|by| by != "ana");
                    let enough = by.len() >= rules.approvals as usize && others;
                    prop_assert!(rules.approvals == 0 || glass.contains(step) || enough, "R3");
                    prop_assert!(rules.needs.iter().all(|needs| over.contains(needs)), "R4");
                }
                _ => {}
            }
            replayed.apply(&run, event, *at).unwrap();
            over.extend(run.steps().map(|(step, _)| step).filter(|step| standing(&run, &replayed, *step, *at).is_over()));
        }
    }
}

#[test]
fn r2_what_may_still_be_under_way_is_waited_for() {
    let destructive = Rules { has_probe: true, ..rules(Class::Destructive) };
    let (run, step) = (run_of(vec![destructive]), StepNumber(0));
    let mut state = State::new(&run);
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    let (idle, side) = (BTreeSet::new(), Side::Act);
    for event in [
        Event::Probed { step, found: Found::NotDone },
        Event::Intended { step, side, attempt: 1 },
        Event::Carried { by: "another".to_owned() },
    ] {
        state.apply(&run, &event, at(0)).unwrap();
    }
    assert_eq!(next(&run, &state, &idle, at(1)).effects, [Effect::Probe(step)]);
    state.apply(&run, &Event::Probed { step, found: Found::NotDone }, at(1)).unwrap();
    // Not there, and it may yet come.
    let waits = next(&run, &state, &idle, at(2));
    assert_eq!((waits.effects, waits.wake), (vec![], Some(at(30))));
    assert_eq!(next(&run, &state, &idle, at(30)).effects, [Effect::Probe(step)]);
    state.apply(&run, &Event::Probed { step, found: Found::NotDone }, at(30)).unwrap();
    let again = Effect::Act { step, side, attempt: 2 };
    assert_eq!(next(&run, &state, &idle, at(30)).effects, [again]);
}

#[test]
fn r2_nothing_is_repeated_where_nothing_can_tell() {
    let (run, step) = (run_of(vec![rules(Class::Destructive)]), StepNumber(0));
    let mut state = State::new(&run);
    let at = |seconds| Timestamp::from_second(seconds).unwrap();
    state.apply(&run, &Event::Intended { step, side: Side::Act, attempt: 1 }, at(0)).unwrap();
    state.apply(&run, &Event::Carried { by: "another".to_owned() }, at(0)).unwrap();
    let doubt = Ask::Doubt { side: Side::Act };
    let asks = next(&run, &state, &BTreeSet::new(), at(1_000_000));
    assert_eq!(asks.effects, [Effect::Ask(step, doubt)]);
    // Not even by a record that says so.
    let again = Event::Intended { step, side: Side::Act, attempt: 2 };
    assert!(state.apply(&run, &again, at(1_000_000)).is_err());
}

#[test]
fn r5_a_run_with_something_left_to_do_is_not_over() {
    let (run, step) = (run_of(vec![rules(Class::Read)]), StepNumber(0));
    let mut state = State::new(&run);
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(state.apply(&run, &Event::Ended(Ending::Completed), now), Err(Misfit::NotOver));
    let side = Side::Act;
    for event in [
        Event::Intended { step, side, attempt: 1 },
        Event::Came { step, side, attempt: 1, outcome: Outcome::Done },
    ] {
        state.apply(&run, &event, now).unwrap();
    }
    let otherwise = Ending::Led { runbook: "another".to_owned() };
    assert_eq!(state.apply(&run, &Event::Ended(otherwise), now), Err(Misfit::NotOver));
    state.apply(&run, &Event::Ended(Ending::Completed), now).unwrap();
}

#[test]
fn r3_an_approval_is_for_what_was_shown_and_never_the_requesters_alone() {
    let (run, step) = (run_of(vec![Rules { approvals: 1, ..rules(Class::Destructive) }]), StepNumber(0));
    let mut state = State::new(&run);
    let now = Timestamp::UNIX_EPOCH;
    let approved = |by: &str, shown: &str| {
        let (by, shown) = (by.to_owned(), shown.to_owned());
        Event::Approved { step, by, shown }
    };
    state.apply(&run, &approved("bo", "a"), now).unwrap_err();
    state.apply(&run, &Event::Asked { step, ask: Ask::Approval, shown: "a".to_owned() }, now).unwrap();
    state.apply(&run, &approved("bo", "b"), now).unwrap_err();
    state.apply(&run, &approved("ana", "a"), now).unwrap();
    assert_eq!(next(&run, &state, &BTreeSet::new(), now).asked, [step], "who asked for it is not enough");
    state.apply(&run, &approved("bo", "a"), now).unwrap();
    let act = Effect::Act { step, side: Side::Act, attempt: 1 };
    assert_eq!(next(&run, &state, &BTreeSet::new(), now).effects, [act]);
}

#[test]
fn an_answer_leads_forward_and_passes_over_what_is_between() {
    let choice = |leads| Rules { doing: Doing::Choice(leads), ..rules(Class::Read) };
    let back = RunRules::new("ana".to_owned(), vec![choice(vec![Leads::To(StepNumber(0))])]);
    assert_eq!(back, Err(RulesError::Back { step: 1, to: 1 }));
    let after = Rules { needs: vec![StepNumber(1)], ..rules(Class::Read) };
    let run = run_of(vec![choice(vec![Leads::On, Leads::To(StepNumber(2))]), rules(Class::Read), after]);
    let mut state = State::new(&run);
    let (now, step) = (Timestamp::UNIX_EPOCH, StepNumber(0));
    state.apply(&run, &Event::Asked { step, ask: Ask::Choice, shown: String::new() }, now).unwrap();
    let answer = |option| Event::Answered { step, by: "ana".to_owned(), answer: Answer::Chose { option } };
    state.apply(&run, &answer(2), now).unwrap_err();
    state.apply(&run, &answer(1), now).unwrap();
    assert_eq!(standing(&run, &state, StepNumber(1), now), Standing::Skipped);
    let act = Effect::Act { step: StepNumber(2), side: Side::Act, attempt: 1 };
    assert_eq!(next(&run, &state, &BTreeSet::new(), now).effects, [act]);
}
