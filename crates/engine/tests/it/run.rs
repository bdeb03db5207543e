//! Runs on a vault that dies at every write, and machines that take them over.

use crate::world::World;
use lifeboat_core::port::Work;
use lifeboat_core::run::{
    Actions, Answer, Ask, BoundStep, Circumstances, Class, Doing, Ending, Event, Found, OnFailure, Outcome,
    Rules, Side, StepNumber, Told,
};
use lifeboat_engine::run::{
    Begun, CarryError, CarryOptions, Known, Request, RunId, RunTold, begin, carry, list, load, resume, send,
};
use lifeboat_testkit::faulty::{Fault, FaultPlan};
use lifeboat_vault::journal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How long another may hold the lease.
const PATIENCE: Duration = Duration::from_secs(60);

fn step(id: &str, class: Class, doing: Doing, needs: Option<u32>) -> BoundStep {
    let is_acted = doing == Doing::Machine && class == Class::Destructive;
    BoundStep {
        id: id.to_owned(),
        title: id.to_owned(),
        shown: format!("do {id}"),
        notes: Vec::new(),
        expected: None,
        hash: format!("hash of {id}"),
        does: id.into(),
        rules: Rules {
            class,
            doing,
            needs: needs.map(StepNumber).into_iter().collect(),
            is_conditional: false,
            has_probe: is_acted,
            has_verify: is_acted,
            has_undo: false,
            approvals: if is_acted { 2 } else { 0 },
            tries: 3,
            pause: Duration::from_secs(1),
            settles: Duration::from_secs(20),
            on_failure: OnFailure::Stop,
        },
    }
}

fn failover() -> Vec<BoundStep> {
    vec![
        step("look", Class::Read, Doing::Machine, None),
        step("promote", Class::Destructive, Doing::Machine, Some(0)),
        step("rewire", Class::Idempotent, Doing::Machine, Some(1)),
        step("tell", Class::Read, Doing::Person, Some(2)),
    ]
}

fn begun(steps: &[BoundStep]) -> Begun {
    Begun {
        runbook: "failover".to_owned(),
        plan_hash: "none".to_owned(),
        target: "live".to_owned(),
        requester: "ana".to_owned(),
        signature: None,
        approvers: Vec::new(),
        variables: BTreeMap::new(),
        secrets: Vec::new(),
        steps: steps.len(),
    }
}

/// What was done to the world, and by which machine.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<(String, &'static str)>>>);

impl Noted {
    fn count(&self, id: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(noted, _)| noted == id).count()
    }
}

struct Machine {
    who: &'static str,
    noted: Noted,
}

impl Actions for Machine {
    fn probe(&self, step: &BoundStep, _: Circumstances) -> Work<Told<Found>> {
        let found = if self.noted.count(&step.id) > 0 { Found::Done } else { Found::NotDone };
        Box::pin(async move { Ok(found.into()) })
    }

    fn act(&self, step: &BoundStep, _: Side, _: Circumstances) -> Work<Told<Outcome>> {
        let (noted, id, who) = (self.noted.clone(), step.id.clone(), self.who);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            noted.0.lock().unwrap().push((id, who));
            Ok(Outcome::Done.into())
        })
    }

    fn verify(&self, step: &BoundStep, _: Circumstances) -> Work<Told<Option<String>>> {
        let wrong = (self.noted.count(&step.id) == 0).then(|| "nothing was done".to_owned());
        Box::pin(async move { Ok(wrong.into()) })
    }
}

/// Carries it as one machine does, with people who answer as soon as they are asked.
async fn carried(
    world: &World,
    who: &'static str,
    id: &RunId,
    noted: &Noted,
    is_new: bool,
) -> Result<Option<Ending>, CarryError> {
    let vault = world.vault().await;
    let mut fenced = if is_new {
        let steps = failover();
        begin(&vault, id, who, &begun(&steps), &steps, PATIENCE).await.map_err(CarryError::Fence)?
    } else {
        resume(&vault, id, who, PATIENCE).await.map_err(CarryError::Fence)?
    };
    let (to, run) = (world.vault().await, id.clone());
    let speaking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // A vault that is away asks nobody, and hears nobody.
            let Ok(known) = load(&to, &run).await else { continue };
            for (step, ask, shown) in known.state.asked() {
                for by in ["ana", "bo"] {
                    let by = by.to_owned();
                    let request = match ask {
                        Ask::Approval => Request::Approve { step, by, shown: shown.to_owned() },
                        _ => Request::Answer { step, by, answer: Answer::Done { saw: "it".to_owned() } },
                    };
                    let _ = send(&to, &run, "people", request, None).await;
                }
            }
        }
    });
    let observer = Arc::new(|_: &Known, _: RunTold| ());
    let actions = Arc::new(Machine { who, noted: noted.clone() });
    let options = CarryOptions { vault, actions, actor: who.to_owned(), observer };
    let (_keep, stop) = watch::channel(false);
    let ended = carry(&options, id, &mut fenced, stop).await;
    speaking.abort();
    fenced.end().await;
    ended
}

#[tokio::test(start_paused = true)]
async fn y3_a_run_goes_through_with_people_and_is_whole_in_the_journal() {
    let (world, noted) = (World::new().await, Noted::default());
    let id = RunId::new(world.vault().await.clock().as_ref());
    assert_eq!(carried(&world, "one", &id, &noted, true).await.unwrap(), Some(Ending::Completed));
    let vault = world.vault().await;
    let known = load(&vault, &id).await.unwrap();
    assert_eq!(known.state.ending(), Some(&Ending::Completed));
    assert_eq!(list(&vault).await.unwrap(), [id]);
    let approvals = known.events.iter().filter(|(event, _)| matches!(event, Event::Approved { .. })).count();
    assert_eq!((approvals, noted.count("promote"), noted.count("rewire")), (2, 1, 1));
    // The second person who said that all was told was one too many, and was told so.
    let records = journal::read(&vault, &format!("runs/{}", known.id).parse().unwrap(), 0).await.unwrap();
    assert!(records.records.iter().any(|record| record.kind == "run.refused"));
    assert!(journal::verify(&vault).await.unwrap().is_sound());
}

