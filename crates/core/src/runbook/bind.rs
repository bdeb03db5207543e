//! From a runbook and what is given to it to the steps of a run.

use super::deed::{Check, Deed, Shell};
use super::values::{Into, Values};
use crate::run::{BoundStep, Class, Doing, Leads, OnFailure, Rules, RunRules, StepNumber};
use lifeboat_plan::{
    Approver, Carry, Choice, Does, Plan, Runbook, Step, StepCheck, StepClass, Verify, WhenFailed,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A step that says nothing else is broken off after that.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A step may take so many times as long as it does as a rule.
const SLACK: u32 = 4;
/// Between the end of a step's time and the moment at which nothing of it is under way any more.
const SETTLING: Duration = Duration::from_secs(30);
/// How often what may be repeated is tried.
const TRIES: u32 = 3;
/// Before the second try.
const PAUSE: Duration = Duration::from_secs(2);
/// How many people agree to what is destructive.
const APPROVALS: u32 = 2;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The runbook, by its name.
    pub runbook: &'a str,
    /// Values of its variables.
    pub variables: &'a BTreeMap<String, String>,
    /// `drill` or `live`: known to commands as `LIFEBOAT_TARGET`.
    pub target: &'a str,
    /// Who asks.
    pub requester: &'a str,
    /// The SHA-256 of the plan, in hexadecimal.
    pub plan_hash: &'a str,
}

/// A run that may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Its steps, in order.
    pub steps: Vec<BoundStep>,
    /// The names of environment variables that the machine which carries it must have.
    pub secrets: Vec<String>,
    /// Whose word counts.
    pub approvers: Vec<Approver>,
}

/// A PostgreSQL cluster, as the plan knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The service.
    pub service: String,
    /// How its primary is reached.
    pub connection: String,
    /// A file with the role's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The primary's data directory, if it is on the machine that carries the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<String>,
    /// How its standbys are reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<String>,
}

/// All that an adapter needs to carry a step out: what [`BoundStep::does`] holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// What is done.
    pub deed: Deed,
    /// The cluster that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// Commands that succeed if it is done already; instead of the deed's own way to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Check>,
    /// Commands that succeed if the world is as wanted; after the deed's own way to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Check>,
    /// Commands that undo it; instead of the deed's own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// What commands find in their environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Which of the machine's own environment they find beside, and nobody else may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// In seconds; then it is broken off.
    pub timeout: u64,
}

/// Why there can be no such run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The step, counted from 1, and what it is called; none for the run as a whole.
    pub step: Option<(usize, String)>,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some((number, title)) => write!(f, "step {number} ({title}): {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Binds a runbook, or says all that stands against it (B1).
///
/// # Errors
/// The problems, in the order of the steps.
pub fn bind(plan: &Plan, wanted: &Wanted<'_>) -> Result<Bound, Vec<Problem>> {
    let whole = |what: String| Problem { step: None, what };
    let found = plan.runbooks.iter().find(|(name, _)| name.as_str() == wanted.runbook);
    let (_, runbook) = found.ok_or_else(|| vec![whole(no_such_runbook(plan, wanted.runbook))])?;
    let values = Values::new(runbook, wanted.variables);
    let values = values.map_err(|problems| problems.into_iter().map(whole).collect::<Vec<_>>())?;
    let binder = Binder { plan, runbook, wanted, values, is_template: false };
    let steps = binder.steps()?;
    let mut secrets = binder.values.secrets;
    let of_steps = steps.iter().filter_map(|step| step.does.get("secrets")?.as_array());
    for name in of_steps.flatten().filter_map(serde_json::Value::as_str) {
        if !secrets.iter().any(|known| known == name) {
            secrets.push(name.to_owned());
        }
    }
    Ok(Bound { steps, secrets, approvers: plan.people.approvers.clone() })
}

/// The steps of a runbook as they stand in the plan, with `{{ name }}` where a run binds a value: to be read, or looked
/// at, not to be carried out.
///
/// # Errors
/// The problems, in the order of the steps.
pub fn template(plan: &Plan, name: &str) -> Result<Vec<BoundStep>, Vec<Problem>> {
    let whole = |what: String| vec![Problem { step: None, what }];
    let found = plan.runbooks.iter().find(|(label, _)| label.as_str() == name);
    let (_, runbook) = found.ok_or_else(|| whole(no_such_runbook(plan, name)))?;
    let wanted =
        Wanted { runbook: name, variables: &BTreeMap::new(), target: "live", requester: "", plan_hash: "" };
    let values = Values::template(runbook);
    Binder { plan, runbook, wanted: &wanted, values, is_template: true }.steps()
}

fn no_such_runbook(plan: &Plan, name: &str) -> String {
    let known: Vec<&str> = plan.runbooks.keys().map(lifeboat_plan::Label::as_str).collect();
    match lifeboat_plan::nearest(name, known.iter().copied()) {
        Some(near) => format!("the plan has no runbook `{name}`; did you mean `{near}`?"),
        None if known.is_empty() => "the plan has no runbooks".to_owned(),
        None => format!("the plan has no runbook `{name}`; it has {}", known.join(", ")),
    }
}

struct Binder<'a> {
    plan: &'a Plan,
    runbook: &'a Runbook,
    wanted: &'a Wanted<'a>,
    values: Values,
    is_template: bool,
}

