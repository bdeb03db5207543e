//! What is said before and after, to people and to machines.

use super::Asked;
use super::left::Way;
use crate::output::{Style, Tone, clean};
use crate::recovery::{Segment, quoted, times};
use crate::show;
use jiff::Timestamp;
use lifeboat_base::{ByteCount, Lsn, ServiceName, Timeline, format_duration};
use lifeboat_postgres::target::{self, Resolved, Target};
use lifeboat_postgres::view::Status;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The resolved target, for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetView {
    asked: String,
    restore_point: String,
    timeline: Timeline,
    stop: Lsn,
    inclusive: bool,
    end: Lsn,
    proven_end: Lsn,
    last_commit: Option<MomentView>,
    next_commit: Option<MomentView>,
    replay_bytes: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MomentView {
    time: Timestamp,
    xid: u32,
    lsn: Lsn,
}

impl MomentView {
    fn of(moment: Option<target::Moment>) -> Option<Self> {
        moment.map(|target::Moment { time, xid, lsn }| Self { time, xid, lsn })
    }
}

impl TargetView {
    pub(super) fn new(asked: &Target, resolved: &Resolved) -> Self {
        Self {
            asked: asked.to_string(),
            restore_point: resolved.point.id.clone(),
            timeline: resolved.timeline,
            stop: resolved.stop,
            inclusive: resolved.inclusive,
            end: resolved.end,
            proven_end: resolved.proven_end,
            last_commit: MomentView::of(resolved.last),
            next_commit: MomentView::of(resolved.next),
            replay_bytes: resolved.replay_bytes(),
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Restored {
    pub(super) service: ServiceName,
    pub(super) target: TargetView,
    pub(super) into: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) files: usize,
    pub(super) tablespaces: BTreeMap<u32, PathBuf>,
    pub(super) command: String,
    pub(super) dry_run: bool,
    pub(super) restored: bool,
    pub(super) kept_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) view: Option<Status>,
    pub(super) server: Option<ServerView>,
    pub(super) start_command: Option<String>,
    pub(super) wal_held_until: Option<Timestamp>,
    pub(super) segments: Vec<Segment>,
    pub(super) seconds: f64,
    pub(super) objective: Option<Objective>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServerView {
    pub(super) pid: u32,
    pub(super) address: String,
    pub(super) reached: Lsn,
    pub(super) promoted: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Objective {
    pub(super) rto_seconds: f64,
    pub(super) met: bool,
}
/// R1.
pub(super) fn before(
    resolved: &Resolved,
    way: &Way,
    done: &Restored,
    asked: &Asked,
    style: &Style,
) -> String {
    let mut out = style.paint(Tone::Strong, &format!("{} to {}", done.service, done.target.asked));
    let mut line = |name: &str, value: String| {
        out.push_str(&format!("\n  {name:<13} {}", clean(&value)));
    };
    let side = if resolved.inclusive { "up to and with" } else { "up to and without" };
    line("target", format!("timeline {}, {side} the record at {}", resolved.timeline, resolved.stop));
    match resolved.last {
        Some(last) => line("last commit", format!("{}, transaction {}", show::precise(last.time), last.xid)),
        None => line("last commit", "none near the target".to_owned()),
    }
    match resolved.next {
        Some(next) => line("left out", format!("{}, transaction {}", show::precise(next.time), next.xid)),
        None => line("left out", "nothing that was committed".to_owned()),
    }
    line("restore point", format!("{}, finished {}", resolved.point.id, show::time(resolved.point.finished)));
    line("replays", format!("{} of WAL, from {}", ByteCount(resolved.replay_bytes()), resolved.point.start));
    match way {
        Way::Write(plan) => {
            let text = format!(
                "{} in {} files into {}",
                ByteCount(plan.size_bytes),
                plan.files,
                done.into.display()
            );
            line("writes", text);
            if plan.packs_done > 0 {
                let text =
                    format!("{} of {} packs are there from an earlier try", plan.packs_done, plan.packs);
                line("goes on", text);
            }
        }
        Way::View(plan) => {
            let (eager, all) = (ByteCount(plan.eager_bytes), ByteCount(plan.size_bytes));
            let into = done.into.display();
            line(
                "shows",
                format!("{all} in {} files at {into}, of which {eager} are fetched before", plan.files),
            );
            line("keeps", format!("what was read or written in {}", plan.place.home.display()));
        }
        Way::GoOn(_) => {
            let what = if asked.how.is_view() { "a view is at" } else { "all files are in" };
            line("goes on", format!("{what} {} from an earlier try", done.into.display()))
        }
    }
    for (oid, path) in &done.tablespaces {
        line("tablespace", format!("{oid} at {}", path.display()));
    }
    if let Way::Write(plan) = way {
        plan.removed.iter().for_each(|path| line("removes", path.display().to_string()));
    }
    match (asked.start, asked.promote) {
        (_, true) => {
            line("then", "starts the server, waits until it is there, and opens it for writing".to_owned())
        }
        (true, _) => line("then", "starts the server, and waits until it is there, read-only".to_owned()),
        (false, _) => {}
    }
    for (timeline, range) in &resolved.left_out {
        line("another line", format!("WAL {range} of timeline {timeline} is on no way to this"));
    }
    line("by hand", done.command.clone());
    out
}

pub(super) fn after(done: &Restored, style: &Style) -> String {
    if done.dry_run {
        return "nothing was written\n".to_owned();
    }
    let mut out = String::new();
    match &done.server {
        Some(server) => {
            let state = if server.promoted { "open for writing" } else { "read-only, paused" };
            let text = format!("{} is back at {}: {state}", done.service, server.reached);
            out.push_str(&format!("{}\n", style.paint(Tone::Good, &text)));
            out.push_str(&format!("  reach it      psql {}\n", clean(&quoted(&server.address))));
            out.push_str(&format!("  its process   {}, in {}\n", server.pid, done.into.display()));
            if !server.promoted {
                let command = format!("lifeboat promote {}", quoted(&done.into.display().to_string()));
                out.push_str(&format!(
                    "  open it       {}   (look first whether it is the right moment)\n",
                    clean(&command)
                ));
            }
        }
        None => {
            let text = format!("{} is whole in {}", done.service, done.into.display());
            out.push_str(&format!("{}\n", style.paint(Tone::Good, &text)));
            if let Some(command) = &done.start_command {
                out.push_str(&format!(
                    "  start it      {}\n                it stops at its target, read-only; with LIFEBOAT_PASSPHRASE set \
                     unless a key file is named\n",
                    clean(command)
                ));
            }
            if let Some(until) = done.wal_held_until {
                let until = show::time(until);
                out.push_str(&format!(
                    "  its WAL       prune leaves it alone until {until}: start it by then\n"
                ));
            }
        }
    }
    if let Some(view) = &done.view {
        let directory = quoted(&done.into.display().to_string());
        let next = if view.is_hydrating { "finish" } else { "hydrate" };
        let percent = (view.pages_here * 100).checked_div(view.pages).unwrap_or(100);
        let text = format!(
            "{percent}% of it is here, the rest is read from the vault: lifeboat view {next} {directory}"
        );
        out.push_str(&format!("  a view        {}\n", clean(&text)));
    }
    out.push_str(&format!("  time          {}\n", times(&done.segments)));
    if done.kept_bytes > 0 {
        out.push_str(&format!("  kept          {} were there already\n", ByteCount(done.kept_bytes)));
    }
    let total = format_duration(Duration::from_secs_f64(done.seconds));
    match &done.objective {
        Some(objective) => {
            let wanted = format_duration(Duration::from_secs_f64(objective.rto_seconds));
            let (tone, word) = if objective.met { (Tone::Good, "met") } else { (Tone::Bad, "MISSED") };
            let verdict = style.paint(tone, &format!("objective {wanted} {word}"));
            out.push_str(&format!("  in all        {total}; {verdict}\n"));
        }
        None => out.push_str(&format!("  in all        {total}\n")),
    }
    out
}
