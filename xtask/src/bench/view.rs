//! Time from the command to the first answer: from a view, after a full restore, and with pgBackRest; the same WAL to
//! replay at each size of the database.

use super::backup::Peer;
use super::measure::{median, run as measure, spread};
use super::protected::{Protected, SERVICE, Streaming};
use anyhow::{Context, ensure};
use lifeboat_testkit::postgres::as_server_user;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Sizes, in pgbench's scale: some 15 MB each.
const SCALES: [u32; 3] = [66, 330, 660];
/// Transactions after the backup: the WAL to replay.
const TRANSACTIONS: &str = "10000";
const CLIENTS: &str = "4";
/// Rounds; in each, all ways.
const ROUNDS: usize = 3;
/// The socket of each recovered server is in its own directory.
const PORT: &str = "5432";
const QUESTION: &str = "SELECT bid FROM pgbench_branches WHERE bid = 1";
const GB: f64 = 1e9;
const MB: f64 = 1e6;
const FRAME_BYTES: f64 = 131_072.0;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let mut firsts = Vec::new();
    println!(
        "| size | view s | full restore s | pgBackRest s | pgBackRest / view | fetched before | WAL MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for scale in SCALES {
        let at = measure_at(root, scale)?;
        let ratios: Vec<f64> = at.peer.iter().zip(&at.view).map(|(peer, view)| peer / view).collect();
        println!(
            "| {:.1} GB | {} | {} | {} | {} | {:.0} MB, {:.2} % | {:.0} |",
            at.bytes / GB,
            spread(&at.view),
            spread(&at.full),
            spread(&at.peer),
            spread(&ratios),
            at.fetched_bytes / MB,
            at.fetched_bytes / at.bytes * 100.0,
            at.wal_bytes / MB,
        );
        firsts.push(median(&at.view));
    }
    if let [small, .., large] = firsts[..] {
        println!("\nLargest to smallest, from a view: {:.2}.", large / small);
    }
    Ok(())
}

#[derive(Default)]
struct At {
    bytes: f64,
    wal_bytes: f64,
    fetched_bytes: f64,
    view: Vec<f64>,
    full: Vec<f64>,
    peer: Vec<f64>,
}

fn measure_at(root: &Path, scale: u32) -> anyhow::Result<At> {
    let (protected, peer) = Peer::beside(root)?;
    let cluster = &protected.cluster;
    cluster.pgbench(&["-i", "-q", "-s", &scale.to_string()]);
    cluster.psql("CHECKPOINT");
    let streaming = Streaming::start(&protected)?;
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    measure(&mut peer.command(&["--type=full", "backup"]))?;
    let before = cluster.psql("SELECT pg_current_wal_lsn()");
    cluster.pgbench(&["-n", "-c", CLIENTS, "-t", TRANSACTIONS]);
    let wal = cluster.psql(&format!("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{}')", before.trim()));
    cluster.psql("SELECT pg_switch_wal()");
    measure(&mut peer.command(&["check"]))?;
    drop(streaming);
    let mut at = At {
        bytes: protected.database_bytes()? as f64,
        wal_bytes: wal.trim().parse().context("how much WAL there is")?,
        ..At::default()
    };
    for _ in 0..ROUNDS {
        let (seconds, fetched) = ours(&protected, "recover")?;
        at.view.push(seconds);
        at.fetched_bytes = fetched;
        at.full.push(ours(&protected, "restore")?.0);
        at.peer.push(theirs(&protected, &peer)?);
    }
    Ok(at)
}

/// From the command to an answer, and what was fetched until then.
fn ours(protected: &Protected, command: &str) -> anyhow::Result<(f64, f64)> {
    let into = protected.path("recovered");
    let text = into.display().to_string();
    drop_caches();
    let started = Instant::now();
    let arguments =
        [command, SERVICE, "--to", "latest", "--into", &text, "--start", "--json", "--port", PORT];
    let output = protected.lifeboat(&arguments).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ask(protected, &into)?;
    let seconds = started.elapsed().as_secs_f64();
    let document: Value = serde_json::from_slice(&output.stdout).context("read what it printed")?;
    let fetched = document["view"]["framesFetched"].as_f64().unwrap_or_default() * FRAME_BYTES;
    let pid = document["server"]["pid"].as_u64().context("no server")?;
    stop(pid)?;
    if command == "recover" {
        measure(&mut protected.lifeboat(&["view", "drop", &text, "--yes"]))?;
    } else {
        std::fs::remove_dir_all(&into).context("remove what was restored")?;
    }
    Ok((seconds, fetched))
}

fn theirs(protected: &Protected, peer: &Peer) -> anyhow::Result<f64> {
    drop_caches();
    let started = Instant::now();
    let into = peer.restored()?;
    let installation = protected.cluster.installation();
    let control = |arguments: &[&str]| {
        let mut command = as_server_user(Command::new(installation.bin_dir.join("pg_ctl")));
        command.arg("-D").arg(&into).args(arguments);
        command
    };
    let options = format!("-c port={PORT} -c archive_mode=off -c unix_socket_directories={}", into.display());
    measure(&mut control(&["-w", "-t", "3600", "-l", "/dev/null", "-o", &options, "start"]))?;
    ask(protected, &into)?;
    let seconds = started.elapsed().as_secs_f64();
    measure(&mut control(&["-m", "immediate", "stop"]))?;
    std::fs::remove_dir_all(&into).context("remove what was restored")?;
    Ok(seconds)
}

fn ask(protected: &Protected, sockets: &Path) -> anyhow::Result<()> {
    let program = protected.cluster.installation().bin_dir.join("psql");
    let mut command = Command::new(program);
    command.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-p", PORT, "-c", QUESTION, "-h"]).arg(sockets);
    measure(command.arg("postgres")).map(drop)
}

/// What one way left in memory must not help the next.
fn drop_caches() {
    // Allowed to root alone; without it all ways have the same advantage.
    let _ = Command::new("sync").status();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
}

fn stop(pid: u64) -> anyhow::Result<()> {
    Command::new("kill").args(["-QUIT", &pid.to_string()]).status()?;
    while Path::new(&format!("/proc/{pid}")).exists() {
        std::thread::yield_now();
    }
    Ok(())
}
