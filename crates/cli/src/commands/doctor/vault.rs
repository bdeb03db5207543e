//! Whether the vault is there, open, and does not lose a race.

use super::Findings;
use crate::secrets;
use crate::settings::{PlanFile, Settings};
use lifeboat_base::{ByteCount, RandomId, error_chain};
use lifeboat_vault::{OpenVaultError, Vault, names};

/// Less free disk than this in a copy that is a directory is worth a word.
const ROOM_BYTES: u64 = 10 << 30;

/// Looks at each copy, and opens the vault.
pub async fn look(settings: &Settings, plan: Option<&PlanFile>, findings: &mut Findings) -> Option<Vault> {
    let copies = match settings.copies(plan).await {
        Ok(found) => found.copies,
        Err(error) => {
            findings.fail("vault", format!("{error:#}"), "name its copies in the plan, or with --vault");
            return None;
        }
    };
    let mut answering = 0;
    for (index, copy) in copies.all().iter().enumerate() {
        let name = copy.name();
        match copies.read_from(index, names::VAULT_HEADER).await {
            Ok(_) => {
                answering += 1;
                findings.ok("copy", format!("{name} answers"));
            }
            Err(object_store::Error::NotFound { .. }) => findings.fail(
                "copy",
                format!("{name} holds no vault"),
                "`lifeboat vault init` makes one; if there was one, its disk is not mounted",
            ),
            Err(error) => findings.fail(
                "copy",
                format!("{name} does not answer: {}", away_reason(error)),
                "if it is yet to be made, `lifeboat vault init`; else look at its disk or network, its \
                 address, and the credentials in the environment",
            ),
        }
    }
    if copies.all().len() == 1 {
        findings.warn(
            "copies",
            "the vault has one copy: whatever takes it away takes all",
            "name a second one in the plan, at another provider or in another region",
        );
    }
    for url in plan
        .iter()
        .flat_map(|plan| &plan.plan.vault.copies)
        .filter_map(|copy| copy.url.as_url().to_file_path().ok())
    {
        if let Ok(stat) = rustix::fs::statvfs(&url) {
            let free = ByteCount(stat.f_bavail * stat.f_frsize);
            let found = format!("{free} free in {}", url.display());
            findings.should("room", free.0 >= ROOM_BYTES, found, "make room before WAL fills it");
        }
    }
    if answering == 0 {
        // Which key opens it can only be found out once it answers.
        return None;
    }
    let unlock = match secrets::unlock(&settings.global) {
        Ok(unlock) => unlock,
        Err(error) => {
            findings.fail("key", format!("{error:#}"), "set LIFEBOAT_PASSPHRASE or name --passphrase-file");
            return None;
        }
    };
    match Vault::open(copies, &unlock, settings.clock.clone()).await {
        Ok(vault) => {
            findings.ok("key", "the vault opens");
            conditional_create(settings, &vault, findings).await;
            recipients(&vault, findings).await;
            Some(vault)
        }
        Err(error @ OpenVaultError::NoVault(_)) => {
            findings.fail("key", error.to_string(), "`lifeboat vault init`");
            None
        }
        Err(error) => {
            let why = error_chain(&error);
            findings.fail("key", why, "bring the right passphrase or identity; nothing else opens it");
            None
        }
    }
}

/// Why a copy is away, without the words of the store's client around it.
fn away_reason(error: object_store::Error) -> String {
    match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

/// Two writers of one name: the second must be refused, or no lease is safe.
async fn conditional_create(settings: &Settings, vault: &Vault, findings: &mut Findings) {
    let name = format!("probe/{}", RandomId::new(settings.clock.as_ref()));
    let first = vault.copies().create_at_home(&name, "first".into()).await;
    let second = vault.copies().create_at_home(&name, "second".into()).await;
    vault.copies().delete(vec![name]).await;
    match (first, second) {
        (Ok(lifeboat_vault::Created::Mine), Ok(lifeboat_vault::Created::Taken(_))) => {
            findings.ok("conditional create", "a name that is taken is refused, and the home takes writes");
        }
        (Ok(_), Ok(_)) => findings.fail(
            "conditional create",
            "the home lets one writer overwrite another",
            "use a store that has conditional creates (If-None-Match)",
        ),
        (Err(error), _) | (_, Err(error)) => findings.fail(
            "conditional create",
            format!("the home takes no writes: {error}"),
            "look at the permissions of its credentials, and at its disk",
        ),
    }
}

async fn recipients(vault: &Vault, findings: &mut Findings) {
    let listing = vault.copies().list(names::KEYS).await;
    let found = format!("{} keys open it", listing.objects.len());
    findings.should(
        "keys",
        listing.objects.len() > 1,
        found,
        "one lost passphrase loses everything: the next vault should have a break-glass key too",
    );
}
