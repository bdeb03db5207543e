//! Finds the plan and opens the vault, for every command alike.
//!
//! The plan: `--plan`, else `LIFEBOAT_PLAN`, else `lifeboat.yaml` here, else the newest one in the vault.
//! The vault: `--vault`, else the plan's copies.

use crate::copies::{self, CopySpec};
use crate::failure::{Next, guided, is_guided};
use crate::output::Output;
use crate::secrets;
use anyhow::{Context, anyhow};
use lifeboat_base::{Clock, ServiceName, SystemClock};
use lifeboat_plan::{CopyUrl, Finding, Plan, Postgres, Severity};
use lifeboat_postgres::client::{Conninfo, Password};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::{Copies, Vault};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the plan is looked for when nobody says.
pub const DEFAULT_PLAN: &str = "lifeboat.yaml";

/// Arguments that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The plan [default: lifeboat.yaml here, else the newest one in the vault].
    #[arg(long, global = true, value_name = "FILE", env = "LIFEBOAT_PLAN")]
    pub plan: Option<PathBuf>,
    /// A copy of the vault, instead of those that the plan names; may be given several times.
    #[arg(long = "vault", global = true, value_name = "URL")]
    pub vault: Vec<CopyUrl>,
    /// A file whose first line is the vault's passphrase [default: LIFEBOAT_PASSPHRASE, else asked].
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// An age identity that opens the vault, instead of the passphrase.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub identity: Option<PathBuf>,
    /// Print JSON, of a stable shape, instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A plan as it was found.
#[derive(Debug, Clone)]
pub struct PlanFile {
    /// Its text.
    pub text: String,
    /// What it says.
    pub plan: Plan,
}

/// What every command begins with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The arguments.
    pub global: Global,
    /// Where it speaks.
    pub output: Output,
    /// The machine's time.
    pub clock: Arc<dyn Clock>,
    /// Whether the command leaves what is protected as it is: it then makes do without a plan.
    only_reads: bool,
    /// Places that are taken in as new copies, empty as they are (G2).
    adopted: Vec<CopyUrl>,
    /// Copies that turned out to be away, and addresses of those that did not.
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    away: Vec<String>,
    answering: Vec<String>,
}

/// An open vault, and the plan if there is one.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The vault.
    pub vault: Vault,
    /// The plan.
    pub plan: Option<PlanFile>,
    /// What opened it, for processes of ours that must open it too.
    pub unlock: Arc<Unlock>,
}

impl Settings {
    /// For one run of the program.
    #[must_use]
    pub fn new(global: Global, output: &Output) -> Self {
        let (clock, told) = (Arc::new(SystemClock::new()), Arc::default());
        Self { global, output: output.clone(), clock, only_reads: false, adopted: Vec::new(), told }
    }

    /// The same, for a command that only reads or restores, or not.
    #[must_use]
    pub fn reading(self, only_reads: bool) -> Self {
        Self { only_reads, ..self }
    }

    /// The same, with these places taken in as new copies.
    #[must_use]
    pub fn adopting(&self, places: &[CopyUrl]) -> Self {
        Self { adopted: places.to_vec(), ..self.clone() }
    }

    /// Adds to an error how to go on without the copies that are away, if there are any.
    #[must_use]
    pub fn with_way_out(&self, error: anyhow::Error) -> anyhow::Error {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.away.is_empty() || told.answering.is_empty() || is_guided(&error) {
            return error;
        }
        let others: Vec<String> = told.answering.iter().map(|url| format!("--vault {url}")).collect();
        let next = format!(
            "bring {} back. If it is lost, go on with what the others have: add {}",
            told.away.join(" and "),
            others.join(" ")
        );
        guided(error, next)
    }

    /// The plan's file: named, or here.
    #[must_use]
    pub fn plan_path(&self) -> Option<PathBuf> {
        let here = || Some(PathBuf::from(DEFAULT_PLAN)).filter(|path| path.exists());
        self.global.plan.clone().or_else(here)
    }

    /// The plan, if there is a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no plan.
    pub fn plan_file(&self) -> anyhow::Result<Option<PlanFile>> {
        self.plan_path().map(|path| read_plan(&path)).transpose()
    }

    /// The places where a vault is to be made; directories are made too.
    ///
    /// # Errors
    /// If nobody says where they are, or one of them cannot be used.
    pub fn new_copies(&self, plan: Option<&PlanFile>) -> anyhow::Result<Copies> {
        let (specs, durable) = self.copy_specs(plan)?;
        copies::make(&specs, durable)
    }

