//! The runbook *database-failover* on a real pair of servers, by people with keys, carried by machines that die.

use crate::world::World;
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a failover may take, with all that dies on the way.
const LIMIT: Duration = Duration::from_secs(240);

struct Pair {
    world: World,
    primary: Cluster,
    standby: Cluster,
}

impl Pair {
    fn new() -> Self {
        let (world, options) = (World::new(), ClusterOptions::new());
        let primary = Cluster::start(&Installation::newest(), &options);
        primary.psql("CREATE TABLE ledger (id int)");
        let standby = primary.standby(&options);
        let (ana, bo) = (world.key("Ana"), world.key("Bo"));
        let runbook =
            world.run(&["runbook", "new", "database-failover", "--service", "ledger-db"]).expect(0).stdout;
        let text = format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: bank}}\nvault: {{copies: [{:?}]}}\nservices:\n  - name: \
             ledger-db\n    postgres:\n      connection: \"{}\"\n      dataDirectory: {:?}\n      standbys: [\"{}\"]\n      base: \
             {{schedule: \"0 3 * * *\", timeZone: UTC}}\npeople:\n  approvers: [{{name: Ana, keys: [{ana}]}}, {{name: Bo, keys: \
             [{bo}]}}]\nrunbooks:\n{runbook}",
            world.copy("vault"),
            primary.conninfo(),
            primary.data_directory(),
            standby.conninfo(),
        );
        std::fs::write(world.path("lifeboat.yaml"), text).unwrap();
        world.run(&["vault", "init"]).expect(0);
        Self { world, primary, standby }
    }

    fn carry(&self, arguments: &[&str]) -> Child {
        self.world.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn shown(&self) -> Value {
        let ran = self.world.run(&["run", "show", "latest", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or(Value::Null)
    }

    fn say(&self, who: &str, arguments: &[&str]) {
        let key = self.world.path(who);
        // What was answered meanwhile needs no answer any more.
        self.world.run(&[&["run"], arguments, &["--ssh-key", key.to_str().unwrap()]].concat());
    }

    /// Answers what is asked, as people do in a disaster; true once the run is over.
    #[track_caller]
    fn answer(&self, shown: &Value) -> bool {
        for step in shown["steps"].as_array().into_iter().flatten() {
            let number = step["number"].to_string();
            match step["asked"]["ask"].as_str() {
                None => {}
                Some("choice") => self.say("Bo", &["answer", "latest", &number, "1"]),
                Some("approval") => {
                    for who in ["Ana", "Bo"] {
                        self.say(who, &["approve", "latest", &number, "--yes"]);
                    }
                }
                Some("work") => {
                    self.say("Bo", &["answer", "latest", &number, "done", "--saw", "all of them write"])
                }
                Some(other) => panic!("nobody should be asked that: {other}\n{shown:#}"),
            }
        }
        shown["over"] == true
    }

    fn must_have_failed_over(&self) {
        assert_eq!(self.standby.psql("SELECT pg_is_in_recovery()"), "f");
        self.standby.psql("INSERT INTO ledger VALUES (2)");
        assert!(!self.primary.is_running());
        // Once: each promotion begins a timeline.
        assert_eq!(self.standby.psql("SELECT timeline_id FROM pg_control_checkpoint()"), "2");
        assert_eq!(self.world.json(&["journal", "verify"])["sound"], true);
    }
}

#[test]
fn a_database_fails_over_by_the_runbook_that_is_shipped() {
    let pair = Pair::new();
    pair.primary.psql("INSERT INTO ledger VALUES (1)");
    pair.primary.kill9();
    let key = pair.world.path("Ana");
    let mut run = pair.carry(&["run", "start", "database-failover", "--ssh-key", key.to_str().unwrap()]);
    let until = Instant::now() + LIMIT;
    while !pair.answer(&pair.shown()) {
        assert!(Instant::now() < until, "{:#}", pair.shown());
    }
    assert_eq!(run.wait().unwrap().code(), Some(0), "{:#}", pair.shown());
    pair.must_have_failed_over();
}

/// It dies right after it wrote down that it fences, that it promotes, and that it has.
#[test]
fn a_failover_whose_machine_is_killed_again_and_again_fails_over_once() {
    let pair = Pair::new();
    pair.primary.kill9();
    let key = pair.world.path("Ana");
    pair.carry(&["run", "start", "database-failover", "--detach", "--ssh-key", key.to_str().unwrap()])
        .wait()
        .unwrap();
    let mut carrier = pair.carry(&["run", "resume", "latest"]);
    // The step, and after how many of its records.
    let mut deaths = vec![("promote", 2), ("promote", 1), ("fence", 1)];
    let until = Instant::now() + LIMIT;
    loop {
        let shown = pair.shown();
        if pair.answer(&shown) {
            break;
        }
        let has = |id: &str, records_of: usize| {
            let records = pair.world.json(&["journal", "show", "--scope", "runs", "--last", "500"]);
            let of_step = |record: &&Value| {
                let step = shown["steps"].as_array().into_iter().flatten().position(|step| step["id"] == id);
                ["intended", "came", "verified"]
                    .iter()
                    .any(|event| record["record"]["data"]["event"] == **event)
                    && record["record"]["data"]["step"].as_u64() == step.map(|at| at as u64)
            };
            records["events"].as_array().into_iter().flatten().filter(of_step).count() >= records_of
        };
        if let Some((id, after)) = deaths.last()
            && has(id, *after)
        {
            carrier.kill().unwrap();
            deaths.pop();
        }
        if carrier.try_wait().unwrap().is_some() {
            carrier = pair.carry(&["run", "resume", "latest"]);
        }
        assert!(Instant::now() < until, "{:#}", pair.shown());
    }
    assert!(deaths.is_empty(), "{deaths:?}");
    carrier.wait().unwrap();
    pair.must_have_failed_over();
}