impl Binder<'_> {
    /// All of them, or all that stands against any (B1).
    fn steps(&self) -> Result<Vec<BoundStep>, Vec<Problem>> {
        let (mut steps, mut problems) = (Vec::new(), Vec::new());
        for (at, step) in self.runbook.steps.iter().enumerate() {
            match self.step(at, step) {
                Ok(bound) => steps.push(bound),
                Err(what) => problems.push(Problem { step: Some((at + 1, title(step))), what }),
            }
        }
        if problems.is_empty() {
            let rules = steps.iter().map(|step| step.rules.clone()).collect();
            if let Err(error) = RunRules::new(self.wanted.requester.to_owned(), rules) {
                problems.push(Problem { step: None, what: error.to_string() });
            }
        }
        if problems.is_empty() { Ok(steps) } else { Err(problems) }
    }

    fn step(&self, at: usize, step: &Step) -> Result<BoundStep, String> {
        let mut deed = self.deed(&step.does)?;
        let carry = &step.carry;
        let class = carry.class.map_or(deed.class(), class_of);
        deed.classed(class);
        let doing = self.doing(&step.does)?;
        let timeout = timeout(step, &deed);
        let verify = match &step.verify {
            Some(Verify::Commands(check)) => Some(self.check(&check.run, check.expect.as_deref())?),
            Some(Verify::Words(_)) | None => None,
        };
        let probe = carry.probe.as_ref().map(|StepCheck { run, expect }| self.check(run, expect.as_deref()));
        let undo = carry.undo.as_ref().map(|undo| self.values.fill(undo, Into::Commands));
        let binding = Binding {
            server: self.server(&deed)?,
            probe: probe.transpose()?,
            verify,
            undo: undo.transpose()?,
            environment: self.environment(),
            secrets: self.values.secrets.iter().cloned().chain(deed.secrets()).collect(),
            timeout: timeout.as_secs().max(1),
            deed,
        };
        let approvals = approvals(step, class, &binding.deed);
        self.can_be_agreed(approvals)?;
        let rules = Rules {
            class,
            needs: self.needs(at, carry)?,
            is_conditional: step.only_if.is_some(),
            has_probe: binding.probe.is_some() || binding.deed.has_probe(),
            has_verify: binding.verify.is_some() || binding.deed.has_verify(),
            has_undo: binding.undo.is_some() || binding.deed.has_undo(),
            approvals,
            tries: carry.tries.unwrap_or(if class == Class::Destructive { 1 } else { TRIES }),
            pause: PAUSE,
            settles: timeout + SETTLING,
            on_failure: match carry.on_failure {
                None | Some(WhenFailed::Stop) => OnFailure::Stop,
                Some(WhenFailed::Undo) => OnFailure::Undo,
                Some(WhenFailed::GoOn) => OnFailure::GoOn,
            },
            doing,
        };
        self.bound(at, step, &binding, rules)
    }

    /// B2.
    fn bound(&self, at: usize, step: &Step, binding: &Binding, rules: Rules) -> Result<BoundStep, String> {
        let words = |text: &str| self.values.fill(text, Into::Words);
        let mut notes = Vec::new();
        if let Some(only_if) = &step.only_if {
            notes.push(format!("only if {}", words(only_if)?));
        }
        if let Some(description) = &step.description {
            notes.push(words(description)?);
        }
        if let Some(Verify::Words(verify)) = &step.verify {
            notes.push(format!("verify: {}", words(verify)?));
        }
        if let Does::Choose(choose) = &step.does {
            for (number, option) in (1..).zip(&choose.options) {
                let to = match (&option.step, &option.runbook) {
                    (Some(step), _) => format!(" → step {step}"),
                    (None, Some(runbook)) => format!(" → runbook {runbook}"),
                    (None, None) => String::new(),
                };
                notes.push(format!("answer {number}: {}{to}", words(&option.when)?));
            }
        }
        let texts = [&step.does].into_iter().filter_map(|does| match does {
            Does::Shell(shell) => Some(&shell.run),
            Does::Check(check) => Some(&check.run),
            _ => None,
        });
        for text in texts {
            let is_used = |(name, _): &(&String, &String)| {
                text.contains(&format!("${name}")) || text.contains(&format!("${{{name}"))
            };
            notes.extend(
                self.values
                    .environment
                    .iter()
                    .filter(is_used)
                    .map(|(name, value)| format!("with {name}={value}")),
            );
        }
        let shown = match &step.does {
            Does::Manual(text) | Does::Approval(text) => words(text)?,
            Does::Choose(choose) => words(&choose.question)?,
            _ => binding.deed.command(binding.server.as_ref()),
        };
        let mut bound = BoundStep {
            id: step.id.as_ref().map_or_else(|| (at + 1).to_string(), |id| id.as_str().to_owned()),
            title: words(&title(step))?,
            shown,
            notes,
            expected: step.duration.map(|interval| interval.0.as_secs()),
            hash: String::new(),
            does: serde_json::to_value(binding).map_err(|error| error.to_string())?,
            rules,
        };
        let whole = json!({
            "plan": self.wanted.plan_hash,
            "runbook": self.wanted.runbook,
            "target": self.wanted.target,
            "number": at,
            "step": bound,
        });
        bound.hash = Sha256::digest(whole.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(bound)
    }

    fn deed(&self, does: &Does) -> Result<Deed, String> {
        let commands = |text: &str| self.values.fill(text, Into::Commands);
        Ok(match does {
            Does::Manual(_) | Does::Choose(_) | Does::Approval(_) => Deed::People,
            Does::Shell(shell) => Deed::Shell(Shell {
                run: commands(&shell.run)?,
                outputs: shell.outputs.iter().map(|name| name.as_str().to_owned()).collect(),
            }),
            Does::Check(check) => Deed::Check(self.check(&check.run, check.expect.as_deref())?),
            Does::Wait(interval) => Deed::Wait { seconds: interval.0.as_secs() },
            Does::Sql(text) => {
                let with = json!({ "service": self.only_cluster()?, "run": commands(text)? });
                Deed::action("postgres.sql", &with)?
            }
            Does::Action(name, arguments) => {
                let mut arguments = arguments.clone();
                self.values.fill_all(&mut arguments)?;
                Deed::action(name.as_str(), &arguments)?
            }
        })
    }

    /// Whom a text of SQL is for that does not say so.
    fn only_cluster(&self) -> Result<&str, String> {
        let mut clusters = self.plan.services.iter().filter(|service| service.postgres.is_some());
        match (clusters.next(), clusters.next()) {
            (Some(only), None) => Ok(only.name.as_str()),
            (None, _) => Err("`sql` needs a PostgreSQL cluster, and the plan has none".to_owned()),
            (Some(_), Some(_)) => Err("the plan has several PostgreSQL clusters: say which, with \
                 `postgres.sql: {service: …, run: …}`, or with `postgres.check: {service: …, query: …}` for a \
                 question"
                .to_owned()),
        }
    }

    fn check(&self, run: &str, expect: Option<&str>) -> Result<Check, String> {
        let expect = expect.map(|text| self.values.fill(text, Into::Words)).transpose()?;
        Ok(Check { run: self.values.fill(run, Into::Commands)?, expect })
    }

    fn doing(&self, does: &Does) -> Result<Doing, String> {
        Ok(match does {
            Does::Manual(_) => Doing::Person,
            Does::Approval(_) => Doing::Nobody,
            Does::Choose(choose) => {
                let leads = choose.options.iter().map(|option| self.leads(option));
                Doing::Choice(leads.collect::<Result<_, _>>()?)
            }
            _ => Doing::Machine,
        })
    }

    fn leads(&self, option: &Choice) -> Result<Leads, String> {
        match (&option.step, &option.runbook) {
            (Some(step), _) => self.number(step.as_str()).map(Leads::To),
            (None, Some(runbook)) => Ok(Leads::Away(runbook.as_str().to_owned())),
            (None, None) => Ok(Leads::On),
        }
    }

    fn needs(&self, at: usize, carry: &Carry) -> Result<Vec<StepNumber>, String> {
        match &carry.needs {
            Some(needs) => needs.iter().map(|id| self.number(id.as_str())).collect(),
            None => Ok(at
                .checked_sub(1)
                .and_then(|before| u32::try_from(before).ok())
                .map(StepNumber)
                .into_iter()
                .collect()),
        }
    }

    fn number(&self, id: &str) -> Result<StepNumber, String> {
        let is_it = |step: &Step| step.id.as_ref().is_some_and(|of| of.as_str() == id);
        let at = self.runbook.steps.iter().position(is_it);
        let at = at.and_then(|at| u32::try_from(at).ok());
        at.map(StepNumber).ok_or_else(|| format!("no step of this runbook is called `{id}`"))
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.values.environment.clone();
        environment.insert("LIFEBOAT_TARGET".to_owned(), self.wanted.target.to_owned());
        environment
    }

    fn server(&self, deed: &Deed) -> Result<Option<Server>, String> {
        let Some(name) = deed.service() else { return Ok(None) };
        let service = self.plan.services.iter().find(|service| service.name.as_str() == name);
        let service = service.ok_or_else(|| {
            let known = self.plan.services.iter().map(|service| service.name.as_str());
            match lifeboat_plan::nearest(name, known) {
                Some(near) => format!("the plan has no service `{name}`; did you mean `{near}`?"),
                None => format!("the plan has no service `{name}`"),
            }
        })?;
        let postgres = service.postgres.as_ref();
        let postgres =
            postgres.ok_or_else(|| format!("service `{name}` is no PostgreSQL cluster in the plan"))?;
        let server = Server {
            service: name.to_owned(),
            connection: postgres.connection.to_string(),
            password_file: postgres.password_file.as_ref().map(ToString::to_string),
            data_directory: postgres.data_directory.as_ref().map(ToString::to_string),
            standbys: postgres.standbys.iter().map(ToString::to_string).collect(),
        };
        deed.fits(&server)?;
        Ok(Some(server))
    }

    /// A step to which nobody can agree would never be done.
    fn can_be_agreed(&self, approvals: u32) -> Result<(), String> {
        let all = self.plan.people.approvers.len();
        let others =
            self.plan.people.approvers.iter().filter(|who| who.name != self.wanted.requester).count();
        if approvals == 0 || self.is_template || (others > 0 && all >= approvals as usize) {
            return Ok(());
        }
        Err(format!(
            "it needs {approvals} to agree, not only {} who asks for it, and the plan names {}: add them with their \
             SSH keys under `people.approvers`, or say how repeating it is harmless (`class`), or that it needs \
             nobody (`approvals: 0`)",
            self.wanted.requester,
            match all {
                0 => "nobody".to_owned(),
                _ => format!("{all}"),
            }
        ))
    }
}

