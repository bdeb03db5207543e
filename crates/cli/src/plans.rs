//! The plan in the vault: stored as it is, so that a machine with the vault's address and a key has it too.

use crate::settings::PlanFile;
use anyhow::Context;
use lifeboat_vault::{Reach, Vault, WriteError, names};

/// Plans in a vault that are looked through for the newest.
const PLANS_LIMIT: usize = 10_000;

/// Stores a plan; true if the vault did not have it.
///
/// # Errors
/// If the vault does not take it.
pub async fn store(vault: &Vault, plan: &PlanFile) -> anyhow::Result<bool> {
    let hash = sha256(plan.text.as_bytes());
    let name = names::plan(&hash);
    match vault.read(&name).await {
        Ok(_) => return Ok(false),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error).context("the plans in the vault cannot be read"),
    }
    match vault.put(&name, plan.text.as_bytes(), Reach::All).await {
        Ok(_) => Ok(true),
        // Another process stored the same plan in the same moment, sealed under another salt.
        Err(WriteError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error).context("the plan was not stored in the vault"),
    }
}

/// The plan that was stored last, if it still reads.
///
/// # Errors
/// If the vault does not answer.
pub async fn newest(vault: &Vault) -> anyhow::Result<Option<PlanFile>> {
    let listing = vault.copies().list("plans").await;
    let mut names = listing.objects.into_keys().take(PLANS_LIMIT);
    // Which of several is the newest, the journal knows.
    let (Some(name), None) = (names.next(), names.next()) else { return Ok(None) };
    let bytes = vault.read(&name).await.context("the plan in the vault cannot be read")?;
    let text = String::from_utf8(bytes).context("the plan in the vault is not UTF-8")?;
    // A plan that an older or newer Lifeboat stored may not load here; commands do without it.
    Ok(lifeboat_plan::load(&text).ok().map(|loaded| PlanFile { path: None, text, plan: loaded.plan }))
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}
