//! The measurements: each tool in turn in one run, several rounds, medians with their spread.
//!
//! Every program is run as its users run it: the released `lifeboat`, the distribution's pgBackRest, real
//! servers with `fsync` on. Results are printed as a table for `docs/benchmarks.md`, on standard output; how far it is,
//! on standard error. Sizes are set in the environment, see [`sizes`].
//!
//! Deliberately absent: assertions about speed. These machines are shared; a figure is looked at by people.

mod backup;
mod detection;
mod exposure;
mod increment;
mod kill;
mod latency;
mod lint;
mod load;
mod loopback;
mod loss;
mod measure;
mod memory;
mod notes;
mod peer;
mod protected;
mod random;
mod recovered;
mod replay;
mod repository;
mod runs;
mod scratch;
mod search;
mod sizes;
mod table;
mod takeover;
mod view;
mod warm;
mod watch;

pub use scratch::{SWEEP, keep};

use sizes::Size;
use std::path::Path;
use std::process::ExitCode;

/// A measurement: its name, what it answers, what of it can be set, and the code.
type Measurement = (&'static str, &'static str, &'static [Size], fn(&Path) -> anyhow::Result<()>);

const ALL: &[Measurement] = &[
    (
        "backup",
        "full backup and full restore, MB/s and memory, beside pgBackRest",
        backup::SETTINGS,
        backup::run,
    ),
    (
        "exposure",
        "commit on the primary → durable in the vault, p50, p99, max, under pgbench",
        &[],
        exposure::run,
    ),
    ("cost", "TPS with and without the stream, CPU-seconds of ours per GiB of WAL", &[], exposure::cost),
    ("loss", "killed and erased twenty times under synchronous commits: how many are lost", &[], loss::run),
    ("takeover", "how long nobody acts after the acting `lifeboat serve` was killed", &[], takeover::run),
    ("search", "`wal search` over 10 GiB of WAL, MB/s, beside reading the same vault", &[], search::run),
    (
        "view",
        "time to the first answer at several sizes, from a view, restored fully, and with pgBackRest",
        view::SETTINGS,
        view::run,
    ),
    (
        "latency",
        "bytes and requests before the first answer, with 0, 20 and 50 ms for each",
        latency::SETTINGS,
        latency::run,
    ),
    ("table", "one table out of a large database: seconds, and bytes read", table::SETTINGS, table::run),
    (
        "replay",
        "recovery with much WAL: fetch and replay, MB/s; with an advance every 256 MiB",
        replay::SETTINGS,
        replay::run,
    ),
    (
        "increment",
        "1 % of pages updated: what advance stores, beside pgBackRest's incremental",
        increment::SETTINGS,
        increment::run,
    ),
    (
        "repository",
        "size after seven days of backups, beside pgBackRest and restic",
        repository::SETTINGS,
        repository::run,
    ),
    (
        "warm",
        "TPS on a view cold, warm and finished, beside a full restore; time until all is here",
        warm::SETTINGS,
        warm::run,
    ),
    (
        "kill",
        "a view killed 200 times under pgbench: what is lost, and is it sound",
        kill::SETTINGS,
        kill::run,
    ),
    (
        "detection",
        "200 faults in copies of a vault: who finds them, and false OKs",
        detection::SETTINGS,
        detection::run,
    ),
    ("runs", "what carrying runs costs beside what their steps do", runs::SETTINGS, runs::run),
    ("memory", "the most memory of each command over a few gigabytes", memory::SETTINGS, memory::run),
    ("lint", "`plan lint` over five real documents, and over one of 10,000 lines, ms", &[], lint::run),
    (
        "tables",
        "100,000 small tables: time and memory of each command",
        memory::TABLES_SETTINGS,
        memory::tables,
    ),
];

/// Runs one measurement, or lists all.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is for people to read")]
pub fn run(root: &Path, names: &[&str]) -> anyhow::Result<ExitCode> {
    match names {
        [] => {
            for (name, about, settings, _) in ALL {
                println!("make bench-{name:10} {about}");
                if !settings.is_empty() {
                    let each = settings.iter().map(|size| format!("{}={}", size.name, size.default));
                    println!("{:21} {}", "", each.collect::<Vec<_>>().join(" "));
                }
            }
            println!("\nWhat can be set in the environment, where it stands with its default above:");
            for (name, about) in sizes::NAMES {
                println!("  {name:24} {about}");
            }
            Ok(ExitCode::SUCCESS)
        }
        [name] => match ALL.iter().find(|(known, ..)| known == name) {
            Some((.., measure)) => measure(root).map(|()| ExitCode::SUCCESS),
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