fn class_of(class: StepClass) -> Class {
    match class {
        StepClass::Read => Class::Read,
        StepClass::Idempotent => Class::Idempotent,
        StepClass::Destructive => Class::Destructive,
    }
}

fn approvals(step: &Step, class: Class, deed: &Deed) -> u32 {
    step.carry.approvals.unwrap_or(match &step.does {
        Does::Approval(_) => 1,
        Does::Manual(_) | Does::Choose(_) => 0,
        _ if class == Class::Destructive || deed.is_grave() => APPROVALS,
        _ => 0,
    })
}

fn timeout(step: &Step, deed: &Deed) -> Duration {
    if let Some(interval) = step.carry.timeout {
        return interval.0;
    }
    let waits = match deed {
        Deed::Wait { seconds } => Duration::from_secs(*seconds) + SETTLING,
        _ => Duration::ZERO,
    };
    step.duration.map_or(TIMEOUT, |interval| (interval.0 * SLACK).max(TIMEOUT)).max(waits)
}

/// What a step is called: its name, or the first line of what it does.
fn title(step: &Step) -> String {
    const TITLE_CHARS: usize = 60;
    if let Some(name) = &step.name {
        return name.clone();
    }
    let text = match &step.does {
        Does::Shell(shell) => &shell.run,
        Does::Check(check) => &check.run,
        Does::Sql(text) | Does::Manual(text) | Does::Approval(text) => text,
        Does::Choose(choose) => &choose.question,
        Does::Wait(interval) => return format!("wait {interval}"),
        Does::Action(name, _) => return name.to_string(),
    };
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(TITLE_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
