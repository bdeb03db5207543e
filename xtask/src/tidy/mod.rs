//! Looks for what the house rules forbid and neither the compiler nor clippy sees.
//!
//! Each rule is a pure function from text to findings; this file reads what they look at.

mod arrows;
mod invariants;
mod reasons;
mod text;

use anyhow::{Context, Result, ensure};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that has to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the checkout.
    pub(crate) path: PathBuf,
    /// The first is 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// All findings in the checkout at `root`, in the order of their files.
pub(crate) fn look(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = arrows::look(&metadata(root)?)?;
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).context("read Cargo.toml")?;
    findings.extend(reasons::look(&manifest));
    let mut sources = Vec::new();
    for path in files(root)? {
        let bytes = std::fs::read(root.join(&path)).with_context(|| format!("read {}", path.display()))?;
        // What is not text is a stored format's golden file.
        if let Ok(text) = String::from_utf8(bytes) {
            findings.extend(text::look(&path, &text));
            sources.push((path, text));
        }
    }
    findings.extend(invariants::look(&sources));
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

fn metadata(root: &Path) -> Result<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(root);
    let output = command.output().context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("parse what cargo metadata printed")
}

/// The files of the checkout that are, or are about to be, committed.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut command = Command::new("git");
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = command.output().context("run git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("read file names")?;
    let paths = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    // Git still lists what has just been deleted.
    Ok(paths.filter(|path| root.join(path).is_file()).collect())
}
