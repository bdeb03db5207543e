//! A document imported again, and what becomes of what people did to the plan meanwhile.

use super::*;

const DOCUMENT: &str = "# Shop DR Plan\n\n## Objectives\n\n- **RTO**: 4 hours\n- **RPO**: 1 hour\n\n## Disaster Scenarios\n\n### Scenario 1: Fire\n\n\
    **Impact**: all is gone\n\n1. Call\n\n### Scenario 2: Flood\n\n**Impact**: all is wet\n\n1. Swim\n\n## Escalation\n\n- Level 1 (0-30 \
    min): on-call\n- Level 2 (30-60 min): lead\n";

fn written(document: &str) -> String {
    crate::write(&markdown(document, "DR.md").plan)
}

/// What comes of it when people changed the plan, and others the document.
#[track_caller]
fn again(plan: &str, document: &str) -> (String, Vec<(Did, String)>) {
    let old = crate::load(plan).unwrap_or_else(|findings| panic!("{findings:?}\n{plan}")).plan;
    let merged = merge(&old, &markdown(document, "DR.md")).unwrap();
    let text = write_over(&merged.plan, plan);
    assert_eq!(crate::load(&text).unwrap().plan, merged.plan, "{text}");
    (text, merged.changes.into_iter().map(|change| (change.did, change.path)).collect())
}

#[track_caller]
fn edit(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replacen(from, to, 1)
}

#[test]
fn nothing_changes_where_nothing_changed() {
    let plan = written(DOCUMENT);
    assert_eq!(again(&plan, DOCUMENT), (plan, vec![]));
}

#[test]
fn g1_what_people_changed_added_or_took_out_stays() {
    let plan = edit(&written(DOCUMENT), "rto: 4h", "rto: 2h, mtd: 8h");
    let plan = edit(&plan, "      who: lead\n", "      who: Ada\n      notes: [call twice]\n");
    let plan = edit(&plan, "    impact: [all is gone]\n", "");
    let plan = edit(&plan, "services:\n", "services:\n  - name: till\n    needs: [shop]\n");
    let (text, changes) = again(&plan, &edit(DOCUMENT, "on-call", "the watch"));
    assert_eq!(changes, [(Did::Followed, "people.escalation[level-1].who".to_owned())]);
    for kept in ["rto: 2h", "mtd: 8h", "who: Ada", "call twice", "needs: [shop]", "who: the watch"] {
        assert!(text.contains(kept), "{kept} is not in\n{text}");
    }
    assert!(!text.contains("all is gone"), "{text}");
}

#[test]
fn g1_where_both_changed_people_have_it_and_hear_of_it() {
    let plan = edit(&written(DOCUMENT), "rto: 4h", "rto: 2h");
    let document = edit(DOCUMENT, "4 hours", "3 hours");
    let (text, changes) = again(&plan, &document);
    assert_eq!(changes, [(Did::Conflict, "objectives.rto".to_owned())]);
    assert!(text.contains("rto: 2h"), "{text}");
    // Told once: the document has not changed since.
    assert_eq!(again(&text, &document).1, []);
}

#[test]
fn g2_what_nobody_touched_follows_the_document() {
    let document = edit(DOCUMENT, "4 hours", "3 hours");
    let document = edit(&document, "### Scenario 1: Fire\n\n**Impact**: all is gone\n\n1. Call\n\n", "");
    let document = edit(&document, "- Level 2", "- Level 3 (2+ hours): CTO\n- Level 2");
    let plan = written(DOCUMENT);
    let (text, changes) = again(&plan, &document);
    assert_eq!(text, written(&document), "{changes:?}");
    let at =
        |did| changes.iter().filter(|(of, _)| *of == did).map(|(_, path)| path.as_str()).collect::<Vec<_>>();
    assert_eq!(at(Did::Removed), ["runbooks.fire", "scenarios[fire]"]);
    assert_eq!(at(Did::Added), ["people.escalation[level-3]"]);
    assert_eq!(at(Did::Followed), ["objectives.rto"]);
}

#[test]
fn g1_a_part_that_people_worked_on_stays_when_the_document_drops_it() {
    let plan = edit(&written(DOCUMENT), "impact: [all is gone]", "impact: [everything is gone]");
    let document = edit(DOCUMENT, "### Scenario 1: Fire\n\n**Impact**: all is gone\n\n1. Call\n\n", "");
    let old = crate::load(&plan).unwrap().plan;
    let merged = merge(&old, &markdown(&document, "DR.md")).unwrap();
    assert_eq!(merged.plan.scenarios.len(), 2);
    assert!(
        merged.changes.iter().any(|change| change.did == Did::Conflict && change.path == "scenarios[fire]")
    );
    // Its runbook is still followed: it is not taken from under it.
    assert!(crate::load(&crate::write(&merged.plan)).is_ok());
}

#[test]
fn only_the_plan_of_that_document_is_merged() {
    let mut plan = crate::load(&written(DOCUMENT)).unwrap().plan;
    assert!(matches!(merge(&plan, &markdown(DOCUMENT, "other.md")), Err(MergeError::OtherDocument(_))));
    plan.origin = None;
    assert!(matches!(merge(&plan, &markdown(DOCUMENT, "DR.md")), Err(MergeError::NoOrigin)));
}

#[test]
fn k1_comments_stay_where_they_stood() {
    let plan =
        edit(&written(DOCUMENT), "objectives:", "# Promised to the board.\n# In writing.\nobjectives:");
    let plan = edit(&plan, "rpo: 1h}", "rpo: 1h}    # really");
    let plan = edit(
        &plan,
        "  - name: fire\n",
        "  # Ask \"Ada\" first: 'she' knows | > - #1\n  - name: fire   # hot\n",
    );
    let plan =
        edit(&plan, "      - manual: Call\n", "      - manual: |-\n          Call\n          # no comment\n");
    let (text, _) = again(&format!("{plan}# the end\n"), &edit(DOCUMENT, "on-call", "the watch"));
    for line in [
        "# Promised to the board.\n# In writing.\nobjectives: {rto: 4h, rpo: 1h}    # really\n",
        "  # Ask \"Ada\" first: 'she' knows | > - #1\n  - name: fire    # hot\n",
        "          Call\n          # no comment\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# the end\n"), "{text}");
    assert_eq!(text.matches('#').count(), 8, "{text}");
    let gone = edit(DOCUMENT, "### Scenario 1: Fire\n\n**Impact**: all is gone\n\n1. Call\n\n", "");
    let (text, _) = again(&edit(&written(DOCUMENT), "  - name: fire\n", "  - name: fire    # hot\n"), &gone);
    assert!(text.contains("# hot"), "{text}");
}
