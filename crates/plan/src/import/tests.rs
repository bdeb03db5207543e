//! What becomes of documents: of our own in several styles, whole; of the real ones, where they are at hand, in counts.

use super::*;
use crate::Severity;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const FIXTURES: [&str; 10] = [
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
];
const FIVE: [&str; 5] = ["fruitfulplanet", "lpg-distributor", "luckygas", "optimal-build", "stocker-pro"];

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.md"));
    std::fs::read_to_string(path).unwrap()
}

/// The real documents, where they lie beside the repository.
fn the_five() -> Vec<(&'static str, String)> {
    let beside = |at: &Path| Some(at.join("shared/systems")).filter(|systems| systems.is_dir());
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    let Some(systems) = root.ancestors().find_map(beside) else { return Vec::new() };
    FIVE.map(|name| (name, std::fs::read_to_string(systems.join(format!("{name}.md"))).unwrap())).into()
}

/// All documents: our own, and the real ones.
pub(super) fn documents() -> Vec<(&'static str, String)> {
    the_five().into_iter().chain(FIXTURES.map(|name| (name, fixture(name)))).collect()
}

/// The plan that a document becomes, which must load again as it is (I3).
#[track_caller]
fn import(name: &str, source: &str) -> (Imported, String) {
    let imported = markdown(source, &format!("{name}.md"));
    let written = crate::write(&imported.plan);
    match crate::load(&written) {
        Ok(loaded) => {
            assert_eq!(loaded.plan, imported.plan, "{written}");
            let odd = loaded.warnings.iter().filter(|finding| finding.code != crate::Code::NotYet);
            let odd: Vec<String> = odd.map(|finding| crate::render(finding, name, &written)).collect();
            assert!(odd.is_empty(), "{}", odd.join("\n"));
        }
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            let shown: Vec<String> = errors.map(|finding| crate::render(finding, name, &written)).collect();
            panic!("{}\n{written}", shown.join("\n"));
        }
    }
    (imported, written)
}

/// What was imported without where it came from, and what was missed.
fn told(imported: &Imported, written: &str) -> String {
    let mut out = written.split("\norigin:").next().unwrap_or_default().to_owned();
    for missed in &imported.missed {
        _ = write!(out, "\n# line {}: {}", missed.line, missed.reason);
    }
    out
}

#[test]
fn documents_in_other_styles_and_languages() {
    for name in FIXTURES {
        let (imported, written) = import(name, &fixture(name));
        insta::assert_snapshot!(name, told(&imported, &written));
    }
}

#[test]
fn origins_name_the_lines() {
    let (imported, _) = import("weak", &fixture("weak"));
    let origin = imported.plan.origin.unwrap();
    assert_eq!((origin.document.as_str(), origin.sha256.len()), ("weak.md", 64));
    let line = |way: &str| origin.fields.get(way).map(|of| of.line);
    assert_eq!(line("tiers[critical].objectives.rto"), Some(7));
    assert_eq!(line("services[database].backups[database-backups].keep"), Some(13));
    assert_eq!(line("runbooks.region-outage.steps"), Some(21));
    assert_eq!(line("people.escalation[level-2].who"), Some(42));
}

