//! Which inode number stands for which path, as long as the kernel remembers it. Pure.
//!
//! # Invariants
//! - **N1 one number, one file.** A number never comes to stand for another file; a file that was renamed keeps its
//!   own, one that was removed keeps it until it is forgotten.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of the data directory itself, which FUSE fixes.
pub(super) const ROOT: u64 = 1;

#[derive(Debug)]
struct Node {
    /// `None` once nothing has that name any more.
    path: Option<Arc<str>>,
    /// How often the kernel was told of it.
    lookups: u64,
}

/// The numbers that are given out.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    numbers: HashMap<Arc<str>, u64>,
    next: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        let path: Arc<str> = "".into();
        let root = Node { path: Some(path.clone()), lookups: 1 };
        Self { nodes: HashMap::from([(ROOT, root)]), numbers: HashMap::from([(path, ROOT)]), next: ROOT + 1 }
    }
}

impl Nodes {
    /// The path that a number stands for.
    pub(super) fn path(&self, number: u64) -> Option<Arc<str>> {
        self.nodes.get(&number)?.path.clone()
    }

    /// All that the kernel was told of.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The number of a path that the kernel is told of now.
    pub(super) fn tell(&mut self, path: &str) -> u64 {
        if let Some(number) = self.numbers.get(path).copied() {
            if let Some(node) = self.nodes.get_mut(&number) {
                node.lookups += 1;
            }
            return number;
        }
        let number = self.next;
        self.next += 1;
        let path: Arc<str> = path.into();
        self.nodes.insert(number, Node { path: Some(path.clone()), lookups: 1 });
        self.numbers.insert(path, number);
        number
    }

    /// The kernel has forgotten a number as often as it was told.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number).filter(|_| number != ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0
            && let Some(path) = self.nodes.remove(&number).and_then(|node| node.path)
        {
            self.numbers.remove(&path);
        }
    }

    /// Nothing is called so any more.
    pub(super) fn removed(&mut self, path: &str) {
        if let Some(node) = self.numbers.remove(path).and_then(|number| self.nodes.get_mut(&number)) {
            node.path = None;
        }
    }

    /// A file, or a directory with all below it, is called otherwise now, and what was called so before is gone.
    pub(super) fn renamed(&mut self, from: &str, to: &str, is_directory: bool) {
        self.removed(to);
        let moved = if is_directory {
            self.at_and_below(from)
        } else {
            self.numbers
                .get_key_value(from)
                .map(|(path, number)| (*number, path.clone()))
                .into_iter()
                .collect()
        };
        for (number, path) in moved {
            self.rename_one(number, &path, to, from.len());
        }
    }

    /// Two have changed places.
    pub(super) fn exchanged(&mut self, one: &str, other: &str) {
        let (ones, others) = (self.at_and_below(one), self.at_and_below(other));
        for (number, path) in ones {
            self.rename_one(number, &path, other, one.len());
        }
        for (number, path) in others {
            self.rename_one(number, &path, one, other.len());
        }
    }

    fn at_and_below(&self, path: &str) -> Vec<(u64, Arc<str>)> {
        let is_there = |found: &str| {
            found.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = self.numbers.iter().filter(|(found, _)| is_there(found));
        found.map(|(found, number)| (*number, found.clone())).collect()
    }

    fn rename_one(&mut self, number: u64, path: &str, to: &str, prefix: usize) {
        let new: Arc<str> = format!("{to}{}", &path[prefix..]).into();
        if self.numbers.get(path) == Some(&number) {
            self.numbers.remove(path);
        }
        self.numbers.insert(new.clone(), number);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.path = Some(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_a_number_stands_for_one_file_whatever_becomes_of_its_name() {
        let mut nodes = Nodes::default();
        let file = nodes.tell("base/5/1");
        assert_eq!(nodes.tell("base/5/1"), file);
        nodes.removed("base/5/1");
        assert_eq!(nodes.path(file), None);
        let anew = nodes.tell("base/5/1");
        assert_ne!(anew, file);
        nodes.forget(file, 2);
        assert_eq!(nodes.path(anew).as_deref(), Some("base/5/1"), "only the old one was forgotten");
        let (new, old) = (nodes.tell("pg_x.tmp"), nodes.tell("pg_x"));
        nodes.renamed("pg_x.tmp", "pg_x", false);
        assert_eq!((nodes.path(new).as_deref(), nodes.path(old)), (Some("pg_x"), None));
        nodes.forget(new, 1);
        assert_eq!(nodes.path(new), None);
        assert_eq!(nodes.path(ROOT).as_deref(), Some(""));
    }

    #[test]
    fn what_is_below_a_directory_moves_with_it() {
        let mut nodes = Nodes::default();
        let (directory, inside, beside) = (nodes.tell("a"), nodes.tell("a/x"), nodes.tell("ab"));
        let (other, within) = (nodes.tell("b"), nodes.tell("b/x"));
        nodes.exchanged("a", "b");
        let path = |number| nodes.path(number).unwrap().to_string();
        assert_eq!([path(directory), path(inside), path(beside)], ["b", "b/x", "ab"]);
        assert_eq!([path(other), path(within)], ["a", "a/x"]);
        nodes.renamed("b", "c", true);
        assert_eq!(nodes.path(inside).as_deref(), Some("c/x"));
        assert_eq!(nodes.tell("a/x"), within);
    }
}
