//! Recovery with much WAL to replay: how fast WAL comes out of the vault, how fast the server replays it, and what
//! `lifeboat advance` every 256 MiB makes of it.

use super::load;
use super::measure::{median, run as measure, say, spread};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::{Recovered, drop_caches};
use super::sizes::{GB, ROUNDS, Size, WAL};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::time::Instant;

const SIZE: Size = Size::new(GB, "1");
const WALS: Size = Size::new(WAL, "1,8");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
pub const SETTINGS: &[Size] = &[SIZE, WALS, ROUNDS_OF_EACH];
/// Between two advances.
const STEP_BYTES: u64 = 256 << 20;
const GIB: f64 = (1u64 << 30) as f64;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, wals, rounds) = (SIZE.one()?, WALS.all()?, ROUNDS_OF_EACH.count()?);
    println!("| WAL GiB | fetch MB/s | replay MB/s | fetch / replay | first answer s | of it replay s |");
    println!("|---|---|---|---|---|---|");
    let mut last = None;
    for wal in wals {
        // What the one before took on the disk is given back first.
        drop(last.take());
        let protected = Protected::start(root, &[("max_wal_size", "16GB")])?;
        protected.fill(gigabytes)?;
        let streaming = Streaming::start(&protected)?;
        measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
        say(&format!("writing {wal} GiB of WAL"));
        let written = load::write_wal(&protected, (wal * GIB) as u64)? as f64;
        protected.until_durable()?;
        drop(streaming);
        let [mut fetching, mut replaying, mut firsts, mut seconds] = [const { Vec::new() }; 4];
        for round in 1..=rounds {
            say(&format!("{wal} GiB, round {round} of {rounds}: fetching all"));
            fetching.push(fetch_all(&protected)? / 1e6);
            say("recovering");
            let view = Recovered::first_answer(&protected, "recover", &[])?;
            let replayed = view.segment("replayed").context("it replayed nothing")?;
            replaying.push(written / 1e6 / replayed);
            firsts.push(view.seconds);
            seconds.push(replayed);
            view.remove(&protected)?;
        }
        let ratios: Vec<f64> =
            fetching.iter().zip(&replaying).map(|(fetch, replay)| fetch / replay).collect();
        println!(
            "| {:.2} | {} | {} | {} | {} | {} |",
            written / GIB,
            spread(&fetching),
            spread(&replaying),
            spread(&ratios),
            spread(&firsts),
            spread(&seconds)
        );
        last = Some(protected);
    }
    let protected = last.context("no size was given")?;
    advancing(&protected, rounds)
}

/// Recovery just before the next advance, when there is most to replay.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
fn advancing(protected: &Protected, rounds: usize) -> anyhow::Result<()> {
    let scratch = protected.path("").display().to_string();
    let advance = || {
        protected.cluster.psql("CHECKPOINT");
        protected.until_durable()?;
        drop_caches();
        measure(&mut protected.lifeboat(&["advance", SERVICE, "--no-verify", "--scratch", &scratch]))
    };
    let streaming = Streaming::start(protected)?;
    say("the first advance, over all of it");
    let first = advance()?;
    let [mut advances, mut firsts, mut replays] = [const { Vec::new() }; 3];
    for round in 1..=rounds {
        say(&format!("advance {round} of {rounds}"));
        load::write_wal(protected, STEP_BYTES)?;
        advances.push(advance()?.seconds);
        load::write_wal(protected, STEP_BYTES)?;
        protected.until_durable()?;
        let view = Recovered::first_answer(protected, "recover", &[])?;
        firsts.push(view.seconds);
        replays.push(view.segment("replayed").unwrap_or(f64::NAN));
        view.remove(protected)?;
    }
    drop(streaming);
    println!(
        "\nAdvanced every 256 MiB, a checkpoint of production as often (the first advance, over all of it: {:.1} s)\n",
        first.seconds
    );
    println!("| advance s | first answer s, 256 MiB after it | of it replay s | most |\n|---|---|---|---|");
    println!(
        "| {} | {} | {} | {:.1} |",
        spread(&advances),
        spread(&firsts),
        spread(&replays),
        firsts.iter().copied().fold(median(&firsts), f64::max)
    );
    Ok(())
}

/// Has each segment brought out of the vault, one after the other, as a recovering server does; bytes a second.
fn fetch_all(protected: &Protected) -> anyhow::Result<f64> {
    let here = protected.path("fetching");
    std::fs::create_dir_all(here.join("global"))?;
    std::fs::create_dir_all(here.join("pg_wal"))?;
    // By it the fetcher knows which cluster it is for.
    let control = protected.cluster.data_directory().join("global/pg_control");
    std::fs::copy(control, here.join("global/pg_control")).context("copy pg_control")?;
    let segments = segments(&protected.vault());
    ensure!(!segments.is_empty(), "the vault has no whole segment");
    drop_caches();
    // The helper is started by the first one, which is not counted: a recovery starts it once.
    let mut started = Instant::now();
    let mut bytes = 0;
    for (number, (name, _)) in segments.iter().enumerate() {
        if number == 1 {
            started = Instant::now();
        }
        let to = here.join("pg_wal/RECOVERYXLOG");
        let _ = std::fs::remove_file(&to);
        let mut fetch = protected.lifeboat(&["wal", "fetch", SERVICE, name, "pg_wal/RECOVERYXLOG"]);
        measure(fetch.current_dir(&here))?;
        if number > 0 {
            bytes += std::fs::metadata(&to).context("look at what was fetched")?.len();
        }
    }
    let speed = bytes as f64 / started.elapsed().as_secs_f64();
    // Its helper ends with it.
    std::fs::remove_dir_all(&here)?;
    Ok(speed)
}

/// Whole segments, in order.
fn segments(vault: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut left = vec![vault.join("services").join(SERVICE).join("wal")];
    while let Some(place) = left.pop() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
            if path.is_file() && name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                found.push((name, path));
            } else if path.is_dir() && path.extension().is_none() {
                left.push(path);
            }
        }
    }
    found.sort();
    found
}
