//! Holds the table of invariants in `ARCHITECTURE.md` against the headers that state them and the tests that it
//! names.

use super::Finding;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the table stands.
const TABLE: &str = "ARCHITECTURE.md";

/// An invariant: its crate, its module as the table writes it, its number.
type Key = (String, String, String);

/// Looks at all files of the checkout, each with its text.
pub(super) fn look(files: &[(PathBuf, String)]) -> Vec<Finding> {
    let Some((path, table)) = files.iter().find(|(path, _)| path == Path::new(TABLE)) else {
        return Vec::new();
    };
    let rows = rows(table);
    let known: BTreeSet<&Key> = rows.iter().map(|(_, key, _)| key).collect();
    let sources = files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "rs"));
    let mut stated = BTreeSet::new();
    let mut findings = Vec::new();
    for (source, text) in sources.clone() {
        for (line, key) in stated_in(source, text) {
            if !known.contains(&key) {
                let what = format!("{} has no row in {TABLE}", key.2);
                findings.push(Finding { path: source.clone(), line, what });
            }
            stated.insert(key);
        }
    }
    for (line, key, tests) in &rows {
        let mut add = |what: String| findings.push(Finding { path: path.clone(), line: *line, what });
        if !stated.contains(key) {
            add(format!("no header of {} states {} {}", key.0, key.1, key.2));
        }
        for test in tests {
            let is_there = sources.clone().any(|(_, text)| text.contains(&format!("fn {test}(")));
            if !is_there {
                add(format!("there is no test `{test}`"));
            }
        }
    }
    findings
}

/// Each row with its line and the tests that it names.
fn rows(table: &str) -> Vec<(usize, Key, Vec<String>)> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(table.lines()) {
        if let Some(name) = text.strip_prefix("**").and_then(|rest| rest.strip_suffix("**")) {
            section = name.to_owned();
        }
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        if let ["", number, module, _, tests, ""] = cells[..]
            && is_number(number)
        {
            let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let tests = tests.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect();
            rows.push((line, (section.clone(), module.to_owned(), number.to_owned()), tests));
        }
    }
    rows
}

/// The numbered invariants that a file's header states.
fn stated_in(path: &Path, text: &str) -> Vec<(usize, Key)> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let ["crates", name, "src", inside @ ..] = &parts[..] else { return Vec::new() };
    let module = inside.join("/");
    let module = module.trim_end_matches(".rs").trim_end_matches("/mod");
    let module = match module.strip_prefix("commands/").filter(|_| *name == "cli").unwrap_or(module) {
        "lib" => "(crate)",
        module => module,
    };
    let header = (1..).zip(text.lines()).take_while(|(_, line)| line.starts_with("//!"));
    let numbered = header.filter_map(|(line, text)| {
        let word = text.strip_prefix("//! - **")?;
        let number = word.split([' ', '*']).next().filter(|number| is_number(number))?;
        Some((line, ((*name).to_owned(), module.to_owned(), number.to_owned())))
    });
    numbered.collect()
}

/// A letter, then digits.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(|first: char| first.is_ascii_uppercase());
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str =
        "//! Decides.\n//!\n//! - **R1 once.** x\n//! - **R2** y\n//! - **Not numbered.** z\n";

    #[track_caller]
    fn check(table: &str, expected: &[(&str, usize, &str)]) {
        let test = "#[test]\nfn r1_once() {}\n";
        let files = [(TABLE, table), ("crates/a/src/b/mod.rs", SOURCE), ("crates/a/tests/it/b.rs", test)];
        let findings = look(&files.map(|(path, text)| (path.into(), text.to_owned())));
        let found: Vec<(&str, usize, &str)> = findings
            .iter()
            .map(|finding| (finding.path.to_str().unwrap(), finding.line, finding.what.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_table_that_has_all_is_well() {
        check("**a**\n\n| R1 | b | once | `r1_once` |\n| R2 | b | y | — |\n", &[]);
    }

    #[test]
    fn what_is_missing_what_is_gone_and_tests_that_are_not_there_are_found() {
        let source = "crates/a/src/b/mod.rs";
        check("**a**\n| R1 | b | once | `r1_once` |\n", &[(source, 4, "R2 has no row in ARCHITECTURE.md")]);
        check(
            "**a**\n| R1 | b | once | † `r1_twice` |\n| R2 | b | y | — |\n| R3 | b | z | — |\n",
            &[(TABLE, 2, "there is no test `r1_twice`"), (TABLE, 4, "no header of a states b R3")],
        );
    }
}
