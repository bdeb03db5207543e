//! What `--keep` leaves besides the directories: the vault's passphrase and a plan, so that it can be looked at.

use super::SERVICE;
use crate::plans;
use crate::recovery::quoted;
use crate::settings::read_plan;
use anyhow::Context;
use lifeboat_base::Clock;
use lifeboat_vault::{Copies, Vault, VaultCopy, address};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

/// In the demonstration's directory.
const VAULT: &str = "vault";
const PASSPHRASE: &str = "passphrase";
const PLAN: &str = "lifeboat.yaml";

/// A sealed vault in a directory, and its passphrase in a file of our own beside it.
pub async fn make_vault(scratch: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Vault> {
    let store = address::open(&vault_url(scratch), true, &|_| None).context("make the vault's directory")?;
    let copies = Copies::new(vec![VaultCopy::new(VAULT, None, store)], 1);
    let passphrase = lifeboat_base::RandomId::new(clock.as_ref()).to_string();
    let file =
        std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(scratch.join(PASSPHRASE));
    let written = file.and_then(|mut file| writeln!(file, "{passphrase}"));
    written.context("write the passphrase into its file")?;
    Vault::init(copies, Some(&passphrase), &[], clock.clone()).await.context("make the vault")
}

fn vault_url(scratch: &Path) -> String {
    format!("file://{}", scratch.join(VAULT).display())
}

/// Writes a plan for the server that was recovered last, into the directory and into the vault.
pub async fn store_plan(vault: &Vault, scratch: &Path, directory: &Path) -> anyhow::Result<()> {
    let path = scratch.join(PLAN);
    let text = format!(
        "# What the demonstration did, as a plan. Its server is stopped.\n\
         apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata:\n  name: demo\n\
         vault:\n  copies: [{:?}]\n  durable: 1\n\
         services:\n  - name: {SERVICE}\n    postgres:\n      connection: {:?}\n      \
         base: {{schedule: \"0 3 * * *\", timeZone: UTC}}\n      keep: {{last: 2, window: 7d}}\n",
        vault_url(scratch),
        format!("host={} port=5432 user=postgres", directory.display()),
    );
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    plans::store(vault, &read_plan(&path)?).await?;
    Ok(())
}

/// What may be typed afterwards.
pub fn commands(scratch: &Path) -> Vec<String> {
    let words = |name: &str| quoted(&scratch.join(name).display().to_string());
    let (plan, passphrase) = (words(PLAN), words(PASSPHRASE));
    let with = format!("--plan {plan} --passphrase-file {passphrase}");
    vec![
        format!("lifeboat backup list {with}"),
        format!("lifeboat status {with}"),
        format!("lifeboat wal search {SERVICE} {with}"),
        format!("lifeboat restore {SERVICE} --to latest --into {} --start {with}", words("again")),
    ]
}
