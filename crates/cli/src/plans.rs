//! The plan in the vault: stored as it is, so that a machine with the vault's address and a key has it too.

use crate::journal;
use crate::settings::{Opened, PlanFile, Settings};
use anyhow::Context;
use lifeboat_vault::{Reach, Vault, WriteError, names};
use tokio::task::JoinSet;

/// The event that says which plan is in force.
const STORED: &str = "plan.stored";

/// Stores a plan, unless it is the newest in the vault already; true if it was not.
///
/// # Errors
/// If the vault does not take it.
pub async fn store(vault: &Vault, plan: &PlanFile) -> anyhow::Result<bool> {
    let hash = sha256(plan.text.as_bytes());
    if newest_hash(vault).await?.as_ref() == Some(&hash) {
        return Ok(false);
    }
    match vault.put(&names::plan(&hash), plan.text.as_bytes(), Reach::All).await {
        // A conflict: it is there, sealed under another salt, from an earlier time or another process.
        Ok(_) | Err(WriteError::Conflict { .. }) => {}
        Err(error) => return Err(error).context("the plan was not stored in the vault"),
    }
    let data = serde_json::json!({ "sha256": hash, "name": plan.plan.metadata.name.as_str() });
    journal::note(vault, &journal::plan_scope(), STORED, data).await?;
    Ok(true)
}

/// Renews the plan in the vault from the plan's file, if that says something else by now.
///
/// Without it, whoever comes with the vault alone would find yesterday's services. What goes wrong is warned
/// of: nothing that protects waits for it.
pub async fn renew(settings: &Settings, opened: &Opened) {
    let Some(plan) = opened.plan.as_ref().filter(|_| settings.plan_path().is_some()) else { return };
    let named = &settings.global.vault;
    // A plan that happens to be here may be another vault's.
    if !named.is_empty() && !plan.plan.vault.copies.iter().any(|copy| named.contains(&copy.url)) {
        return;
    }
    match store(&opened.vault, plan).await {
        Ok(true) => settings.output.say("The plan has changed: the vault has the new one now."),
        Ok(false) => {}
        Err(error) => settings.output.warn(format!("the vault's plan is not renewed: {error:#}")),
    }
}

/// As [`renew`], beside what must not wait for a vault that is away; it ends with what is returned.
#[must_use]
pub fn renew_beside(settings: &Settings, opened: &Opened) -> JoinSet<()> {
    let (settings, opened) = (settings.clone(), opened.clone());
    let mut beside = JoinSet::new();
    beside.spawn(async move { renew(&settings, &opened).await });
    beside
}

/// The plan that was stored last.
///
/// # Errors
/// If the vault does not answer.
pub async fn newest(vault: &Vault) -> anyhow::Result<Option<PlanFile>> {
    let Some(hash) = newest_hash(vault).await? else { return Ok(None) };
    let bytes = vault.read(&names::plan(&hash)).await.context("the plan in the vault cannot be read")?;
    let text = String::from_utf8(bytes).context("the plan in the vault is not UTF-8")?;
    // A plan that an older or newer Lifeboat stored may not load here; commands do without it.
    Ok(lifeboat_plan::load(&text).ok().map(|loaded| PlanFile { text, plan: loaded.plan }))
}

async fn newest_hash(vault: &Vault) -> anyhow::Result<Option<String>> {
    let records = journal::records(vault, &journal::plan_scope()).await?;
    let stored = records.iter().rev().find(|record| record.kind == STORED);
    Ok(stored.and_then(|record| Some(record.data.get("sha256")?.as_str()?.to_owned())))
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}
