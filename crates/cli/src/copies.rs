//! Finds the copies of the vault that the command line or the plan names.
//!
//! # Invariants
//! - **G1 a copy that is away stays a copy**: it is asked, and silent. Only so does "not in the vault" mean
//!   what it says.
//! - **G2 an empty directory is no copy.** A copy without this vault's header counts as away: most often a
//!   disk that is not mounted.

use crate::away::{Away, NO_VAULT, OTHER_VAULT};
use crate::failure::guided;
use anyhow::Context;
use bytes::Bytes;
use lifeboat_base::error_chain;
use lifeboat_plan::{CopyUrl, Plan};
use lifeboat_vault::{Copies, OpenVaultError, VaultCopy, address, names};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use std::time::Duration;

/// How long a copy may take to show its header.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// What is known of a copy before it is opened.
#[derive(Debug, Clone)]
pub struct CopySpec {
    /// What people call it.
    pub name: String,
    url: String,
    domain: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
}

/// The copies, and how each was found.
#[derive(Debug)]
pub struct Found {
    /// All of them (G1).
    pub copies: Copies,
    /// Those that are away, and why.
    pub away: Vec<(String, String)>,
    /// Addresses of those that answer.
    pub answering: Vec<String>,
}

impl CopySpec {
    /// A copy that the command line names.
    #[must_use]
    pub fn of_url(url: &CopyUrl) -> Self {
        let url = url.to_string();
        Self { name: url.clone(), url, domain: None, endpoint: None, region: None }
    }

    /// The copies of a plan, the home of leases and the journal first.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Vec<Self> {
        let vault = &plan.vault;
        let mut specs: Vec<Self> = vault.copies.iter().map(Self::of_copy).collect();
        if let Some(home) = vault.home().and_then(|home| vault.copies.iter().position(|copy| copy == home)) {
            specs.swap(0, home);
        }
        specs
    }

    fn of_copy(copy: &lifeboat_plan::VaultCopy) -> Self {
        let url = copy.url.to_string();
        let name = copy.name.as_ref().map_or_else(|| url.clone(), |name| name.as_str().to_owned());
        let (endpoint, region) = (copy.endpoint.clone(), copy.region.clone());
        Self { name, url, domain: copy.domain.clone(), endpoint, region }
    }

    /// Opens its store; a directory is made if `create`.
    ///
    /// # Errors
    /// If the address leads nowhere.
    pub fn store(&self, create: bool) -> Result<Arc<dyn ObjectStore>, address::AddressError> {
        let environment = |name: &str| match (name, &self.endpoint, &self.region) {
            ("AWS_ENDPOINT_URL_S3" | "AWS_ENDPOINT_URL", Some(endpoint), _) => Some(endpoint.clone()),
            ("AWS_REGION" | "AWS_DEFAULT_REGION", _, Some(region)) => Some(region.clone()),
            _ => std::env::var(name).ok(),
        };
        address::open(&self.url, create, &environment)
    }

    fn copy(&self, store: Arc<dyn ObjectStore>) -> VaultCopy {
        VaultCopy::new(self.name.clone(), self.domain.clone(), store)
    }
}

/// The places of a vault that is to be made; directories are made too.
///
/// # Errors
/// If one of them cannot be used.
pub fn make(specs: &[CopySpec], durable: usize) -> anyhow::Result<Copies> {
    let made = specs.iter().map(|spec| {
        let store = spec.store(true).with_context(|| format!("the copy {} cannot be made", spec.name))?;
        Ok(spec.copy(store))
    });
    Ok(Copies::new(made.collect::<anyhow::Result<_>>()?, durable))
}

/// The copies of a vault that is there; those that `adopted` accepts may be empty, and are made.
pub async fn find(specs: &[CopySpec], durable: usize, adopted: &[CopyUrl]) -> Found {
    let is_adopted = |spec: &CopySpec| adopted.iter().any(|url| url.to_string() == spec.url);
    let looks = specs.iter().map(|spec| look(spec, is_adopted(spec)));
    let looked = futures::future::join_all(looks).await;
    let header = looked.iter().find_map(|found| found.as_ref().ok()?.1.as_ref().ok()).cloned();
    let (mut copies, mut away, mut answering) = (Vec::new(), Vec::new(), Vec::new());
    for (spec, looked) in specs.iter().zip(looked) {
        let (store, reason) = match looked {
            Err(error) => (None, Some(error_chain(&error))),
            // Without any header there is no vault, which opening it says.
            Ok((store, Err(_))) if header.is_none() => (Some(store), None),
            Ok((store, Ok(own))) if Some(&own) == header.as_ref() => {
                answering.push(spec.url.clone());
                (Some(store), None)
            }
            Ok((_, Ok(_))) => (None, Some(OTHER_VAULT.to_owned())),
            Ok((store, Err(Error::NotFound { .. }))) if is_adopted(spec) => (Some(store), None),
            Ok((_, Err(Error::NotFound { .. }))) => (None, Some(NO_VAULT.to_owned())),
            // It may answer the next question, but first with its header (G2).
            Ok((_, Err(error))) => (None, Some(error.to_string())),
        };
        let placeholder = || Arc::new(Away::new(spec, reason.clone().unwrap_or_default(), header.clone()));
        copies.push(spec.copy(store.unwrap_or_else(|| placeholder())));
        away.extend(reason.map(|reason| (spec.name.clone(), reason)));
    }
    Found { copies: Copies::new(copies, durable), away, answering }
}

/// Adds to why a vault was not opened or made what to do about it.
#[must_use]
pub fn advised(error: OpenVaultError) -> anyhow::Error {
    let next = match &error {
        OpenVaultError::NoVault(_) => {
            "if there was one, its disk is not mounted or the address is another one; else `lifeboat vault init` \
             makes one"
        }
        OpenVaultError::Exists(_) => {
            "it is ready: `lifeboat vault status` shows it, `lifeboat vault check` looks whether all is there. For a \
             new one name an empty place"
        }
        OpenVaultError::HeaderLost(_) => {
            "do not make a new vault there. Copy the object `lifeboat.json` back from another copy, which has the \
             same bytes, or from the bucket's older versions; or name the copies that have it alone, with --vault"
        }
        OpenVaultError::HalfMade(_) => {
            "if no other `lifeboat vault init` runs now: `lifeboat vault init --start-over` removes them and begins \
             anew"
        }
        OpenVaultError::Key(_) => {
            "bring the passphrase, or an identity (--identity), that the vault was made for; nothing else opens it. \
             Is it the vault that you mean? `--passphrase-file` takes the first line of the file"
        }
        _ => return error.into(),
    };
    guided(error, next)
}

/// A place, open, and the header that it has.
type Place = Result<(Arc<dyn ObjectStore>, Result<Bytes, Error>), address::AddressError>;

async fn look(spec: &CopySpec, create: bool) -> Place {
    let store = spec.store(create)?;
    let header = header(store.as_ref()).await;
    Ok((store, header))
}

/// The header of the vault in `store`; a store that hangs is away.
///
/// # Errors
/// What the store said.
pub async fn header(store: &dyn ObjectStore) -> Result<Bytes, Error> {
    let name = Path::from(names::VAULT_HEADER);
    let read = async { store.get(&name).await?.bytes().await };
    match tokio::time::timeout(LOOK_LIMIT, read).await {
        Ok(read) => read,
        Err(elapsed) => Err(Error::Generic { store: "vault copy", source: Box::new(elapsed) }),
    }
}
