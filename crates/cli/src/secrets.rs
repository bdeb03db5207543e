//! Where secrets come from: the environment, a file of their owner's alone, or a terminal.
//!
//! # Invariants
//! - **S1** No secret comes from an argument: every process list shows those.
//! - **S2** A file with a secret that others can read is refused.

use crate::failure::Next;
use crate::settings::Global;
use anyhow::{Context, anyhow, bail};
use lifeboat_vault::keys::Unlock;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The variable that holds the vault's passphrase.
pub const PASSPHRASE_VARIABLE: &str = "LIFEBOAT_PASSPHRASE";
/// Largest file that is read for a secret.
const FILE_LIMIT_BYTES: u64 = 64 << 10;
/// Permission bits that only others than the owner need.
const OTHERS: u32 = 0o077;

/// What opens the vault, from the first source that the user named or set.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn unlock(global: &Global) -> anyhow::Result<Unlock> {
    if let Some(path) = &global.identity {
        return Ok(Unlock::AgeIdentity(read_file(path)?));
    }
    Ok(Unlock::Passphrase(passphrase(global)?.ok_or_else(|| anyhow!("the vault needs its key")).next(format!(
        "set {PASSPHRASE_VARIABLE}, or name a file with --passphrase-file or an age identity with --identity"
    ))?))
}

/// As [`unlock`], without asking anybody.
///
/// # Errors
/// If no source was named or set, or it cannot be read.
pub fn unlock_unasked(global: &Global) -> anyhow::Result<Unlock> {
    if let Some(path) = &global.identity {
        return Ok(Unlock::AgeIdentity(read_file(path)?));
    }
    let passphrase = given_passphrase(global)?.ok_or_else(|| anyhow!("no key of the vault is at hand"))?;
    Ok(Unlock::Passphrase(passphrase))
}

/// A key as it is handed to a process of ours, through its standard input.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Handed {
    Passphrase(String),
    Identity(String),
}

/// What a process of ours is to read with [`handed_in`]: one line.
///
/// # Errors
/// If it cannot be put as JSON, which no text is.
pub fn hand_over(unlock: &Unlock) -> anyhow::Result<Zeroizing<String>> {
    let handed = match unlock {
        Unlock::Passphrase(text) => Handed::Passphrase(text.to_string()),
        Unlock::AgeIdentity(text) => Handed::Identity(text.to_string()),
    };
    Ok(Zeroizing::new(serde_json::to_string(&handed)? + "\n"))
}

/// The key that the process which started us handed over.
///
/// # Errors
/// If standard input does not hold one.
pub fn handed_in() -> anyhow::Result<Unlock> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(FILE_LIMIT_BYTES).read_to_string(&mut text).context("no key was handed over")?;
    Ok(match serde_json::from_str(&text).context("no key was handed over")? {
        Handed::Passphrase(text) => Unlock::Passphrase(Zeroizing::new(text)),
        Handed::Identity(text) => Unlock::AgeIdentity(Zeroizing::new(text)),
    })
}

/// The passphrase, asked for on a terminal if it is nowhere else.
///
/// # Errors
/// If a source that the user named cannot be read.
pub fn passphrase(global: &Global) -> anyhow::Result<Option<Zeroizing<String>>> {
    if let Some(found) = given_passphrase(global)? {
        return Ok(Some(found));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let typed = rpassword::prompt_password("Passphrase of the vault: ").context("read the passphrase")?;
    Ok(Some(Zeroizing::new(typed)))
}

/// A passphrase for a new vault: asked for twice on a terminal.
///
/// # Errors
/// If a source that the user named cannot be read, or the two differ.
pub fn new_passphrase(global: &Global) -> anyhow::Result<Option<Zeroizing<String>>> {
    if let Some(found) = given_passphrase(global)? {
        return Ok(Some(found));
    }
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new).context("read the passphrase");
    let first = ask("New passphrase of the vault (empty for none): ")?;
    if first.is_empty() {
        return Ok(None);
    }
    if *first != *ask("The same again: ")? {
        bail!("the two passphrases differ; nothing was made");
    }
    Ok(Some(first))
}

fn given_passphrase(global: &Global) -> anyhow::Result<Option<Zeroizing<String>>> {
    if let Some(path) = &global.passphrase_file {
        let text = read_file(path)?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            bail!("{} holds no passphrase: its first line is empty", path.display());
        }
        return Ok(Some(Zeroizing::new(line.to_owned())));
    }
    let variable = std::env::var(PASSPHRASE_VARIABLE).ok().filter(|text| !text.is_empty());
    Ok(variable.map(Zeroizing::new))
}

/// The contents of a file with a secret (S2). A pipe is as good as a file: `--identity <(command)`.
///
/// # Errors
/// If it cannot be read, is too large, or is readable by others.
pub fn read_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let failed = || format!("{} cannot be read", path.display());
    let file = std::fs::File::open(path).with_context(failed)?;
    let metadata = file.metadata().with_context(failed)?;
    if metadata.is_file() && metadata.mode() & OTHERS != 0 {
        return Err(anyhow!("{} holds a secret, and others than its owner can read it", path.display()))
            .next(format!("run: chmod 0600 {}", path.display()));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text).with_context(failed)?;
    if text.len() as u64 > FILE_LIMIT_BYTES {
        bail!("{} has more than {FILE_LIMIT_BYTES} bytes: it is no file with a secret", path.display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn s2_a_secret_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        std::fs::write(&path, "correct horse\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read_file(&path).unwrap_err().to_string().contains("others than its owner"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(*read_file(&path).unwrap(), "correct horse\n");
    }
}
