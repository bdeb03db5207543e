//! What is found in which document: the examples of every page, documents of our own in other styles, and the real ones
//! where they are at hand.

use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const TODAY: Date = jiff::civil::date(2026, 11, 21);

fn look(source: &str) -> Vec<Finding> {
    markdown(source, &Options { today: TODAY, files: None })
}

fn codes(source: &str) -> Vec<&'static str> {
    look(source).iter().map(|finding| finding.code).collect()
}

/// `line code message`, a line each.
fn list(findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |mut out, finding| {
        _ = writeln!(out, "{:4} {} {}", finding.line, finding.code, finding.message);
        out
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a page between a heading and the end of its fence.
fn example<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("## {heading}\n\n````markdown\n"))?;
    rest.split_once("\n````").map(|(example, _)| example)
}

#[test]
fn l1_every_rule_has_a_page_whose_bad_example_it_finds_and_whose_good_one_it_does_not() {
    let exists = |name: &str| name == "scripts/there.sh" || name == "./scripts/there.sh";
    for rule in rules() {
        let title = format!("# {}: {}\n\n{}", rule.code, rule.name.replace('-', " "), rule.level.as_str());
        assert!(
            rule.page.to_lowercase().starts_with(&title.to_lowercase()),
            "{rule:?}: its page begins otherwise"
        );
        for heading in ["## Why it matters on the day", "## How to mend it", "## How to suppress it"] {
            assert!(rule.page.contains(heading), "{rule:?}: its page has no {heading}");
        }
        if rule.code == "LB0700" {
            continue;
        }
        let files: Option<&dyn Fn(&str) -> bool> = if rule.code == "LB0511" { Some(&exists) } else { None };
        let options = Options { today: TODAY, files };
        let has = |heading| {
            let source = example(rule.page, heading)
                .unwrap_or_else(|| panic!("{rule:?}: its page has no {heading} example"));
            let findings = markdown(source, &options);
            (findings.iter().any(|finding| finding.code == rule.code), list(&findings))
        };
        let (bad, good) = (has("Bad"), has("Good"));
        assert!(bad.0, "{rule:?} does not find its bad example; found:\n{}", bad.1);
        assert!(!good.0, "{rule:?} finds its good example:\n{}", good.1);
    }
}

#[test]
fn l1_codes_are_unique_and_the_list_of_pages_is_that_of_the_rules() {
    let mut codes: Vec<&str> = rules().map(|rule| rule.code).collect();
    codes.sort_unstable();
    let mut unique = codes.clone();
    unique.dedup();
    assert_eq!(codes, unique);
    let mut pages: Vec<String> = std::fs::read_dir(root().join("docs/lint"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".md").filter(|name| name.starts_with("LB")).map(str::to_owned))
        .collect();
    pages.sort();
    assert_eq!(pages, codes);
    let readme = std::fs::read_to_string(root().join("docs/lint/README.md")).unwrap();
    for rule in rules() {
        let row =
            format!("| [{0}]({0}.md) | {1} | {2} |", rule.code, rule.level, rule.name.replace('-', " "));
        assert!(readme.contains(&row), "docs/lint/README.md lacks {row}");
    }
}

#[test]
fn documents_in_other_styles_and_languages() {
    for name in [
        "azure-bold-headings",
        "deutsch-tabellen",
        "zhongwen",
        "prose-and-console",
        "weak",
        "paced",
        "wiki-html",
        "handbuch-export",
        "espanol-casillas",
        "jifang",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.md"));
        let source = std::fs::read_to_string(path).unwrap();
        insta::assert_snapshot!(name, list(&look(&source)));
    }
}

/// The real documents are not in this repository; where they lie beside it, what is found in them is held, by line and
/// code alone.
#[test]
fn the_five() {
    let beside = |at: &Path| Some(at.join("shared/systems")).filter(|systems| systems.is_dir());
    let Some(systems) = root().canonicalize().unwrap().ancestors().find_map(beside) else { return };
    let mut found = String::new();
    for name in ["fruitfulplanet", "lpg-distributor", "luckygas", "optimal-build", "stocker-pro"] {
        let source = std::fs::read_to_string(systems.join(format!("{name}.md"))).unwrap();
        for finding in look(&source) {
            _ = writeln!(found, "{name} {} {}", finding.line, finding.code);
        }
    }
    insta::assert_snapshot!(found);
}

#[test]
fn a_finding_is_shown_as_a_compiler_would() {
    let source = "## Verify\n\n```sh\ncurl https://shop.example/health\n```\n";
    let finding = look(source).remove(0);
    insta::assert_snapshot!(render(&finding, "plan.md", source));
}

#[test]
fn what_is_safe_is_mended_and_then_not_found() {
    let source = "## Verify\n\n1. Deploy\n   ```sh\n   helm install shop ./chart -n shop\n   ```\n2. Check\n   ```sh\n   \
                  curl https://shop.example/health && psql -d shop_restored -f dump.sql\n   ```\n";
    let (mended, count) = apply(source, &look(source));
    assert_eq!(count, 3);
    assert!(mended.contains("   helm upgrade --install shop ./chart -n shop\n"), "{mended}");
    assert!(
        mended.contains(
            "   curl -f https://shop.example/health && psql -v ON_ERROR_STOP=1 -d shop_restored -f"
        ),
        "{mended}"
    );
    assert!(look(&mended).iter().all(|finding| finding.fix.is_none()), "{}", list(&look(&mended)));
}

