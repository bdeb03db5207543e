//! What must stand in a file, and what must not.

use super::Finding;
use std::path::Path;

/// Of a source file that is not tests: beyond it, it is more than one idea.
const LIMIT_LINES: usize = 700;
/// What says that something is not finished. Written in parts, so as not to find themselves.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
const UNFINISHED_CALLS: &[&str] = &[concat!("to", "do!"), concat!("unimpl", "emented!")];
/// Lint and import look for such words in people's documents: they, their pages and fixtures have them.
const SPEAKS_OF_THEM: &[&str] = &[
    "crates/plan/src/lint",
    "crates/plan/src/import",
    "crates/plan/src/tools/data",
    "crates/plan/fixtures",
    "docs/lint",
];
/// Beginnings of paths that exist on one developer's machine only.
const PRIVATE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
/// Texts of others, and what tools write.
const NOT_OURS: &[&str] = &["LICENSE", "Cargo.lock"];

/// Looks at one file; `path` is relative to the checkout.
pub(super) fn look(path: &Path, text: &str) -> Vec<Finding> {
    if NOT_OURS.iter().any(|name| path == Path::new(name)) {
        return Vec::new();
    }
    let finding = |line, what: String| Finding { path: path.to_owned(), line, what };
    let mut findings = Vec::new();
    let speaks_of_them = SPEAKS_OF_THEM.iter().any(|start| path.starts_with(start));
    for (number, line) in text.lines().enumerate() {
        findings.extend(forbidden(line, speaks_of_them).into_iter().map(|what| finding(number + 1, what)));
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        if !has_header(text) {
            findings.push(finding(1, "no module header: `//!` lines that say what is decided here".into()));
        }
        let lines = text.lines().count();
        if lines > LIMIT_LINES && !is_test(path) {
            findings
                .push(finding(lines, format!("{lines} lines, more than {LIMIT_LINES}: more than one idea")));
        }
    }
    findings
}

fn forbidden(line: &str, speaks_of_them: bool) -> Vec<String> {
    let unfinished = UNFINISHED.iter().filter(|word| !speaks_of_them && has_word(line, word));
    let calls = UNFINISHED_CALLS.iter().filter(|call| line.contains(*call));
    let unfinished = unfinished.chain(calls).map(|word| format!("{word}: finish it, or leave it out"));
    let private = PRIVATE_PATHS.iter().filter(|path| begins_path(line, path));
    unfinished.chain(private.map(|path| format!("{path} is a path of one machine"))).collect()
}

/// Whether `word` stands there with nothing of a word before or after it.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Whether `path` stands there as the beginning of an absolute path.
fn begins_path(line: &str, path: &str) -> bool {
    let goes_on = |character: char| character.is_alphanumeric() || "_-./}".contains(character);
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(goes_on))
}

/// Attributes of the crate may stand above the header.
fn has_header(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!"))
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[usize]) {
        let findings = look(Path::new(path), text);
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected, "{findings:?}");
    }

    #[test]
    fn a_source_file_has_a_header() {
        check("a.rs", "//! What.\nfn main() {}\n", &[]);
        check("a.rs", "#![forbid(unsafe_code)]\n\n//! What.\n", &[]);
        check("a.rs", "// What.\n", &[1]);
        check("a.rs", "", &[1]);
        check("a.toml", "x = 1\n", &[]);
    }

    #[test]
    fn what_is_not_finished_is_found_and_what_looks_like_it_is_not() {
        for word in UNFINISHED.iter().chain(UNFINISHED_CALLS) {
            check("a.md", &format!("fine\nx {word} y\n"), &[2]);
        }
        check("a.sh", &format!("mktemp -d {}\n", "X".repeat(6)), &[]);
        check("LICENSE", UNFINISHED[0], &[]);
        check("docs/lint/a.md", UNFINISHED[0], &[]);
        check("docs/lint/a.md", UNFINISHED_CALLS[0], &[1]);
    }

    #[test]
    fn a_private_path_is_found_where_it_begins() {
        for path in PRIVATE_PATHS {
            check("a.md", &format!("see {path}main\n"), &[1]);
            check("a.md", &format!("see /var{path}main and $x{path}\n").replace("$x", "${x}"), &[]);
        }
    }

    #[test]
    fn a_long_file_is_found_unless_it_is_tests() {
        let long = format!("//! What.\n{}", "\n".repeat(LIMIT_LINES));
        check("src/a.rs", &long, &[LIMIT_LINES + 1]);
        check("tests/it/a.rs", &long, &[]);
        check("src/a/tests.rs", &long, &[]);
    }
}
