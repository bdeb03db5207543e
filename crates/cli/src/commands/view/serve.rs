//! `lifeboat view serve`: the process behind a view.

use crate::helper::READY;
use crate::journal;
use crate::output::{Exit, Output};
use crate::pin::{pin, pin_at_last};
use crate::settings::{Opened, Settings};
use crate::{secrets, signals};
use anyhow::Context;
use lifeboat_postgres::view::control::{self, End};
use lifeboat_postgres::view::{About, Happened, Keep, Listener, Place, View};
use lifeboat_vault::Scope;
use lifeboat_vault::pins::Purpose;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// Views of a service, in the journal.
const SCOPE: &str = "restore";

/// Among the last to be killed when memory runs out, as PostgreSQL advises for its own main process: without this one the
/// server has no files.
const SPARED: &str = "-900";

/// Arguments of `lifeboat view serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory.
    directory: PathBuf,
}

/// Shows the view until it is finished, hidden or unmounted.
///
/// # Errors
/// If it could not begin.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open_with(secrets::handed_in).await?;
    let place = Place::of(&args.directory);
    let about = place.about().context("what it is a view of cannot be read")?;
    let about = about.with_context(|| format!("{} is no view", place.mount.display()))?;
    let output = settings.output.clone();
    let held = pin(&output, &opened.vault, &about.service, Purpose::View, Some(&about.point)).await;
    // A vault that takes no writes still recovers.
    let held = Arc::new(Mutex::new(held.map_err(|error| output.warn(format!("{error:#}"))).ok()));
    let (happened, told) = mpsc::unbounded_channel();
    let tell: Listener = Arc::new(move |what| drop(happened.send(what)));
    let view = Arc::new(View::show(&opened.vault, &place.mount, Keep::All, tell).await?);
    let is_pinned = held.lock().await.is_some();
    view.note_pinned(is_pinned);
    let pinning = (!is_pinned).then(|| {
        let (opened, output, about) = (opened.clone(), output.clone(), about.clone());
        let (held, view) = (held.clone(), Arc::downgrade(&view));
        tokio::spawn(async move {
            let Opened { vault, .. } = &opened;
            let pinned = pin_at_last(&output, vault, &about.service, Purpose::View, &about.point).await;
            *held.lock().await = Some(pinned);
            view.upgrade().inspect(|view| view.note_pinned(true));
            output.say("the vault keeps its restore point now");
        })
    });
    let telling = tokio::spawn(tell_all(opened.clone(), output.clone(), place.clone(), about.clone(), told));
    let socket = control::listen(&place).context("nobody could ask it anything")?;
    output.say(format!(
        "showing {} at {}, process {}",
        about.point,
        place.mount.display(),
        std::process::id()
    ));
    let _ = output.data(&format!("{READY}\n"));
    // Root may; for others it stays as it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", SPARED);
    let end = serve(&output, &view, socket).await;
    view.stop_hydrating();
    drop(view);
    let (kind, word) = match end {
        End::Finished => ("view.finished", "finished"),
        End::Hidden => ("view.hidden", "hidden"),
    };
    // What is told waits for whoever still hydrates; it is not worth waiting for.
    telling.abort();
    pinning.inspect(|pinning| pinning.abort());
    note(&opened, &output, &place, &about, kind, serde_json::json!({})).await;
    match (held.lock().await.take(), end) {
        (Some(held), End::Finished) => held.release().await,
        // It may be shown again.
        (Some(held), End::Hidden) => drop(held.leave().await),
        (None, _) => {}
    }
    output.say(format!("ended: {word}"));
    Ok(Exit::Good)
}

/// Asked to stop while a server runs there, it goes on: the server would lose its files.
async fn serve(output: &Output, view: &Arc<View>, socket: tokio::net::UnixListener) -> End {
    let mut stopping = signals::stopping();
    let serving = control::serve(view, socket);
    tokio::pin!(serving);
    tokio::select! {
        end = &mut serving => return end,
        () = signals::asked(&mut stopping) => {}
    }
    match view.hide() {
        Ok(()) => End::Hidden,
        Err(error) => {
            output.warn(format!("asked to stop, and did not: {error}"));
            // A second signal ends it.
            serving.await
        }
    }
}

async fn tell_all(
    opened: Opened,
    output: Output,
    place: Place,
    about: About,
    mut told: mpsc::UnboundedReceiver<Happened>,
) {
    while let Some(happened) = told.recv().await {
        let (kind, data) = match &happened {
            Happened::Away(why) => {
                output.warn(format!("the vault does not answer; what is not here is waited for: {why}"));
                // Nobody could take a note of it.
                continue;
            }
            Happened::Back => {
                output.say("the vault answers again");
                ("view.vaultBack", serde_json::json!({}))
            }
            Happened::Damaged { path, at, why } => {
                output.warn(format!("{path} cannot be had from byte {at} on, from no copy: {why}"));
                ("view.damaged", serde_json::json!({ "path": path, "byte": at, "reason": why }))
            }
            Happened::Hydrated => {
                output.say("all of it is here");
                ("view.hydrated", serde_json::json!({}))
            }
            Happened::NotHydrated(why) => {
                output.warn(format!("not all of it came: {why}"));
                ("view.notHydrated", serde_json::json!({ "reason": why }))
            }
        };
        note(&opened, &output, &place, &about, kind, data).await;
    }
}

async fn note(
    opened: &Opened,
    output: &Output,
    place: &Place,
    about: &About,
    kind: &str,
    mut data: serde_json::Value,
) {
    data["directory"] = serde_json::json!(place.mount);
    data["restorePoint"] = serde_json::json!(about.point);
    let noted = journal::note(&opened.vault, &Scope::service(&about.service, SCOPE), kind, data).await;
    if let Err(error) = noted {
        output.warn(format!("{error:#}"));
    }
}
