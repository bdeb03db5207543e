//! Clients that note outside the database what was acknowledged to them.

use anyhow::{Context, bail};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What a client writes: numbers from `first` on into the column `id` of a table.
pub struct Note {
    pub table: &'static str,
    pub first: u64,
    pub limit: u64,
}

/// Commits one row after the other until the server is gone; returns what was acknowledged.
pub fn commit(mut psql: Command, note: &Note) -> anyhow::Result<HashSet<u64>> {
    psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut psql = psql.spawn().context("run psql")?;
    let (Some(mut questions), Some(answers)) = (psql.stdin.take(), psql.stdout.take()) else {
        bail!("psql has no pipes")
    };
    let mut acked = HashSet::new();
    let mut answers = BufReader::new(answers).lines();
    for id in note.first..note.first + note.limit {
        // The connection breaks when the server dies, which is what ends this.
        if writeln!(questions, "INSERT INTO {} VALUES ({id}) RETURNING id;", note.table).is_err() {
            break;
        }
        match answers.next() {
            Some(Ok(line)) if line == id.to_string() => acked.insert(id),
            _ => break,
        };
    }
    let _ = psql.kill();
    let _ = psql.wait();
    Ok(acked)
}

/// The numbers of an answer, a line each.
pub fn found(answer: &str) -> HashSet<u64> {
    answer.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
