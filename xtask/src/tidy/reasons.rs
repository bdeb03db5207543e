//! Every dependency has its reason beside it.

use super::Finding;

const SECTION: &str = "[workspace.dependencies]";

/// Looks at the workspace's manifest: a dependency, or the run of them that it stands in, has a comment
/// right above. Our own crates need none.
pub(super) fn look(manifest: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut inside = false;
    let mut has_reason = false;
    for (number, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_end() == SECTION;
            has_reason = false;
        } else if line.trim().is_empty() {
            has_reason = false;
        } else if line.starts_with('#') {
            has_reason = true;
        } else if let Some((name, value)) = line.split_once('=')
            && inside
            && !has_reason
            && !is_continuation(line)
            && !value.contains("path =")
        {
            let what = format!("{} has no comment above that says why it is here", name.trim());
            findings.push(Finding { path: "Cargo.toml".into(), line: number + 1, what });
        }
    }
    findings
}

/// Whether the line goes on with a value that was begun above.
fn is_continuation(line: &str) -> bool {
    line.starts_with([' ', '\t', ']', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_speaks_for_the_run_below_it_only() {
        let manifest = "[package]\nname = \"x\"\n\n[workspace.dependencies]\nown = { path = \"crates/own\" }\n\n\
            # Why.\na = \"1\"\nb = { version = \"1\", features = [\n    \"x\",\n] }\n\nc = \"1\"\n# Why.\nd = \"1\"\n\
            \n[profile.dev]\nopt-level = 1\n";
        let findings: Vec<usize> = look(manifest).iter().map(|finding| finding.line).collect();
        assert_eq!(findings, [13]);
    }
}
