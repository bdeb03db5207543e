//! `lifeboat view list` and `lifeboat view status`.

use super::{Shown, place};
use crate::failure::Next;
use crate::output::{Exit, Style, Table, Tone, clean};
use crate::recovery::quoted;
use crate::settings::Settings;
use lifeboat_base::ByteCount;
use lifeboat_pgformat::PAGE_SIZE_BYTES;
use lifeboat_postgres::server::Server;
use lifeboat_postgres::view::control::{AskError, Request, ask};
use lifeboat_postgres::view::{About, Place, Status, mounted};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A view of this machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    directory: PathBuf,
    about: Option<About>,
    /// `None`: its process does not answer.
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct Listing<'a> {
    views: &'a [Listed],
}

/// Lists what is mounted: a view whose process was killed is, too, until the machine is rebooted.
pub(super) async fn list(settings: &Settings) -> anyhow::Result<Exit> {
    let mut found = Vec::new();
    for directory in mounted() {
        let place = Place::of(&directory);
        let status = ask(&place, Request::Status).await.ok();
        found.push(Listed { about: place.about().ok().flatten(), status, directory });
    }
    settings.output.result("view.list", &Listing { views: &found }, |style| {
        if found.is_empty() {
            return "no view is shown on this machine\n".to_owned();
        }
        let mut table = Table::new(&["DIRECTORY", "SERVICE", "RESTORE POINT", "HERE", "STATE"]);
        for view in &found {
            let about = view.about.as_ref();
            table.row([
                clean(&view.directory.display().to_string()),
                about.map_or_else(String::new, |about| about.service.to_string()),
                about.map_or_else(String::new, |about| about.point.clone()),
                view.status.as_ref().map_or_else(String::new, |status| format!("{}%", percent(status))),
                view.status.as_ref().map_or("DEAD: lifeboat view show it again", state).to_owned(),
            ]);
        }
        table.render(style)
    })?;
    Ok(if found.iter().any(|view| view.status.is_none()) { Exit::Findings } else { Exit::Good })
}

/// Shows how far one is.
pub(super) async fn status(settings: &Settings, directory: &Path) -> anyhow::Result<Exit> {
    let place = place(directory)?;
    let status = match ask(&place, Request::Status).await {
        Err(error @ AskError::NotShown(_)) => {
            let directory = quoted(&place.mount.display().to_string());
            let next = if place.is_whole() || place.is_filled() {
                format!("all of it is here; give it its name: lifeboat view finish {directory}")
            } else {
                format!(
                    "its process or its machine was stopped; show it again: lifeboat view show {directory}"
                )
            };
            return Err(error).next(next);
        }
        answered => answered?,
    };
    let server = Server::adopt(&place.mount, &[]);
    let shown = Shown { directory: &place.mount, status: &status };
    settings.output.result("view.status", &shown, |style| told(&place, &status, server.as_ref(), style))?;
    Ok(if status.failure.is_some() { Exit::Findings } else { Exit::Good })
}

fn told(place: &Place, status: &Status, server: Option<&Server>, style: &Style) -> String {
    let directory = quoted(&place.mount.display().to_string());
    let mut out = style.paint(Tone::Strong, &format!("{} at {}", status.about.service, clean(&directory)));
    out.push('\n');
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<14}{}\n", clean(value)));
    line("restore point", &status.about.point);
    let bytes = |pages: u64| ByteCount(pages * PAGE_SIZE_BYTES as u64);
    let (here, pages) = (bytes(status.pages_here), bytes(status.pages));
    line("here", &format!("{here} of {pages}, {}%: {}", percent(status), state(status)));
    line(
        "waited for",
        &format!("{} times something was fetched because it was asked for", status.frames_fetched),
    );
    if let Some(failure) = &status.failure {
        line("not fetched", failure);
    }
    if !status.is_pinned && !status.is_whole {
        line("not pinned", "the vault took no pin: prune may remove the restore point; it is tried again");
    }
    match server {
        Some(server) => {
            line("server", &format!("process {}: psql {}", server.pid(), quoted(&server.address())))
        }
        None => line("server", "none runs there"),
    }
    if status.is_whole {
        line(
            "next",
            &format!("a short restart, then it needs the vault no more: lifeboat view finish {directory}"),
        );
    } else if !status.is_hydrating {
        line("next", &format!("fetch the rest: lifeboat view hydrate {directory}"));
    }
    out
}

fn percent(status: &Status) -> u64 {
    (status.pages_here * 100).checked_div(status.pages).unwrap_or(100)
}

fn state(status: &Status) -> &'static str {
    match status {
        Status { is_whole: true, .. } => "whole",
        Status { is_hydrating: true, .. } => "being filled",
        Status { failure: Some(_), .. } => "NOT FILLED",
        _ => "filled as it is read",
    }
}
