//! Plans rendered and read back: any plan that the schema knows, those of documents, and what a person changed.

use super::*;
use crate::import::markdown;
use crate::model::Plan;
use crate::rendering;
use crate::schema::SCHEMA;
use proptest::prelude::*;
use serde_json::{Map, Value as Json};

fn without_origin(mut plan: Plan) -> Plan {
    plan.origin = None;
    plan
}

/// A plan rendered and read again, which must be the same; and its Markdown.
#[track_caller]
pub(in crate::import) fn round(plan: &Plan) -> String {
    let page = rendering::markdown(plan);
    let imported = markdown(&page, "plan.md");
    assert_eq!(imported.missed, [], "{page}");
    let (read, plan) = (without_origin(imported.plan), without_origin(plan.clone()));
    if read != plan {
        let said = crate::diff(&plan, &read);
        panic!("{said:#?}\n{}\n--- read:\n{}\n{page}", crate::write(&plan), crate::write(&read));
    }
    for of in &imported.coverage {
        assert_eq!((of.lines, of.commands), (of.captured, of.commands_captured), "{of:?}\n{page}");
    }
    page
}

/// Texts with whatever might be taken for something else.
fn odd_text() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "Bc",
        " ",
        " ",
        "\n",
        "\n",
        "|",
        "`",
        "``",
        "```",
        "\\",
        "<br>",
        "<!-- ",
        "-->",
        "**x:**",
        "- ",
        "1. ",
        "# ",
        "> ",
        "~~~",
        "• ",
        "\t",
        "\u{a0}",
        "數據",
        "{{ a }}",
        "<<EOF\n$X\nEOF\n",
        "\u{202e}",
        "\r",
        "\r\n",
        "“",
        "”",
        "\"",
        "(`x`)",
        "*",
        "_",
        "[x]",
        "[ ] ",
        "](y)",
        "&amp;",
        "$X",
        "$Y",
        "~5",
        "<script>",
        "</sub>",
        "<sub>",
        "---",
        "```mermaid\n",
        ":",
        ",",
        "4h",
        "\u{0}",
        "é",
        "🙂",
        "'",
        "\n\n",
        "kubectl get pods",
        "it is down",
    ];
    let piece = prop::sample::select(pieces.to_vec());
    prop_oneof![
        3 => "[A-Za-z][a-z]{0,8}( [a-z]{1,8}){0,4}",
        3 => prop::collection::vec(piece, 1..7).prop_map(|pieces| pieces.concat()),
        1 => "[ -~\n]{1,30}",
        1 => ".{1,12}",
    ]
}

/// What the schema allows at a place.
fn any_value(schema: &'static Json) -> BoxedStrategy<Json> {
    if let Some(way) = schema.get("$ref").and_then(Json::as_str) {
        return any_value(SCHEMA.pointer(&way[1..]).unwrap());
    }
    if let Some(words) = schema.get("oneOf").and_then(Json::as_array) {
        let words: Vec<Json> = words.iter().map(|word| word["const"].clone()).collect();
        return prop::sample::select(words).boxed();
    }
    if let Some(forms) = schema.get("anyOf").and_then(Json::as_array) {
        return proptest::strategy::Union::new(forms.iter().map(any_value)).boxed();
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => any_object(schema),
        Some("array") => {
            prop::collection::vec(any_value(&schema["items"]), 1..4).prop_map(Json::from).boxed()
        }
        Some("integer") => (1..9_u32).prop_map(Json::from).boxed(),
        Some("boolean") => any::<bool>().prop_map(Json::from).boxed(),
        Some("string") => any_text(schema.get("format").and_then(Json::as_str).unwrap_or_default(), schema),
        _ => {
            prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), odd_text().prop_map(Json::from)]
                .prop_recursive(2, 6, 3, |inner| {
                    prop_oneof![
                        prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from),
                        prop::collection::btree_map("[a-z.|`]{1,4}", inner, 0..3)
                            .prop_map(|map| map.into_iter().collect::<Json>()),
                    ]
                })
                .boxed()
        }
    }
}

