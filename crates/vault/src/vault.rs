//! One vault, open: its copies, its key, its clock, and sealed objects in and out.

use crate::keys::{self, KeyError, Unlock, WrappedKey};
use crate::seal::{self, VaultKey};
use crate::{Copies, CopyFailure, Created, Reach, ReadError, WriteError, names, refusals};
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_base::{Clock, RandomId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Wrapped keys beyond this are not tried.
const KEYS_LIMIT: usize = 256;

/// The unsealed object at the top of a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Version of the format.
    pub format: u32,
    /// Which vault this is: copies of one share it.
    pub vault: RandomId,
    /// When it was made.
    pub created: Timestamp,
}

/// Why a vault could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenVaultError {
    /// Nothing is there.
    #[error("there is no vault at {0}")]
    NoVault(String),
    /// There is data, and not what says that this is a vault.
    #[error(
        "the vault at {0} has lost its header, the object `{header}`; the rest of it is there",
        header = names::VAULT_HEADER
    )]
    HeaderLost(String),
    /// There are keys, and nothing else: a `vault init` was killed before it wrote the header.
    #[error("the making of a vault at {0} was begun and not ended: its keys are there, and nothing else")]
    HalfMade(String),
    /// Something is there already.
    #[error("there is a vault at {0} already; it was left as it is")]
    Exists(String),
    /// A later format.
    #[error("the vault is in format {0}; this Lifeboat reads up to {FORMAT}: use a newer one")]
    Format(u32),
    /// The header or a wrapped key is not what Lifeboat writes.
    #[error("{name} in the vault is malformed")]
    Malformed {
        /// The object.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The store does not create conditionally: two writers could overwrite each other.
    #[error(
        "{0} ignores conditional creates (If-None-Match), without which no lease is safe; use a store that has them"
    )]
    NoConditionalCreate(String),
    /// No key opens it.
    #[error("the vault stays shut")]
    Key(#[source] KeyError),
    /// Nobody was named who may open it.
    #[error("a vault needs at least one who can open it: a passphrase or an age recipient")]
    NoRecipient,
    /// A copy did not answer.
    #[error("the vault cannot be read")]
    Read(#[source] ReadError),
    /// A copy did not answer, and may have something of a vault.
    #[error("whether there is something of a vault already is not known ({})", refusals(.0))]
    Silent(Vec<CopyFailure>),
    /// A copy did not take what makes it a vault.
    #[error("the vault cannot be written")]
    Write(#[source] WriteError),
}

/// A vault, open.
#[derive(Debug, Clone)]
pub struct Vault {
    header: Header,
    copies: Copies,
    key: VaultKey,
    clock: Arc<dyn Clock>,
}

impl Vault {
    /// Makes a new vault in all of `copies`, to be opened by `passphrase` and by each age recipient.
    ///
    /// # Errors
    /// [`OpenVaultError`]; a vault that exists is never touched.
    pub async fn init(
        copies: Copies,
        passphrase: Option<&str>,
        recipients: &[String],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenVaultError> {
        if passphrase.is_none() && recipients.is_empty() {
            return Err(OpenVaultError::NoRecipient);
        }
        let key = VaultKey::generate(clock.as_ref());
        let mut wrapped = Vec::new();
        for recipient in recipients {
            wrapped.push(WrappedKey::by_age(&key, recipient).map_err(OpenVaultError::Key)?);
        }
        if let Some(passphrase) = passphrase {
            let by_passphrase = WrappedKey::by_passphrase(&key, passphrase, clock.as_ref());
            wrapped.push(by_passphrase.map_err(OpenVaultError::Key)?);
        }
        let home = copies.all()[0].name().to_owned();
        match read_header(&copies).await {
            Ok(_) => return Err(OpenVaultError::Exists(home)),
            Err(OpenVaultError::NoVault(_)) => must_be_empty(&copies).await?,
            Err(error) => return Err(error),
        }
        probe_conditional_create(&copies, clock.as_ref()).await?;
        let header = Header { format: FORMAT, vault: RandomId::new(clock.as_ref()), created: clock.now() };
        for (number, wrapped) in wrapped.iter().enumerate() {
            let name = format!("{}/{number:02}-{}", names::KEYS, wrapped.kind());
            copies.put(&name, json(wrapped), Reach::All).await.map_err(OpenVaultError::Write)?;
        }
        // The header last: a vault exists once its keys do. Whoever loses a race for it sees a conflict.
        match copies.put(names::VAULT_HEADER, json(&header), Reach::All).await {
            Ok(_) => {}
            Err(WriteError::Conflict { copy, .. }) => return Err(OpenVaultError::Exists(copy)),
            Err(error) => return Err(OpenVaultError::Write(error)),
        }
        Ok(Self { header, copies, key, clock })
    }

    /// Removes the keys that a killed [`Vault::init`] left. They opened nothing: there is no header, and no data.
    ///
    /// Only for one who knows that no other `init` is under way.
    ///
    /// # Errors
    /// [`OpenVaultError`] if there is more than keys, or a copy does not answer that may have it.
    pub async fn clear_half_made(copies: &Copies) -> Result<(), OpenVaultError> {
        match read_header(copies).await {
            Ok(_) => return Err(OpenVaultError::Exists(copies.all()[0].name().to_owned())),
            Err(OpenVaultError::NoVault(_)) => {}
            Err(error) => return Err(error),
        }
        match must_be_empty(copies).await {
            Err(OpenVaultError::HalfMade(_)) => {}
            other => return other,
        }
        let keys = copies.list(names::KEYS).await.objects.into_keys().collect();
        let failures = copies.delete(keys).await;
        if failures.is_empty() { Ok(()) } else { Err(OpenVaultError::Silent(failures)) }
    }

    /// Opens the vault in `copies` with what the user brought.
    ///
    /// # Errors
    /// [`OpenVaultError`].
    pub async fn open(
        copies: Copies,
        unlock: &Unlock,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenVaultError> {
        let header = match read_header(&copies).await {
            // Why there is none: data without a header is not to be taken for an empty place.
            Err(OpenVaultError::NoVault(place)) => {
                return Err(match must_be_empty(&copies).await {
                    Err(found @ (OpenVaultError::HeaderLost(_) | OpenVaultError::HalfMade(_))) => found,
                    _ => OpenVaultError::NoVault(place),
                });
            }
            header => header?,
        };
        let wrapped = read_keys(&copies).await?;
        let key = keys::unlock(&wrapped, unlock).map_err(OpenVaultError::Key)?;
        Ok(Self { header, copies, key, clock })
    }

    /// Who and what this vault is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its copies.
    #[must_use]
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// The same vault for one who only uses what is there ([`Copies::as_seen`]).
    #[must_use]
    pub fn as_seen(&self) -> Self {
        Self { copies: self.copies.as_seen(), ..self.clone() }
    }

    /// The same vault for a service that is lost together with `domain` ([`Copies::outside`]).
    #[must_use]
    pub fn outside(&self, domain: Option<&str>) -> Self {
        Self { copies: self.copies.outside(domain), ..self.clone() }
    }

    /// The same vault, in which a write counts once it is in so many copies, or in all that there are.
    #[must_use]
    pub fn with_durable(&self, durable: usize) -> Self {
        Self { copies: Copies::new(self.copies.all().to_vec(), durable), ..self.clone() }
    }

    /// The key under which its objects are sealed.
    #[must_use]
    pub fn key(&self) -> &VaultKey {
        &self.key
    }

    /// The clock that it was opened with.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Seals `raw` as the object `name` and writes it. Returns the copies that do not have it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub async fn put(&self, name: &str, raw: &[u8], reach: Reach) -> Result<Vec<CopyFailure>, WriteError> {
        let sealed = seal::seal_object(&self.key, name, self.clock.as_ref(), raw);
        self.copies.put(name, sealed.into(), reach).await
    }

    /// Seals `raw` and creates it in the home copy, the arbiter; then mirrors it.
    ///
    /// # Errors
    /// [`WriteError`] when the home did not answer: whether it was written is then unknown.
    pub async fn create_at_home(&self, name: &str, raw: &[u8]) -> Result<Created, WriteError> {
        let sealed = Bytes::from(seal::seal_object(&self.key, name, self.clock.as_ref(), raw));
        let created = self.copies.create_at_home(name, sealed.clone()).await?;
        if created == Created::Mine {
            // A copy that is behind is healed by `vault check --repair`; the home alone decides.
            self.copies.mirror(name, sealed).await;
        }
        Ok(created)
    }

    /// Reads and opens the object `name`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        self.copies.read(name, None, |sealed| seal::open_object_from(&self.key, name, sealed)).await
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec_pretty(value).expect("a struct of texts and numbers serialises").into()
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, OpenVaultError> {
    serde_json::from_slice(bytes)
        .map_err(|source| OpenVaultError::Malformed { name: name.to_owned(), source })
}

async fn read_header(copies: &Copies) -> Result<Header, OpenVaultError> {
    let bytes = match copies.read(names::VAULT_HEADER, None, Ok::<_, std::convert::Infallible>).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => {
            return Err(OpenVaultError::NoVault(copies.all()[0].name().to_owned()));
        }
        Err(error) => return Err(OpenVaultError::Read(error)),
    };
    let header: Header = parse(names::VAULT_HEADER, &bytes)?;
    if header.format > FORMAT { Err(OpenVaultError::Format(header.format)) } else { Ok(header) }
}

/// Requires that no copy has anything of a vault; for copies without a header.
///
/// What else lies there (`lost+found`) is not ours, and does not count.
async fn must_be_empty(copies: &Copies) -> Result<(), OpenVaultError> {
    let mut half_made = None;
    for (index, copy) in copies.all().iter().enumerate() {
        for top in names::DATA.into_iter().chain([names::KEYS]) {
            // One level down: a directory stays where an object was.
            let below = copies.children_in(index, top).await.map_err(|error| {
                let (copy, reason) = (copy.name().to_owned(), error.to_string());
                OpenVaultError::Silent(vec![CopyFailure { copy, reason }])
            })?;
            if below.is_empty() {
                continue;
            }
            if top != names::KEYS {
                return Err(OpenVaultError::HeaderLost(copy.name().to_owned()));
            }
            half_made = half_made.or(Some(copy.name().to_owned()));
        }
    }
    half_made.map_or(Ok(()), |copy| Err(OpenVaultError::HalfMade(copy)))
}

async fn read_keys(copies: &Copies) -> Result<Vec<WrappedKey>, OpenVaultError> {
    let listing = copies.list(names::KEYS).await;
    let mut wrapped = Vec::new();
    for name in listing.objects.keys().take(KEYS_LIMIT) {
        let bytes = copies.read(name, None, Ok::<_, std::convert::Infallible>).await;
        wrapped.push(parse(name, &bytes.map_err(OpenVaultError::Read)?)?);
    }
    Ok(wrapped)
}

/// Asks each copy to create one name twice with different bytes: the second must be refused.
async fn probe_conditional_create(copies: &Copies, clock: &dyn Clock) -> Result<(), OpenVaultError> {
    let name = format!("probe/{}", RandomId::new(clock));
    copies.put(&name, Bytes::from_static(b"first"), Reach::All).await.map_err(OpenVaultError::Write)?;
    let second = copies.put(&name, Bytes::from_static(b"second"), Reach::All).await;
    copies.delete(vec![name]).await;
    match second {
        Err(WriteError::Conflict { .. }) => Ok(()),
        Err(error) => Err(OpenVaultError::Write(error)),
        Ok(_) => Err(OpenVaultError::NoConditionalCreate(copies.all()[0].name().to_owned())),
    }
}
