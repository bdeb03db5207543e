//! `lifeboat wal fetch`: what `restore_command` runs.
//!
//! # Invariants
//! - **0 delivered; 1 only when the vault proves that the file does not exist; 255 otherwise**, whatever goes
//!   wrong: PostgreSQL takes 1 to 125 for "no such file", would end recovery there, and open.

use crate::helper::{self, HelperFor, SOCKET};
use crate::output::Exit;
use crate::settings::Settings;
use anyhow::Context;
use lifeboat_base::{ServiceName, parse_duration};
use lifeboat_postgres::fetch::{self, Delivery, Fetcher};
use lifeboat_postgres::restore::MARKER_FILE;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The exit status of all that is no answer.
pub const NO_ANSWER: u8 = 255;
/// How long a helper that we started waits for the next request.
const HELPER_IDLE: Duration = Duration::from_secs(600);

/// Arguments of `lifeboat wal fetch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 delivered; 1 the vault proves that there is no such file; 255 anything \
    else, upon which PostgreSQL stops instead of ending its recovery early."
)]
pub struct Args {
    /// The service.
    service: ServiceName,
    /// The file's name: %f.
    file: String,
    /// Where to: %p.
    path: PathBuf,
    /// Fetch it here and now, without a helper that holds the key and reads ahead.
    #[arg(long)]
    no_helper: bool,
    /// How long a vault that does not answer is asked again.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    patience: Duration,
}

#[derive(Serialize)]
struct Outcome<'a> {
    file: &'a str,
    outcome: &'static str,
}

/// Fetches it.
///
/// # Errors
/// If there is no answer.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().context("the directory that this runs in is gone")?;
    // restore_command runs in the data directory, and %p is relative to it.
    let to = here.join(&args.path);
    let delivery = match fetch::request(&here.join(SOCKET), &args.file, &to).await {
        Ok(delivery) => delivery,
        Err(_) => without_helper(settings, &args, &here, &to).await?,
    };
    let code = delivery.exit_code();
    let outcome = match delivery {
        Delivery::Delivered => "delivered",
        Delivery::ProvenAbsent => "absent",
        Delivery::Failed(error) => {
            return Err(error).with_context(|| format!("{} was not fetched", args.file));
        }
    };
    if settings.output.is_json() {
        settings.output.result("wal.fetch", &Outcome { file: &args.file, outcome }, |_| String::new())?;
    }
    Ok(Exit::Code(code))
}

/// Starts a helper, or does without.
async fn without_helper(
    settings: &Settings,
    args: &Args,
    here: &Path,
    to: &Path,
) -> anyhow::Result<Delivery> {
    let opened = settings.open().await?;
    let system = fetch::cluster_in(here).ok();
    if !args.no_helper && system.is_some() {
        let wanted =
            HelperFor { service: &args.service, data_directory: here, owner: None, idle_limit: HELPER_IDLE };
        match helper::start(settings, &opened, &wanted).await {
            Ok(()) => {
                if let Ok(delivery) = fetch::request(&here.join(SOCKET), &args.file, to).await {
                    return Ok(delivery);
                }
            }
            Err(error) => settings.output.warn(format!("{error:#}; fetching without one")),
        }
    }
    let archive = fetch::archive(&opened.vault, &args.service, system).await?;
    let is_restored = here.join(MARKER_FILE).exists();
    Ok(Fetcher::new(archive, args.patience).isolated(is_restored).deliver(&args.file, to).await)
}
