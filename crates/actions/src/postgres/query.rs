//! Puts questions, and runs statements.

use super::{Job, before, failed, printed, sent, unknown};
use lifeboat_core::run::{Outcome, Told};
use lifeboat_core::runbook::postgres::{Query, Sql};
use lifeboat_postgres::client::Row;
use std::fmt::Write;

/// Rows of a result that are kept.
const ROWS_KEPT: usize = 100;
/// Letters of a value that are kept.
const VALUE_CHARS: usize = 1000;

pub(super) async fn check(job: &Job<'_>, with: &Query) -> Result<Told<Outcome>, Outcome> {
    let mut session = job.open(with.on).await.map_err(before)?;
    // On its own: no text ends the transaction that it is in and is answered all the same.
    session.rows("SET default_transaction_read_only = on").await.map_err(before)?;
    session.rows("BEGIN READ ONLY").await.map_err(before)?;
    let rows = session.rows(&with.query).await.map_err(before)?;
    let answer = rows.first().and_then(|row| row.at(0));
    let output = told(&rows);
    let at = session.at();
    let why = match (answer, with.expect.as_deref()) {
        (Some(answer), Some(expect)) if answer.trim() == expect.trim() => None,
        (Some("t"), None) => None,
        (Some(answer), expect) => {
            Some(format!("{at} answered `{}`, not `{}`", short(answer), expect.unwrap_or("t")))
        }
        (None, _) if rows.is_empty() => Some(format!("{at} answered with no row")),
        (None, _) => Some(format!("{at} answered with null")),
    };
    Ok(printed(why.map_or(Outcome::Done, failed), output))
}

pub(super) async fn run(job: &Job<'_>, with: &Sql) -> Result<Told<Outcome>, Outcome> {
    let mut session = job.open(with.on).await.map_err(before)?;
    if with.read_only {
        session.rows("SET default_transaction_read_only = on").await.map_err(before)?;
        session.rows("BEGIN READ ONLY").await.map_err(before)?;
        let rows = session.rows(&with.run).await.map_err(before)?;
        return Ok(printed(Outcome::Done, told(&rows)));
    }
    match session.rows(&with.run).await {
        Ok(rows) => Ok(printed(Outcome::Done, told(&rows))),
        // What was committed before stays.
        Err(error) if error.is_refusal() && ends_transactions(&with.run) => Err(unknown(format!(
            "{}; the text ends transactions of its own: what it had committed until then is not known",
            error.told()
        ))),
        Err(error) => Err(sent(error)),
    }
}

/// Whether a text may end a transaction, and so leave a part of itself done.
fn ends_transactions(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| matches!(word, "commit" | "end" | "prepare" | "call" | "do"))
}

/// Rows as `psql -At` prints them.
fn told(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().take(ROWS_KEPT) {
        let values = (0..row.columns().len()).map(|at| short(row.at(at).unwrap_or_default()));
        text += &values.collect::<Vec<_>>().join("|");
        text.push('\n');
    }
    if let Some(more) = rows.len().checked_sub(ROWS_KEPT).filter(|more| *more > 0) {
        let _ = writeln!(text, "… and {more} rows more");
    }
    text
}

fn short(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}
