//! A plan while it is being put together: texts that know the line they came from.

use serde_json::{Map as JsonMap, Value};
use std::collections::BTreeMap;

use crate::tree;

/// A value of the plan to be, and the line of the document that it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub line: u32,
    pub value: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Text(String),
    Flag(bool),
    List(Vec<Draft>),
    Map(Map),
}

/// A mapping; a key that is put twice keeps its first value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Map {
    pub entries: Vec<(String, Draft)>,
}

impl Draft {
    pub fn text(text: impl Into<String>, line: u32) -> Self {
        Self { line, value: Shape::Text(text.into()) }
    }

    pub fn map(map: Map, line: u32) -> Self {
        Self { line, value: Shape::Map(map) }
    }

    pub fn list(items: Vec<Self>) -> Self {
        let line = items.first().map_or(1, |item| item.line);
        Self { line, value: Shape::List(items) }
    }

    /// Every text in it.
    pub fn texts(&self, tell: &mut dyn FnMut(&str)) {
        match &self.value {
            Shape::Text(text) => tell(text),
            Shape::Flag(_) => {}
            Shape::List(items) => items.iter().for_each(|item| item.texts(tell)),
            Shape::Map(map) => map.entries.iter().for_each(|(_, draft)| draft.texts(tell)),
        }
    }

    fn json(&self) -> Value {
        match &self.value {
            Shape::Text(text) => Value::from(text.as_str()),
            Shape::Flag(flag) => Value::from(*flag),
            Shape::List(items) => items.iter().map(Self::json).collect(),
            Shape::Map(map) => map.json(),
        }
    }
}

impl Map {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, key: &str) -> Option<&Draft> {
        self.entries.iter().find(|(of, _)| of == key).map(|(_, draft)| draft)
    }

    pub fn text_of(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Shape::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts a value under a key that has none yet; whether it did.
    pub fn put(&mut self, key: &str, draft: Draft) -> bool {
        let free = self.get(key).is_none();
        if free {
            self.entries.push((key.to_owned(), draft));
        }
        free
    }

    /// Puts a text that says something; whether it did.
    pub fn say(&mut self, key: &str, text: impl Into<String>, line: u32) -> bool {
        let text = text.into();
        !text.trim().is_empty() && self.put(key, Draft::text(text.trim(), line))
    }

    pub fn flag(&mut self, key: &str, line: u32) {
        self.put(key, Draft { line, value: Shape::Flag(true) });
    }

    /// Adds an item to the list under a key.
    pub fn add(&mut self, key: &str, draft: Draft) {
        match self.entries.iter_mut().find(|(of, _)| of == key) {
            Some((_, Draft { value: Shape::List(items), .. })) => items.push(draft),
            Some(_) => {}
            None => self.entries.push((key.to_owned(), Draft::list(vec![draft]))),
        }
    }

    /// Adds a text to the list under a key.
    pub fn tell(&mut self, key: &str, text: impl Into<String>, line: u32) {
        let text = text.into();
        if !text.trim().is_empty() {
            self.add(key, Draft::text(text.trim(), line));
        }
    }

    /// The mapping under a key, made if there is none.
    pub fn within(&mut self, key: &str, line: u32) -> &mut Self {
        if self.get(key).is_none() {
            self.entries.push((key.to_owned(), Draft::map(Self::default(), line)));
        }
        let at = self.entries.iter().position(|(of, _)| of == key).unwrap_or_default();
        match &mut self.entries[at].1.value {
            Shape::Map(map) => map,
            other => {
                *other = Shape::Map(Self::default());
                match other {
                    Shape::Map(map) => map,
                    _ => unreachable!("it has just been made one"),
                }
            }
        }
    }

    /// The item of that name in the list under a key, made if there is none.
    pub fn named(&mut self, key: &str, name: &str, line: u32) -> &mut Self {
        let is_it =
            |draft: &Draft| matches!(&draft.value, Shape::Map(map) if map.text_of("name") == Some(name));
        let has =
            matches!(self.get(key), Some(Draft { value: Shape::List(items), .. }) if items.iter().any(is_it));
        if !has {
            let mut item = Self::default();
            item.say("name", name, line);
            self.add(key, Draft::map(item, line));
        }
        let list = self.entries.iter_mut().find(|(of, _)| of == key);
        let items = match list.map(|(_, draft)| &mut draft.value) {
            Some(Shape::List(items)) => items,
            _ => unreachable!("there is a list with this item"),
        };
        match items.iter_mut().find(|item| is_it(item)).map(|item| &mut item.value) {
            Some(Shape::Map(map)) => map,
            _ => unreachable!("it is there or has just been added"),
        }
    }

    pub fn json(&self) -> Value {
        let entries = self.entries.iter().map(|(key, draft)| (key.clone(), draft.json()));
        Value::Object(entries.collect::<JsonMap<_, _>>())
    }

    /// The line of each place, by the way to it.
    pub fn lines(&self) -> BTreeMap<String, u32> {
        let mut lines = BTreeMap::new();
        self.gather("", &mut lines);
        lines
    }

    fn gather(&self, way: &str, lines: &mut BTreeMap<String, u32>) {
        for (key, draft) in &self.entries {
            draft.gather(&tree::join(way, key), lines);
        }
    }
}

impl Draft {
    fn gather(&self, way: &str, lines: &mut BTreeMap<String, u32>) {
        lines.insert(way.to_owned(), self.line);
        match &self.value {
            Shape::Map(map) => map.gather(way, lines),
            Shape::List(items) => {
                let values: Vec<Value> = items.iter().map(Self::json).collect();
                let ways = tree::items(way, &values).unwrap_or_default();
                for ((way, _), item) in ways.iter().zip(items) {
                    item.gather(way, lines);
                }
            }
            Shape::Text(_) | Shape::Flag(_) => {}
        }
    }
}
