//! A plan's text, for fuzzing: any bytes in, nothing out, no panic (P2), no more held than the limits of
//! `yaml` allow (Y1).

use crate::{MAX_FINDINGS, Plan, load, render};

/// A plan.
///
/// # Panics
/// When there are more findings than anyone reads, or a plan that loads is not the same once written.
pub fn plan(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let findings = match load(&source) {
        Ok(loaded) => {
            let written =
                serde_json::to_string(&loaded.plan).expect("a plan of texts and numbers serialises");
            let again: Result<Plan, _> = serde_json::from_str(&written);
            assert!(again.as_ref().is_ok_and(|again| *again == loaded.plan), "{written}: {again:?}");
            loaded.warnings
        }
        Err(findings) => findings,
    };
    assert!(findings.len() <= MAX_FINDINGS, "{} findings", findings.len());
    for finding in findings {
        _ = render(&finding, "plan.yaml", &source);
    }
}