    /// The copies of the vault, for a caller that tells itself which of them are away.
    ///
    /// # Errors
    /// If nobody says where they are.
    pub async fn copies(&self, plan: Option<&PlanFile>) -> anyhow::Result<copies::Found> {
        let (specs, durable) = self.copy_specs(plan)?;
        Ok(copies::find(&specs, durable, &self.adopted).await)
    }

    fn copy_specs(&self, plan: Option<&PlanFile>) -> anyhow::Result<(Vec<CopySpec>, usize)> {
        if !self.global.vault.is_empty() {
            let durable = plan.map_or(1, |plan| plan.plan.vault.durable as usize);
            return Ok((self.global.vault.iter().map(CopySpec::of_url).collect(), durable));
        }
        let plan = plan
            .ok_or_else(|| anyhow!("nobody says where the vault is"))
            .next("name a plan with --plan, or the vault's copies with --vault URL")?;
        if plan.plan.vault.copies.is_empty() {
            return Err(anyhow!("the plan does not say where the vault is"))
                .next("add `vault: {copies: [URL]}` to it, or name the vault's copies with --vault URL");
        }
        Ok((CopySpec::of_plan(&plan.plan), plan.plan.vault.durable as usize))
    }

    /// The vault, open, and the plan from its file, else from the vault.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn open(&self) -> anyhow::Result<Opened> {
        self.open_with(|| secrets::unlock(&self.global)).await
    }

    /// As [`Settings::open`], with a key from elsewhere.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn open_with(&self, key: impl FnOnce() -> anyhow::Result<Unlock>) -> anyhow::Result<Opened> {
        let plan = match self.plan_file() {
            // The day on which a vault is read may be the day on which the plan beside it was half written.
            Err(error) if self.makes_do_without_plan() => {
                self.output.warn(format!("the vault's own plan is used: {error:#}"));
                None
            }
            plan => plan?,
        };
        let found = self.copies(plan.as_ref()).await?;
        for (copy, reason) in &found.away {
            self.output.warn(format!("the copy {copy} is away: {reason}"));
        }
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.away.extend(found.away.into_iter().map(|(copy, _)| copy));
            told.answering.extend(found.answering);
        }
        let unlock = key()?;
        let vault = Vault::open(found.copies, &unlock, self.clock.clone()).await;
        let mut vault = vault.map_err(copies::advised).context("the vault was not opened")?;
        let plan = match plan {
            Some(plan) => Some(plan),
            None => crate::plans::newest(&vault).await?,
        };
        if let Some(plan) = plan.as_ref().filter(|_| !self.global.vault.is_empty()) {
            let (wanted, named) = (plan.plan.vault.durable as usize, self.global.vault.len());
            vault = vault.with_durable(wanted);
            if wanted > named && !self.only_reads {
                self.output.warn(format!(
                    "the plan wants each write in {wanted} copies, and --vault names {named}: it counts once it is \
                     in {named}"
                ));
            }
        }
        Ok(Opened { vault, plan, unlock: Arc::new(unlock) })
    }

    /// Whether a plan that happens to be here, and is none, need not stop us.
    fn makes_do_without_plan(&self) -> bool {
        self.only_reads && !self.global.vault.is_empty() && self.global.plan.is_none()
    }

    /// The arguments by which another process of ours finds the same vault, from any directory.
    ///
    /// # Errors
    /// If the plan's path cannot be made absolute.
    pub fn vault_arguments(&self) -> anyhow::Result<Vec<String>> {
        let urls = |copies: &mut dyn Iterator<Item = String>| {
            copies.flat_map(|url| ["--vault".to_owned(), url]).collect::<Vec<_>>()
        };
        if !self.global.vault.is_empty() {
            return Ok(urls(&mut self.global.vault.iter().map(ToString::to_string)));
        }
        let Some(path) = self.plan_path() else { return Ok(Vec::new()) };
        let plan = read_plan(&path)?;
        let copies = &plan.plan.vault.copies;
        if copies.iter().all(|copy| copy.endpoint.is_none() && copy.region.is_none()) {
            return Ok(urls(&mut copies.iter().map(|copy| copy.url.to_string())));
        }
        let path = std::path::absolute(&path).context("the plan's path cannot be made absolute")?;
        Ok(vec!["--plan".to_owned(), path.display().to_string()])
    }

    /// The arguments by which another process of ours finds the same key, if it is in a file, from any directory.
    ///
    /// # Errors
    /// If a path cannot be made absolute.
    pub fn key_arguments(&self) -> anyhow::Result<Vec<String>> {
        let Global { passphrase_file, identity, .. } = &self.global;
        let mut words = Vec::new();
        for (flag, path) in [("--passphrase-file", passphrase_file), ("--identity", identity)] {
            if let Some(path) = path {
                let path = std::path::absolute(path).context("the key's path cannot be made absolute")?;
                words.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        Ok(words)
    }
}

impl Opened {
    /// The plan, which must be there.
    ///
    /// # Errors
    /// If there is neither a file nor one in the vault.
    pub fn required_plan(&self) -> anyhow::Result<&PlanFile> {
        self.plan
            .as_ref()
            .ok_or_else(|| anyhow!("there is no plan, neither here nor in the vault"))
            .next("name one with --plan, or write a first one with `lifeboat init`")
    }

    /// What the plan says of a service's protection.
    ///
    /// # Errors
    /// If there is no such service, or it is no PostgreSQL cluster.
    pub fn postgres(&self, service: &ServiceName) -> anyhow::Result<&Postgres> {
        postgres_of(&self.required_plan()?.plan, service)
    }

    /// The vault for what is written of a service: copies in its own failure domain do not count.
    #[must_use]
    pub fn vault_of(&self, service: &ServiceName) -> Vault {
        let planned = self.plan.as_ref().and_then(|plan| plan.plan.service(service));
        self.vault.outside(planned.and_then(|service| service.domain.as_deref()))
    }
}

/// What a plan says of a service's protection.
///
/// # Errors
/// If there is no such service, or it is no PostgreSQL cluster.
pub fn postgres_of<'a>(plan: &'a Plan, service: &ServiceName) -> anyhow::Result<&'a Postgres> {
    let known: Vec<&str> = plan.services.iter().map(|service| service.name.as_str()).collect();
    let found = plan
        .service(service)
        .ok_or_else(|| anyhow!("the plan has no service `{service}`"))
        .next(crate::points::instead(service, known))?;
    found.postgres.as_ref().ok_or_else(|| {
        anyhow!("the service `{service}` is no PostgreSQL cluster: the plan has no `postgres` below it")
    })
}

