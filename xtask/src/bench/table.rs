//! One table out of a large database: seconds and bytes read, beside pgBackRest's restore of all and `pg_dump`.

use super::loopback::Loopback;
use super::measure::{median, output, run as measure, say, spread};
use super::peer::Peer;
use super::protected::SERVICE;
use super::recovered::drop_caches;
use super::sizes::{GB, ROUNDS, Size};
use anyhow::{Context, ensure};
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: Size = Size::new(GB, "20");
const ROUNDS_OF_EACH: Size = Size::new(ROUNDS, "3");
pub const SETTINGS: &[Size] = &[SIZE, ROUNDS_OF_EACH];
/// Rows of the table that is wanted: some 100 MB for each 10 GB of the database.
const ROWS_PER_GB: f64 = 100_000.0;
/// As for the time to the first answer, the peer restores a large database once.
const LARGE_GB: f64 = 10.0;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let (gigabytes, rounds) = (SIZE.one()?, ROUNDS_OF_EACH.count()?);
    let (protected, peer) = Peer::beside(root)?;
    let cluster = &protected.cluster;
    peer.fill(&protected, gigabytes)?;
    let rows = (gigabytes * ROWS_PER_GB).ceil();
    cluster.psql(&format!(
        "CREATE TABLE wanted AS SELECT g AS id, md5(g::text) || md5((-g)::text) AS note FROM generate_series(1, {rows}) g"
    ));
    cluster.psql("CHECKPOINT");
    let bytes = protected.database_bytes()? as f64;
    let table = cluster.psql("SELECT pg_total_relation_size('wanted')").trim().parse::<f64>()?;
    let streaming = peer.full_backups(&protected)?;
    cluster.psql("DELETE FROM wanted WHERE id % 2 = 0; INSERT INTO wanted VALUES (0, 'after the backup'); SELECT pg_switch_wal()");
    measure(&mut peer.command(&["check"]))?;
    let kept = cluster.psql("SELECT count(*) FROM wanted").trim().parse::<u64>()?;
    protected.until_durable()?;
    drop(streaming);
    cluster.erase_data_directory();
    let [mut ours, mut theirs, mut fetched] = [const { Vec::new() }; 3];
    let dump = protected.path("wanted.dump");
    let store = Loopback::start(&protected.vault(), Duration::ZERO)?;
    let scratch = protected.path("").display().to_string();
    let file = dump.display().to_string();
    let command =
        ["recover", SERVICE, "--table", "public.wanted", "--dump", &file, "--scratch", &scratch, "--json"];
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        drop_caches();
        let started = Instant::now();
        let printed = output(&mut protected.lifeboat(&command))?;
        ours.push(started.elapsed().as_secs_f64());
        let document: serde_json::Value = serde_json::from_slice(&printed).context("read what it printed")?;
        ensure!(document["tables"][0]["rows"] == kept, "not as it was, {kept} rows: {document}");
        std::fs::remove_file(&dump).context("remove the dump")?;
        let before = store.counted().bytes;
        let mut from_store = protected.lifeboat(&[&command[..], &["--vault", &store.vault()]].concat());
        measure(from_store.envs(store.environment()))?;
        fetched.push((store.counted().bytes - before) as f64 / 1e6);
        std::fs::remove_file(&dump).context("remove the dump")?;
        if round == 1 || gigabytes < LARGE_GB {
            let theirs_dump = cluster.scratch().join("wanted.dump");
            let file = theirs_dump.display().to_string();
            let question = ["pg_dump", "-Fc", "-t", "public.wanted", "-f", &file];
            theirs.push(peer.first_answer(&protected, &question)?);
            std::fs::remove_file(&theirs_dump).context("remove the peer's dump")?;
        }
    }
    let ratios: Vec<f64> = theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect();
    println!("\nA table of {:.0} MB out of {:.1} GB\n", table / 1e6, bytes / 1e9);
    println!(
        "| `recover --table` s | MB read of the vault | of the database | pgBackRest restore and pg_dump s | ratio |"
    );
    println!("|---|---|---|---|---|");
    println!(
        "| {} | {} | {:.2} % | {} | {} |",
        spread(&ours),
        spread(&fetched),
        median(&fetched) * 1e6 / bytes * 100.0,
        spread(&theirs),
        spread(&ratios)
    );
    Ok(())
}
