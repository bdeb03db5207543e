//! Whose word counts in a run.
//!
//! Where the plan names approvers, a word is one of theirs and is signed with one of their keys, as `ssh-keygen -Y
//! sign` does it; where it names nobody, every word counts, and nothing in the run needs an approval.

use super::{Begun, Request, RunId};
use lifeboat_plan::Approver;

/// What a signature is for: one made for something else is none here.
pub const NAMESPACE: &str = "lifeboat-run";

/// What is signed to begin a run.
#[must_use]
pub fn beginning(id: &RunId, begun: &Begun) -> String {
    let Begun { runbook, plan_hash, target, requester, .. } = begun;
    let words = serde_json::json!({
        "request": "start", "runbook": runbook, "planHash": plan_hash, "target": target, "by": requester,
    });
    format!("lifeboat run {id}\n{words}\n")
}

/// What is signed to say something to a run.
#[must_use]
pub fn statement(id: &RunId, request: &Request) -> String {
    let words = serde_json::to_value(request).expect("names and texts serialise");
    format!("lifeboat run {id}\n{words}\n")
}

/// Why a word does not count, or nothing.
pub(super) fn check(
    approvers: &[Approver],
    by: &str,
    statement: &str,
    signature: Option<&str>,
) -> Result<(), String> {
    if approvers.is_empty() {
        return Ok(());
    }
    let Some(approver) = approvers.iter().find(|approver| approver.name == by) else {
        return Err(format!("{by} is none of the approvers that the plan named when the run began"));
    };
    let Some(signature) = signature else {
        return Err(format!("a word of {by} came without a signature"));
    };
    let has_signed = |key: &lifeboat_plan::SshKey| key.has_signed(NAMESPACE, statement.as_bytes(), signature);
    match approver.keys.iter().any(has_signed) {
        true => Ok(()),
        false => {
            Err(format!("the signature is not that of {by}: no key of that name made it for these words"))
        }
    }
}
