//! The pages of a plan, and that nothing of a plan is left out of them.

use super::*;
use crate::schema::SCHEMA;
use fields::{KEY, METADATA, PARTS, Record, Shape};
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// The way to each value that the schema knows: lists and keyed mappings count as what they hold.
fn schema_ways(schema: &Json, way: &str, ways: &mut BTreeSet<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
        return schema_ways(SCHEMA.pointer(&reference[1..]).unwrap(), way, ways);
    }
    for form in schema.get("anyOf").and_then(Json::as_array).into_iter().flatten() {
        schema_ways(form, way, ways);
    }
    if let Some(items) = schema.get("items") {
        return schema_ways(items, way, ways);
    }
    if let Some(properties) = schema.get("properties").and_then(Json::as_object) {
        for (key, of) in properties {
            let way = if way.is_empty() { key.clone() } else { format!("{way}.{key}") };
            schema_ways(of, &way, ways);
        }
    } else if let Some(of) = schema.get("additionalProperties").filter(|of| of.is_object()) {
        schema_ways(of, way, ways);
    } else {
        ways.insert(way.to_owned());
    }
}

/// The ways that have a place on the page.
fn page_ways(record: &Record, way: &str, ways: &mut BTreeSet<String>) {
    let join = |key: &str| if way.is_empty() { key.to_owned() } else { format!("{way}.{key}") };
    ways.extend([record.title, record.label].into_iter().flatten().filter(|key| *key != KEY).map(join));
    for field in record.fields {
        shape_ways(field.shape, &join(field.key), ways);
    }
}

fn shape_ways(shape: Shape, way: &str, ways: &mut BTreeSet<String>) {
    match shape {
        Shape::Items(record) | Shape::Keyed(record) | Shape::Part(record) => page_ways(record, way, ways),
        _ => _ = ways.insert(way.to_owned()),
    }
}

#[test]
fn f1_every_key_of_the_schema_has_its_place_on_the_page() {
    let (mut known, mut placed) = (BTreeSet::new(), BTreeSet::new());
    schema_ways(&SCHEMA, "", &mut known);
    page_ways(&METADATA, "metadata", &mut placed);
    for part in PARTS {
        shape_ways(part.shape, part.key, &mut placed);
    }
    let elsewhere = |way: &&String| {
        // The table of objectives, what every plan says, and where a plan came from.
        way.contains("objectives.")
            || ["tiers.", "origin."].iter().any(|part| way.starts_with(part))
            || ["apiVersion", "kind"].contains(&way.as_str())
            // A step's commands and a copy's address as mere text, which stand under `run` and `url`.
            || ["shell", "check", "probe"].iter().any(|key| **way == format!("runbooks.steps.{key}"))
            || *way == "vault.copies"
    };
    let missing: Vec<&String> = known.difference(&placed).filter(|way| !elsewhere(way)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let unknown: Vec<&String> =
        placed.difference(&known).filter(|way| *way != "runbooks.steps.action").collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

#[test]
fn d3_the_pages_of_a_plan() {
    let plan = crate::load(crate::tests::VALID).unwrap().plan;
    assert_eq!(markdown(&plan), markdown(&plan));
    insta::assert_snapshot!("markdown", markdown(&plan));
}

#[test]
fn d3_the_page_for_browsers() {
    let mut page = html(&crate::load(crate::tests::VALID).unwrap().plan);
    // How it looks is in a file of its own.
    let (from, to) = (page.find("<style>").unwrap(), page.find("</style>").unwrap());
    page.replace_range(from..to, "");
    insta::assert_snapshot!("html", page);
}

/// All texts of a plan.
fn texts_of(value: &Json, texts: &mut Vec<String>) {
    match value {
        Json::String(text) => texts.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| texts_of(item, texts)),
        Json::Object(map) => map.iter().for_each(|(key, value)| {
            if key != "origin" {
                texts_of(value, texts);
            }
        }),
        _ => {}
    }
}

/// What a browser shows of a page, and each element that is in it with its attributes.
fn shown(page: &str) -> (String, Vec<String>) {
    let (mut text, mut elements) = (String::new(), Vec::new());
    let from = page.find("</style>").unwrap();
    for piece in page[from..].split('<').skip(1) {
        let (element, rest) = piece.split_once('>').unwrap();
        elements.push(element.to_owned());
        text.push_str(rest);
    }
    for (entity, c) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")] {
        text = text.replace(entity, c);
    }
    (text, elements)
}

#[test]
fn d1_d4_all_that_a_plan_says_is_in_the_html_and_nothing_of_it_is_markup() {
    // Every text of the plan tries to get out of wherever it stands.
    const EVIL: &str =
        "\"'></style></title></script><script>x</script><img src=x onerror=y>]]>-->& javascript:z";
    let plan = crate::load(crate::tests::VALID).unwrap().plan;
    let mut hostile = plan.clone();
    fn spoil(value: &mut Json, key: &str) {
        match value {
            Json::String(text) => {
                let free = [
                    "title",
                    "description",
                    "owner",
                    "text",
                    "manual",
                    "run",
                    "person",
                    "url",
                    "email",
                    "phone",
                    "question",
                ];
                if free.contains(&key) && !text.starts_with("s3:") && !text.starts_with("file:") {
                    text.push_str(EVIL);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| spoil(item, key)),
            Json::Object(map) => map.iter_mut().for_each(|(key, value)| spoil(value, key)),
            _ => {}
        }
    }
    let mut tree = crate::tree::of(&hostile);
    spoil(&mut tree, "");
    hostile = serde_json::from_value(tree).unwrap();
    let (_, elements) = shown(&html(&plan));
    let names = |elements: &[String]| -> BTreeSet<String> {
        elements
            .iter()
            .map(|element| element.split([' ', '/']).next().unwrap_or_default().to_owned())
            .collect()
    };
    let (text, evil) = shown(&html(&hostile));
    assert_eq!(names(&evil), names(&elements));
    assert!(text.matches("<script>x</script>").count() > 10);
    // Nothing is fetched from anywhere, and nothing runs.
    for element in elements.iter().chain(&evil) {
        let name = element.split(' ').next().unwrap_or_default();
        assert!(
            !["script", "img", "link", "iframe", "object", "embed", "base", "form"].contains(&name),
            "{element}"
        );
        assert!(
            ![" src=", " on", "javascript:", "@import"].iter().any(|odd| element.contains(odd)),
            "{element}"
        );
    }
    for plan in [&plan, &hostile] {
        let (text, _) = shown(&html(plan));
        let mut texts = Vec::new();
        texts_of(&crate::tree::of(plan), &mut texts);
        let silent = ["lifeboat/v1", "RecoveryPlan"];
        let kinds = ["environment"];
        for said in texts.iter().filter(|said| !silent.contains(&said.as_str())) {
            let folded = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                folded(&text).contains(&folded(said)) || kinds.contains(&said.as_str()),
                "{said}\n{text}"
            );
        }
    }
}
