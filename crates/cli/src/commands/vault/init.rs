//! `lifeboat vault init`: makes the vault, sealed for those who may open it.
//!
//! # Invariants
//! - A break-glass key is on the disk, readable by its owner alone, before the vault is sealed for it.

use crate::failure::Next;
use crate::output::Exit;
use crate::settings::Settings;
use crate::{copies, journal, plans, secrets};
use age::secrecy::ExposeSecret;
use anyhow::{Context, anyhow};
use lifeboat_vault::{CopyFailure, Vault};
use serde::Serialize;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Shorter passphrases are warned of: Argon2id slows a guesser down, and no more.
const ADVISED_PASSPHRASE_CHARS: usize = 16;

/// Arguments of `lifeboat vault init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An age recipient who may open the vault, besides the passphrase; may be given several times.
    #[arg(long = "recipient", value_name = "AGE1…")]
    recipients: Vec<String>,
    /// Make an age identity, write it to this new file, and let it open the vault: to be kept offline.
    #[arg(long, value_name = "FILE")]
    break_glass: Option<PathBuf>,
    /// Take up the making of a vault that was killed: remove the keys that it left, and begin anew.
    ///
    /// Only when no other `lifeboat vault init` runs. A vault with data in it is never touched.
    #[arg(long)]
    start_over: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    vault: String,
    format: u32,
    copies: Vec<String>,
    durable: usize,
    recipients: Vec<&'static str>,
    break_glass: Option<PathBuf>,
    plan_stored: bool,
    behind: Vec<String>,
}

/// Makes it.
///
/// # Errors
/// If there is a vault already, or it could not be made.
pub async fn run(settings: &Settings, args: Args) -> anyhow::Result<Exit> {
    let output = &settings.output;
    let plan = settings.plan_file()?;
    let copies = settings.new_copies(plan.as_ref())?;
    let passphrase = secrets::new_passphrase(&settings.global)?;
    if passphrase.is_none() && args.recipients.is_empty() && args.break_glass.is_none() {
        return Err(anyhow!("a vault needs at least one who can open it")).next(format!(
            "set {}, name a --passphrase-file, an age --recipient, or a --break-glass file",
            secrets::PASSPHRASE_VARIABLE
        ));
    }
    if passphrase.as_ref().is_some_and(|phrase| phrase.chars().count() < ADVISED_PASSPHRASE_CHARS) {
        output.warn(format!(
            "the passphrase is short: whoever gets hold of the bucket can guess at it. \
             {ADVISED_PASSPHRASE_CHARS} characters or five words are better"
        ));
    }
    if args.start_over {
        let cleared = Vault::clear_half_made(&copies).await;
        cleared.map_err(copies::advised).context("the vault was not made")?;
    }
    let mut recipients = args.recipients;
    if let Some(path) = &args.break_glass {
        recipients.push(write_identity(path)?);
    }
    let phrase = passphrase.as_ref().map(|phrase| phrase.as_str());
    let made = Vault::init(copies, phrase, &recipients, settings.clock.clone()).await;
    let vault = match made {
        Ok(vault) => vault,
        Err(error) => {
            if let Some(path) = &args.break_glass {
                // It opens nothing; a later try must not trip over it.
                let _ = std::fs::remove_file(path);
            }
            return Err(copies::advised(error)).context("the vault was not made");
        }
    };
    let mut kinds = vec!["age"; recipients.len()];
    kinds.extend(passphrase.is_some().then_some("passphrase"));
    let data = serde_json::json!({ "vault": vault.header().vault, "keys": kinds });
    journal::note(&vault, &journal::vault_scope(), "vault.made", data).await?;
    let plan_stored = match &plan {
        Some(plan) => plans::store(&vault, plan).await?,
        None => false,
    };
    let made = Made {
        vault: vault.header().vault.to_string(),
        format: vault.header().format,
        copies: vault.copies().all().iter().map(|copy| copy.name().to_owned()).collect(),
        durable: vault.copies().durable(),
        recipients: kinds,
        break_glass: args.break_glass,
        plan_stored,
        behind: behind(&vault).await.iter().map(|failure| failure.copy.clone()).collect(),
    };
    output.result("vault.init", &made, |_| human(&made))?;
    Ok(if made.behind.is_empty() { Exit::Good } else { Exit::Findings })
}

fn human(made: &Made) -> String {
    let mut out = format!("vault {} is made in {}\n", made.vault, made.copies.join(" and "));
    out.push_str(&format!("  opened by: {}\n", made.recipients.join(", ")));
    if made.plan_stored {
        out.push_str("  the plan is in it too\n");
    }
    for copy in &made.behind {
        out.push_str(&format!(
            "  {copy} did not take it: `lifeboat vault check --repair` brings it up to date\n"
        ));
    }
    if let Some(path) = &made.break_glass {
        out.push_str(&format!(
            "\nThe break-glass key is in {path}. It opens the vault without the passphrase, so:\n\
             \x20 1. copy it to two places that do not burn together and are not connected: a USB stick in a\n\
             \x20    safe, a printed sheet in a bank;\n\
             \x20 2. try it once: lifeboat vault status --identity {path}\n\
             \x20 3. then remove it from this machine: shred -u {path}\n\
             The stock `age` tool opens the vault's key with it too.\n",
            path = path.display()
        ));
    } else {
        out.push_str(
            "  whoever loses the passphrase loses the vault: `--break-glass FILE` makes a second key when a \
             vault is made\n",
        );
    }
    out
}

/// Copies that do not have the vault's header.
async fn behind(vault: &Vault) -> Vec<CopyFailure> {
    let mut failures = Vec::new();
    for (index, copy) in vault.copies().all().iter().enumerate() {
        if let Err(error) = vault.copies().read_from(index, lifeboat_vault::names::VAULT_HEADER).await {
            failures.push(CopyFailure { copy: copy.name().to_owned(), reason: error.to_string() });
        }
    }
    failures
}

/// Writes a new age identity; returns its recipient.
fn write_identity(path: &Path) -> anyhow::Result<String> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let failed = || format!("the break-glass key cannot be written to {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(failed).next(
                "name another file; if it is of a `lifeboat vault init` that did not end, it opens nothing",
            )?
        }
        opened => opened.with_context(failed)?,
    };
    let secret = identity.to_string();
    let text = zeroize::Zeroizing::new(format!(
        "# Opens a Lifeboat vault. Keep it offline.\n# public key: {recipient}\n{}\n",
        secret.expose_secret()
    ));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    Ok(recipient)
}
