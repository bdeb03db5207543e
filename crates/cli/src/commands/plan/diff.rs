//! `lifeboat plan diff`: what changed from one plan to another, for whoever reviews it.

use super::show::load;
use crate::output::{Exit, Tone};
use crate::settings::Settings;
use lifeboat_plan::{Difference, What, diff};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Compared {
    from: String,
    to: String,
    differences: Vec<Difference>,
}

/// Runs it.
///
/// # Errors
/// If one of the two cannot be read, or is no plan.
pub fn run(settings: &Settings, from: &Path, to: &Path) -> anyhow::Result<Exit> {
    let (old, new) = (load(settings, Some(from.to_owned()))?, load(settings, Some(to.to_owned()))?);
    let compared = Compared { from: old.file, to: new.file, differences: diff(&old.plan, &new.plan) };
    settings.output.result("plan.diff", &compared, |style| {
        let mut out = String::new();
        for difference in &compared.differences {
            let (tone, sign) = match difference.what {
                What::Added => (Tone::Good, "+"),
                What::Removed => (Tone::Bad, "-"),
                What::Changed => (Tone::Doubtful, "~"),
            };
            out.push_str(&format!(
                "{} {}\n",
                style.paint(tone, sign),
                crate::output::clean(&difference.words)
            ));
        }
        if compared.differences.is_empty() {
            out.push_str("the two plans say the same\n");
        }
        out
    })?;
    Ok(if compared.differences.is_empty() { Exit::Good } else { Exit::Findings })
}
