//! A primary, its standby, a plan about both, and a step of it that is carried out as a run does.

use crate::hands::World;
use lifeboat_actions::Hands;
use lifeboat_core::run::{Actions, BoundStep, Circumstances, Found, Observed, Outcome, Side, Told};
use lifeboat_core::runbook::{Wanted, bind};
use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
use std::collections::BTreeMap;

/// A primary and its streaming standby.
pub struct Pair {
    pub primary: Cluster,
    pub standby: Cluster,
}

impl Pair {
    pub fn start() -> Self {
        let installation = Installation::all().into_iter().next().expect("a PostgreSQL to test with");
        let options = ClusterOptions::new();
        let primary = Cluster::start(&installation, &options);
        primary.psql("create table ledger (id int)");
        let standby = primary.standby(&options);
        Self { primary, standby }
    }

    /// The plan about them with one step: YAML in one line.
    pub fn step(&self, step: &str) -> Step {
        Step::new(&plan(&self.primary.conninfo(), &[&self.standby.conninfo()], "", step))
    }

    /// The same, where the plan also knows the primary's data directory.
    pub fn local_step(&self, step: &str) -> Step {
        let directory = format!("      dataDirectory: {}\n", self.primary.data_directory().display());
        Step::new(&plan(&self.primary.conninfo(), &[&self.standby.conninfo()], &directory, step))
    }
}

pub fn plan(connection: &str, standbys: &[&str], more: &str, step: &str) -> String {
    let standbys = match standbys {
        [] => String::new(),
        all => format!(
            "      standbys: [{}]\n",
            all.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ")
        ),
    };
    format!(
        "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: pair, owner: Tests}}\n\
         vault: {{copies: [file:///var/lib/lifeboat/vault]}}\nobjectives: {{rto: 2h, rpo: 1h}}\n\
         services:\n  - name: orders-db\n    postgres:\n      connection: {connection}\n{standbys}{more}      \
         base: {{schedule: \"0 3 * * *\", timeZone: Asia/Taipei}}\n\
         runbooks:\n  failover:\n    steps:\n      - {{approvals: 0, timeout: 60s, {step}}}\n"
    )
}

/// Why a plan with that step cannot be carried out.
pub fn refused(pair: &Pair, step: &str) -> String {
    let text = plan(&pair.primary.conninfo(), &[&pair.standby.conninfo()], "", step);
    let problems = bound(&text).expect_err("the step is wrong");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn bound(text: &str) -> Result<BoundStep, Vec<lifeboat_core::runbook::Problem>> {
    let loaded = lifeboat_plan::load(text).unwrap_or_else(|findings| panic!("{findings:#?}\n{text}"));
    let variables = BTreeMap::new();
    let wanted = Wanted {
        runbook: "failover",
        variables: &variables,
        target: "drill",
        requester: "tests",
        plan_hash: "0",
    };
    bind(&loaded.plan, &wanted).map(|mut bound| bound.steps.remove(0))
}

/// A step, and what it observed until now.
pub struct Step {
    pub step: BoundStep,
    pub observed: Observed,
    hands: Hands,
}

impl Step {
    pub fn new(plan: &str) -> Self {
        let step = bound(plan).unwrap_or_else(|problems| panic!("{problems:#?}"));
        Self { step, observed: Observed::new(), hands: World::new().hands() }
    }

    /// With what other steps observed.
    pub fn knowing(mut self, name: &str, value: &str) -> Self {
        self.observed.insert(name.to_owned(), value.to_owned());
        self
    }

    fn under(&self) -> Circumstances {
        Circumstances {
            run: "run".to_owned(),
            fence: 1,
            before: self.observed.clone(),
            known: self.observed.clone(),
        }
    }

    fn keep<T>(&mut self, told: Told<T>) -> (T, String) {
        self.observed.extend(told.observed);
        (told.result, told.output)
    }

    pub async fn probe(&mut self) -> Found {
        let told = self.hands.probe(&self.step, self.under()).await.expect("the probe ran");
        self.keep(told).0
    }

    pub async fn act(&mut self) -> (Outcome, String) {
        let told = self.hands.act(&self.step, Side::Act, self.under()).await.expect("the act ran");
        self.keep(told)
    }

    pub async fn undo(&mut self) -> (Outcome, String) {
        let told = self.hands.act(&self.step, Side::Undo, self.under()).await.expect("the undo ran");
        self.keep(told)
    }

    pub async fn verify(&mut self) -> Option<String> {
        let told = self.hands.verify(&self.step, self.under()).await.expect("the verification ran");
        self.keep(told).0
    }

    /// Probe, act, verify, as a run that nothing goes wrong with; what was printed.
    pub async fn done(&mut self) -> String {
        if self.step.rules.has_probe {
            assert_eq!(self.probe().await, Found::NotDone, "{}", self.step.shown);
        }
        let (outcome, output) = self.act().await;
        assert_eq!(outcome, Outcome::Done, "{}: {output}", self.step.shown);
        assert_eq!(self.verify().await, None, "{}", self.step.shown);
        if self.step.rules.has_probe {
            assert_eq!(self.probe().await, Found::Done, "{}", self.step.shown);
        }
        output
    }
}

/// Why an act failed.
pub fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => panic!("it was done"),
        Outcome::Failed { why } => why,
        Outcome::Unknown { why } => panic!("whether it was done is not known: {why}"),
    }
}
