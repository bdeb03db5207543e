//! `lifeboat backup prune`: shows what goes and why, and lets it go in steps.

use crate::failure::Next;
use crate::journal::{actor, verdicts};
use crate::output::{Exit, Style, Table, Tone, clean};
use crate::plans;
use crate::points::{self, State};
use crate::settings::{Opened, Settings};
use anyhow::{Context, anyhow};
use lifeboat_base::{ByteCount, ServiceName, format_duration, parse_duration};
use lifeboat_plan::Postgres;
use lifeboat_vault::prune::{self, Burial, Item, Policy, PruneOptions, Verification};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// From the tombstone to the deleting.
const DEFAULT_GRACE: &str = "1h";
/// How long to wait for another prune of the service.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `lifeboat backup prune`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What goes is buried first, by a record in the journal, and deleted by a later prune, \
    once the grace has passed: until then nothing is lost."
)]
pub struct Args {
    /// Of this service alone [default: each that the plan protects].
    service: Option<ServiceName>,
    /// Show what would go, and why; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How long what is buried can still be had back.
    #[arg(long, value_name = "DURATION", default_value = DEFAULT_GRACE, value_parser = parse_duration)]
    grace: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    dry_run: bool,
    services: Vec<PrunedService>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrunedService {
    service: ServiceName,
    keep: Vec<Kept>,
    /// With `--dry-run`, what would be buried; else what was.
    buried: Vec<Burial>,
    deleted: Vec<Burial>,
    spared: Vec<Item>,
    deleted_objects: u64,
    deleted_bytes: u64,
    left: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    id: String,
    reasons: Vec<String>,
    onwards: bool,
}

/// What prune of a service is to do, as the plan says.
///
/// # Errors
/// If the plan keeps everything, or the journal cannot be read.
pub async fn options(
    opened: &Opened,
    service: &ServiceName,
    postgres: &Postgres,
    grace: Duration,
) -> anyhow::Result<PruneOptions> {
    let keep = postgres
        .keep
        .ok_or_else(|| anyhow!("the plan says nothing of what to keep of {service}, so nothing is removed"))
        .next("add `keep` below its `postgres`: keep: {daily: 30, window: 7d}")?;
    let policy = Policy {
        last: keep.last,
        daily: keep.daily.unwrap_or(0),
        weekly: keep.weekly.unwrap_or(0),
        monthly: keep.monthly.unwrap_or(0),
        yearly: keep.yearly.unwrap_or(0),
        window: keep.window.map(|window| window.0),
        time_zone: postgres.base.time_zone.time_zone().clone(),
    };
    // A question that was answered with no deletes nothing: only damage does.
    let state = |state| match state {
        State::Verified => Verification::Verified,
        State::Failed => Verification::Failed,
        State::Written | State::Doubtful => Verification::Written,
    };
    let known = verdicts(&opened.vault, service).await?;
    let verification: BTreeMap<String, Verification> =
        known.into_iter().map(|(id, verdict)| (id, state(verdict.state))).collect();
    Ok(PruneOptions { service: service.clone(), policy, verification, grace, wait: PATIENCE })
}

/// Prunes.
///
/// # Errors
/// If it could not; what was begun, the next run finishes.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open().await?;
    if !args.dry_run {
        plans::renew(settings, &opened).await;
    }
    if let Some(plan) = opened.plan.as_ref().filter(|_| settings.plan_path().is_none()) {
        let name = plan.plan.metadata.name.as_str();
        settings.output.say(format!("What is kept is judged by the plan in the vault, `{name}`."));
    }
    let services = match &args.service {
        Some(service) => vec![service.clone()],
        None => points::services(&opened).await?,
    };
    let mut pruned = Pruned { dry_run: args.dry_run, services: Vec::new() };
    for service in services {
        if args.service.is_none() && opened.required_plan()?.plan.service(&service).is_none() {
            settings.output.say(format!("{service}: the plan does not know it; nothing of it is removed"));
            continue;
        }
        let postgres = opened.postgres(&service)?;
        if postgres.keep.is_none() && args.service.is_none() {
            settings.output.say(format!("{service}: the plan keeps everything"));
            continue;
        }
        let options = options(&opened, &service, postgres, args.grace).await?;
        pruned.services.push(prune_one(&opened, service, &options, args.dry_run).await?);
    }
    settings.output.result("backup.prune", &pruned, |style| {
        pruned.services.iter().map(|service| human(service, &args, style)).collect()
    })?;
    let all_gone = pruned.services.iter().all(|service| service.left.is_empty());
    Ok(if all_gone { Exit::Good } else { Exit::Findings })
}

