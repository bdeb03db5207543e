//! `lifeboat view finish`: from a view to a plain data directory.
//!
//! ```text
//! fill it ─▶ stop the server ─▶ unmount ─▶ the directory gets its name ─▶ start the server
//! ```
//!
//! # Invariants
//! - **F1 only when whole.** Nothing is stopped before all of it is here, durably.
//! - **F2 cut off anywhere, it is called again.** What was done stays, and the rest is done.
//! - **F3 the service comes first.** If it cannot be put in its place, its server is started on the view again.

use super::again::{Again, major_of};
use super::{named, place};
use crate::failure::Next;
use crate::output::{Exit, Tone, clean};
use crate::recovery::{self, quoted};
use crate::settings::Settings;
use crate::{helper, showing};
use anyhow::Context;
use lifeboat_base::format_duration;
use lifeboat_pgformat::{ControlFile, PG_CONTROL_PATH};
use lifeboat_postgres::fetch;
use lifeboat_postgres::restore::MARKER_FILE;
use lifeboat_postgres::server::Server;
use lifeboat_postgres::view::control::{Request, ask};
use lifeboat_postgres::view::{Place, finish_hidden, mounted, put_in_place};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `lifeboat view finish`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its directory.
    directory: PathBuf,
    /// Leave the server stopped afterwards.
    #[arg(long)]
    no_start: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finished<'a> {
    directory: &'a Path,
    /// How long no server answered, if one ran.
    down_seconds: Option<f64>,
    /// The process that answers now.
    server: Option<u32>,
}

/// Fills it, and puts it in its place.
///
/// # Errors
/// If it is not a plain data directory afterwards.
pub(super) async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let named = named(&args.directory)?;
    if !Place::of(&named).home.exists() && is_finished(&named) {
        // F2: or somebody asks once more.
        return told(settings, &Finished { directory: &named, down_seconds: None, server: None });
    }
    let place = place(&args.directory)?;
    let directory = &place.mount;
    if place.is_whole() || !place.data().exists() {
        // F2.
        put_in_place(&place).next(empty_it(directory))?;
        return told(settings, &Finished { directory, down_seconds: None, server: None });
    }
    if !place.is_shown() && place.is_filled() {
        // It needs neither its vault nor a key.
        finish_hidden(&place)
            .next(format!("then the same again: lifeboat view finish {}", name(directory)))?;
        return told(settings, &Finished { directory, down_seconds: None, server: None });
    }
    if !place.is_shown() {
        let opened = settings.open().await?;
        showing::show(settings, &opened, &place).await?;
    }
    // F1.
    showing::hydrate(settings, &place)
        .await
        .next(format!("the process behind it tells more in {}", showing::log(&place).display()))?;
    let Some(mut server) = Server::adopt(directory, &[]) else {
        ask(&place, Request::Finish).await.context("it stays a view")?;
        return told(settings, &Finished { directory, down_seconds: None, server: None });
    };
    if !is_ours(&server) {
        return Err(anyhow::anyhow!(
            "a server that was not started by Lifeboat runs in {} (process {})",
            directory.display(),
            server.pid()
        ))
        .next("all of it is here; stop the server as it was started, call this again, and start it");
    }
    let again = Again::of(settings, &place, server.port()).await?;
    settings.output.say(format!("stopping the server, process {}", server.pid()));
    let since = settings.clock.monotonic();
    server.halt().await.context("the server was to be stopped")?;
    // It keeps files open there, and is started anew with the server.
    fetch::end_helper(&directory.join(helper::SOCKET)).await;
    if let Err(error) = ask(&place, Request::Finish).await {
        // Whatever was in the way, the service comes first.
        if !mounted().contains(directory) {
            showing::gone(&place).await;
            if place.is_whole() {
                return Err(error)
                    .with_context(|| format!("all of it is in {}, without a server", place.data().display()))
                    .next(empty_it(directory));
            }
            let opened = settings.open().await?;
            showing::show(settings, &opened, &place).await?;
        }
        again
            .start(settings)
            .await
            .with_context(|| format!("it stays a view ({error}), without a server"))?;
        return Err(error).context("it stays a view, and its server was started again");
    }
    let mut finished = Finished { directory, down_seconds: None, server: None };
    if !args.no_start {
        finished.server = Some(again.start(settings).await.context("all is in its place, without a server")?);
        let down = settings.clock.monotonic().saturating_sub(since);
        finished.down_seconds = Some(down.as_secs_f64());
    }
    told(settings, &finished)
}

fn name(directory: &Path) -> String {
    quoted(&directory.display().to_string())
}

fn empty_it(directory: &Path) -> String {
    let name = name(directory);
    format!("empty {name}, if anything is in it, then: lifeboat view finish {name}")
}

/// Whether it was a view, or a restore, and is a data directory.
fn is_finished(directory: &Path) -> bool {
    // Through a view that is shown, everything looks so.
    let is_view = mounted().iter().any(|place| directory.starts_with(place));
    !is_view && [MARKER_FILE, PG_CONTROL_PATH].iter().all(|file| directory.join(file).exists())
}

/// Whether it was started with a configuration of ours: then it can be started so again.
fn is_ours(server: &Server) -> bool {
    let command = std::fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap_or_default();
    let ours = format!("config_file={}", server.directory().join(recovery::CONFIGURATION).display());
    command.split(|byte| *byte == 0).any(|word| word == ours.as_bytes())
}

fn told(settings: &Settings, finished: &Finished<'_>) -> anyhow::Result<Exit> {
    let directory = quoted(&finished.directory.display().to_string());
    // What everything above was for.
    let control = std::fs::read(finished.directory.join(PG_CONTROL_PATH))
        .with_context(|| format!("{directory} is no data directory"))?;
    ControlFile::parse(&control).with_context(|| format!("{directory} has no sound {PG_CONTROL_PATH}"))?;
    settings.output.result("view.finish", finished, |style| {
        let text = format!("{} is a plain data directory", clean(&directory));
        let mut out = format!("{}\n", style.paint(Tone::Good, &text));
        if let (Some(down), Some(pid)) = (finished.down_seconds, finished.server) {
            let down = format_duration(Duration::from_secs_f64(down));
            out.push_str(&format!("  its server   process {pid}, after {down} in which none answered\n"));
        } else if Server::adopt(finished.directory, &[]).is_none()
            && let Some(major) = major_of(finished.directory)
            && let Ok(installation) = recovery::installation(major)
        {
            let start = recovery::start_command(&installation, finished.directory);
            out.push_str(&format!("  start it     {}\n", clean(&start)));
        }
        out
    })?;
    Ok(Exit::Good)
}
