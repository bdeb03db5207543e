//! The JSON Schema of the plan, made from its types.
//!
//! # Invariants
//! - **S1 no null.** An optional key is left out, not left empty: a key without a value is most
//!   often one whose value was forgotten.

use crate::model::Plan;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::LazyLock;

/// The JSON Schema of a plan (draft 2020-12), for editors and for people.
#[must_use]
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// The same, made once.
pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with_transform(tidy);
    let mut schema = settings.into_generator().into_root_schema_for::<Plan>();
    schema.insert("title".to_owned(), "Lifeboat recovery plan, lifeboat/v1".into());
    schema.to_value()
});

/// S1: what an `Option` would allow besides its value is taken out. Numbers get their upper bound.
fn tidy(schema: &mut Schema) {
    let is_null = |value: &Value| value.get("type").and_then(Value::as_str) == Some("null");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| !is_null(choice));
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.ensure_object().entry(key).or_insert(value);
            }
        }
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
    // Doc comments are wrapped for the source; a description is one paragraph, or several.
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("\n\n", "\0").replace('\n', " ").replace('\0', "\n\n");
    }
    transform_subschemas(&mut tidy, schema);
}

/// The schema of a mapping whose keys are values of their own format.
pub(crate) struct Keyed<K, V>(PhantomData<(K, V)>);

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Keyed<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}By{}", V::schema_name(), K::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<K>(),
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}
