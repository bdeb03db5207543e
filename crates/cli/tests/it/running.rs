//! `lifeboat run`: two people with their keys, a runbook of commands, and machines that die.

use crate::world::{Ran, World};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Ana and Bo may agree; what is done leaves a line in a file for each time that it is done.
const RUNBOOKS: &str = "
runbooks:
  failover:
    variables:
      region: {description: where to, format: eu-west-1}
      why: {environment: WHY, default: a drill}
    steps:
      - {name: Look, check: \"echo looking at {{ region }}\"}
      - {id: how, choose: {question: Is the old region down?, options: [{when: it is}, {when: it is not, step: tell}]}}
      - id: switch
        name: Switch
        shell: echo \"switched because $WHY\" >> done.txt
        probe: test -e done.txt
        verify: {run: cat done.txt | wc -l, expect: \"1\"}
        undo: rm done.txt
      - {id: tell, manual: Call the boss}
  slow:
    steps:
      - id: act
        name: Act slowly
        shell: echo begun >> begun.txt; sleep 3; echo acted >> acted.txt
        probe: test -e acted.txt
        timeout: 5s
  broken:
    steps:
      - {postgres.recovr: {service: ledger-db}}
      - {name: Two, sql: select 1}
";

struct Team {
    world: World,
}

impl Team {
    fn new() -> Self {
        let world = World::new();
        let approvers: Vec<String> = ["Ana", "Bo", "Eve"].iter().map(|name| world.key(name)).collect();
        let copy = world.copy("vault");
        // Commands run in a directory of their own.
        let runbooks = ["done.txt", "begun.txt", "acted.txt"]
            .iter()
            .fold(RUNBOOKS.to_owned(), |text, name| text.replace(name, world.path(name).to_str().unwrap()));
        // Eve has a key, and no say.
        let text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bank}}\nvault: {{copies: [{copy:?}]}}\n\
             services: [{{name: web}}]\npeople:\n  approvers:\n    - {{name: Ana, keys: [{}]}}\n    - {{name: Bo, keys: \
             [{}]}}\n{runbooks}",
            approvers[0], approvers[1]
        );
        std::fs::write(world.path("lifeboat.yaml"), text).unwrap();
        world.run(&["vault", "init"]).expect(0);
        Self { world }
    }

    /// Begins a run of Ana's in a process of its own.
    fn start(&self, arguments: &[&str]) -> Child {
        let key = self.world.path("Ana");
        let all = [&["run", "start"], arguments, &["--ssh-key", key.to_str().unwrap()]].concat();
        self.world.command(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Says something with a person's key.
    #[track_caller]
    fn say(&self, who: &str, arguments: &[&str]) -> Ran {
        let key = self.world.path(who);
        let all = [&["run"], arguments, &["--ssh-key", key.to_str().unwrap()]].concat();
        self.world.run(&all)
    }

    fn show(&self) -> Value {
        let ran = self.world.run(&["run", "show", "latest", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or(Value::Null)
    }

    /// Asks until the newest run is so.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + LIMIT;
        loop {
            let shown = self.show();
            if is_so(&shown) {
                return shown;
            }
            assert!(Instant::now() < until, "{what}: {shown:#}");
        }
    }

    fn asked(&self, step: usize, ask: &str) -> Value {
        self.until(ask, |shown| shown["steps"][step - 1]["asked"]["ask"] == ask)
    }

    fn lines(&self, file: &str) -> usize {
        std::fs::read_to_string(self.world.path(file)).map_or(0, |text| text.lines().count())
    }
}

#[test]
fn z1_a_runbook_is_shown_before_it_is_done_and_all_that_stands_against_it_at_once() {
    let team = Team::new();
    let ran =
        team.world.run(&["run", "start", "failover", "--dry-run", "--var", "region=eu-west-1"]).expect(0);
    for said in
        ["echo looking at eu-west-1", "destructive · 2 must agree", "with WHY=a drill", "Nothing was done"]
    {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    let ran = team.world.run(&["run", "start", "failover", "--dry-run"]).expect(2);
    assert!(ran.stderr.contains("add `--var region=eu-west-1`"), "{}", ran.stderr);
    let ran = team.world.run(&["run", "start", "failover", "--dry-run", "--var", "region=a b"]).expect(2);
    assert!(ran.stderr.contains("would not take as one word"), "{}", ran.stderr);
    let ran = team.world.run(&["run", "start", "broken", "--dry-run"]).expect(2);
    assert!(ran.stderr.contains("step 1") && ran.stderr.contains("step 2"), "{}", ran.stderr);
    let ran = team.world.run(&["run", "start", "failovr"]).expect(2);
    assert!(ran.stderr.contains("did you mean `failover`"), "{}", ran.stderr);
    assert_eq!(team.lines("done.txt"), 0);
}

#[test]
fn a_run_goes_through_with_two_people_and_each_word_is_signed() {
    let team = Team::new();
    let mut run = team.start(&["failover", "--var", "region=eu-west-1"]);
    team.asked(2, "choice");
    team.say("Bo", &["answer", "latest", "how", "1"]).expect(0);
    team.asked(3, "approval");
    assert_eq!(team.lines("done.txt"), 0, "nothing is done before it is agreed to");

    let ran = team.say("Eve", &["approve", "latest", "switch", "--yes"]).expect(2);
    assert!(ran.stderr.contains("belongs to none of the plan's approvers"), "{}", ran.stderr);
    // Once more for good measure: the same person is one person.
    team.say("Ana", &["approve", "latest", "switch", "--yes"]).expect(0);
    team.say("Ana", &["approve", "latest", "switch", "--yes"]).expect(0);
    assert_eq!(team.show()["steps"][2]["approvals"], serde_json::json!(["Ana"]));
    assert_eq!(team.lines("done.txt"), 0);
    team.say("Bo", &["approve", "latest", "3", "--yes"]).expect(0);
    team.asked(4, "work");
    assert_eq!(team.lines("done.txt"), 1);
    team.say("Bo", &["answer", "latest", "tell", "done"]).expect(2);
    team.say("Bo", &["answer", "latest", "tell", "done", "--saw", "she is calm"]).expect(0);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let list = team.world.json(&["run", "list"]);
    assert_eq!(list["runs"][0]["state"], "completed", "{list}");
    assert_eq!(team.world.json(&["journal", "verify"])["sound"], true);
}

#[test]
fn an_aborted_run_undoes_what_was_done() {
    let team = Team::new();
    let mut run = team.start(&["failover", "--var", "region=eu-west-1"]);
    team.asked(2, "choice");
    team.say("Bo", &["answer", "latest", "how", "1"]).expect(0);
    team.asked(3, "approval");
    let ran =
        team.say("Ana", &["approve", "latest", "3", "--yes", "--break-glass", "--reason", "nobody answers"]);
    ran.expect(0);
    team.asked(4, "work");
    assert_eq!(team.lines("done.txt"), 1);
    team.say("Bo", &["abort", "latest", "--undo", "--reason", "a false alarm"]).expect(0);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    assert_eq!(team.lines("done.txt"), 0);
    let shown = team.show();
    assert_eq!(shown["state"], "aborted, undone: step 3", "{shown:#}");
}

#[test]
fn what_was_under_way_when_its_machine_died_is_not_done_twice() {
    let team = Team::new();
    let mut first = team.start(&["slow"]);
    team.asked(1, "approval");
    for who in ["Ana", "Bo"] {
        team.say(who, &["approve", "latest", "1", "--yes"]).expect(0);
    }
    let until = Instant::now() + LIMIT;
    while team.lines("begun.txt") == 0 {
        assert!(Instant::now() < until);
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The commands died with it. That is not known for certain to whoever goes on, who waits until nothing of them can
    // be under way; the probe says then that they did not come to their end.
    let mut second = team.world.command(&["run", "resume", "latest"]).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!((team.lines("begun.txt"), team.lines("acted.txt")), (2, 1));
    let acts: Vec<jiff::Timestamp> = team.world.json(&["journal", "show", "--scope", "runs"])["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["record"]["data"]["event"] == "intended")
        .map(|event| event["record"]["time"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(acts.len(), 2);
    assert!(acts[1].duration_since(acts[0]).as_secs() >= 30, "{acts:?}");
}

#[test]
fn serve_carries_on_what_nobody_carries() {
    let team = Team::new();
    assert_eq!(
        team.start(&["failover", "--var", "region=eu-west-1", "--detach"]).wait().unwrap().code(),
        Some(0)
    );
    let mut serve =
        team.world.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    team.asked(2, "choice");
    team.say("Ana", &["answer", "latest", "how", "2"]).expect(0);
    team.asked(4, "work");
    team.say("Ana", &["answer", "latest", "tell", "failed", "--why", "no signal"]).expect(0);
    team.asked(4, "failure");
    team.say("Ana", &["answer", "latest", "tell", "skip", "--why", "he knows"]).expect(0);
    let shown = team.until("over", |shown| shown["over"] == true);
    assert_eq!(shown["state"], "went on without step 4", "{shown:#}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&serve), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[test]
fn runbooks_are_checked_and_written_out_for_the_day_without_lifeboat() {
    let team = Team::new();
    let ran = team.world.run(&["runbook", "check"]).expect(1);
    assert!(ran.stdout.contains("broken: cannot be carried out"), "{}", ran.stdout);
    assert!(ran.stdout.contains("failover: 4 steps, can be carried out"), "{}", ran.stdout);
    let html = team.world.run(&["runbook", "export", "failover", "--html"]).expect(0).stdout;
    assert!(html.contains("<html") && html.contains("Call the boss") && !html.contains("Act slowly"));
    team.world.run(&["runbook", "export", "failover", "--shell", "-o", "failover.sh"]).expect(0);
    // The region, why (bound although it has a default), then each of the four steps.
    std::fs::write(team.world.path("answers"), "eu-west-1\ndrill\ny\ny\ny\ny\n").unwrap();
    let answers = std::fs::File::open(team.world.path("answers")).unwrap();
    let mut sh = std::process::Command::new("sh");
    let output = sh.arg("failover.sh").current_dir(team.world.path(".")).stdin(answers).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("looking at eu-west-1"), "{said}");
    assert_eq!(std::fs::read_to_string(team.world.path("done.txt")).unwrap(), "switched because drill\n");
}
