//! `lifeboat promote`: opens a server that `lifeboat restore --start` left waiting at its moment, or that a
//! person started by hand.
//!
//! # Invariants
//! - **P1 only at its target.** A server that is not paused where its recovery was to end is not opened.
//! - **P2 only ours.** A directory without the marker of a restore is left alone.
//! - **P3 not beside production**, as far as a plan at hand tells where that is, but on a word for it.

use crate::failure::Next;
use crate::helper;
use crate::journal;
use crate::output::{Exit, Tone, clean};
use crate::production;
use crate::recovery::{login_roles, quoted};
use crate::settings::Settings;
use anyhow::{Context, anyhow, bail};
use lifeboat_base::Lsn;
use lifeboat_postgres::client::{Connection, Conninfo, Purpose};
use lifeboat_postgres::fetch;
use lifeboat_postgres::restore::{Left, end_recovery, left_in, link_made_by_replay};
use lifeboat_postgres::server::conninfo_value;
use lifeboat_postgres::view::real_name;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a server that is on its way.
const POLL: Duration = Duration::from_millis(100);
/// How long a promotion may take: its end is a checkpoint's begin, not the checkpoint.
const LIMIT: Duration = Duration::from_secs(600);

/// A target is the start of a record; before it there may be padding and a page's header.
const RECORD_SLACK_BYTES: u64 = 64;

/// SQLSTATE `invalid_authorization_specification`.
const NO_SUCH_ROLE: &str = "28000";

/// Arguments of `lifeboat promote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Fence the old primary first: two servers that take writes are worse than none. If the plan is at \
    hand, it is asked whether it takes writes."
)]
pub struct Args {
    /// The restored data directory.
    directory: PathBuf,
    /// The role to connect as [default: whom the restore noted, the usual superuser, the plan's].
    #[arg(long)]
    user: Option<String>,
    /// Open it even though production, as the plan knows it, still takes writes: for a drill.
    #[arg(long)]
    beside_production: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Promoted {
    directory: PathBuf,
    address: String,
    opened_at: Lsn,
    timeline: u32,
}

/// Opens it.
///
/// # Errors
/// If it is not open afterwards.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<Exit> {
    let directory = real_name(&args.directory).context("the directory has no absolute path")?;
    let Some(left) = left_in(&directory) else {
        return Err(anyhow!(
            "{} was not made by `lifeboat restore`, or is open already",
            directory.display()
        ))
        .next("for other servers there is pg_ctl promote");
    };
    let (address, mut sql) = connect(settings, args, &directory, &left).await?;
    let opened_at = must_wait_at_its_target(&mut sql).await?;
    must_be_alone(settings, args, &directory, &left).await?;
    link_made_by_replay(&directory).context("the server was not opened")?;
    let row = sql.query_one(&format!("SELECT pg_promote(true, {})", LIMIT.as_secs())).await;
    let row = row.context("the server was not promoted")?;
    if row.at(0) != Some("t") {
        bail!("the server has not opened within {} s; its log says more", LIMIT.as_secs());
    }
    while sql.is_in_recovery().await.context("the server ended while it was promoted")? {
        tokio::time::sleep(POLL).await;
    }
    end_recovery(&directory)
        .context("the server is open, but production's own settings were not put back")?;
    // Nothing is replayed any more: whoever holds the vault's key for it goes.
    fetch::end_helper(&directory.join(helper::SOCKET)).await;
    let row = sql.query_one("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)").await?;
    let timeline = u32::from_str_radix(row.at(0).unwrap_or_default(), 16).unwrap_or(0);
    sql.close().await;
    let data = serde_json::json!({ "into": directory, "openedAt": opened_at, "timeline": timeline });
    journal::note_beside(settings, &left.service, "restore.promoted", data).await;
    let promoted = Promoted { directory, address, opened_at, timeline };
    settings.output.result("promote", &promoted, |style| {
        let text = format!("open for writing from {opened_at} on, timeline {timeline}");
        let address = clean(&quoted(&promoted.address));
        format!("{}\n  reach it      psql {address}\n", style.paint(Tone::Good, &text))
    })?;
    Ok(Exit::Good)
}

