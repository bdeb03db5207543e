//! A plan's text and a document's, for fuzzing: any bytes in, nothing out, no panic (P2), no more held than the limits
//! of `yaml` (Y1), of documents (D1) and of shell text (H1) allow.

use crate::{MAX_FINDINGS, Plan, lint, load, render};

/// A plan.
///
/// # Panics
/// When there are more findings than anyone reads, or a plan that loads is not the same once written as JSON, as YAML or
/// as a page.
pub fn plan(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let findings = match load(&source) {
        Ok(loaded) => {
            let written =
                serde_json::to_string(&loaded.plan).expect("a plan of texts and numbers serialises");
            let again: Result<Plan, _> = serde_json::from_str(&written);
            assert!(again.as_ref().is_ok_and(|again| *again == loaded.plan), "{written}: {again:?}");
            let text = crate::write(&loaded.plan);
            assert!(load(&text).is_ok_and(|again| again.plan == loaded.plan), "{text}");
            rendered(&loaded.plan);
            loaded.warnings
        }
        Err(findings) => findings,
    };
    assert!(findings.len() <= MAX_FINDINGS, "{} findings", findings.len());
    for finding in findings {
        _ = render(&finding, "plan.yaml", &source);
    }
    looked_at(&source, &lint::plan(&source, &options()));
}

/// A plan as a page is read as it was rendered.
fn rendered(plan: &Plan) {
    let page = crate::rendering::markdown(plan);
    let mut read = crate::import::markdown(&page, "plan.md").plan;
    // Where it came from is the page, now.
    read.origin.clone_from(&plan.origin);
    assert!(read == *plan, "{page}");
    _ = crate::rendering::html(plan);
}

fn options() -> lint::Options<'static> {
    lint::Options {
        today: jiff::civil::date(2026, 11, 21),
        files: Some(&|name: &str| name.len().is_multiple_of(2)),
    }
}

/// What is found is in the text, and no more than anyone reads.
fn looked_at(source: &str, findings: &[lint::Finding]) {
    assert!(findings.len() <= lint::MAX_FINDINGS, "{} findings", findings.len());
    let lines = u32::try_from(source.lines().count().max(1)).unwrap_or(u32::MAX);
    for finding in findings {
        assert!((1..=lines).contains(&finding.line), "{finding:?} of {lines} lines");
        _ = lint::render(finding, "plan.md", source);
    }
}

/// A recovery document.
///
/// # Panics
/// When there are more findings than anyone reads, one is nowhere in the document, or mending makes what it mends no
/// better; when what is imported is no plan, or a command is missing in it.
pub fn document(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let findings = lint::markdown(&source, &options());
    looked_at(&source, &findings);
    let imported = crate::import::markdown(&source, "plan.md");
    let text = crate::write(&imported.plan);
    match load(&text) {
        Ok(loaded) => {
            assert!(loaded.plan == imported.plan, "{text}");
            drop(loaded);
            looked_at(&text, &lint::plan(&text, &options()));
        }
        Err(findings) => panic!("{findings:?}\n{text}"),
    }
    assert!(
        imported.coverage.iter().all(|of| of.commands == of.commands_captured),
        "{:?}",
        imported.coverage
    );
    let (mended, count) = lint::apply(&source, &findings);
    assert_eq!(count == 0, mended == source, "{count} mended");
}