/// At every write: before it, after it, and when its reply is lost.
#[tokio::test(start_paused = true)]
async fn y1_y2_a_machine_that_dies_at_any_write_is_followed_by_one_that_repeats_nothing() {
    let rehearsal = World::new().await;
    let before = rehearsal.store.write_count();
    let id = RunId::new(rehearsal.vault().await.clock().as_ref());
    carried(&rehearsal, "one", &id, &Noted::default(), true).await.unwrap();
    let writes = rehearsal.store.write_count() - before;
    assert!(writes > 20, "{writes}");
    let mut taken_over = 0;
    for fault in [Fault::Crash, Fault::CrashAfter, Fault::LoseReply] {
        for write in 1..=writes {
            let (world, noted) = (World::new().await, Noted::default());
            let vault = world.vault().await;
            let id = RunId::new(vault.clock().as_ref());
            world.store.set_plan(FaultPlan::none().at_write(write, fault));
            let first = carried(&world, "one", &id, &noted, true).await;
            world.store.set_plan(FaultPlan::none());
            let at = format!("{fault:?} at write {write}: {first:?}");
            if first.is_err() {
                taken_over += 1;
                match load(&vault, &id).await {
                    // It died while it wrote down what it was asked: nothing was begun.
                    Err(_) => assert_eq!(noted.0.lock().unwrap().len(), 0, "{at}"),
                    Ok(known) if known.state.ending().is_some() => {}
                    Ok(_) => {
                        let second = carried(&world, "two", &id, &noted, false).await;
                        assert_eq!(second.unwrap(), Some(Ending::Completed), "{at}");
                    }
                }
            }
            if load(&vault, &id).await.is_ok() {
                assert_eq!(noted.count("promote"), 1, "{at}");
                assert!(noted.count("rewire") >= 1, "{at}");
            }
            assert!(journal::verify(&vault).await.unwrap().is_sound(), "{at}");
        }
    }
    assert!(taken_over > 20, "{taken_over}");
}

/// A machine that slept through its lease writes nothing more, and acts no more.
#[tokio::test(start_paused = true)]
async fn y1_a_machine_that_lost_its_lease_begins_nothing() {
    let (world, noted) = (World::new().await, Noted::default());
    let vault = world.vault().await;
    let id = RunId::new(vault.clock().as_ref());
    let steps = failover();
    let mut first = begin(&vault, &id, "one", &begun(&steps), &steps, PATIENCE).await.unwrap();
    // As when its machine is suspended: another finds the lease let go.
    first.lease().release().await.unwrap();
    assert_eq!(carried(&world, "two", &id, &noted, false).await.unwrap(), Some(Ending::Completed));
    let late = first.append("run.event", serde_json::json!({"event": "carried", "by": "one"})).await;
    late.unwrap_err();
    let known = load(&vault, &id).await.unwrap();
    assert!(known.events.iter().all(|(event, _)| *event != Event::Carried { by: "one".to_owned() }));
    assert_eq!(noted.0.lock().unwrap().iter().filter(|(_, who)| *who == "one").count(), 0);
}

/// Each act is shorter than the pause between two looks at the inbox.
#[tokio::test(start_paused = true)]
async fn y3_an_abort_is_heard_between_steps_that_follow_each_other_quickly() {
    struct Quick;
    impl Actions for Quick {
        fn probe(&self, _: &BoundStep, _: Circumstances) -> Work<Told<Found>> {
            Box::pin(async { Ok(Found::Unknown.into()) })
        }

        fn act(&self, _: &BoundStep, _: Side, _: Circumstances) -> Work<Told<Outcome>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Outcome::Done.into())
            })
        }

        fn verify(&self, _: &BoundStep, _: Circumstances) -> Work<Told<Option<String>>> {
            Box::pin(async { Ok(None.into()) })
        }
    }
    let world = World::new().await;
    let vault = world.vault().await;
    let id = RunId::new(vault.clock().as_ref());
    let steps: Vec<BoundStep> = (0..100)
        .map(|n| step(&format!("s{n}"), Class::Read, Doing::Machine, u32::checked_sub(n, 1)))
        .collect();
    let mut fenced = begin(&vault, &id, "one", &begun(&steps), &steps, PATIENCE).await.unwrap();
    let abort = Request::Abort { by: "bo".to_owned(), undo: false, reason: "enough".to_owned() };
    send(&vault, &id, "bo", abort, None).await.unwrap();
    let observer = Arc::new(|_: &Known, _: RunTold| ());
    let options =
        CarryOptions { vault: vault.clone(), actions: Arc::new(Quick), actor: "one".to_owned(), observer };
    let (_keep, stop) = watch::channel(false);
    let ending = carry(&options, &id, &mut fenced, stop).await.unwrap();
    assert!(matches!(ending, Some(Ending::Aborted { .. })), "{ending:?}");
    let known = load(&vault, &id).await.unwrap();
    let acts = known.events.iter().filter(|(event, _)| matches!(event, Event::Intended { .. })).count();
    assert!(acts < 10, "{acts} steps were begun");
}

#[test]
fn an_id_of_a_run_is_one_word_that_fits_where_it_goes() {
    for bad in ["", "a/b", "A", &"x".repeat(195)] {
        bad.parse::<RunId>().unwrap_err();
    }
    "20261122t031500z-1f2e3d4c".parse::<RunId>().unwrap();
}
