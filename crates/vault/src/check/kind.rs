//! What an object is, by its name, and whether bytes are one.

use crate::journal::sha256;
use crate::keys::WrappedKey;
use crate::layer;
use crate::seal::{self, VaultKey};
use crate::{Header, names};
use bytes::Bytes;

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The unsealed header of this vault.
    Header(Header),
    /// A wrapped key, unsealed.
    Key,
    /// One sealed frame; of this many raw bytes, if that is known.
    Sealed(Option<u64>),
    /// One sealed frame whose content may differ from copy to copy: of two catalogue snapshots at one position, each
    /// copy keeps the first that it was given.
    Loose,
    /// One sealed frame that much depends on: always opened.
    Vital,
    /// A layer's index.
    Index,
    /// A layer's frames.
    Pack,
}

impl Kind {
    /// Whether it is small and needed so much that it is always opened.
    pub(super) fn is_always_opened(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Key | Self::Vital | Self::Index)
    }

    /// The digest of what `bytes` say as the object `name`, where all copies must say the same; or what is wrong with
    /// them. What is sealed twice is not the same bytes, so that of one frame what it opens to is compared.
    pub(super) fn verify(&self, key: &VaultKey, name: &str, bytes: &[u8]) -> Result<Option<String>, String> {
        let text = |error: seal::OpenError| error.to_string();
        match self {
            Self::Header(header) => match serde_json::from_slice::<Header>(bytes) {
                Ok(found) if found == *header => Ok(None),
                Ok(found) => Err(format!("it is the header of another vault, {}", found.vault)),
                Err(error) => Err(error.to_string()),
            },
            Self::Key => {
                serde_json::from_slice::<WrappedKey>(bytes).map(|_| None).map_err(|error| error.to_string())
            }
            Self::Sealed(length) => {
                let raw = seal::open_object(key, name, bytes).map_err(text)?;
                match length {
                    Some(length) if raw.len() as u64 != *length => {
                        Err(format!("it holds {} bytes instead of {length}", raw.len()))
                    }
                    _ => Ok(Some(sha256(&raw))),
                }
            }
            Self::Loose => seal::open_object(key, name, bytes).map(|_| None).map_err(text),
            Self::Vital => seal::open_object(key, name, bytes).map(|raw| Some(sha256(&raw))).map_err(text),
            // A layer is sealed once, and goes to every copy as it is.
            Self::Index => layer::verify_index(key, name, bytes).map(|_| Some(sha256(bytes))).map_err(text),
            Self::Pack => layer::verify_pack(key, name, bytes).map(|()| Some(sha256(bytes))).map_err(text),
        }
    }
}

/// Verifies on a thread that may compute: a pack takes tens of milliseconds.
pub(super) async fn verify(
    kind: &Kind,
    key: &VaultKey,
    name: &str,
    bytes: &Bytes,
) -> Result<Option<String>, String> {
    let (kind, key, name, bytes) = (kind.clone(), key.clone(), name.to_owned(), bytes.clone());
    let verified = tokio::task::spawn_blocking(move || kind.verify(&key, &name, &bytes));
    verified.await.unwrap_or_else(|error| Err(format!("it could not be opened: {error}")))
}

/// Whether a name right below the top is one of ours. A directory keeps an empty `probe` from `vault init`.
pub(super) fn is_ours(top: &str) -> bool {
    let ours = [names::VAULT_HEADER, names::KEYS, "plans", "journal", "leases", "services", "probe"];
    ours.contains(&top)
}
