//! Which crate may depend on which.

use super::Finding;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;

/// Each crate and those that it may name, as DESIGN §3 draws them, the indirect ones written out.
///
/// `engine` and `actions` do not see each other; `cli` joins them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("plan", &["base"]),
    ("core", &["base", "plan"]),
    ("pgformat", &["base"]),
    ("vault", &["base", "pgformat"]),
    ("postgres", &["base", "pgformat", "vault"]),
    ("actions", &["base", "plan", "core", "pgformat", "vault", "postgres"]),
    ("engine", &["base", "plan", "core", "pgformat", "vault"]),
    ("server", &["base", "plan", "core", "pgformat", "vault", "engine"]),
    ("cli", &["base", "plan", "core", "pgformat", "vault", "postgres", "actions", "engine", "server"]),
    ("testkit", &["base"]),
];
/// All may use it in their tests, none otherwise.
const TESTKIT: &str = "testkit";
const PREFIX: &str = "lifeboat-";

/// Looks at what `cargo metadata --no-deps` printed.
pub(super) fn look(metadata: &Value) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in array(metadata, "packages")? {
        let Some(name) = string(package, "name")?.strip_prefix(PREFIX) else { continue };
        let manifest = PathBuf::from(format!("crates/{name}/Cargo.toml"));
        let finding = |what| Finding { path: manifest.clone(), line: 1, what };
        let Some((_, allowed)) = ALLOWED.iter().find(|(from, _)| *from == name) else {
            findings.push(finding(format!("crate {name} has no place in DESIGN §3's house")));
            continue;
        };
        for dependency in array(package, "dependencies")? {
            let Some(to) = string(dependency, "name")?.strip_prefix(PREFIX) else { continue };
            let in_tests = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            let is_fixture = in_tests && to == TESTKIT;
            if !is_fixture && !allowed.contains(&to) {
                findings.push(finding(format!("{name} → {to} is no arrow of DESIGN §3")));
            }
        }
    }
    Ok(findings)
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("cargo metadata has no list {key}"))
}

fn string<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata has no text {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(from: &str, to: &str, kind: Option<&str>, expected: usize) {
        let dependency = json!({"name": to, "kind": kind});
        let metadata = json!({"packages": [{"name": from, "dependencies": [dependency]}]});
        let findings = look(&metadata).unwrap();
        assert_eq!(findings.len(), expected, "{from} → {to}: {findings:?}");
    }

    #[test]
    fn only_the_houses_arrows_pass() {
        check("lifeboat-postgres", "lifeboat-vault", None, 0);
        check("lifeboat-postgres", "tokio", None, 0);
        check("lifeboat-vault", "lifeboat-postgres", None, 1);
        check("lifeboat-vault", "lifeboat-plan", None, 1);
        check("lifeboat-engine", "lifeboat-actions", None, 1);
        check("lifeboat-actions", "lifeboat-engine", None, 1);
        check("xtask", "lifeboat-plan", None, 0);
        check("lifeboat-other", "tokio", None, 1);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        check("lifeboat-vault", "lifeboat-testkit", Some("dev"), 0);
        check("lifeboat-vault", "lifeboat-testkit", None, 1);
        check("lifeboat-vault", "lifeboat-testkit", Some("build"), 1);
        check("lifeboat-vault", "lifeboat-postgres", Some("dev"), 1);
    }

    #[test]
    fn every_arrow_goes_one_way() {
        for (from, allowed) in ALLOWED {
            for to in *allowed {
                let back = ALLOWED.iter().find(|(name, _)| name == to).map(|(_, back)| back);
                assert!(back.is_some_and(|back| !back.contains(from)), "{from} → {to}");
            }
        }
    }
}