/// How the plan says that a server is reached, with its password.
///
/// # Errors
/// If the string or the password file cannot be used.
pub fn conninfo(postgres: &Postgres, connection: &lifeboat_plan::Conninfo) -> anyhow::Result<Conninfo> {
    let info = parse_conninfo(connection.as_str())?;
    let Some(file) = &postgres.password_file else { return Ok(info) };
    let text = secrets::read_file(file.as_path())?;
    let password = text.lines().next().unwrap_or_default().to_owned();
    Ok(info.with_password(Password::new(password)))
}

/// Whom the plan connects as.
#[must_use]
pub fn planned_user(postgres: &Postgres) -> Option<String> {
    Some(parse_conninfo(postgres.connection.as_str()).ok()?.user().to_owned())
}

/// A connection string, completed from the environment as libpq does.
///
/// # Errors
/// If it cannot be used.
pub fn parse_conninfo(text: &str) -> anyhow::Result<Conninfo> {
    let info = Conninfo::parse(text, &|name| std::env::var(name).ok());
    Ok(info.context("the connection string cannot be used")?.with_default_application_name("lifeboat"))
}

/// Reads a plan that must be right.
///
/// # Errors
/// If it cannot be read, or is no plan: the first thing that is wrong is shown.
pub fn read_plan(path: &Path) -> anyhow::Result<PlanFile> {
    let text = read_plan_text(path)?;
    match lifeboat_plan::load(&text) {
        Ok(loaded) => Ok(PlanFile { text, plan: loaded.plan }),
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            let count = errors.clone().count();
            let shown = errors
                .clone()
                .next()
                .map(|first: &Finding| lifeboat_plan::render(first, &path.display().to_string(), &text));
            Err(anyhow!(
                "the plan {} cannot be used\n{}",
                path.display(),
                shown.unwrap_or_default().trim_end()
            ))
            .next(format!("`lifeboat plan check {}` shows all ({count})", path.display()))
        }
    }
}

/// The text of a plan, whatever it says.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub fn read_plan_text(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let failed = || format!("the plan {} cannot be read", path.display());
    let file = std::fs::File::open(path).with_context(failed)?;
    let mut bytes = Vec::new();
    let limit = lifeboat_plan::MAX_SOURCE_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).with_context(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        anyhow!("{}: it is not UTF-8, first in line {}", failed(), line + 1)
    })
}
