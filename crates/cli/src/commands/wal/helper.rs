//! `lifeboat wal helper`: the resident process behind `wal fetch`. Not for people: others start it, and hand
//! it the key through standard input.

use crate::helper::{READY, SOCKET};
use crate::output::Exit;
use crate::secrets;
use crate::settings::Settings;
use anyhow::{Context, anyhow};
use lifeboat_base::ServiceName;
use lifeboat_postgres::fetch::{self, HelperEnd, HelperOptions};
use lifeboat_postgres::restore::MARKER_FILE;
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks whether recovery is over.
const LOOK: Duration = Duration::from_secs(5);
/// For what a server asks while it opens.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Arguments of `lifeboat wal helper`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// The data directory.
    data_directory: PathBuf,
    /// The server's user and group, if they are not ours.
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    owner: Option<(u32, u32)>,
    /// How long nobody may ask.
    #[arg(long, default_value_t = 600)]
    idle_seconds: u64,
}

fn parse_owner(text: &str) -> anyhow::Result<(u32, u32)> {
    let (user, group) = text.split_once(':').ok_or_else(|| anyhow!("write UID:GID"))?;
    Ok((user.parse()?, group.parse()?))
}

/// Serves until nobody needs it.
///
/// # Errors
/// If it could not begin.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let opened = settings.open_with(secrets::handed_in).await?;
    let system = fetch::cluster_in(&args.data_directory)?;
    let archive = fetch::archive(&opened.vault, &args.service, Some(system)).await?;
    let socket = args.data_directory.join(SOCKET);
    let mut options = HelperOptions::new(archive, socket, args.data_directory, settings.clock.clone());
    options.owner = args.owner;
    options.idle_limit = Duration::from_secs(args.idle_seconds);
    let output = settings.output.clone();
    output.say(format!("serving WAL of {}, process {}", args.service, std::process::id()));
    let ready = {
        let output = output.clone();
        // Whoever started us has gone: then nobody waits to hear it.
        move || drop(output.data(&format!("{READY}\n")))
    };
    let marker = options.data_directory.join(MARKER_FILE);
    let end = tokio::select! {
        end = fetch::serve_helper(options, ready) => Some(end.context("the helper did not begin")?),
        () = recovery_is_over(marker) => None,
    };
    output.say(match end {
        Some(HelperEnd::Idle) => "ended: nobody asked for long",
        Some(HelperEnd::ServerStopped) => "ended: the server has stopped",
        Some(HelperEnd::DirectoryGone) => "ended: the data directory is gone",
        None => "ended: the server is open for writing",
    });
    Ok(Exit::Good)
}

/// Returns a while after a restore's marker has gone: the server was promoted. Never, if there is none.
async fn recovery_is_over(marker: PathBuf) {
    if !marker.exists() {
        return std::future::pending().await;
    }
    while marker.exists() {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(AFTERWARDS).await;
}