#[test]
fn l3_a_suppression_needs_a_reason_and_something_to_suppress() {
    let with = |comment: &str| codes(&format!("## Failure\n\n{comment}\n1. Fail over (if available)\n"));
    assert_eq!(with(""), ["LB0506"]);
    assert_eq!(with("<!-- lifeboat-lint-ignore LB0506: bought in March -->"), [] as [&str; 0]);
    assert_eq!(with("<!-- lifeboat-lint-ignore step-that-depends: bought in March -->"), [] as [&str; 0]);
    assert_eq!(with("<!-- lifeboat-lint-ignore LB0506 -->"), ["LB0701", "LB0506"]);
    assert_eq!(with("<!-- lifeboat-lint-ignore: why -->"), ["LB0701", "LB0506"]);
    assert_eq!(with("<!-- lifeboat-lint-ignore LB0999: why -->"), ["LB0702", "LB0506"]);
    assert_eq!(with("<!-- lifeboat-lint-ignore LB0301: why -->"), ["LB0702", "LB0506"]);
    let for_file = "text\n\n## Failure\n\n1. Fail over (if available)\n\n<!-- lifeboat-lint-ignore-file LB0506: why -->\n";
    assert_eq!(codes(for_file), [] as [&str; 0]);
    let beside = "## Failure\n\n1. Fail over (if available) <!-- lifeboat-lint-ignore LB0506: why -->\n2. Go on (if possible)\n";
    assert_eq!(codes(beside), ["LB0506"]);
    let fence = "## Check\n\n```sh\n# lifeboat-lint-ignore LB0306: behind a proxy\ncurl https://a.example/health\n```\n";
    assert_eq!(codes(fence), [] as [&str; 0]);
}

#[test]
fn l2_findings_are_few_however_much_is_wrong() {
    let source = format!("## Failure\n\n{}", "1. Fail over (if available)\n\n".repeat(2_000));
    assert_eq!(look(&source).len(), MAX_FINDINGS);
}

#[test]
fn a_plan_is_looked_at_too() {
    let plan = "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {name: shop, reviewed: 2025-01-01, reviewEvery: 90d}\n\
                objectives: {rto: 1h, rpo: 1h}\nvault:\n  copies: [file:///vault]\nservices:\n  - name: orders\n    postgres:\n      \
                connection: host=db user=lifeboat\n      base:\n        schedule: '0 3 * * *'\n        timeZone: UTC\n      \
                stream: {enabled: false}\nscenarios:\n  - name: fire\n    objectives: {rto: 2h}\n";
    let findings = plan_findings(plan);
    assert_eq!(
        list(&findings),
        "   3 LB0601 the review was due on 2025-04-01\n   6 LB0414 the vault has one copy\n   9 LB0502 orders has no checks: a recovered database is asked nothing\n  12 LB0201 orders has copies up to 1 day apart and no stream, and no more than 1h may be lost\n  16 LB0515 the scenario fire has no runbook\n  17 LB0204 this scenario may take 2h (RTO), and the plan allows 1h\n"
    );
    assert_eq!(
        plan_findings("apiVersion: lifeboat/v1\nkind: Nothing\n").first().map(|finding| finding.code),
        Some("LB0700")
    );
}

#[test]
fn f1_a_plan_s_runbooks_are_read_as_a_document_s() {
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runbooks.yaml"));
    insta::assert_snapshot!("runbooks", list(&plan_findings(&source.unwrap())));
}

#[test]
fn steps_side_by_side_take_as_long_as_the_longest() {
    let plan = |needs: &str| {
        format!(
            "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {{name: shop, reviewed: 2026-11-01, reviewEvery: 90d}}\n\
             objectives: {{rto: 1h}}\nservices: [{{name: shop}}]\nscenarios: [{{name: fire, runbook: rebuild}}]\nrunbooks:\n  rebuild:\n    steps:\n      \
             - {{id: cluster, manual: Rebuild the cluster, duration: 40m}}\n      \
             - {{id: data, manual: Bring the data, duration: 50m{needs}}}\n      \
             - {{manual: Verify it, duration: 5m, needs: [cluster, data]}}\n"
        )
    };
    let told = |needs| list(&plan_findings(&plan(needs)));
    assert!(told("").contains("   8 LB0209 its steps take 95 minutes"), "{}", told(""));
    assert!(!told(", needs: []").contains("LB0209"), "{}", told(", needs: []"));
}

fn plan_findings(source: &str) -> Vec<Finding> {
    plan(source, &Options { today: TODAY, files: None })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_has_an_answer(parts in prop::collection::vec("# |## Region failover|- \\*\\*RTO\\*\\*: |[0-9]{1,3} (h|min|天)|\n\n|\n|```sh\n|```\n|kubectl |--all |'|\"|\\$\\(|\\)|`|<x>|\\| a \\| b \\|\n\\|---\\|---\\|\n|psql -f |数据|\\[x\\]|<!-- lifeboat-lint-ignore LB0501: x -->|.{0,5}", 0..60)) {
        let source = parts.concat();
        for finding in look(&source) {
            prop_assert!(finding.line as usize <= source.lines().count().max(1) + 1, "{finding:?}");
            _ = render(&finding, "x", &source);
        }
        _ = apply(&source, &look(&source));
    }
}
