//! How fast `wal search` finds what destroyed the data, beside reading the same vault.

use super::measure::{Taken, run as measure, spread};
use super::protected::{Protected, SERVICE, Streaming};
use anyhow::{Context, ensure};
use std::path::Path;

/// WAL to search.
const WAL_BYTES: u64 = 10 << 30;
/// Rows of the table that is emptied.
const ROWS: u32 = 1_000_000;
const ROUNDS: usize = 3;

/// Fills the vault with WAL of inserts and updates, empties a table in its midst, and looks for that.
#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let protected = Protected::start(root, &[("synchronous_commit", "off")])?;
    let cluster = &protected.cluster;
    cluster.psql(&format!("CREATE TABLE victim AS SELECT g AS id FROM generate_series(1, {ROWS}) g"));
    cluster.psql("CREATE TABLE filler (id int, note text) WITH (autovacuum_enabled = off)");
    measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    let stream = Streaming::start(&protected)?;
    let written = |sql: &str| -> anyhow::Result<u64> {
        cluster.psql(sql).trim().parse().context("read how much WAL there is")
    };
    let begin = written("SELECT (pg_current_wal_lsn() - '0/0')::bigint")?;
    let so_far =
        || Ok::<u64, anyhow::Error>(written("SELECT (pg_current_wal_lsn() - '0/0')::bigint")? - begin);
    let mut is_emptied = false;
    println!("writing {} GiB of WAL", WAL_BYTES >> 30);
    while so_far()? < WAL_BYTES {
        cluster.psql(
            "INSERT INTO filler SELECT g, md5(g::text) || md5((g + 1)::text) FROM generate_series(1, 1000000) g; \
             UPDATE filler SET note = reverse(note) WHERE id % 4 = 0; TRUNCATE filler",
        );
        if !is_emptied && so_far()? > WAL_BYTES / 2 {
            cluster.psql("DELETE FROM victim");
            is_emptied = true;
        }
    }
    let bytes = so_far()?;
    // It makes durable what it has before it ends.
    drop(stream);
    let search = ["wal", "search", SERVICE, "--table", "victim", "--json"];
    let found = protected.lifeboat(&search).output().context("run wal search")?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    ensure!(found.contains(&ROWS.to_string()), "the emptied table was not found: {found}");
    let (mut searched, mut checked) = (Vec::new(), Vec::new());
    let mut worst = Taken::default();
    for _ in 0..ROUNDS {
        let taken = measure(&mut protected.lifeboat(&search))?;
        worst.peak_bytes = worst.peak_bytes.max(taken.peak_bytes);
        searched.push(bytes as f64 / 1e6 / taken.seconds);
        let taken = measure(&mut protected.lifeboat(&["vault", "check", "--deep"]))?;
        checked.push(bytes as f64 / 1e6 / taken.seconds);
    }
    let ratios: Vec<f64> = searched.iter().zip(&checked).map(|(search, check)| search / check).collect();
    println!(
        "\n{:.1} GB of WAL\n\n| | MB of WAL a second |\n|---|---|\n| `wal search` | {} |\n\
         | reading and opening all of the vault (`vault check --deep`) | {} |\n| ratio | {} |\n\n\
         Peak memory of the search: {} MB",
        bytes as f64 / 1e9,
        spread(&searched),
        spread(&checked),
        spread(&ratios),
        worst.peak_bytes / 1_000_000
    );
    Ok(())
}
