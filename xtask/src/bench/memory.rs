//! The most memory that each command takes: over a few gigabytes, half of which does not compress, and over a hundred
//! thousand small tables.

use super::load;
use super::measure::{output, run as measure, say};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::{Recovered, WRITABLE};
use super::sizes::{GB, Size, TABLES, WAL};
use super::watch::Watch;
use anyhow::ensure;
use std::path::Path;
use std::time::Instant;

const SIZE: Size = Size::new(GB, "3");
/// Between the backup and the disaster.
const WAL_GIB: Size = Size::new(WAL, "0.5");
pub const SETTINGS: &[Size] = &[SIZE, WAL_GIB];
const TABLES_MADE: Size = Size::new(TABLES, "100000");
pub const TABLES_SETTINGS: &[Size] = &[TABLES_MADE, WAL_GIB];
/// Tables made in one transaction: each takes a lock.
const BATCH: usize = 1_000;
/// What the recovered server is asked at.
const LOAD_SECONDS: &str = "10";
const GIB: f64 = (1u64 << 30) as f64;
/// Of pgbench's tables where many small ones are what is measured.
const LEAST_GB: f64 = 0.02;
const LIMIT_BYTES: u64 = 256 << 20;

/// A few gigabytes.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let gigabytes = SIZE.one()?;
    let protected = Protected::start(root, &[("synchronous_commit", "off")])?;
    protected.fill(gigabytes / 2.0)?;
    load::add_hashes(&protected, gigabytes / 2.0);
    all_commands(&protected)
}

/// Many small tables.
pub fn tables(root: &Path) -> anyhow::Result<()> {
    let tables = TABLES_MADE.count()?;
    let settings = [("max_locks_per_transaction", "1024"), ("synchronous_commit", "off")];
    let protected = Protected::start(root, &settings)?;
    say(&format!("making {tables} tables"));
    for first in (0..tables).step_by(BATCH) {
        let last = (first + BATCH).min(tables) - 1;
        protected.cluster.psql(&format!(
            "DO $$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE 'CREATE TABLE t' || i || ' AS SELECT ' || i || ' AS id'; \
             END LOOP; END $$"
        ));
    }
    protected.fill(LEAST_GB)?;
    all_commands(&protected)
}

/// Every command that reads or writes much, in the order of a service's life.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
fn all_commands(protected: &Protected) -> anyhow::Result<()> {
    protected.cluster.psql("CHECKPOINT");
    let bytes = protected.database_bytes()?;
    println!("\n{:.2} GB of databases\n", bytes as f64 / 1e9);
    protected.change_plan("timeZone: UTC}", "timeZone: UTC}\n      keep: {last: 1}")?;
    let watch = Watch::start(protected);
    let mut seconds: Vec<(&str, f64)> = Vec::new();
    let mut step = |name: &'static str, run: &mut dyn FnMut() -> anyhow::Result<()>| {
        say(name);
        let started = Instant::now();
        run()?;
        seconds.push((name, started.elapsed().as_secs_f64()));
        Ok::<(), anyhow::Error>(())
    };
    let scratch = protected.path("").display().to_string();
    let into = protected.path("restored").display().to_string();
    let dump = protected.path("table.dump").display().to_string();
    let run = |arguments: &[&str]| measure(&mut protected.lifeboat(arguments)).map(drop);
    let streaming = Streaming::start(protected)?;
    step("backup run", &mut || run(&["backup", "run", SERVICE]))?;
    load::write_wal(protected, (WAL_GIB.one()? * GIB) as u64)?;
    protected.cluster.psql("CHECKPOINT");
    step("stream", &mut || protected.until_durable())?;
    step("advance", &mut || run(&["advance", SERVICE, "--no-verify", "--scratch", &scratch]))?;
    step("backup verify", &mut || run(&["backup", "verify", "latest", "--scratch", &scratch]))?;
    step("wal search", &mut || {
        // What it says of the search, by its exit too, is not what is measured.
        protected.lifeboat(&["wal", "search", SERVICE, "--json"]).output()?;
        Ok(())
    })?;
    step("vault check", &mut || run(&["vault", "check", "--deep"]))?;
    step("restore", &mut || run(&["restore", SERVICE, "--into", &into]))?;
    std::fs::remove_dir_all(&into)?;
    let mut view = None;
    step("recover", &mut || {
        view = Some(Recovered::first_answer(protected, "recover", &WRITABLE)?);
        Ok(())
    })?;
    let Some(view) = view else { anyhow::bail!("nothing was recovered") };
    ensure!(view.is_view(), "this machine shows no views: {}", view.document);
    let mut pgbench = protected.cluster.installation().command("pgbench");
    output(pgbench.args(["-n", "-c", "8", "-T", LOAD_SECONDS, &view.address]))?;
    step("view serve", &mut || measure(&mut view.view(protected, "finish", &[])).map(drop))?;
    view.remove(protected)?;
    let table =
        ["recover", SERVICE, "--table", "public.pgbench_tellers", "--dump", &dump, "--scratch", &scratch];
    step("recover --table", &mut || run(&table))?;
    step("backup run, again", &mut || run(&["backup", "run", SERVICE]))?;
    step("backup prune", &mut || run(&["backup", "prune", SERVICE, "--grace", "0s"]))?;
    step("status", &mut || {
        protected.lifeboat(&["status", "--json"]).output()?;
        Ok(())
    })?;
    drop(streaming);
    println!("| process | peak memory MB | of it its own MB | seconds |\n|---|---|---|---|");
    let mut over = Vec::new();
    for (name, peak) in watch.seen() {
        let took = seconds.iter().find(|(step, _)| *step == name).map(|(_, took)| format!("{took:.1}"));
        println!(
            "| {name} | {:.0} | {:.0} | {} |",
            peak.resident_bytes as f64 / 1e6,
            peak.own_bytes as f64 / 1e6,
            took.unwrap_or_default()
        );
        if peak.resident_bytes > LIMIT_BYTES {
            over.push(name);
        }
    }
    println!(
        "\nSeconds of `view serve`: from `view finish` on, the filling included. Wanted: 256 MiB each; above it: {}.",
        match &over[..] {
            [] => "none".to_owned(),
            names => names.join(", "),
        }
    );
    Ok(())
}