/// P3.
async fn must_be_alone(
    settings: &Settings,
    args: &Args,
    directory: &Path,
    left: &Left,
) -> anyhow::Result<()> {
    let system = fetch::cluster_in(directory).context("whose server it is cannot be read")?;
    let plan = settings.plan_file().ok().flatten().map(|file| file.plan);
    let (output, is_wanted) = (&settings.output, args.beside_production);
    production::may_open_beside(output, plan.as_ref(), &left.service, system, is_wanted).await?;
    Ok(())
}

/// As the first of those who may be known to the server that it lets in.
async fn connect(
    settings: &Settings,
    args: &Args,
    directory: &Path,
    left: &Left,
) -> anyhow::Result<(String, Connection)> {
    let mut refused = None;
    for user in users(settings, args, left) {
        let address = address(directory, &user)?;
        let info = Conninfo::parse(&address, &|_| None).context("the server's socket cannot be named")?;
        match Connection::connect(&info, Purpose::Sql).await {
            Ok(connection) => return Ok((address, connection)),
            Err(error) if error.server_error().is_some_and(|said| said.code == NO_SUCH_ROLE) => {
                refused = Some((user, error));
            }
            Err(error) => {
                return Err(error).context("the restored server does not answer").next(
                    "start it with the command that `lifeboat restore` printed, or restore with --start",
                );
            }
        }
    }
    let (user, error) = refused.context("there is nobody to connect as")?;
    Err(error)
        .with_context(|| format!("the restored server knows no role `{user}`"))
        .next("name a superuser of it with --user")
}

/// Whom to connect as, the best first.
fn users(settings: &Settings, args: &Args, left: &Left) -> Vec<String> {
    if let Some(user) = &args.user {
        return vec![user.clone()];
    }
    // A plan that is none, or is not here, is no reason to leave a service closed.
    let plan = settings.plan_file().ok().flatten();
    let postgres = plan.as_ref().and_then(|file| file.plan.service(&left.service)?.postgres.as_ref());
    login_roles(&left.users, postgres)
}

/// How to reach the server in a directory: its `postmaster.pid` says.
fn address(directory: &Path, user: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(directory.join("postmaster.pid"));
    let text = text
        .with_context(|| format!("no server runs in {}", directory.display()))
        .next("start it with the command that `lifeboat restore` printed")?;
    let mut lines = text.lines().skip(3);
    let (port, sockets) = (lines.next().unwrap_or_default().trim(), lines.next().unwrap_or_default().trim());
    let socket = if sockets.is_empty() { directory.display().to_string() } else { sockets.to_owned() };
    Ok(format!("host={} port={port} user={} dbname=postgres", conninfo_value(&socket), conninfo_value(user)))
}

/// P1. Returns how far it has replayed.
async fn must_wait_at_its_target(sql: &mut Connection) -> anyhow::Result<Lsn> {
    let question = "SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn() AS replayed, \
         pg_get_wal_replay_pause_state() AS state, current_setting('recovery_target_lsn') AS target";
    let recovering = sql.is_in_recovery().await.context("the server does not answer")?;
    if !recovering {
        bail!("the server is open already");
    }
    let row = sql.query_one(question).await.context("the server does not answer")?;
    let replayed: Lsn = row.parse("replayed").context("the server does not say how far it is")?;
    let target = row.text("target").unwrap_or_default();
    // A server also pauses where its settings do not let it go on.
    let is_short = target.parse::<Lsn>().is_ok_and(|target| replayed.advance(RECORD_SLACK_BYTES) < target);
    if is_short || row.text("state").unwrap_or_default() != "paused" {
        return Err(anyhow!("the server is still on its way: at {replayed} of {target}")).next(
            "wait until it is paused at its target, and try again; its log says why if it does not go on",
        );
    }
    Ok(replayed)
}
