//! Finds the plan and opens the vault, for every command alike.
//!
//! The plan: `--plan`, else `LIFEBOAT_PLAN`, else `lifeboat.yaml` here, else the newest one in the vault.
//! The vault: `--vault`, else the plan's copies.
//!
//! # Invariants
//! - **G1 a copy that is away stays a copy**: it is asked, and silent. Only so does "not in the vault" mean
//!   what it says.
//! - **G2 an empty directory is no copy.** A copy without the vault's header counts as away: most often a
//!   disk that is not mounted.

use crate::away::Away;
use crate::failure::{Next, is_guided};
use crate::output::Output;
use crate::secrets;
use anyhow::{Context, anyhow};
use lifeboat_base::{Clock, ServiceName, SystemClock};
use lifeboat_plan::{CopyUrl, Finding, Plan, Postgres, Severity};
use lifeboat_postgres::client::{Conninfo, Password};
use lifeboat_vault::keys::Unlock;
use lifeboat_vault::{Copies, Vault, VaultCopy, address, names};
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
        Self { global, output: output.clone(), clock, adopted: Vec::new(), told }
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
        Err::<(), _>(error).next(next).expect_err("it is one")
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

    /// The copies of the vault; directories are made if `create`.
    ///
    /// # Errors
    /// If nobody says where they are, or all are away.
    pub fn copies(&self, plan: Option<&PlanFile>, create: bool) -> anyhow::Result<Copies> {
        let (specs, durable) = self.copy_specs(plan)?;
        let mut copies = Vec::new();
        for spec in &specs {
            match open_copy(spec, create || self.is_adopted(spec)) {
                Ok(copy) => copies.push(copy),
                Err(error) if create => {
                    return Err(error).context(format!("the copy {} cannot be made", spec.name));
                }
                Err(error) => copies.push(self.away(spec, format!("{error:#}"))),
            }
        }
        Ok(Copies::new(copies, durable))
    }

    /// The copies, for a caller that tells itself which of them are away.
    ///
    /// # Errors
    /// If nobody says where they are.
    pub fn quiet_copies(&self, plan: Option<&PlanFile>) -> anyhow::Result<Copies> {
        let (specs, durable) = self.copy_specs(plan)?;
        let open =
            |spec: &CopySpec| open_copy(spec, false).unwrap_or_else(|error| spec.away(format!("{error:#}")));
        Ok(Copies::new(specs.iter().map(open).collect(), durable))
    }

    fn copy_specs(&self, plan: Option<&PlanFile>) -> anyhow::Result<(Vec<CopySpec>, usize)> {
        if !self.global.vault.is_empty() {
            return Ok((self.global.vault.iter().map(CopySpec::of_url).collect(), 1));
        }
        let plan = plan
            .ok_or_else(|| anyhow!("nobody says where the vault is"))
            .next("name a plan with --plan, or the vault's copies with --vault URL")?;
        let vault = &plan.plan.vault;
        let mut copies: Vec<CopySpec> = vault.copies.iter().map(CopySpec::of_plan).collect();
        // The first copy is the home of leases and the journal.
        if let Some(home) = vault.home().and_then(|home| vault.copies.iter().position(|copy| copy == home)) {
            copies.swap(0, home);
        }
        Ok((copies, vault.durable as usize))
    }

    fn away(&self, spec: &CopySpec, reason: String) -> VaultCopy {
        self.output.warn(format!("the copy {} is away: {reason}", spec.name));
        self.told.lock().unwrap_or_else(PoisonError::into_inner).away.push(spec.name.clone());
        spec.away(reason)
    }

    fn is_adopted(&self, spec: &CopySpec) -> bool {
        self.adopted.iter().any(|url| url.to_string() == spec.url)
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
        let plan = self.plan_file()?;
        let copies = self.present(plan.as_ref(), self.copies(plan.as_ref(), false)?).await?;
        let unlock = key()?;
        let vault = Vault::open(copies, &unlock, self.clock.clone()).await;
        let vault = vault.context("the vault was not opened")?;
        let plan = match plan {
            Some(plan) => Some(plan),
            None => crate::plans::newest(&vault).await?,
        };
        Ok(Opened { vault, plan, unlock: Arc::new(unlock) })
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

    /// G2: copies without a header are away.
    async fn present(&self, plan: Option<&PlanFile>, copies: Copies) -> anyhow::Result<Copies> {
        let (specs, _) = self.copy_specs(plan)?;
        let looks = (0..copies.all().len()).map(|index| copies.read_from(index, names::VAULT_HEADER));
        let found = futures::future::join_all(looks).await;
        if found.iter().all(Result::is_err) {
            // No vault at all: opening it says so.
            return Ok(copies);
        }
        let mut kept = Vec::new();
        for ((copy, found), spec) in copies.all().iter().zip(&found).zip(&specs) {
            kept.push(match found {
                Err(object_store::Error::NotFound { .. }) if !self.is_adopted(spec) => {
                    self.away(spec, "it holds no vault (is its disk mounted?)".to_owned())
                }
                Ok(_) => {
                    let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.answering.push(spec.url.clone());
                    copy.clone()
                }
                Err(_) => copy.clone(),
            });
        }
        Ok(Copies::new(kept, copies.durable()))
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
        .next(format!("its services are: {}", known.join(", ")))?;
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

/// What is known of a copy before it is opened.
struct CopySpec {
    url: String,
    name: String,
    domain: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

impl CopySpec {
    fn away(&self, reason: String) -> VaultCopy {
        VaultCopy::new(self.name.clone(), self.domain.clone(), Arc::new(Away::new(reason)))
    }

    fn of_url(url: &CopyUrl) -> Self {
        let url = url.to_string();
        Self { name: url.clone(), url, domain: None, endpoint: None, region: None }
    }

    fn of_plan(copy: &lifeboat_plan::VaultCopy) -> Self {
        let url = copy.url.to_string();
        let name = copy.name.as_ref().map_or_else(|| url.clone(), |name| name.as_str().to_owned());
        let (endpoint, region) = (copy.endpoint.clone(), copy.region.clone());
        Self { url, name, domain: copy.domain.clone(), endpoint, region }
    }
}

fn open_copy(spec: &CopySpec, create: bool) -> anyhow::Result<VaultCopy> {
    let environment = |name: &str| match (name, &spec.endpoint, &spec.region) {
        ("AWS_ENDPOINT_URL_S3" | "AWS_ENDPOINT_URL", Some(endpoint), _) => Some(endpoint.clone()),
        ("AWS_REGION" | "AWS_DEFAULT_REGION", _, Some(region)) => Some(region.clone()),
        _ => std::env::var(name).ok(),
    };
    let store = address::open(&spec.url, create, &environment)?;
    Ok(VaultCopy::new(spec.name.clone(), spec.domain.clone(), store))
}
