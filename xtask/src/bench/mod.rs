//! The measurements: each tool in turn in one run, several rounds, medians with their spread.
//!
//! Every program is run as its users run it: the released `lifeboat`, the distribution's pgBackRest, real
//! servers with `fsync` on. Results are printed as a table for `docs/benchmarks.md`.
//!
//! Deliberately absent: assertions. These machines are shared; a figure is looked at by people.

mod backup;
mod exposure;
mod lint;
mod loss;
mod measure;
mod protected;
mod search;
mod tables;
mod takeover;
mod view;

use std::path::Path;
use std::process::ExitCode;

/// A measurement: its name, what it answers, and the code.
type Measurement = (&'static str, &'static str, fn(&Path) -> anyhow::Result<()>);

const ALL: [Measurement; 9] = [
    ("backup", "full backup and full restore, MB/s and memory, beside pgBackRest", backup::run),
    ("exposure", "commit on the primary → durable in the vault, p50, p99, max, under pgbench", exposure::run),
    ("cost", "TPS with and without the stream, CPU-seconds of ours per GiB of WAL", exposure::cost),
    ("loss", "killed and erased twenty times under synchronous commits: how many are lost", loss::run),
    ("takeover", "how long nobody acts after the acting `lifeboat serve` was killed", takeover::run),
    ("search", "`wal search` over 10 GiB of WAL, MB/s, beside reading the same vault", search::run),
    (
        "view",
        "time to the first answer at three sizes, from a view, restored fully, and with pgBackRest",
        view::run,
    ),
    ("lint", "`plan lint` over five real documents, and over one of 10,000 lines, ms", lint::run),
    ("tables", "100,000 small tables: time and memory of backup and restore", tables::run),
];

/// Runs one measurement, or lists all.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is for people to read")]
pub fn run(root: &Path, names: &[&str]) -> anyhow::Result<ExitCode> {
    match names {
        [] => {
            for (name, about, _) in ALL {
                println!("make bench-{name:10} {about}");
            }
            Ok(ExitCode::SUCCESS)
        }
        [name] => match ALL.iter().find(|(known, ..)| known == name) {
            Some((_, _, measure)) => measure(root).map(|()| ExitCode::SUCCESS),
            None => {
                eprintln!("there is no measurement `{name}`; `make bench` lists them");
                Ok(ExitCode::from(2))
            }
        },
        _ => {
            eprintln!("one at a time: they would disturb each other");
            Ok(ExitCode::from(2))
        }
    }
}
