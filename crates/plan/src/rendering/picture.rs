//! Which service needs which, in the order in which they come back.
//!
//! A service stands one wave behind the last of those that it needs. As Mermaid for viewers that draw it, as a table for
//! everybody; HTML draws it itself ([`super::svg`]).
//!
//! Deliberately absent: services that need each other, which no plan has that loads; they stand in the last wave.

use crate::model::Plan;
use std::fmt::Write as _;

/// The services and their needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub name: String,
    /// What people call it, else its name.
    pub title: String,
    /// Which wave it comes back in, from 0.
    pub wave: usize,
    /// What it needs, by place.
    pub needs: Vec<usize>,
}

impl Picture {
    /// The picture of a plan; none if no service needs another.
    pub fn of(plan: &Plan) -> Option<Self> {
        let place = |name: &str| plan.services.iter().position(|service| service.name.as_str() == name);
        let mut nodes: Vec<Node> = plan
            .services
            .iter()
            .map(|service| Node {
                name: service.name.to_string(),
                title: service.title.clone().unwrap_or_else(|| service.name.to_string()),
                wave: 0,
                needs: service.needs.iter().filter_map(|need| place(need.as_str())).collect(),
            })
            .collect();
        if nodes.iter().all(|node| node.needs.is_empty()) {
            return None;
        }
        // The longest way to each, along the edges; as many rounds as there can be waves.
        for _ in 0..nodes.len() {
            let mut moved = false;
            for at in 0..nodes.len() {
                let wave = nodes[at].needs.iter().map(|need| nodes[*need].wave + 1).max().unwrap_or_default();
                let wave = wave.min(nodes.len() - 1);
                moved |= wave != nodes[at].wave;
                nodes[at].wave = wave;
            }
            if !moved {
                break;
            }
        }
        Some(Self { nodes })
    }

    /// The places of each wave.
    pub fn waves(&self) -> Vec<Vec<usize>> {
        let count = self.nodes.iter().map(|node| node.wave + 1).max().unwrap_or_default();
        let of = |wave| (0..self.nodes.len()).filter(|at| self.nodes[*at].wave == wave).collect();
        (0..count).map(of).filter(|wave: &Vec<usize>| !wave.is_empty()).collect()
    }

    /// The names of the services that one needs.
    pub fn needs(&self, at: usize) -> Vec<&str> {
        self.nodes[at].needs.iter().map(|need| self.nodes[*need].name.as_str()).collect()
    }

    /// As Mermaid: an arrow leads from what is needed to what needs it.
    pub fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for (at, node) in self.nodes.iter().enumerate() {
            _ = writeln!(out, "  s{at}[\"{}\"]", quoted(&node.title));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for need in &node.needs {
                _ = writeln!(out, "  s{need} --> s{at}");
            }
        }
        out.pop();
        out
    }
}

/// A title inside of a Mermaid string: whatever is no letter, digit or plain sign becomes its number.
fn quoted(title: &str) -> String {
    let plain =
        |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '.' | ',' | '(' | ')' | '/' | ':' | '+');
    let shown = |c: char| match c {
        c if plain(c) => c.to_string(),
        c if c.is_control() || c.is_whitespace() => " ".to_owned(),
        c => format!("#{};", c as u32),
    };
    title.chars().map(shown).collect()
}
