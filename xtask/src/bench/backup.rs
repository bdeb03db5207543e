//! Full backup and full restore beside pgBackRest: the same server, zstd 3, AES-256, two processes each.

use super::load;
use super::measure::{Taken, median, run as measure, say, spread};
use super::peer::Peer;
use super::protected::{Protected, SERVICE};
use super::sizes::{GB, ROUNDS, Size};
use anyhow::Context;
use std::path::Path;

/// Half of it as pgbench makes it, half of it hashes, which do not compress.
const SIZE: Size = Size::new(GB, "2");
/// In each, both tools, the first one in turn.
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "5");
pub const SETTINGS: &[Size] = &[SIZE, ROUNDS_OF_EACH];
const MB: f64 = 1e6;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, rounds) = (SIZE.one()?, ROUNDS_OF_EACH.count()?);
    let (protected, peer) = Peer::beside(root)?;
    peer.fill(&protected, gigabytes / 2.0)?;
    load::add_hashes(&protected, gigabytes / 2.0);
    protected.cluster.psql("VACUUM");
    protected.cluster.psql("CHECKPOINT");
    let bytes = protected.database_bytes()? as f64;
    println!("{:.0} MB; {rounds} rounds, both tools in each", bytes / MB);
    let [mut ours, mut theirs, mut our_restores, mut their_restores] = [const { Vec::new() }; 4];
    for round in 0..rounds {
        say(&format!("round {} of {rounds}", round + 1));
        let mut tools = [true, false];
        if round % 2 == 1 {
            tools.reverse();
        }
        for is_ours in tools {
            if is_ours {
                ours.push(measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?);
                our_restores.push(restore(&protected)?);
            } else {
                theirs.push(measure(&mut peer.command(&["--type=full", "backup"]))?);
                their_restores.push(peer.restore()?);
            }
        }
    }
    println!("\n| | Lifeboat MB/s | pgBackRest MB/s | ratio | peak memory of each |\n|---|---|---|---|---|");
    for (name, a, b) in [("full backup", &ours, &theirs), ("full restore", &our_restores, &their_restores)] {
        let speeds = |taken: &[Taken]| taken.iter().map(|t| bytes / MB / t.seconds).collect::<Vec<f64>>();
        let peak = |taken: &[Taken]| taken.iter().map(|t| t.peak_bytes).max().unwrap_or(0) as f64 / MB;
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b.seconds / a.seconds).collect();
        println!(
            "| {name} | {} | {} | {} | {:.0} MB, {:.0} MB |",
            spread(&speeds(a)),
            spread(&speeds(b)),
            spread(&ratios),
            peak(a),
            peak(b)
        );
    }
    let processor = |taken: &[Taken]| median(&taken.iter().map(|t| t.processor_seconds).collect::<Vec<_>>());
    println!(
        "\nProcessor time of a backup: {:.1} s, {:.1} s; of a restore: {:.1} s, {:.1} s.",
        processor(&ours),
        processor(&theirs),
        processor(&our_restores),
        processor(&their_restores)
    );
    Ok(())
}

fn restore(protected: &Protected) -> anyhow::Result<Taken> {
    let into = protected.path("restored");
    let text = into.display().to_string();
    let taken = measure(&mut protected.lifeboat(&["restore", SERVICE, "--to", "latest", "--into", &text]))?;
    std::fs::remove_dir_all(&into).context("remove the restored directory")?;
    Ok(taken)
}
