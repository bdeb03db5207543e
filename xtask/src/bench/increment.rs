//! After random updates of 1 % of the pages: what `lifeboat advance` stores, beside pgBackRest's incremental backup; and
//! what each costs production.

use super::load;
use super::measure::{bytes_below, load_of, output, run as measure, say, spread};
use super::peer::Peer;
use super::protected::SERVICE;
use super::sizes::{GB, ROUNDS, Size};
use anyhow::Context;
use std::path::Path;

const SIZE: Size = Size::new(GB, "5");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
pub const SETTINGS: &[Size] = &[SIZE, ROUNDS_OF_EACH];
const PART: f64 = 0.01;

/// Of one tool, a figure for each round.
#[derive(Default)]
struct Figures {
    seconds: Vec<f64>,
    /// MB that the new restore point, or backup, added.
    stored: Vec<f64>,
    /// MB of WAL that it stored since the one before.
    wal: Vec<f64>,
    /// Processor seconds of production's server while it ran.
    server: Vec<f64>,
    /// MB that production's server read meanwhile.
    server_read: Vec<f64>,
    /// Processor seconds of the tool itself.
    tool: Vec<f64>,
}

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, rounds) = (SIZE.one()?, ROUNDS_OF_EACH.count()?);
    let (protected, peer) = Peer::beside(root)?;
    let cluster = &protected.cluster;
    let bytes = peer.fill(&protected, gigabytes)?;
    let streaming = peer.full_backups(&protected)?;
    let vault = protected.vault().join("services").join(SERVICE);
    let ours_stored =
        || [vault.join("layers"), vault.join("wal")].map(|place| bytes_below(&place) as f64 / 1e6);
    let theirs_stored = || peer.stored_bytes().map(|bytes| bytes as f64 / 1e6);
    let server = protected.server().context("production does not run")?;
    let scratch = protected.path("").display().to_string();
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    let mut pages = Vec::new();
    let mut before = (ours_stored(), theirs_stored());
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        pages.push(load::update_pages(&protected, PART)? as f64);
        cluster.psql("CHECKPOINT");
        cluster.psql("SELECT pg_switch_wal()");
        protected.until_durable()?;
        measure(&mut peer.command(&["check"]))?;
        let mut order = [true, false];
        order.rotate_left(round % 2);
        for is_ours in order {
            let mut command = match is_ours {
                true => protected.lifeboat(&["advance", SERVICE, "--no-verify", "--scratch", &scratch]),
                false => peer.command(&["--type=incr", "backup"]),
            };
            let at_first = load_of(server);
            let taken = measure(&mut command)?;
            let at_last = load_of(server);
            let figures = if is_ours { &mut ours } else { &mut theirs };
            figures.seconds.push(taken.seconds);
            figures.tool.push(taken.processor_seconds);
            figures.server.push(at_last.0 - at_first.0);
            figures.server_read.push((at_last.1 - at_first.1) / 1e6);
        }
        // What is joined or archived afterwards belongs to the same round.
        let after = (ours_stored(), theirs_stored());
        for (figures, before, after) in [(&mut ours, before.0, after.0), (&mut theirs, before.1, after.1)] {
            figures.stored.push(after[0] - before[0]);
            figures.wal.push(after[1] - before[1]);
        }
        before = after;
    }
    drop(streaming);
    println!(
        "\n{:.1} GB, one row updated in each of {} pages (1 %), {rounds} rounds\n",
        bytes / 1e9,
        spread(&pages)
    );
    println!(
        "| | stored MB | WAL since MB | seconds | processor s of production's server | read by it MB | processor s of the tool |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, of) in [("`lifeboat advance`", &ours), ("pgBackRest `--type=incr`", &theirs)] {
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            spread(&of.stored),
            spread(&of.wal),
            spread(&of.seconds),
            spread(&of.server),
            spread(&of.server_read),
            spread(&of.tool)
        );
    }
    let ratios: Vec<f64> =
        theirs.stored.iter().zip(&ours.stored).map(|(theirs, ours)| theirs / ours).collect();
    println!(
        "\npgBackRest stores {} times as much, round by round. Its processor time is spent on production's machine.",
        spread(&ratios)
    );
    let listed = output(&mut protected.lifeboat(&["backup", "list", SERVICE, "--json"]))?;
    let listed: serde_json::Value = serde_json::from_slice(&listed)?;
    let points = listed["restorePoints"].as_array().map_or(0, Vec::len);
    println!("Restore points: {points}. Lifeboat has no incremental backup that reads production.");
    Ok(())
}