async fn prune_one(
    opened: &Opened,
    service: ServiceName,
    options: &PruneOptions,
    dry_run: bool,
) -> anyhow::Result<PrunedService> {
    let failed = || format!("{service} was not pruned");
    let outcome = if dry_run {
        let (verdicts, _) = prune::plan(&opened.vault, options).await.with_context(failed)?;
        prune::Outcome { buried: verdicts.bury.clone(), verdicts, ..prune::Outcome::default() }
    } else {
        prune::run(&opened.vault, &actor(), options).await.with_context(failed)?
    };
    let kept = outcome.verdicts.keep.into_iter();
    let keep = kept.map(|kept| Kept { id: kept.id, reasons: kept.reasons, onwards: kept.onwards });
    Ok(PrunedService {
        keep: keep.collect(),
        buried: outcome.buried,
        deleted: outcome.deleted,
        spared: outcome.spared,
        deleted_objects: outcome.objects,
        deleted_bytes: outcome.bytes,
        left: outcome.left,
        warnings: outcome.verdicts.warnings,
        service,
    })
}

fn human(pruned: &PrunedService, args: &Args, style: &Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, pruned.service.as_str()));
    let mut kept = Table::new(&["KEPT", "BECAUSE"]);
    for point in &pruned.keep {
        let and = if point.onwards { "; every moment after it too" } else { "" };
        kept.row([point.id.clone(), format!("{}{and}", point.reasons.join(", "))]);
    }
    out.push_str(&kept.render(style));
    let mut list = |heading: &'static str, burials: &[Burial]| {
        if burials.is_empty() {
            return;
        }
        let mut table = Table::new(&[heading, "SIZE", "BECAUSE"]);
        for burial in burials {
            table.row([name(&burial.item), ByteCount(burial.bytes).to_string(), burial.reason.clone()]);
        }
        out.push('\n');
        out.push_str(&table.render(style));
    };
    list("DELETED", &pruned.deleted);
    list(if args.dry_run { "WOULD GO" } else { "BURIED" }, &pruned.buried);
    for item in &pruned.spared {
        out.push_str(&format!("buried before, wanted again, and kept: {}\n", name(item)));
    }
    for left in &pruned.left {
        out.push_str(&format!("not deleted yet, the next prune tries again: {}\n", clean(left)));
    }
    for warning in &pruned.warnings {
        out.push_str(&format!("{}\n", style.paint(Tone::Doubtful, warning)));
    }
    out.push_str(&match (pruned.buried.is_empty(), args.dry_run) {
        (true, _) if pruned.deleted.is_empty() => "nothing goes\n\n".to_owned(),
        (true, _) => "\n".to_owned(),
        (false, true) => "\nnothing was changed\n\n".to_owned(),
        (false, false) => {
            format!("\nburied; a prune in {} or later deletes it\n\n", format_duration(args.grace))
        }
    });
    out
}

fn name(item: &Item) -> String {
    match item {
        Item::Point { id, .. } => format!("restore point {id}"),
        Item::Layer { id } => format!("layer {id}"),
        Item::Wal { timeline, range, .. } => format!("WAL {range} of timeline {timeline}"),
        Item::Pieces { timeline, range, .. } => format!("pieces of WAL {range} of timeline {timeline}"),
        Item::Catalogues { before, .. } => format!("catalogue snapshots before {before}"),
    }
}
