//! SSH public keys, and what was signed with them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ssh_key::{Algorithm, EcdsaCurve, PublicKey, SshSig};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// An SSH public key, as it stands in a `.pub` file: `ssh-ed25519 AAAA… ana@laptop`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey(PublicKey);

/// The text is no key that can sign for a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSshKeyError {
    /// Half a key, or none.
    #[error(
        "this is no SSH public key; copy the one line of a `.pub` file, which begins with its kind: ssh-ed25519 AAAA…"
    )]
    NoKey,
    /// What we cannot verify.
    #[error("keys of the kind {0} are not understood here; `ssh-keygen -t ed25519` makes one that is")]
    Kind(String),
}

impl SshKey {
    /// Whether a signature, as `ssh-keygen -Y sign` writes it, was made with this key for `namespace` over `message`.
    #[must_use]
    pub fn has_signed(&self, namespace: &str, message: &[u8], signature: &str) -> bool {
        SshSig::from_pem(signature)
            .is_ok_and(|signature| self.0.verify(namespace, message, &signature).is_ok())
    }
}

impl FromStr for SshKey {
    type Err = ParseSshKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = PublicKey::from_openssh(text).map_err(|_| ParseSshKeyError::NoKey)?;
        match key.algorithm() {
            Algorithm::Ed25519
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => Ok(Self(key)),
            other => Err(ParseSshKeyError::Kind(other.to_string())),
        }
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Encoding what was decoded cannot fail.
        f.write_str(&self.0.to_openssh().map_err(|_| fmt::Error)?)
    }
}

text_value!(
    SshKey,
    "lifeboat-ssh-key",
    "An SSH public key: the one line of a `.pub` file. Ed25519 or ECDSA P-256, also of a hardware token.",
    Some(
        "^(ssh-ed25519|ecdsa-sha2-nistp256|sk-ssh-ed25519@openssh\\.com|sk-ecdsa-sha2-nistp256@openssh\\.com) [A-Za-z0-9+/=]+( .*)?$"
    ),
    ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com"]
);
