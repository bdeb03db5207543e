//! `lifeboat view drop`: a view is removed, and what was written to it is lost.

use super::place;
use crate::failure::Next;
use crate::helper;
use crate::output::{Exit, Tone, clean};
use crate::recovery::{self, quoted};
use crate::settings::Settings;
use crate::showing;
use anyhow::{Context, anyhow};
use lifeboat_postgres::fetch;
use lifeboat_postgres::server::{Server, end_stranded};
use lifeboat_postgres::view::control::{AskError, Request, ask};
use lifeboat_postgres::view::discard;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `lifeboat view drop`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its directory.
    directory: PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    directory: PathBuf,
}

/// Removes it.
///
/// # Errors
/// If nobody said that it may, or a server runs there.
pub(super) async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let place = place(&args.directory)?;
    let name = quoted(&place.mount.display().to_string());
    if let Some(server) = Server::adopt(&place.mount, &[]) {
        let stop = recovery::as_server_account(&["kill", "-INT", &server.pid().to_string()]);
        return Err(anyhow!("a server runs in {name} (process {}): nothing was removed", server.pid()))
            .next(format!("stop it first: {stop}"));
    }
    place.must_be_ours().context("nothing was removed")?;
    let about = place.about().context("what it is a view of cannot be read")?;
    let what = about.map_or_else(
        || "a view that was never whole".to_owned(),
        |about| format!("a view of {}, restore point {}", about.service, about.point),
    );
    let output = &settings.output;
    output.say(format!(
        "{name} is {what}. The restore point stays in the vault; what was written to the view since is only here, and goes"
    ));
    if !args.yes && !output.confirm("Remove it?")? {
        return Err(anyhow!("nothing was removed")).next("add --yes to remove it without being asked");
    }
    // They keep files open there: what its server left behind, and what fetched WAL for it.
    end_stranded(&place.mount).await.context("nothing was removed")?;
    fetch::end_helper(&place.mount.join(helper::SOCKET)).await;
    match ask(&place, Request::Hide).await {
        Ok(_) | Err(AskError::NotShown(_)) => {}
        Err(error) => return Err(error).context("nothing was removed"),
    }
    showing::gone(&place).await;
    discard(&place).context("not all of it was removed")?;
    let dropped = Dropped { directory: place.mount };
    settings.output.result("view.drop", &dropped, |style| {
        format!("{}\n", style.paint(Tone::Good, &format!("{} is gone", clean(&name))))
    })?;
    Ok(Exit::Good)
}