fn any_text(format: &str, schema: &'static Json) -> BoxedStrategy<Json> {
    let of = |texts: &[&'static str]| prop::sample::select(texts.to_vec()).prop_map(Json::from).boxed();
    match format {
        "" => odd_text().prop_map(Json::from).boxed(),
        "lifeboat-label" | "lifeboat-service" => of(&["a", "b-c", "orders-db", "d2", "e", "f", "x-y-z"]),
        "lifeboat-duration" => of(&["15m", "1h30m", "7d", "0s", "250ms", "4h", "2d"]),
        "lifeboat-path" => of(&["/srv/a", "/a b|`c", "/var/lib, x"]),
        "lifeboat-connection" => of(&["host=db user=u", "host=a,b user='x y'", "postgresql://u@h:5432/p"]),
        "date" => of(&["2026-10-01", "2025-02-28"]),
        _ => prop::sample::select(schema["examples"].as_array().unwrap().clone()).boxed(),
    }
}

fn any_object(schema: &'static Json) -> BoxedStrategy<Json> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        let keys = &schema["propertyNames"];
        let pairs =
            prop::collection::vec((any_value(keys), any_value(&schema["additionalProperties"])), 1..4);
        let map = |pairs: Vec<(Json, Json)>| {
            pairs.into_iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect::<Json>()
        };
        return pairs.prop_map(map).boxed();
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let beside = schema.get("x-lifeboat-one-beside").and_then(Json::as_array);
    let is_beside = |key: &str| beside.is_none_or(|keys| keys.iter().any(|of| of == key));
    let mut all: BoxedStrategy<Map<String, Json>> = Just(Map::new()).boxed();
    for (key, of) in properties.iter().filter(|(key, _)| is_beside(key) && *key != "origin") {
        let value = any_value(of);
        let value = match required.contains(&key.as_str()) {
            true => value.prop_map(Some).boxed(),
            false => prop::option::weighted(0.45, value).boxed(),
        };
        all = (all, value)
            .prop_map(move |(mut map, value)| {
                map.extend(value.map(|value| (key.clone(), value)));
                map
            })
            .boxed();
    }
    if beside.is_some() {
        let action =
            any_value(&Json::Bool(true)).prop_map(|value| ("postgres.recover".to_owned(), value)).boxed();
        let does = properties.iter().filter(|(key, _)| !is_beside(key));
        let does = does.map(|(key, of)| any_value(of).prop_map(move |value| (key.clone(), value)).boxed());
        let does = proptest::strategy::Union::new(does.chain([action]));
        all = (all, does)
            .prop_map(|(mut map, (key, value))| {
                map.insert(key, value);
                map
            })
            .boxed();
    }
    all.prop_map(Json::Object).boxed()
}

/// A plan of all that the schema knows; what does not fit together is taken out of it.
fn any_plan() -> impl Strategy<Value = Plan> {
    any_value(&SCHEMA).prop_filter_map("nothing is left of it", |mut json| {
        json["apiVersion"] = "lifeboat/v1".into();
        // There is a service, whatever becomes of the others.
        if let Some(services) = json["services"].as_array_mut() {
            services.push(serde_json::json!({"name": "last"}));
        }
        let mut reader =
            Reader { source: "", pieces: &[], used: Vec::new(), at: 0, nodes: 0, missed: Vec::new() };
        let root = reader.json(&json, 1);
        whole::plan(root, &mut Vec::new()).map(|(plan, _)| plan)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn i1_any_plan_is_read_as_it_was_rendered(plan in any_plan()) {
        round(&plan);
    }
}

#[test]
fn i1_plans_of_documents_are_read_as_they_were_rendered() {
    for (name, source) in crate::import::tests::documents() {
        let plan = markdown(&source, &format!("{name}.md")).plan;
        round(&plan);
    }
}

const PLAN: &str = "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {name: shop, title: The shop}\nobjectives: {rto: 4h}\nservices:\n  - {name: db}\n  \
    - {name: web, needs: [db]}\nscenarios:\n  - {name: fire, impact: [all], runbook: out}\nrunbooks:\n  out:\n    steps:\n      - {name: Look, check: curl -f \
    a}\n      - {manual: Call}\npeople:\n  roles: [{name: Lead, person: Ada}]\n";

/// What a person's change of the page is in the plan, in the words of `plan diff`; and what was not understood.
#[track_caller]
fn changed(changes: &[(&str, &str)]) -> (Vec<String>, Vec<(u32, String)>) {
    let plan = crate::load(PLAN).unwrap().plan;
    let mut page = rendering::markdown(&plan);
    for (from, to) in changes {
        assert!(page.contains(from), "{from} is not in\n{page}");
        page = page.replacen(from, to, 1);
    }
    let read = markdown(&page, "plan.md");
    assert!(crate::load(&crate::write(&read.plan)).is_ok());
    let words = crate::diff(&plan, &read.plan).into_iter().map(|difference| difference.words).collect();
    (words, read.missed.into_iter().map(|missed| (missed.line, missed.reason)).collect())
}

#[test]
fn what_a_person_changes_on_the_page_is_changed_in_the_plan() {
    let (words, missed) = changed(&[
        ("| Everything | | 4h |", "| Everything | | 2h |"),
        ("curl -f a", "curl -f b"),
        (
            "#### Step 2\n\n- **By hand:** Call",
            "#### Step\n\n- **Takes:** 5m\n- **By hand:** Wait\n\n#### Step 9: Call\n\n- **By hand:** Call",
        ),
        ("| Lead | Ada |", "| Lead   | Grace |"),
        ("  - all\n", "  - all\n  - really\n    all\n"),
        ("| Service | `db` | *4h* |", "| Service | `db` | 1h “or so” |"),
    ]);
    assert_eq!(missed, []);
    assert_eq!(
        words,
        [
            "RTO of objectives: 4h → 2h (shorter)",
            "new: RTO of objectives of service db (1h)",
            "new: words of objectives of service db",
            "new: impact of scenario fire (really all)",
            "runbook out: step 1 (Look): check curl -f a → curl -f b",
            "runbook out: new step 2 (Wait)",
            "runbook out: step 3 (Call): name nothing → Call",
            "person of role Lead: Ada → Grace",
        ]
    );
}

#[test]
fn a_page_of_a_newer_lifeboat_is_read_as_any_document_and_said_to_be() {
    let (_, missed) = changed(&[("<!-- lifeboat-plan 1:", "<!-- lifeboat-plan 2:")]);
    assert!(missed[0].1.contains("in format 2, by a newer Lifeboat"), "{missed:?}");
}

#[test]
fn i2_what_no_plan_has_is_told_with_its_line() {
    let (words, missed) = changed(&[
        ("| Everything | | 4h |", "| Everything | | soon-ish |"),
        ("- **Runbook:** `out`", "- **Runbook:** `in`\n- **Colour:** red"),
        ("## People", "## Weather\n\nIt *rains*.\n\n## People\n\n1. what?"),
    ]);
    assert_eq!(
        words,
        [
            "gone: RTO of objectives (4h)",
            "new: words of objectives",
            "gone: runbook of scenario fire (out)",
            "new: note Weather",
        ]
    );
    let reasons: Vec<&str> = missed.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "no runbook is called `in`; it was left out",
            "a scenario has no `Colour`; it was left out",
            "no part of a plan is called `Weather`; kept as a note",
            "nothing says what this list is of; it was left out",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn i3_whatever_becomes_of_a_rendered_plan_is_a_plan_that_loads(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, odd_text()), 1..6),
        full in any::<bool>(),
    ) {
        let source = if full { crate::tests::VALID } else { PLAN };
        let mut page: Vec<char> = rendering::markdown(&crate::load(source).unwrap().plan).chars().collect();
        for (at, gone, new) in cuts {
            let at = at.index(page.len() + 1);
            page.splice(at..(at + gone).min(page.len()), new.chars());
        }
        let page: String = page.into_iter().collect();
        let read = markdown(&page, "plan.md");
        let written = crate::write(&read.plan);
        prop_assert!(crate::load(&written).is_ok(), "{:?}\n{}\n{}", crate::load(&written), written, page);
    }
}
