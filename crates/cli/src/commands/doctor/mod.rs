//! `lifeboat doctor`: before it is needed, whether everything is as it must be.
//!
//! Each check says what it found and, unless all is well, what to do. One that could not be made is a
//! warning, never green.

mod server;
mod vault;

use crate::output::{Exit, Tone, clean};
use crate::settings::{PlanFile, Settings};
use crate::{plans, points};
use lifeboat_base::ServiceName;
use lifeboat_vault::Vault;
use serde::Serialize;

/// Arguments of `lifeboat doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this service alone.
    service: Option<ServiceName>,
    /// Have the server switch to a new WAL segment, and follow the old one into the vault: a stream must run.
    #[arg(long)]
    deep: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it must be.
    Ok,
    /// It works, and a person should look.
    Warn,
    /// It will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Of which service; none for what concerns all.
    pub service: Option<ServiceName>,
    /// What was looked at, by a name that does not change.
    pub check: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub next: Option<String>,
}

/// What was found, in order.
#[derive(Debug, Default)]
pub struct Findings {
    service: Option<ServiceName>,
    list: Vec<Finding>,
}

impl Findings {
    /// It is as it must be.
    pub fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Level::Ok, found.into(), None);
    }

    /// It works, and a person should look.
    pub fn warn(&mut self, check: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.add(check, Level::Warn, found.into(), Some(next.into()));
    }

    /// It will not work.
    pub fn fail(&mut self, check: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.add(check, Level::Fail, found.into(), Some(next.into()));
    }

    /// It must hold: `ok`, or `fail` with what to do.
    pub fn must(&mut self, check: &'static str, holds: bool, found: impl Into<String>, next: &str) {
        if holds { self.ok(check, found) } else { self.fail(check, found, next) }
    }

    /// It should hold: `ok`, or `warn` with what to do.
    pub fn should(&mut self, check: &'static str, holds: bool, found: impl Into<String>, next: &str) {
        if holds { self.ok(check, found) } else { self.warn(check, found, next) }
    }

    fn add(&mut self, check: &'static str, level: Level, found: String, next: Option<String>) {
        let service = self.service.clone();
        self.list.push(Finding { service, check, level, found, next });
    }
}

#[derive(Serialize)]
struct Examined {
    worst: Level,
    findings: Vec<Finding>,
}

/// Looks at everything and shows it.
///
/// # Errors
/// If standard output takes no more: whatever else goes wrong is a finding.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let mut findings = Findings::default();
    let mut plan = plan(settings, &mut findings);
    let vault = vault::look(settings, plan.as_ref(), &mut findings).await;
    if settings.plan_path().is_none() {
        plan = plan_in(vault.as_ref(), &mut findings).await;
    }
    if let Some(plan) = &plan {
        services(settings, &args, plan, vault.as_ref(), &mut findings).await;
    }
    let worst = |level| findings.list.iter().any(|finding| finding.level == level);
    let worst = [Level::Fail, Level::Warn].into_iter().find(|level| worst(*level)).unwrap_or(Level::Ok);
    let examined = Examined { worst, findings: findings.list };
    settings.output.result("doctor", &examined, |style| {
        let mut out = String::new();
        let mut about: Option<&ServiceName> = None;
        for finding in &examined.findings {
            if finding.service.as_ref() != about {
                about = finding.service.as_ref();
                let heading = about.map_or("", ServiceName::as_str);
                out.push_str(&format!("\n{}\n", style.paint(Tone::Strong, heading)));
            }
            let (tone, mark) = match finding.level {
                Level::Ok => (Tone::Good, "ok  "),
                Level::Warn => (Tone::Doubtful, "warn"),
                Level::Fail => (Tone::Bad, "FAIL"),
            };
            let line = format!("{}: {}", finding.check, clean(&finding.found));
            out.push_str(&format!("{} {line}\n", style.paint(tone, mark)));
            if let Some(next) = &finding.next {
                out.push_str(&format!("     → {}\n", clean(next)));
            }
        }
        let count = |level| examined.findings.iter().filter(|finding| finding.level == level).count();
        let (fails, warns) = (count(Level::Fail), count(Level::Warn));
        let tone = match worst {
            Level::Ok => Tone::Good,
            Level::Warn => Tone::Doubtful,
            Level::Fail => Tone::Bad,
        };
        let total = examined.findings.len();
        let verdict = format!("{total} checks: {fails} failed, {warns} to look at");
        out.push_str(&format!("\n{}\n", style.paint(tone, &verdict)));
        out
    })?;
    Ok(if worst == Level::Fail { Exit::Findings } else { Exit::Good })
}

fn plan(settings: &Settings, findings: &mut Findings) -> Option<PlanFile> {
    match settings.plan_file() {
        Ok(Some(plan)) => {
            let warnings = lifeboat_plan::load(&plan.text).map_or(0, |loaded| loaded.warnings.len());
            let found = format!("`{}` can be used, {warnings} warnings", plan.plan.metadata.name.as_str());
            findings.should("plan", warnings == 0, found, "look at them with `lifeboat plan check`");
            Some(plan)
        }
        Ok(None) => None,
        Err(error) => {
            findings.fail("plan", format!("{error:#}"), "`lifeboat plan check` shows all that is wrong");
            None
        }
    }
}

/// The plan in the vault, where there is none here.
async fn plan_in(vault: Option<&Vault>, findings: &mut Findings) -> Option<PlanFile> {
    let stored = match vault {
        Some(vault) => plans::newest(vault).await,
        None => Ok(None),
    };
    match stored {
        Ok(Some(plan)) => {
            findings.ok(
                "plan",
                format!("`{}`, from the vault: there is none here", plan.plan.metadata.name.as_str()),
            );
            Some(plan)
        }
        Ok(None) => {
            let next = "write one with `lifeboat init`, name it with --plan, or name a vault that has one with --vault";
            findings.fail("plan", "there is none, neither here nor in the vault", next);
            None
        }
        Err(error) => {
            findings.fail("plan", format!("{error:#}"), "name a plan with --plan");
            None
        }
    }
}

async fn services(
    settings: &Settings,
    args: &Args,
    plan: &PlanFile,
    vault: Option<&Vault>,
    findings: &mut Findings,
) {
    let wanted = |name: &ServiceName| args.service.as_ref().is_none_or(|only| only == name);
    for service in plan.plan.services.iter().filter(|service| wanted(&service.name)) {
        let Some(postgres) = &service.postgres else { continue };
        findings.service = Some(service.name.clone());
        let mut patient = server::Patient { settings, service: &service.name, postgres, vault };
        patient.look(findings).await;
        if args.deep {
            patient.follow_a_segment(findings).await;
        }
    }
    if let Some(missing) = args.service.as_ref().filter(|name| plan.plan.service(name).is_none()) {
        findings.service = Some(missing.clone());
        let known = plan.plan.services.iter().map(|service| service.name.as_str());
        findings.fail("service", "the plan has no such service", points::instead(missing, known));
    }
    findings.service = None;
}
