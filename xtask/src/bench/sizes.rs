//! How large a measurement is: numbers from the environment, each with a default of the measurement's own.
//!
//! The defaults are what `docs/benchmarks.md` shows. Small ones tell whether a measurement works.

use super::measure::{output, say};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Decimal gigabytes of a database made by pgbench, to its scale: some 15 MB each.
const SCALES_PER_GB: f64 = 66.0;
/// Disk for a gigabyte of a database, beside what WAL takes of any.
const ROOM_PER_GB: f64 = 1.4;
const ROOM_GB: f64 = 5.0;

/// What can be set: names, and what they mean.
pub const NAMES: [(&str, &str); 6] = [
    (GB, "size of the database, GB; where several are the default, several may be given: 1,5,20"),
    (WAL, "WAL to replay, GiB; several may be given"),
    (ROUNDS, "rounds, each tool in turn in each"),
    (SECONDS, "seconds that each load lasts"),
    (TABLES, "how many tables, or steps of a run"),
    (FAULTS, "how many faults, runs, or how many times something is killed"),
];

pub const GB: &str = "LIFEBOAT_BENCH_GB";
pub const WAL: &str = "LIFEBOAT_BENCH_WAL_GIB";
pub const ROUNDS: &str = "LIFEBOAT_BENCH_ROUNDS";
pub const SECONDS: &str = "LIFEBOAT_BENCH_SECONDS";
pub const TABLES: &str = "LIFEBOAT_BENCH_TABLES";
pub const FAULTS: &str = "LIFEBOAT_BENCH_FAULTS";

/// One number, or several, that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub name: &'static str,
    pub default: &'static str,
}

impl Size {
    pub const fn new(name: &'static str, default: &'static str) -> Self {
        Self { name, default }
    }

    /// As they are set, or by default.
    pub fn all(self) -> anyhow::Result<Vec<f64>> {
        let text = std::env::var(self.name).unwrap_or_else(|_| self.default.to_owned());
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|word| word.trim().parse::<f64>()).collect();
        let numbers =
            numbers.with_context(|| format!("{}={text}: numbers are expected, as 1,5,20", self.name))?;
        let is_sensible = numbers.iter().all(|number| number.is_finite() && *number > 0.0);
        ensure!(is_sensible, "{}={text}: numbers above zero are expected", self.name);
        Ok(numbers)
    }

    /// The first of them.
    pub fn one(self) -> anyhow::Result<f64> {
        self.all()?.first().copied().context("there is always one")
    }

    /// The first of them, as a count.
    pub fn count(self) -> anyhow::Result<usize> {
        Ok(self.one()?.ceil() as usize)
    }
}

/// Whether there is room for a database of so many gigabytes, its WAL, its backups, and all of it restored after it was
/// lost. What cannot be found out is taken for room.
pub fn has_room_for(directory: &Path, gigabytes: f64) -> bool {
    let mut command = Command::new("df");
    let free = output(command.args(["--output=avail", "-B1"]).arg(directory)).ok();
    let text = free.map(|printed| String::from_utf8_lossy(&printed).into_owned()).unwrap_or_default();
    let free = text.lines().nth(1).and_then(|line| line.trim().parse::<f64>().ok()).unwrap_or(f64::INFINITY);
    let wanted = (gigabytes * ROOM_PER_GB + ROOM_GB) * 1e9;
    if free < wanted {
        say(&format!(
            "{gigabytes} GB are left out: they need some {:.0} GB of disk, {:.0} GB are free",
            wanted / 1e9,
            free / 1e9
        ));
    }
    free >= wanted
}

/// pgbench's scale for a database of so many gigabytes.
pub fn scale(gigabytes: f64) -> u32 {
    (gigabytes * SCALES_PER_GB).round().max(1.0) as u32
}