/// The commands of all runbooks.
fn commands(plan: &Plan) -> String {
    let steps = plan.runbooks.values().flat_map(|runbook| &runbook.steps);
    let texts = steps.filter_map(|step| match &step.does {
        crate::Does::Shell(shell) => Some(shell.run.as_str()),
        crate::Does::Check(check) => Some(check.run.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn i1_i2_every_command_is_in_a_runbook_and_every_line_is_kept_or_told() {
    for (name, source) in documents() {
        let (imported, _) = import(name, &source);
        let all = commands(&imported.plan);
        let document = Document::read(&source);
        let facts = Facts::of(&document);
        let fences = facts.snippets.iter().filter(|snippet| !snippet.inline);
        for line in fences.flat_map(|snippet| &snippet.code.lines) {
            let text = line.text.trim();
            // What stands for something else has been given a name.
            let exact = |word: &&str| !["<", ">", "YYYY", "XXXX", "20"].iter().any(|odd| word.contains(odd));
            for word in text.split_whitespace().filter(exact).filter(|_| !text.starts_with('#')) {
                assert!(all.contains(word), "{name}:{}: `{word}` is in no runbook", line.line);
            }
        }
        for of in &imported.coverage {
            let told = imported.missed.iter().any(|missed| missed.line >= of.line);
            assert!(of.lines == of.captured + of.noted || told, "{name}: {of:?}");
            assert_eq!(of.commands, of.commands_captured, "{name}: {of:?}");
        }
    }
}

/// The real documents are not in this repository; of what is found in them the lines are held, and how many there are.
#[test]
fn the_five_are_found_whole() {
    let mut found = String::new();
    for (name, source) in the_five() {
        let (imported, _) = import(name, &source);
        let plan = &imported.plan;
        let origin = plan.origin.as_ref().unwrap();
        let mut lines = |what: &str, of: &dyn Fn(&str) -> bool| {
            let mut all: Vec<u32> =
                origin.fields.iter().filter(|(way, _)| of(way)).map(|(_, of)| of.line).collect();
            all.sort_unstable();
            let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
            _ = writeln!(found, "{name} {what} ({}): {}", all.len(), shown.join(" "));
        };
        let ends =
            |way: &str, keys: &[&str]| keys.iter().any(|key| way.ends_with(&format!("objectives.{key}")));
        lines("objectives", &|way| ends(way, &["rto", "rpo", "mtd", "mttr"]));
        let backup = |way: &str, keys: &[&str]| {
            way.contains(".backups[") && keys.iter().any(|key| way.ends_with(&format!("].{key}")))
        };
        lines("schedules", &|way| backup(way, &["schedule", "every"]));
        lines("retentions", &|way| backup(way, &["keep"]));
        lines("locations", &|way| backup(way, &["location"]));
        lines("encryptions", &|way| backup(way, &["encryption"]));
        let named = |way: &str, list: &str| way.starts_with(list) && way.ends_with("].name");
        lines("scenarios", &|way| named(way, "scenarios["));
        lines("runbooks", &|way| way.starts_with("runbooks.") && way.ends_with(".steps"));
        lines("variables", &|way| way.contains(".variables."));
        lines("roles", &|way| named(way, "people.roles["));
        lines("contacts", &|way| named(way, "people.contacts["));
        lines("escalation", &|way| named(way, "people.escalation["));
        lines("channels", &|way| named(way, "communication.channels["));
        lines("updates", &|way| named(way, "communication.updates["));
        lines("templates", &|way| named(way, "communication.templates["));
        lines("checklists", &|way| named(way, "checklists["));
        lines("drills", &|way| named(way, "calendar.drills["));
        lines("reviews", &|way| named(way, "calendar.reviews["));
        lines("duties", &|way| named(way, "duties."));
        let steps: usize = plan.runbooks.values().map(|runbook| runbook.steps.len()).sum();
        let missed: Vec<String> = imported.missed.iter().map(|missed| missed.line.to_string()).collect();
        _ = writeln!(found, "{name} steps: {steps}; told of at lines {}", missed.join(" "));
    }
    if !found.is_empty() {
        insta::assert_snapshot!(found);
    }
}

/// What becomes of one runbook.
#[track_caller]
fn steps(body: &str) -> String {
    let (imported, written) = import("x", &format!("# X\n\n## Recovery Procedures\n\n### One\n\n{body}"));
    assert_eq!(imported.plan.runbooks.len(), 1, "{written}");
    let from = written.find("runbooks:").unwrap();
    written[from..].split("\norigin:").next().unwrap_or_default().to_owned()
}

#[test]
fn what_shares_a_shell_stays_one_step_and_what_does_not_is_parted() {
    insta::assert_snapshot!(
        "shell_state",
        steps(
            "```sh\ncd terraform\nterraform apply\n```\n\n```sh\nPOD=$(kubectl get pod -o name)\nkubectl logs $POD\nkubectl get \
             nodes\n```\n\n```sh\nID=$(aws rds create-db-snapshot --query x)\n```\n\n```sh\naws rds wait x --id $ID\nkubectl \
             port-forward svc/db 5432:5432 &\npsql -h localhost -c 'select 1'\n```\n\n```sh\nfor x in a b; do\n  echo $x\ndone\ncat \
             <<EOF > f\na\n\n# b\nEOF\nexport PGHOST=db\npsql -c 'drop table x' <dump\n```\n"
        )
    );
}

#[test]
fn a_branch_is_a_choice_for_a_person() {
    insta::assert_snapshot!(
        "choices",
        steps(
            "1. Is the instance down? If the instance is down, go to step 3\n2. Restart it (if needed):\n   ```sh\n   systemctl \
             restart db\n   ```\n3. If the disk is full: make room\n4. Look\n"
        )
    );
}

#[test]
fn placeholders_are_variables_with_a_type() {
    insta::assert_snapshot!(
        "variables",
        steps(
            "```sh\nrestore <backup-id> --password=<db_password> --count <number of nodes>\nrestore --to YYYY-MM-DD --at \
             YYYYMMDD-HHMMSS.gz\naws rds x --restore-time 2025-01-01T00:00:00Z --hosted-zone-id ZXXXXXXXX\npsql -h $DB_HOST -c \
             \"select '$HOME'\" \"${WHEN:?say when}\"\ngo template '{{ .Name }}' {{ env }}\n```\n"
        )
    );
}

#[test]
fn what_is_no_duration_is_kept_in_words_and_said_to_be_so() {
    let source = "# X\n\n## Objectives\n\n| Tier | RTO | RPO |\n|---|---|---|\n| Gold | 30-60 min | checkpoint-defined |\n| Silver | ≤ 5 \
                  minutes | best effort |\n\n- RTO: depends on the vendor\n";
    let (imported, written) = import("x", source);
    insta::assert_snapshot!("worded", told(&imported, &written));
}

/// Each row's objectives are its own: none takes the place of another's or of the plan's.
#[test]
fn tiers_without_a_latin_letter_are_numbered() {
    let source = "# 恢复计划\n\n## 恢复目标\n\n| 级别 | RTO | RPO |\n|---|---|---|\n| 关键业务 | 1 小时 | 5 分钟 |\n| 一般业务 | 24 小时 | 4 小时 \
                  |\n\n## Objectives\n\n| Tier | RTO |\n|---|---|\n| 1 | 2 h |\n| 2 | 8 h |\n\n- RTO: 4 hours\n";
    let (imported, written) = import("x", source);
    insta::assert_snapshot!("numbered_tiers", told(&imported, &written));
}

#[test]
fn a_scenario_needs_no_number() {
    let source = "# X\n\n## Scenario: the database is lost\n\n```sh\npsql -c 'select 1'\n```\n\n## Scenarios\n\n### A region is \
                  lost\n\n```sh\nkubectl get nodes\n```\n";
    let (imported, written) = import("x", source);
    insta::assert_snapshot!("a_scenario", told(&imported, &written));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn i3_any_text_becomes_a_plan(parts in prop::collection::vec("# |## Disaster Scenarios\n|### |## Backups\n|## Escalation\n|## Contacts\n|## Testing\n|## Communication\n|## Recovery Procedures\n|## Objectives\n|## Checklist\n|- \\*\\*[a-zA-Z ]{1,9}\\*\\*: |[0-9]{1,3}[-+]?[0-9]{0,2} (h|min|days|天)|\n\n|\n|```sh\n|```yaml\n|```\n|```\n|kubectl get |cd x\n|X=\\$\\(y\\)|'|\"|\\$\\(|\\)|`|<x>|\\| Role \\| b \\|\n\\|---\\|---\\|\n\\| a \\| [b(] \\|\n|psql -f |数据|1. |   |go to step 1|if |\\[x\\]|Level 1 \\(|every |daily|YYYY-MM|XXXXX|\\{\\{ a \\}\\}|.{0,5}", 0..60)) {
        let source = parts.concat();
        let (imported, written) = import("x", &source);
        for of in &imported.coverage {
            prop_assert_eq!(of.commands, of.commands_captured, "{}\n{}", written, source);
        }
    }
}
