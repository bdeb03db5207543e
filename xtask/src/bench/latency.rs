//! What is fetched before the first answer, in bytes and requests, and how long it takes when each request waits.

use super::loopback::Loopback;
use super::measure::{median, run as measure, say, spread};
use super::protected::{Protected, SERVICE, Streaming};
use super::recovered::Recovered;
use super::sizes::{GB, ROUNDS, Size, has_room_for};
use anyhow::ensure;
use lifeboat_testkit::postgres::scratch_directory;
use std::path::Path;
use std::time::Duration;

const SIZES: Size = Size::new(GB, "1,5");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
pub const SETTINGS: &[Size] = &[SIZES, ROUNDS_OF_EACH];
/// That each request to the store waits.
const LATENCIES_MS: [u64; 3] = [0, 20, 50];
/// What is told of each recovery.
const FIGURES: usize = 7;
/// After the backup: the WAL to replay.
const TRANSACTIONS: &str = "10000";
const CLIENTS: &str = "4";

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (sizes, rounds) = (SIZES.all()?, ROUNDS_OF_EACH.count()?);
    println!(
        "| size | WAL MB | latency ms | first answer s | replay s | GETs | of them WAL | other requests | MB of pages | of the size | MB of WAL |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for gigabytes in sizes {
        if !has_room_for(scratch_directory().path(), gigabytes) {
            continue;
        }
        let (protected, bytes, wal) = made(root, gigabytes)?;
        let mut figures: [[Vec<f64>; FIGURES]; LATENCIES_MS.len()] = Default::default();
        for round in 1..=rounds {
            for (latency, of) in LATENCIES_MS.iter().zip(&mut figures) {
                say(&format!("{gigabytes} GB, {latency} ms, round {round} of {rounds}"));
                for (all, figure) in of.iter_mut().zip(once(&protected, *latency)?) {
                    all.push(figure);
                }
            }
        }
        for (latency, [seconds, replay, gets, wal_gets, others, fetched, fetched_wal]) in
            LATENCIES_MS.iter().zip(&figures)
        {
            println!(
                "| {:.1} GB | {:.0} | {latency} | {} | {} | {} | {} | {} | {} | {:.2} % | {} |",
                bytes / 1e9,
                wal / 1e6,
                spread(seconds),
                spread(replay),
                spread(gets),
                spread(wal_gets),
                spread(others),
                spread(fetched),
                median(fetched) * 1e6 / bytes * 100.0,
                spread(fetched_wal)
            );
        }
    }
    println!("\nWhat is not WAL: pages, the restore point, indexes, listings.");
    Ok(())
}

/// A service that was lost after some transactions; bytes of its database and of WAL to replay.
fn made(root: &Path, gigabytes: f64) -> anyhow::Result<(Protected, f64, f64)> {
    let protected = Protected::start(root, &[])?;
    let bytes = protected.fill(gigabytes)?;
    let streaming = Streaming::start(&protected)?;
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    let before = protected.written()?;
    protected.cluster.pgbench(&["-n", "-c", CLIENTS, "-t", TRANSACTIONS]);
    let wal = (protected.written()? - before) as f64;
    protected.until_durable()?;
    drop(streaming);
    protected.cluster.erase_data_directory();
    Ok((protected, bytes, wal))
}

/// Seconds to the first answer and of replay; GETs, those of WAL, other requests, MB and MB of WAL until then.
fn once(protected: &Protected, latency_ms: u64) -> anyhow::Result<[f64; FIGURES]> {
    let store = Loopback::start(&protected.vault(), Duration::from_millis(latency_ms))?;
    let view = Recovered::first_answer_from(
        protected,
        "recover",
        &["--vault", &store.vault()],
        &store.environment(),
    )?;
    let counted = store.counted();
    ensure!(view.is_view(), "this machine shows no views: {}", view.document);
    let replay = view.segment("replayed").unwrap_or(f64::NAN);
    let pages = (counted.bytes - counted.wal_bytes) as f64 / 1e6;
    let figures = [
        view.seconds,
        replay,
        counted.gets as f64,
        counted.wal_gets as f64,
        counted.others as f64,
        pages,
        counted.wal_bytes as f64 / 1e6,
    ];
    view.remove(protected)?;
    Ok(figures)
}
