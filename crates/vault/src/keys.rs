//! The vault key, wrapped for each who may open the vault.
//!
//! A wrapped key is a small JSON object below `keys/`. A passphrase wraps by Argon2id and AES-256-GCM; an
//! age recipient by the age format itself, so that the stock `age` tool unwraps it to 32 bytes.
//!
//! # Invariants
//! - **K1** The vault key exists unwrapped only in memory, and is wiped.
//! - **K2** Any one recipient suffices: a lost passphrase with an age identity kept is no loss.

use crate::seal::{self, VaultKey};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use lifeboat_base::Clock;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Argon2id cost: 64 MiB, 3 passes, 1 lane (the second recommendation of RFC 9106, section 4, with a
/// lane for the smallest of machines).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
/// A header from elsewhere cannot ask for more than this.
const MEMORY_LIMIT_KIB: u32 = 4 * 1024 * 1024;
const PASSES_LIMIT: u32 = 64;

/// What a user brings to open a vault.
pub enum Unlock {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// The contents of an age identity file (`AGE-SECRET-KEY-1…`).
    AgeIdentity(Zeroizing<String>),
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(hidden)",
            Self::AgeIdentity(_) => "AgeIdentity(hidden)",
        })
    }
}

/// The vault key, wrapped for one recipient.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WrappedKey {
    /// By a passphrase, through Argon2id.
    Passphrase {
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
        /// 16 random bytes, Base64.
        salt: String,
        /// The key as a sealed object named `keys/passphrase`, Base64.
        sealed: String,
    },
    /// By an age recipient.
    Age {
        /// `age1…`: whose identity opens it.
        recipient: String,
        /// An armoured age file with the 32 bytes in it.
        sealed: String,
    },
}

/// Why a key could not be wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What was brought opens no wrapped key.
    #[error("{0} does not open this vault")]
    Wrong(&'static str),
    /// The vault has no recipient of this kind.
    #[error("this vault was not sealed for {0}; its recipients are: {1}")]
    NoSuchRecipient(&'static str, String),
    /// Not an age recipient.
    #[error("`{0}` is not an age recipient; one begins with age1")]
    Recipient(String),
    /// Not an age identity.
    #[error("the identity file holds no age identity; one begins with AGE-SECRET-KEY-1")]
    Identity,
    /// A wrapped key that no Lifeboat wrote.
    #[error("a wrapped key in the vault is malformed: {0}")]
    Malformed(&'static str),
}

impl WrappedKey {
    /// Wraps `key` by a passphrase.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] if Argon2 refuses its cost, which a test rules out.
    pub fn by_passphrase(key: &VaultKey, passphrase: &str, clock: &dyn Clock) -> Result<Self, KeyError> {
        let mut salt = [0; 16];
        clock.random(&mut salt);
        let wrapping = derive(passphrase, &salt, MEMORY_KIB, PASSES, LANES)?;
        let sealed = seal::seal_object(&wrapping, PASSPHRASE_NAME, clock, key.expose());
        Ok(Self::Passphrase {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: BASE64.encode(salt),
            sealed: BASE64.encode(sealed),
        })
    }

    /// Wraps `key` for an age recipient.
    ///
    /// # Errors
    /// [`KeyError::Recipient`] if `recipient` is none.
    pub fn by_age(key: &VaultKey, recipient: &str) -> Result<Self, KeyError> {
        let parsed: age::x25519::Recipient =
            recipient.parse().map_err(|_| KeyError::Recipient(recipient.to_owned()))?;
        let sealed = age::encrypt_and_armor(&parsed, key.expose())
            .map_err(|_| KeyError::Malformed("age could not encrypt"))?;
        Ok(Self::Age { recipient: recipient.to_owned(), sealed })
    }

    /// What kind of recipient, for names and messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Passphrase { .. } => "passphrase",
            Self::Age { .. } => "age",
        }
    }

    fn unwrap(&self, unlock: &Unlock) -> Result<Option<VaultKey>, KeyError> {
        match (self, unlock) {
            (Self::Passphrase { memory_kib, passes, lanes, salt, sealed }, Unlock::Passphrase(phrase)) => {
                let salt = BASE64.decode(salt).map_err(|_| KeyError::Malformed("salt"))?;
                let sealed = BASE64.decode(sealed).map_err(|_| KeyError::Malformed("sealed key"))?;
                let wrapping = derive(phrase, &salt, *memory_kib, *passes, *lanes)?;
                let opened = seal::open_object(&wrapping, PASSPHRASE_NAME, &sealed).ok().map(Zeroizing::new);
                Ok(opened.and_then(|bytes| VaultKey::from_bytes(&bytes)))
            }
            (Self::Age { sealed, .. }, Unlock::AgeIdentity(file)) => {
                let identities: Vec<age::x25519::Identity> =
                    file.lines().filter_map(|line| line.trim().parse().ok()).collect();
                if identities.is_empty() {
                    return Err(KeyError::Identity);
                }
                let opened = identities
                    .iter()
                    .find_map(|identity| age::decrypt(identity, sealed.as_bytes()).ok().map(Zeroizing::new));
                Ok(opened.and_then(|bytes| VaultKey::from_bytes(&bytes)))
            }
            _ => Ok(None),
        }
    }
}

