//! A hundred thousand small tables, once: what many small files cost.

use super::measure::{Taken, run as measure};
use super::protected::{Protected, SERVICE};
use std::path::Path;

const TABLES: u32 = 100_000;
/// Tables made in one transaction: each takes a lock.
const BATCH: u32 = 1_000;

#[expect(clippy::print_stdout, reason = "it is for people to read")]
pub fn run(root: &Path) -> anyhow::Result<()> {
    let settings = [("max_locks_per_transaction", "1024"), ("synchronous_commit", "off")];
    let protected = Protected::start(root, &settings)?;
    println!("making {TABLES} tables");
    for batch in 0..TABLES / BATCH {
        let (first, last) = (batch * BATCH, (batch + 1) * BATCH - 1);
        protected.cluster.psql(&format!(
            "DO $$ BEGIN FOR i IN {first}..{last} LOOP EXECUTE 'CREATE TABLE t' || i || ' AS SELECT ' || i || ' AS id'; \
             END LOOP; END $$"
        ));
    }
    protected.cluster.psql("CHECKPOINT");
    let bytes = protected.database_bytes()?;
    let backup = measure(&mut protected.lifeboat(&["backup", "run", SERVICE]))?;
    let into = protected.path("restored").display().to_string();
    let restore = measure(&mut protected.lifeboat(&["restore", SERVICE, "--to", "latest", "--into", &into]))?;
    println!(
        "\n{TABLES} tables, {} MB of files\n\n| | seconds | peak memory |\n|---|---|---|",
        bytes / 1_000_000
    );
    let line = |name: &str, taken: Taken| {
        println!("| {name} | {:.1} | {} MB |", taken.seconds, taken.peak_bytes / 1_000_000);
    };
    line("backup", backup);
    line("restore", restore);
    Ok(())
}
