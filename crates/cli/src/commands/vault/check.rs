//! `lifeboat vault check`: whether what the vault says it holds is there, whole, in every copy.

use crate::away::plain;
use crate::journal::{self, actor};
use crate::output::{Exit, Style, Table, Tone, clean};
use crate::plans;
use crate::progress::{Progress, Reading};
use crate::settings::Settings;
use anyhow::Context;
use lifeboat_base::ByteCount;
use lifeboat_plan::CopyUrl;
use lifeboat_vault::check::{self, CheckOptions, Repair, Report};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a repair waits for a running prune.
const PATIENCE: Duration = Duration::from_secs(15);

/// Arguments of `lifeboat vault check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Heal a copy from another that has it whole.
    #[arg(long)]
    repair: bool,
    /// Read every object and open every frame, not just names and sizes: as long as downloading it all.
    #[arg(long)]
    deep: bool,
    /// Take this empty place in as a new copy, and fill it from the others: the plan names it already.
    #[arg(long, value_name = "URL", requires = "repair")]
    adopt: Vec<CopyUrl>,
}

#[derive(Serialize)]
struct Checked<'a> {
    sound: bool,
    #[serde(flatten)]
    report: &'a Report,
}

/// Checks, and heals if asked to.
///
/// # Errors
/// If it could not look.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let settings = &settings.adopting(&args.adopt);
    let opened = settings.open().await?;
    let vault = &opened.vault;
    let bytes = Arc::new(AtomicU64::new(0));
    let (seen, shown) = (Arc::clone(&bytes), bytes);
    let bar = Progress::start(&settings.output, "check of the vault", move || Reading {
        done: shown.load(Ordering::Relaxed),
        total: 0,
    });
    let options = CheckOptions {
        deep: args.deep,
        repair: args.repair.then(|| Repair { actor: actor(), wait: PATIENCE }),
        progress: Some(Arc::new(move |progress: &check::Progress| {
            seen.store(progress.bytes, Ordering::Relaxed);
        })),
    };
    let checked = check::check(vault, &options).await;
    bar.finish().await;
    let report = checked.context("the vault was not checked to its end")?;
    if args.repair {
        let repaired = report.findings.iter().filter(|finding| finding.repaired).count();
        let left = report.findings.iter().filter(|finding| finding.kind.is_problem() && !finding.repaired);
        let adopted: Vec<String> = args.adopt.iter().map(ToString::to_string).collect();
        let data = serde_json::json!({
            "deep": args.deep, "repaired": repaired, "left": left.count(), "adopted": adopted,
        });
        if let Err(error) = journal::note(vault, &journal::vault_scope(), "vault.repaired", data).await {
            settings.output.warn(format!("{error:#}"));
        }
        plans::renew(settings, &opened).await;
    }
    let checked = Checked { sound: report.is_sound(), report: &report };
    settings.output.result("vault.check", &checked, |style| human(&report, &args, style))?;
    Ok(if report.is_sound() { Exit::Good } else { Exit::Findings })
}

fn human(report: &Report, args: &Args, style: &Style) -> String {
    let mut copies = Table::new(&["COPY", "OBJECTS", "SIZE", "STATE"]);
    for copy in &report.copies {
        let state = copy.away.clone().map_or("answers".to_owned(), |why| format!("away: {}", plain(&why)));
        let size = ByteCount(copy.bytes).to_string();
        copies.row([copy.name.clone(), copy.objects.to_string(), size, state]);
    }
    let mut out = copies.render(style);
    if !report.points.is_empty() {
        let mut points = Table::new(&["RESTORE POINT", "SERVICE", "WHOLE IN"]);
        for point in &report.points {
            let whole = if point.whole_in.is_empty() {
                "no copy by itself".to_owned()
            } else {
                point.whole_in.join(", ")
            };
            points.row([point.id.clone(), point.service.to_string(), whole]);
        }
        out.push_str(&format!("\n{}", points.render(style)));
    }
    if !report.findings.is_empty() {
        out.push('\n');
    }
    for finding in &report.findings {
        let (tone, mark) = match (finding.kind.is_problem(), finding.repaired) {
            (true, false) => (Tone::Bad, "PROBLEM "),
            (true, true) => (Tone::Good, "repaired"),
            (false, _) => (Tone::Faint, "no harm "),
        };
        let place = finding.copy.as_deref().unwrap_or("all copies");
        let about = if finding.object.is_empty() { String::new() } else { format!("{}: ", finding.object) };
        let line = clean(&format!("{about}{} ({place})", plain(&finding.what)));
        out.push_str(&format!("{} {line}\n", style.paint(tone, mark)));
    }
    let how = if args.deep { "every byte was read" } else { "by names and sizes; --deep reads every byte" };
    let wrong = || report.findings.iter().filter(|finding| finding.kind.is_problem() && !finding.repaired);
    let is_hole = |finding: &&check::Finding| finding.kind == check::FindingKind::WalHole;
    if wrong().any(|finding| is_hole(&finding)) {
        out.push_str(
            "\nWAL that no copy has cannot be healed here: only the stream can fill the hole, while the server keeps \
             the WAL. Start `lifeboat serve` or `lifeboat stream`; if it is gone there too, take a backup, from \
             which on every moment can be reached again\n",
        );
    }
    let only_holes = report.more_findings == 0 && wrong().all(|finding| is_hole(&finding));
    let (tone, verdict) = match (report.is_sound(), args.repair) {
        (false, _) if only_holes => {
            (Tone::Bad, format!("the vault has a hole in its WAL, and is sound else: {how}"))
        }
        (true, _) => (Tone::Good, format!("the vault is sound: {how}")),
        (false, true) => (Tone::Bad, "the vault is not sound, and no copy has what would heal it".to_owned()),
        (false, false) => {
            (Tone::Bad, "the vault is not sound; --repair heals from a copy that is".to_owned())
        }
    };
    out.push_str(&format!("\n{}\n", style.paint(tone, &verdict)));
    out
}