const PASSPHRASE_NAME: &str = "keys/passphrase";

/// Unwraps the vault key from whichever of `wrapped` yields to `unlock`.
///
/// # Errors
/// [`KeyError::Wrong`] if none does.
pub fn unlock(wrapped: &[WrappedKey], unlock: &Unlock) -> Result<VaultKey, KeyError> {
    let (kind, said) = match unlock {
        Unlock::Passphrase(_) => ("passphrase", "the passphrase"),
        Unlock::AgeIdentity(_) => ("age", "the age identity"),
    };
    if !wrapped.iter().any(|key| key.kind() == kind) {
        let kinds: Vec<&str> = wrapped.iter().map(WrappedKey::kind).collect();
        return Err(KeyError::NoSuchRecipient(said, kinds.join(", ")));
    }
    for key in wrapped {
        if let Some(key) = key.unwrap(unlock)? {
            return Ok(key);
        }
    }
    Err(KeyError::Wrong(said))
}

fn derive(passphrase: &str, salt: &[u8], memory: u32, passes: u32, lanes: u32) -> Result<VaultKey, KeyError> {
    if memory > MEMORY_LIMIT_KIB || passes > PASSES_LIMIT {
        return Err(KeyError::Malformed("Argon2 cost beyond the limit"));
    }
    let refused = |_| KeyError::Malformed("Argon2 cost");
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(refused)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(refused)?;
    VaultKey::from_bytes(key.as_ref()).ok_or(KeyError::Malformed("key length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Copies, Reach, Vault, VaultCopy};
    use age::secrecy::ExposeSecret;
    use futures::TryStreamExt;
    use lifeboat_base::ManualClock;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    #[test]
    fn k2_any_one_recipient_opens_and_no_other_does() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let key = VaultKey::generate(&clock);
        let identity = age::x25519::Identity::generate();
        let wrapped = [
            WrappedKey::by_passphrase(&key, "correct horse", &clock).unwrap(),
            WrappedKey::by_age(&key, &identity.to_public().to_string()).unwrap(),
        ];
        let phrase = |text: &str| Unlock::Passphrase(Zeroizing::new(text.to_owned()));
        let file = |i: &age::x25519::Identity| {
            Unlock::AgeIdentity(Zeroizing::new(format!(
                "# kept offline\n{}\n",
                i.to_string().expose_secret()
            )))
        };
        for good in [phrase("correct horse"), file(&identity)] {
            assert_eq!(unlock(&wrapped, &good).unwrap().expose(), key.expose());
        }
        for bad in [phrase("wrong"), file(&age::x25519::Identity::generate())] {
            assert!(matches!(unlock(&wrapped, &bad), Err(KeyError::Wrong(_))));
        }
        assert!(matches!(unlock(&wrapped[1..], &phrase("x")), Err(KeyError::NoSuchRecipient(..))));
    }

    #[tokio::test]
    async fn k1_the_key_is_in_no_object_and_in_nothing_that_is_printed() {
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1));
        let store = Arc::new(InMemory::new());
        let copies = Copies::new(vec![VaultCopy::new("one", None, store.clone())], 1);
        let recipient = age::x25519::Identity::generate().to_public().to_string();
        let vault = Vault::init(copies, Some("correct horse"), &[recipient], clock).await.unwrap();
        // A frame that is stored as it is, and one that is compressed.
        vault.put("plans/short", b"short", Reach::All).await.unwrap();
        vault.put("plans/long", &[7; 10_000], Reach::All).await.unwrap();
        crate::journal::append_shared(&vault, &"run".parse().unwrap(), "me", "said", "x".into())
            .await
            .unwrap();
        let key = vault.key().expose();
        let hexadecimal = hex::encode(key);
        let written = [
            key.to_vec(),
            hexadecimal.clone().into_bytes(),
            hexadecimal.to_uppercase().into_bytes(),
            // Base64 of it alone, and where it stands third by third in something longer.
            BASE64.encode(key).trim_end_matches('=').as_bytes()[..42].to_vec(),
            BASE64.encode(&key[1..31]).into_bytes(),
            BASE64.encode(&key[2..32]).into_bytes(),
        ];
        let holds =
            |bytes: &[u8]| written.iter().any(|form| bytes.windows(form.len()).any(|window| window == form));
        assert!(holds(key) && holds(hexadecimal.as_bytes()), "the search finds nothing");
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(objects.len(), 6, "a header, two keys, two plans and a record: {objects:?}");
        for object in objects {
            let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
            assert!(!holds(&bytes), "{} holds the key", object.location);
        }
        let phrase = Unlock::Passphrase("correct horse".to_owned().into());
        let printed = format!("{vault:?} {:?} {phrase:?}", vault.key());
        assert!(!holds(printed.as_bytes()) && !printed.contains("correct horse"), "{printed}");
    }

    /// Looks through the memory of this very process.
    #[test]
    fn k1_an_unwrapped_key_is_wiped() {
        let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let identity = age::x25519::Identity::generate();
        let key = VaultKey::generate(&clock);
        // What an allocator writes into memory that it took back stands at its beginning.
        let end: Vec<u8> = key.expose()[16..].iter().map(|byte| byte ^ 0xA5).collect();
        let wrapped = [
            WrappedKey::by_passphrase(&key, "correct horse", &clock).unwrap(),
            WrappedKey::by_age(&key, &identity.to_public().to_string()).unwrap(),
        ];
        drop(key);
        let file = Unlock::AgeIdentity(Zeroizing::new(identity.to_string().expose_secret().to_owned()));
        for bring in [Unlock::Passphrase("correct horse".to_owned().into()), file] {
            let opened = Box::new(unlock(&wrapped, &bring).unwrap());
            assert!(in_heap(&end), "the search does not find what is there");
            drop(opened);
            assert!(!in_heap(&end), "{bring:?} left the key in memory");
        }
    }

    /// Whether bytes that were masked stand unmasked anywhere in memory that can be written, but on a stack.
    fn in_heap(masked: &[u8]) -> bool {
        let here = std::ptr::from_ref(&masked) as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        maps.lines().any(|line| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (begin, end) = range.split_once('-').unwrap();
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let (begin, end) = (number(begin), number(end));
            if !rest.starts_with("rw") || rest.contains("[stack") || (begin..end).contains(&here) {
                return false;
            }
            let mut bytes = Zeroizing::new(vec![0; (end - begin) as usize]);
            let Ok(()) = memory.read_exact_at(&mut bytes, begin) else { return false };
            bytes.windows(masked.len()).any(|window| window.iter().zip(masked).all(|(a, b)| a ^ 0xA5 == *b))
        })
    }
}
