//! Signs what a person says to a run, with that person's SSH key: `ssh-keygen` does it, so that agents, passphrases and
//! hardware tokens work as they do for everything else.

use crate::failure::Next;
use anyhow::{Context, anyhow, bail};
use lifeboat_engine::run::NAMESPACE;
use lifeboat_plan::{Approver, SshKey};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Where a person's own key is looked for, below the home directory.
const USUAL: [&str; 4] = [".ssh/id_ed25519", ".ssh/id_ed25519_sk", ".ssh/id_ecdsa", ".ssh/id_ecdsa_sk"];

/// Who speaks.
#[derive(Debug, Clone, clap::Args)]
pub struct Speaker {
    /// The private key to sign with, or the public one if an agent holds the other [default: the usual one in ~/.ssh].
    #[arg(long, value_name = "FILE", env = "LIFEBOAT_SSH_KEY")]
    ssh_key: Option<PathBuf>,
    /// Who you are [default: whom the plan says the key belongs to; without approvers, your account].
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

/// A person who was found, and the key to sign with, if words are to be signed.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Who.
    pub name: String,
    key: Option<PathBuf>,
}

impl Speaker {
    /// Who speaks, by the plan's approvers.
    pub(super) async fn person(&self, approvers: &[Approver]) -> anyhow::Result<Person> {
        if approvers.is_empty() {
            let account = || crate::journal::actor().split(',').next().unwrap_or_default().to_owned();
            return Ok(Person { name: self.name.clone().unwrap_or_else(account), key: None });
        }
        let path = self.path()?;
        let public = public(&path).await?;
        let is_whose = |approver: &&Approver| approver.keys.iter().any(|key| same(key, &public));
        let whose = approvers.iter().find(is_whose).map(|approver| approver.name.clone());
        let names = || approvers.iter().map(|approver| approver.name.as_str()).collect::<Vec<_>>().join(", ");
        match (whose, &self.name) {
            (Some(name), None) => Ok(Person { name, key: Some(path) }),
            (Some(name), Some(wanted)) if name == *wanted => Ok(Person { name, key: Some(path) }),
            (Some(name), Some(wanted)) => {
                bail!("the key {} is that of {name}, not of {wanted}", path.display())
            }
            (None, _) => Err(anyhow!("the key {} belongs to none of the plan's approvers", path.display()))
                .next(format!("they are {}; name another key with --ssh-key", names())),
        }
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.ssh_key {
            return Ok(path.clone());
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let usual = USUAL.iter().map(|name| home.join(name));
        let found = usual.into_iter().find(|path| path.exists());
        found.ok_or_else(|| anyhow!("there is no SSH key to sign with: the plan names approvers, so each word is signed"))
            .next("name yours with --ssh-key FILE; `ssh-keygen -t ed25519` makes one, and the plan's `people.approvers` takes its .pub line")
    }
}

/// Whether two texts are the same key, whatever their comments say.
fn same(key: &SshKey, public: &SshKey) -> bool {
    let bare = |key: &SshKey| key.to_string().split(' ').take(2).collect::<Vec<_>>().join(" ");
    bare(key) == bare(public)
}

/// The public half of a key.
async fn public(path: &Path) -> anyhow::Result<SshKey> {
    let failed = || format!("the SSH key {} cannot be read", path.display());
    let beside = PathBuf::from(format!("{}.pub", path.display()));
    let text = if beside.exists() {
        std::fs::read_to_string(&beside).with_context(failed)?
    } else {
        std::fs::read_to_string(path).with_context(failed)?
    };
    if let Ok(key) = text.trim().parse() {
        return Ok(key);
    }
    let printed =
        ssh_keygen(&["-y".as_ref(), "-f".as_ref(), path.as_os_str()], "").await.with_context(failed)?;
    printed.trim().parse().with_context(failed)
}

impl Person {
    /// The signature of a statement; none where words are not signed.
    pub(super) async fn sign(&self, statement: &str) -> anyhow::Result<Option<String>> {
        let Some(key) = &self.key else { return Ok(None) };
        let arguments = [
            "-Y".as_ref(),
            "sign".as_ref(),
            "-q".as_ref(),
            "-n".as_ref(),
            NAMESPACE.as_ref(),
            "-f".as_ref(),
            key.as_os_str(),
        ];
        let signed = ssh_keygen(&arguments, statement).await;
        signed.with_context(|| format!("nothing was signed with {}", key.display())).map(Some)
    }
}

async fn ssh_keygen(arguments: &[&std::ffi::OsStr], input: &str) -> anyhow::Result<String> {
    let mut command = Command::new("ssh-keygen");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .context("ssh-keygen cannot be started")
        .next("it is part of OpenSSH's client: `apt install openssh-client`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.context("ssh-keygen takes no input")?;
    }
    let output = child.wait_with_output().await.context("ssh-keygen did not end")?;
    if !output.status.success() {
        bail!("ssh-keygen says: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("ssh-keygen printed no text")
}
