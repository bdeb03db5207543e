//! Binding: all or nothing, values that stay values, secrets that stay outside.

use super::*;
use crate::run::{BoundStep, Class, Doing, Leads, StepNumber};
use lifeboat_plan::Plan;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBe4tTJtUga49QoxX6mi3Ux5DXEtxRPK0ePx3+zwAa9K ana";

fn plan(runbook: &str) -> Plan {
    let text = format!(
        "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: shop}}\nservices: [{{name: web}}]\n\
         people:\n  approvers: [{{name: Ana, keys: [{KEY}]}}, {{name: Bo, keys: [{KEY}]}}]\nrunbooks:\n  r:\n{runbook}"
    );
    lifeboat_plan::load(&text).unwrap_or_else(|findings| panic!("{findings:?}\n{text}")).plan
}

fn bound(plan: &Plan, variables: &[(&str, &str)], requester: &str, hash: &str) -> Result<Bound, Vec<String>> {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let wanted = Wanted { runbook: "r", variables: &variables, target: "live", requester, plan_hash: hash };
    bind(plan, &wanted).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn binding(step: &BoundStep) -> Binding {
    serde_json::from_value(step.does.clone()).unwrap()
}

const WHOLE: &str = "    variables:
      moment: {type: time}
      count: {type: number, default: \"3\", environment: COUNT}
      password: {type: secret, environment: DB_PASSWORD}
    steps:
      - {id: look, check: \"echo {{ count }}\"}
      - {id: decide, choose: {question: Which?, options: [{when: this}, {when: that, step: last}, {when: other, runbook: r}]}}
      - {id: act, needs: [look], shell: \"restore --to {{ moment }} $COUNT\", duration: 10m}
      - {id: web, http.check: {url: \"https://{{ count }}.example/health\", contains: ok}, needs: []}
      - {id: agree, approval: to go on}
      - {id: last, manual: \"Call {{ count }} people\", tries: 2, onFailure: go-on}
";

#[test]
fn b1_every_problem_of_every_step_is_told_before_anything_begins() {
    let broken = plan(
        "    variables: {a: {type: number}, b: {}}\n    steps:\n      - {http.chek: {url: x}}\n      - {tcp.check: {adress: x}}\n      \
         - {shell: \"{{ b }}\"}\n      - {check: \"true\"}\n",
    );
    let problems = bound(&broken, &[("a", "many"), ("c", "1")], "Ana", "").unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[0].contains("no variable `c`") && problems[1].contains("a number, not `many`"),
        "{problems:?}"
    );
    assert!(problems[2].contains("--var b="), "{problems:?}");
    let problems = bound(&broken, &[("a", "1"), ("b", "x; y")], "Ana", "").unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems[0].starts_with("step 1") && problems[0].contains("did you mean `http.check`"),
        "{problems:?}"
    );
    assert!(problems[1].contains("adress"), "{problems:?}");
    assert!(problems[2].starts_with("step 3") && problems[2].contains("one word"), "{problems:?}");
    // Whichever family it is of.
    for (wrong, right) in
        [("postgrs.promote", "postgres.promote"), ("postgres.stopwrites", "postgres.stop_writes")]
    {
        let problems =
            bound(&plan(&format!("    steps: [{{{wrong}: {{}}}}]\n")), &[], "Ana", "").unwrap_err();
        assert!(problems[0].contains(&format!("did you mean `{right}`?")), "{problems:?}");
    }
    // Nobody but the requester could agree.
    let alone = plan("    steps: [{shell: rm x, approvals: 3}]\n");
    assert!(bound(&alone, &[], "Ana", "").unwrap_err()[0].contains("needs 3 to agree"));
    assert!(bound(&broken, &[], "Ana", "").is_err());
}

#[test]
fn a_runbook_becomes_steps_with_their_rules() {
    let bound = bound(&plan(WHOLE), &[("moment", "2026-11-22T03:15:00Z")], "Ana", "h").unwrap();
    assert_eq!(bound.secrets, ["DB_PASSWORD"]);
    let rules = |at: usize| &bound.steps[at].rules;
    assert_eq!((rules(0).class, rules(0).tries), (Class::Read, 3));
    let doing = Doing::Choice(vec![Leads::On, Leads::To(StepNumber(5)), Leads::Away("r".to_owned())]);
    assert_eq!((&rules(1).doing, &rules(1).needs), (&doing, &vec![StepNumber(0)]));
    assert_eq!((rules(2).class, rules(2).approvals, rules(2).tries), (Class::Destructive, 2, 1));
    assert_eq!((&rules(2).needs, rules(2).settles.as_secs()), (&vec![StepNumber(0)], 2430));
    assert_eq!(bound.steps[2].shown, "restore --to 2026-11-22T03:15:00Z $COUNT");
    assert!(bound.steps[2].notes.contains(&"with COUNT=3".to_owned()), "{:?}", bound.steps[2].notes);
    assert_eq!(bound.steps[3].shown, "curl -fsS -m 10 https://3.example/health | grep -F ok");
    assert_eq!(rules(3).needs, []);
    assert_eq!((&rules(4).doing, rules(4).approvals), (&Doing::Nobody, 1));
    assert_eq!((&rules(5).doing, rules(5).tries, rules(5).approvals), (&Doing::Person, 2, 0));
    assert_eq!(bound.steps[5].shown, "Call 3 people");
}

#[test]
fn b2_whatever_changes_what_is_done_changes_what_is_agreed_to() {
    let hash = |runbook: &str, moment: &str, plan_hash: &str| {
        bound(&plan(runbook), &[("moment", moment)], "Ana", plan_hash).unwrap().steps[2].hash.clone()
    };
    let (noon, one) = ("2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z");
    let before = hash(WHOLE, noon, "h");
    assert_eq!(before, hash(WHOLE, noon, "h"));
    for other in [
        hash(WHOLE, one, "h"),
        hash(WHOLE, noon, "i"),
        hash(&WHOLE.replace("restore --to", "restore  --to"), noon, "h"),
        hash(&WHOLE.replace("duration: 10m}", "duration: 10m, undo: undo it}"), noon, "h"),
        hash(&WHOLE.replace("duration: 10m}", "duration: 10m, onFailure: go-on}"), noon, "h"),
        hash(&WHOLE.replace("default: \"3\"", "default: \"4\""), noon, "h"),
    ] {
        assert_ne!(before, other);
    }
}

#[test]
fn b4_a_secret_is_known_by_its_name_alone() {
    let whole = plan(WHOLE);
    let moment = ("moment", "2026-11-22T03:15:00Z");
    let problems = bound(&whole, &[moment, ("password", "hunter2")], "Ana", "").unwrap_err();
    assert!(problems[0].contains("is a secret") && !problems[0].contains("hunter2"), "{problems:?}");
    let bound_steps = bound(&whole, &[moment], "Ana", "").unwrap().steps;
    assert_eq!(binding(&bound_steps[2]).secrets, ["DB_PASSWORD"]);
    let into_text = plan(&WHOLE.replace("--to {{ moment }}", "--pass {{ password }}"));
    assert!(bound(&into_text, &[moment], "Ana", "").unwrap_err()[0].contains("is a secret"));
}

#[test]
fn a_runbook_is_written_out_as_it_stands() {
    let whole = plan(WHOLE);
    let steps = template(&whole, "r").unwrap();
    assert_eq!(steps[2].shown, "restore --to {{ moment }} $COUNT");
    let cautioned: Vec<usize> = cautions(&steps).iter().map(|caution| caution.step).collect();
    assert!(cautioned.contains(&3), "{cautioned:?}");
    let (_, runbook) = whole.runbooks.iter().next().unwrap();
    let script = script("shop", "r", runbook, &steps);
    for said in [
        ": \"${DB_PASSWORD:?",
        "v_moment=$value",
        "s|{{ moment }}|$v_moment|g",
        "[DESTRUCTIVE]",
        "2 people must agree",
    ] {
        assert!(script.contains(said), "{said}\n{script}");
    }
}

#[test]
fn what_is_shipped_can_be_carried_out() {
    for name in shipped_names() {
        let text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: shop}}\nvault: {{copies: [file:///v]}}\n\
             services:\n  - name: orders-db\n    postgres: {{connection: host=a user=u, standbys: [host=b user=u], base: \
             {{schedule: 0 3 * * *, timeZone: UTC}}}}\nrunbooks:\n{}",
            shipped(name, "orders-db").unwrap()
        );
        let loaded = lifeboat_plan::load(&text).unwrap_or_else(|findings| panic!("{findings:?}\n{text}"));
        let steps = template(&loaded.plan, name).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        // Whoever follows it knows how long it takes, and no crash leaves a question that a machine could answer.
        for caution in cautions(&steps) {
            assert!(!caution.what.contains("after a crash"), "{name}: {caution:?}");
        }
    }
}

proptest! {
    /// A shell that is given what was bound sees one word, or nothing is bound.
    #[test]
    fn b3_a_value_in_commands_is_one_word(value in "\\PC{0,12}") {
        let plan = plan("    variables: {v: {}}\n    steps: [{check: \"test {{ v }}\"}]\n");
        if let Ok(bound) = bound(&plan, &[("v", &value)], "Ana", "") {
            let text = &bound.steps[0].shown;
            prop_assert_eq!(text, &format!("test {}", value.trim()));
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@+,%=-".contains(c);
            prop_assert!(value.trim().chars().all(is_plain) && !value.trim().starts_with('-'));
        }
    }
}
