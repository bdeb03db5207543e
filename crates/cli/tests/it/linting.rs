//! `plan lint` as people and machines call it.

use crate::snapshot;
use crate::world::World;
use serde_json::Value;

const DOCUMENT: &str = "# Recovery\n\n## Verify\n\n```sh\ncurl https://shop.example/health\n```\n\n1. Fail over (if available)\n";
const TODAY: [&str; 2] = ["--today", "2026-11-21"];

fn lint<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["plan", "lint"], arguments, &TODAY].concat()
}

#[test]
fn findings_are_shown_counted_and_decide_the_exit() {
    let world = World::new();
    std::fs::write(world.path("plan.md"), DOCUMENT).unwrap();
    std::fs::write(world.path("well.md"), "# Recovery\n\nAll is well.\n").unwrap();
    let ran = world.run(&lint(&["plan.md"])).expect(1);
    assert!(
        ran.stdout.contains("warning[LB0306]") && ran.stdout.contains("--> plan.md:6:1"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("1 document: 2 warnings"), "{}", ran.stdout);
    world.run(&lint(&["plan.md", "--level", "error"])).expect(0);
    assert!(world.run(&lint(&["well.md"])).expect(0).stdout.contains("nothing found"));
    assert!(world.run(&lint(&["well.md", "none.md"])).expect(2).stderr.contains("none.md cannot be read"));
    std::fs::write(world.path("bytes.md"), b"# x\n\xff\n").unwrap();
    assert!(world.run(&lint(&["bytes.md"])).expect(2).stderr.contains("not UTF-8, first in line 2"));
    snapshot!("plan_lint", world.run(&lint(&["plan.md", "well.md", "--json"])).expect(1).json());
}

#[test]
fn other_formats_say_the_same() {
    let world = World::new();
    std::fs::write(world.path("plan.md"), DOCUMENT).unwrap();
    let sarif: Value = world.run(&lint(&["plan.md", "--format", "sarif"])).expect(1).json();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let rules: Vec<&Value> = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["id"])
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| rules.contains(&&result["ruleId"])), "{sarif}");
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"]["startLine"], 6);
    let github = world.run(&lint(&["plan.md", "--format", "github"])).expect(1).stdout;
    assert!(
        github.starts_with(
            "::warning file=plan.md,line=6,col=1,endColumn=5,title=LB0306 check-that-cannot-fail::this check"
        ),
        "{github}"
    );
    assert_eq!(github.lines().count(), 2, "{github}");
    let json: Value = world.run(&lint(&["plan.md", "--format", "json"])).expect(1).json();
    assert_eq!(json["kind"], "plan.lint");
}

#[test]
fn what_can_be_mended_is_and_a_rule_is_explained() {
    let world = World::new();
    std::fs::write(world.path("plan.md"), DOCUMENT).unwrap();
    let ran = world.run(&lint(&["plan.md", "--fix"])).expect(1);
    assert!(ran.stdout.contains("1 warning; 1 mended"), "{}", ran.stdout);
    assert!(
        std::fs::read_to_string(world.path("plan.md"))
            .unwrap()
            .contains("curl -f https://shop.example/health")
    );
    assert!(world.run(&["plan", "lint", "--explain", "lb0306"]).expect(0).stdout.starts_with("# LB0306"));
    assert!(
        world
            .run(&["plan", "lint", "--explain", "LB0360"])
            .expect(2)
            .stderr
            .contains("there is no rule LB0360")
    );
}

#[test]
fn inside_a_repository_files_are_looked_for() {
    let world = World::new();
    let text = "## Restore\n\n```sh\n./scripts/restore.sh\n./there.sh\n```\n";
    std::fs::write(world.path("plan.md"), text).unwrap();
    std::fs::write(world.path("there.sh"), "").unwrap();
    std::fs::create_dir(world.path(".git")).unwrap();
    let ran = world.run(&lint(&["plan.md"])).expect(1);
    assert!(
        ran.stdout.contains("error[LB0511]: `./scripts/restore.sh` is not in this repository"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("there.sh`"), "{}", ran.stdout);
}
