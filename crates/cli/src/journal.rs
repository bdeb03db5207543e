//! What commands write into the journal, and what they read out of it.
//!
//! Scopes: `vault`, `plan`, and for each service `backup` (advances, too), `verify`, `restore`, `stream`, `prune`.

use crate::points::State;
use crate::secrets;
use crate::settings::Settings;
use anyhow::Context;
use jiff::Timestamp;
use lifeboat_base::ServiceName;
use lifeboat_vault::journal::{self, Record, Scope};
use lifeboat_vault::{Vault, lease};
use std::collections::BTreeMap;
use std::time::Duration;

/// A service's backups: the scope of their lease too.
pub const BACKUP: &str = "backup";
/// What verifying its restore points brought.
pub const VERIFY: &str = "verify";
/// Its stream.
pub const STREAM: &str = "stream";
/// Its restores.
pub const RESTORE: &str = "restore";
/// How long a command that needs no vault tries to journal what it did.
const BESIDE_LIMIT: Duration = Duration::from_secs(20);
/// Records of one scope that are read at most.
const RECORDS_LIMIT: u64 = 1_000_000;

/// Who acts: `user@host, pid`.
#[must_use]
pub fn actor() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let user = user_name(uid).unwrap_or_else(|| format!("uid {uid}"));
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    format!("{user}@{host}, {}", std::process::id())
}

/// The account's name; an environment variable could say anything.
fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let is_it = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    Some(users.lines().find(is_it)?.split(':').next()?.to_owned())
}

/// Appends an event to a chain that many write.
///
/// # Errors
/// If the journal does not take it.
pub async fn note(vault: &Vault, scope: &Scope, kind: &str, data: serde_json::Value) -> anyhow::Result<()> {
    let appended = journal::append_shared(vault, scope, &actor(), kind, data).await;
    appended.with_context(|| format!("`{kind}` was not journalled")).map(drop)
}

/// Journals something of a restored server, by a command that needs no vault: what goes wrong is warned of.
///
/// Nobody is asked for a key, and nothing waits long: whoever opens a service has no time for either.
pub async fn note_beside(settings: &Settings, service: &ServiceName, kind: &str, data: serde_json::Value) {
    let noted = async {
        let opened = settings.open_with(|| secrets::unlock_unasked(&settings.global)).await?;
        note(&opened.vault, &Scope::service(service, RESTORE), kind, data).await
    };
    let why = match tokio::time::timeout(BESIDE_LIMIT, noted).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "the vault does not answer in time".to_owned(),
    };
    settings.output.warn(format!("`{kind}` is not in the journal: {why}"));
}

/// The scope of the vault's own events.
#[must_use]
pub fn vault_scope() -> Scope {
    Scope::new("vault").expect("a fixed name is a scope")
}

/// The scope of the plan's events.
#[must_use]
pub fn plan_scope() -> Scope {
    Scope::new("plan").expect("a fixed name is a scope")
}

/// Takes the lease of what a service has one of at a time, or says who has it.
///
/// # Errors
/// If another has it after `patience`, or the home copy does not answer.
pub async fn fence(
    vault: &Vault,
    service: &ServiceName,
    role: &'static str,
    patience: Duration,
) -> anyhow::Result<lease::Fenced> {
    Ok(lease::Fenced::wait(vault, &Scope::service(service, role), &actor(), patience).await?)
}

/// All records of a scope, in order.
///
/// # Errors
/// If the journal cannot be read.
pub async fn records(vault: &Vault, scope: &Scope) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut after = 0;
    while after < RECORDS_LIMIT {
        let page = journal::read(vault, scope, after).await;
        let page = page.with_context(|| format!("the journal of {} cannot be read", scope.as_str()))?;
        let Some(last) = page.records.last() else { break };
        after = last.number;
        records.extend(page.records);
        if page.is_end {
            break;
        }
    }
    Ok(records)
}

/// It came back and answered all with yes.
pub const VERIFIED: &str = "verify.succeeded";
/// It came back, and something was answered with no, or could not be asked.
pub const DOUBTED: &str = "verify.doubtful";
/// It did not come back, or not as it was.
pub const FAILED: &str = "verify.failed";

/// What verifying a restore point brought last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What became of it.
    pub state: State,
    /// When.
    pub time: Timestamp,
    /// In a sentence.
    pub detail: String,
}

/// The newest verdict on each restore point of a service, by its ID.
///
/// # Errors
/// If the journal cannot be read.
pub async fn verdicts(vault: &Vault, service: &ServiceName) -> anyhow::Result<BTreeMap<String, Verdict>> {
    let mut verdicts = BTreeMap::new();
    for record in records(vault, &Scope::service(service, VERIFY)).await? {
        let state = match record.kind.as_str() {
            VERIFIED => State::Verified,
            DOUBTED => State::Doubtful,
            FAILED => State::Failed,
            _ => continue,
        };
        let text = |key: &str| record.data.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let verdict = Verdict { state, time: record.time, detail: text("detail").to_owned() };
        verdicts.insert(text("point").to_owned(), verdict);
    }
    Ok(verdicts)
}
