//! What steps observed and printed.
//!
//! The values that later steps need, and the end of what was printed, stand in the run's own chain before the outcome
//! that they belong to; the whole of a long text lies in a chain beside it, `output/<id>`.

use super::RunId;
use lifeboat_core::run::{Observed, StepNumber};
use lifeboat_vault::Vault;
use lifeboat_vault::journal::{self, Chain, JournalError};
use serde::{Deserialize, Serialize};

/// So much of the end of a text stands in the run's chain.
const TAIL_BYTES: usize = 4 << 10;
/// So much of a text is in one record of the other.
const PIECE_BYTES: usize = 96 << 10;
/// The kind of those records.
const PIECE_RECORD: &str = "run.output.piece";

/// What a step observed and printed in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Which step.
    pub step: StepNumber,
    /// At what: `probe`, `act`, `undo`, `verify`.
    pub at: String,
    /// What it observed.
    #[serde(default, skip_serializing_if = "Observed::is_empty")]
    pub observed: Observed,
    /// What it printed, or the end of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// If that is not all: how much it was, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_bytes: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Piece {
    step: StepNumber,
    at: String,
    text: String,
}

/// What is to stand in the run's chain, once the whole is in the vault.
pub(super) async fn keep(
    vault: &Vault,
    id: &RunId,
    actor: &str,
    mut output: Output,
) -> Result<Output, JournalError> {
    if output.text.len() <= TAIL_BYTES {
        return Ok(output);
    }
    let mut chain = Chain::open(vault, &id.output(), actor).await?;
    for text in pieces(&output.text) {
        let piece = Piece { step: output.step, at: output.at.clone(), text: text.to_owned() };
        let data = serde_json::to_value(piece).expect("names and texts serialise");
        chain.append_shared(PIECE_RECORD, data).await?;
    }
    output.whole_bytes = Some(output.text.len());
    let mut from = output.text.len() - TAIL_BYTES;
    while !output.text.is_char_boundary(from) {
        from += 1;
    }
    output.text.drain(..from);
    Ok(output)
}

fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let mut to = rest.len().min(PIECE_BYTES);
        while !rest.is_char_boundary(to) {
            to -= 1;
        }
        let (piece, behind) = rest.split_at(to);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// The long texts that a step printed, whole, in their order.
///
/// # Errors
/// [`JournalError`].
pub async fn output(vault: &Vault, id: &RunId, step: StepNumber) -> Result<String, JournalError> {
    let (mut text, mut after) = (String::new(), 0);
    loop {
        let page = journal::read(vault, &id.output(), after).await?;
        let Some(last) = page.records.last() else { return Ok(text) };
        after = last.number;
        for record in page.records {
            if let Ok(piece) = serde_json::from_value::<Piece>(record.data)
                && piece.step == step
            {
                text.push_str(&piece.text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_letters_and_nothing_of_it_is_lost() {
        for text in [String::new(), "x".repeat(PIECE_BYTES), "aé€🙂".repeat(PIECE_BYTES / 5)] {
            let pieces = pieces(&text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| (1..=PIECE_BYTES).contains(&piece.len())));
        }
    }
}
