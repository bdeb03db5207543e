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
            || ["runbooks.steps.shell", "runbooks.steps.check", "vault.copies"].contains(&way.as_str())
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
