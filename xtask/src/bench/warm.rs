//! What a view costs while it is in use: TPS on a cold view, on a warm one, and after `view finish`, beside the same
//! service restored fully; and how long it takes until all is here.
//!
//! Native is what `restore` makes, its server started as a view's is: the directory is the only difference.

use super::measure::{median, output, run as measure, say, spread};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::{Recovered, WRITABLE, drop_caches};
use super::sizes::{GB, ROUNDS, SECONDS, Size};
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: Size = Size::new(GB, "5");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
const LOAD_SECONDS: Size = Size::new(SECONDS, "60");
pub const SETTINGS: &[Size] = &[SIZE, ROUNDS_OF_EACH, LOAD_SECONDS];
const CLIENTS: &str = "8";
/// Until all is here.
const PATIENCE: Duration = Duration::from_secs(3600);
const LOOK: Duration = Duration::from_millis(50);
/// pgbench's two loads: each transaction writes, or each only reads.
const LOADS: [(&str, &[&str]); 2] = [("writing", &["-b", "tpcb-like"]), ("reading", &["-b", "select-only"])];
const WAYS: [&str; 4] = ["restored fully (native)", "cold view", "warm view", "after `view finish`"];

/// Of each load, of each way, a figure for each round.
type Figures = [[Vec<f64>; WAYS.len()]; LOADS.len()];

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, rounds, seconds) = (SIZE.one()?, ROUNDS_OF_EACH.count()?, LOAD_SECONDS.count()?);
    let protected = Protected::start(root, &[])?;
    let bytes = protected.fill(gigabytes)?;
    let streaming = Streaming::start(&protected)?;
    say("full backup");
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    protected.until_durable()?;
    drop(streaming);
    protected.cluster.erase_data_directory();
    let mut figures = Figures::default();
    let [mut hydrating, mut down] = [const { Vec::new() }; 2];
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        let native = Recovered::first_answer(&protected, "restore", &WRITABLE)?;
        load(&protected, &native, seconds, 0, &mut figures)?;
        native.remove(&protected)?;
        let view = Recovered::first_answer(&protected, "recover", &WRITABLE)?;
        ensure!(view.is_view(), "this machine shows no views: {}", view.document);
        load(&protected, &view, seconds, 1, &mut figures)?;
        say("hydrating");
        hydrating.push(hydrate(&protected, &view)?);
        load(&protected, &view, seconds, 2, &mut figures)?;
        let finished: serde_json::Value =
            serde_json::from_slice(&output(&mut view.view(&protected, "finish", &["--json"]))?)?;
        down.push(finished["downSeconds"].as_f64().context("view finish tells no downSeconds")?);
        load(&protected, &view, seconds, 3, &mut figures)?;
        view.remove(&protected)?;
    }
    println!("\n{:.1} GB, {rounds} rounds of {seconds} s of each load, {CLIENTS} clients\n", bytes / 1e9);
    println!("| | TPS writing | of native | TPS reading | of native |\n|---|---|---|---|---|");
    let [writing, reading] = &figures;
    for (way, name) in WAYS.iter().enumerate() {
        let share = |of: &[Vec<f64>; WAYS.len()]| {
            spread(&of[way].iter().zip(&of[0]).map(|(tps, native)| tps / native).collect::<Vec<_>>())
        };
        println!(
            "| {name} | {} | {} | {} | {} |",
            spread(&writing[way]),
            share(writing),
            spread(&reading[way]),
            share(reading)
        );
    }
    println!(
        "\nAll of it is here {} s after `view hydrate`, {:.0} MB/s; `view finish` stops the server for {} s.",
        spread(&hydrating),
        bytes / 1e6 / median(&hydrating),
        spread(&down)
    );
    Ok(())
}

/// Both loads in turn.
fn load(
    protected: &Protected,
    on: &Recovered,
    seconds: usize,
    way: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    for ((name, script), of) in LOADS.iter().zip(figures) {
        say(&format!("{}: {name}", WAYS[way]));
        // A view is cold once: what the first load fetched, the second one has.
        if way != 1 {
            drop_caches();
        }
        let mut command = protected.cluster.installation().command("pgbench");
        command.args(["-n", "-c", CLIENTS, "-j", "2", "-T", &seconds.to_string()]).args(*script);
        let printed = output(command.arg(&on.address))?;
        let text = String::from_utf8_lossy(&printed);
        let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let tps = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        of[way].push(tps.with_context(|| format!("pgbench said {text}"))?);
    }
    Ok(())
}

/// Seconds until nothing is missing.
fn hydrate(protected: &Protected, view: &Recovered) -> anyhow::Result<f64> {
    let started = Instant::now();
    measure(&mut view.view(protected, "hydrate", &[]))?;
    loop {
        let status = view.status(protected)?;
        if status["isWhole"] == true {
            return Ok(started.elapsed().as_secs_f64());
        }
        if !status["failure"].is_null() || started.elapsed() > PATIENCE {
            bail!("it does not become whole: {status}");
        }
        std::thread::sleep(LOOK);
    }
}
