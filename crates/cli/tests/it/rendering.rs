//! `plan render`: the page, where it goes, and what it replaces.

use crate::snapshot;
use crate::world::World;

const PLAN: &str = "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {name: shop, owner: Ada}\nobjectives: {rto: 4h}\nservices: [{name: \
    db}, {name: shop, needs: [db]}]\nrunbooks:\n  restart:\n    steps: [{name: Restart, duration: 5m, shell: systemctl restart shop}]\n";

#[test]
fn a_rendered_plan_is_imported_as_the_same_plan() {
    let world = World::new();
    std::fs::write(world.path("plan.yaml"), PLAN).unwrap();
    let printed = world.run(&["plan", "render", "plan.yaml"]).expect(0).stdout;
    assert!(printed.contains("```sh\nsystemctl restart shop\n```"), "{printed}");
    world.run(&["plan", "render", "plan.yaml", "-o", "PLAN.md"]).expect(0);
    assert_eq!(std::fs::read_to_string(world.path("PLAN.md")).unwrap(), printed);
    world.run(&["plan", "import", "PLAN.md", "--strict", "-o", "again.yaml"]).expect(0);
    world.run(&["plan", "diff", "plan.yaml", "again.yaml"]).expect(0);
    let page = world.run(&["plan", "render", "plan.yaml", "--format", "html"]).expect(0).stdout;
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("<code>systemctl restart shop</code>"),
        "{page}"
    );
    let mut json = world.run(&["plan", "render", "plan.yaml", "--json"]).expect(0).json();
    assert_eq!(json["text"], printed);
    json["text"] = serde_json::Value::Null;
    json["bytes"] = 0.into();
    snapshot!("plan_render", json);
}

#[test]
fn w2_a_page_replaces_a_page_and_nothing_else_unless_told() {
    let world = World::new();
    std::fs::write(world.path("plan.yaml"), PLAN).unwrap();
    std::fs::write(world.path("DR.md"), "# Ours\n").unwrap();
    let refused = world.run(&["plan", "render", "plan.yaml", "-o", "DR.md"]).expect(2);
    assert!(
        refused.stderr.contains("was not rendered from a plan; it was left as it is"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(world.path("DR.md")).unwrap(), "# Ours\n");
    world.run(&["plan", "render", "plan.yaml", "-o", "DR.md", "--force"]).expect(0);
    // A page that was rendered is replaced without a word.
    std::fs::write(world.path("plan.yaml"), PLAN.replace("4h", "2h")).unwrap();
    world.run(&["plan", "render", "plan.yaml", "-o", "DR.md"]).expect(0);
    assert!(std::fs::read_to_string(world.path("DR.md")).unwrap().contains("| Everything | | 2h |"));
    for _ in 0..2 {
        world.run(&["plan", "render", "plan.yaml", "--format", "html", "-o", "plan.html"]).expect(0);
    }
    // Nowhere to put it: said with the way out, by both commands that write a file.
    for command in ["render", "import"] {
        let source = if command == "render" { "plan.yaml" } else { "DR.md" };
        let nowhere = world.run(&["plan", command, source, "-o", "nowhere/x"]).expect(2);
        assert!(nowhere.stderr.contains("next: make the directory nowhere"), "{}", nowhere.stderr);
    }
}
