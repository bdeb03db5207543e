//! Time from the command to the first answer: from a view, after a full restore, and with pgBackRest; the same WAL to
//! replay at each size of the database.

use super::measure::{median, run as measure, say, spread};
use super::peer::Peer;
use super::recovered::Recovered;
use super::sizes::{GB, ROUNDS, Size, has_room_for};
use anyhow::{Context, ensure};
use lifeboat_testkit::postgres::scratch_directory;
use std::path::Path;

const SIZES: Size = Size::new(GB, "1,5,20");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
pub const SETTINGS: &[Size] = &[SIZES, ROUNDS_OF_EACH];
/// Transactions after the backup: the WAL to replay.
const TRANSACTIONS: &str = "10000";
const CLIENTS: &str = "4";
/// From this size on, what restores all files is measured once: its time is known to be long.
const LARGE_GB: f64 = 10.0;
const QUESTION: &str = "SELECT bid FROM pgbench_branches WHERE bid = 1";
const GIGA: f64 = 1e9;
const MEGA: f64 = 1e6;
const FRAME_BYTES: f64 = 131_072.0;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (sizes, rounds) = (SIZES.all()?, ROUNDS_OF_EACH.count()?);
    let mut firsts = Vec::new();
    println!(
        "| size | view s | beyond replay s | full restore s | pgBackRest s | pgBackRest / view | fetched before | WAL MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for gigabytes in sizes {
        if !has_room_for(scratch_directory().path(), gigabytes) {
            continue;
        }
        let at = measure_at(root, gigabytes, rounds)?;
        let ratios: Vec<f64> = at.peer.iter().zip(&at.view).map(|(peer, view)| peer / view).collect();
        println!(
            "| {:.1} GB | {} | {} | {} | {} | {} | {:.1} MB, {:.2} % | {:.0} |",
            at.bytes / GIGA,
            spread(&at.view),
            spread(&at.beyond),
            spread(&at.full),
            spread(&at.peer),
            spread(&ratios),
            at.fetched_bytes / MEGA,
            at.fetched_bytes / at.bytes * 100.0,
            at.wal_bytes / MEGA,
        );
        firsts.push(median(&at.view));
    }
    if let [small, .., large] = firsts[..] {
        println!("\nFlatness: the largest takes {:.2} of the smallest's time, from a view.", large / small);
    }
    Ok(())
}

#[derive(Default)]
struct At {
    bytes: f64,
    wal_bytes: f64,
    fetched_bytes: f64,
    view: Vec<f64>,
    /// Of `view`, what was not replay.
    beyond: Vec<f64>,
    full: Vec<f64>,
    peer: Vec<f64>,
}

fn measure_at(root: &Path, gigabytes: f64, rounds: usize) -> anyhow::Result<At> {
    let (protected, peer) = Peer::beside(root)?;
    let cluster = &protected.cluster;
    let bytes = peer.fill(&protected, gigabytes)?;
    let streaming = peer.full_backups(&protected)?;
    let before = protected.written()?;
    cluster.pgbench(&["-n", "-c", CLIENTS, "-t", TRANSACTIONS]);
    let wal_bytes = (protected.written()? - before) as f64;
    cluster.psql("SELECT pg_switch_wal()");
    measure(&mut peer.command(&["check"]))?;
    protected.until_durable()?;
    drop(streaming);
    // Lost, as in the disaster; and its disk is needed for what is restored.
    cluster.erase_data_directory();
    let mut at = At { bytes, wal_bytes, ..At::default() };
    for round in 1..=rounds {
        say(&format!("{gigabytes} GB, round {round} of {rounds}"));
        let view = Recovered::first_answer(&protected, "recover", &[])?;
        ensure!(view.is_view(), "this machine shows no views: {}", view.document);
        at.view.push(view.seconds);
        at.beyond.push(view.seconds - view.segment("replayed").context("it replayed nothing")?);
        at.fetched_bytes = view.document["view"]["framesFetched"].as_f64().unwrap_or_default() * FRAME_BYTES;
        view.remove(&protected)?;
        if round == 1 || gigabytes < LARGE_GB {
            let full = Recovered::first_answer(&protected, "restore", &[])?;
            at.full.push(full.seconds);
            full.remove(&protected)?;
            at.peer.push(peer.first_answer(&protected, &["psql", "-XqAt", "-c", QUESTION])?);
        }
    }
    Ok(at)
}
