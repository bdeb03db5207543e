//! `plan import` and `plan show` as people and machines call them.

use crate::snapshot;
use crate::world::World;

const DOCUMENT: &str = "# Shop DR Plan\n\nOwner: Ada\n\n## Objectives\n\n- **RTO**: 4 hours\n\n## Runbook 1: Restart\n\n```sh\n# Look\n\
    curl -f https://shop.example/health\nsystemctl restart <unit>\n```\n\n## Weather\n\nIt rains.\n";

#[test]
fn a_document_becomes_a_plan_that_loads_shows_and_follows_it() {
    let world = World::new();
    let path = world.path("DR.md");
    std::fs::write(&path, DOCUMENT).unwrap();
    let printed = world.run(&["plan", "import", "DR.md"]).expect(0);
    assert!(
        printed.stderr.contains("DR.md:19: `Weather` says what no part of a plan is known for"),
        "{}",
        printed.stderr
    );
    assert!(printed.stderr.contains("2 of 2 commands"), "{}", printed.stderr);
    world.run(&["plan", "import", "DR.md", "-o", "plan.yaml"]).expect(0);
    let plan = std::fs::read_to_string(world.path("plan.yaml")).unwrap();
    assert_eq!(plan, printed.stdout);
    world.run(&["plan", "check", "plan.yaml"]).expect(0);
    let shown = world.run(&["plan", "show", "plan.yaml"]).expect(0).stdout;
    for text in ["Shop DR Plan", "owner Ada", "$ systemctl restart {{ unit }}", "bind unit: text", "[check]"]
    {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
    let report = world.run(&["plan", "import", "DR.md", "--report"]).expect(0).stdout;
    assert!(report.contains("Runbook 1: Restart"), "{report}");

    std::fs::write(world.path("other.yaml"), plan.replace("rto: 4h", "rto: 2h")).unwrap();
    let differs = world.run(&["plan", "diff", "plan.yaml", "other.yaml"]).expect(1).stdout;
    assert_eq!(differs, "~ RTO of objectives: 4h → 2h (shorter)\n");
    world.run(&["plan", "diff", "plan.yaml", "plan.yaml"]).expect(0);

    // People and the document change different things, then the same.
    std::fs::write(world.path("plan.yaml"), plan.replace("owner: Ada}", "owner: Grace}    # since May"))
        .unwrap();
    std::fs::write(&path, DOCUMENT.replace("4 hours", "3 hours")).unwrap();
    let again = world.run(&["plan", "import", "DR.md", "-o", "plan.yaml"]).expect(0);
    assert!(again.stderr.contains("follows the document: objectives.rto (line 7)"), "{}", again.stderr);
    std::fs::write(&path, DOCUMENT.replace("Ada", "Linus")).unwrap();
    let again = world.run(&["plan", "import", "DR.md", "-o", "plan.yaml"]).expect(1);
    assert!(again.stderr.contains("left as people have it: metadata.owner"), "{}", again.stderr);
    let plan = std::fs::read_to_string(world.path("plan.yaml")).unwrap();
    assert!(plan.contains("owner: Grace}    # since May") && plan.contains("rto: 4h"), "{plan}");
}

#[test]
fn what_cannot_be_imported_says_why_and_what_to_do_and_leaves_everything() {
    let world = World::new();
    std::fs::write(world.path("DR.md"), DOCUMENT).unwrap();
    let strict = world.run(&["plan", "import", "DR.md", "-o", "plan.yaml", "--strict"]).expect(1);
    assert!(strict.stderr.contains("nothing was written"), "{}", strict.stderr);
    assert!(!world.path("plan.yaml").exists());
    std::fs::write(world.path("plan.yaml"), "apiVersion: lifeboat/v1\n").unwrap();
    let broken = world.run(&["plan", "import", "DR.md", "-o", "plan.yaml"]).expect(2);
    assert!(broken.stderr.contains("next: `lifeboat plan check plan.yaml`"), "{}", broken.stderr);
    let own =
        "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {name: shop}\nservices: [{name: shop}]\n";
    std::fs::write(world.path("plan.yaml"), own).unwrap();
    let other = world.run(&["plan", "import", "DR.md", "-o", "plan.yaml"]).expect(2);
    assert!(
        other.stderr.contains("it has no `origin`") && other.stderr.contains("next: "),
        "{}",
        other.stderr
    );
    assert_eq!(std::fs::read_to_string(world.path("plan.yaml")).unwrap(), own);
    let mut json: serde_json::Value = world.run(&["plan", "import", "DR.md", "--json"]).expect(0).json();
    assert_eq!(json["plan"]["objectives"]["rto"], "4h");
    // Its shape is its schema's.
    json["plan"] = serde_json::Value::Null;
    snapshot!("plan_import", json);
}
