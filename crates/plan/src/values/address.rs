//! The address of a copy of the vault.
//!
//! # Invariants
//! - **A1 no secrets.** Keys to a bucket come from the environment; an address that holds some is
//!   refused, and no error repeats them.
//! - **A2 absolute.** An address means the same wherever Lifeboat is started.

use std::fmt;
use std::str::FromStr;
use url::Url;

/// A URL of a scheme that the vault can be kept at: `file`, `s3`, `gs`, `az`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyUrl(Url);

/// The text cannot be the address of a copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseCopyUrlError {
    /// A path instead of a URL.
    #[error("`{0}` is a path; write a URL with an absolute path, as in file:///var/lib/lifeboat/vault")]
    Path(String),
    /// `file://var/…`, one slash short.
    #[error("`{0}` is not absolute: a file URL has three slashes, as in file:///var/lib/lifeboat/vault")]
    Relative(String),
    /// A scheme that no store speaks.
    #[error("a vault cannot be kept at `{0}:`; use file, s3, gs or az")]
    Scheme(String),
    /// A bucket address without a bucket.
    #[error("the address names no bucket or container; one looks like s3://bucket/prefix")]
    Bucket,
    /// `?` or `#` and what follows.
    #[error("the address of a copy has no `?` and no `#`; give `endpoint` and `region` as keys beside `url`")]
    Query,
    /// User name, key or password.
    #[error(
        "the address holds a user name or secret; credentials come from the environment, never from the plan"
    )]
    Secret,
    /// Not a URL.
    #[error(
        "this is not the address of a copy; one looks like s3://bucket/prefix or file:///var/lib/lifeboat/vault"
    )]
    NoUrl,
}

impl CopyUrl {
    /// The address.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for CopyUrl {
    type Err = ParseCopyUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(['/', '.', '~']) {
            return Err(ParseCopyUrlError::Path(text.to_owned()));
        }
        let mut url = Url::parse(text).map_err(|_| ParseCopyUrlError::NoUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ParseCopyUrlError::Secret);
        }
        if !matches!(url.scheme(), "file" | "s3" | "gs" | "az") {
            return Err(ParseCopyUrlError::Scheme(url.scheme().to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ParseCopyUrlError::Query);
        }
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        match url.scheme() {
            // The parser completes `file:x` and `file:/x`; a plan says what it means.
            "file" if has_host || !text.starts_with("file:///") => {
                return Err(ParseCopyUrlError::Relative(text.to_owned()));
            }
            "file" if url.path() == "/" => return Err(ParseCopyUrlError::Relative(text.to_owned())),
            "file" => {}
            _ if !has_host => return Err(ParseCopyUrlError::Bucket),
            _ => {}
        }
        // One spelling for one place, so that a copy named twice is seen.
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for CopyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_a_vault_can_be_kept_at() {
        for text in
            ["file:///var/lib/vault", "s3://bucket", "s3://bucket/a/b", "gs://b/x", "az://container/x"]
        {
            assert_eq!(text.parse::<CopyUrl>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/a/".parse::<CopyUrl>(), "s3://bucket/a".parse());
    }

    #[test]
    fn a1_a2_refuses_secrets_and_what_is_not_absolute() {
        let bad = [
            "",
            "vault",
            "/var/vault",
            "file://var/vault",
            "file:vault",
            "file:/var/vault",
            "file:///",
            "s3://",
            "s3:///x",
            "s3:bucket",
            "ftp://h/x",
            "https://b.example/x",
            "s3://key:secret@bucket",
            "s3://b/x?region=eu",
        ];
        for text in bad {
            let error = text.parse::<CopyUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret@"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((file|s3|gs):/{0,3})?[a-z.:@/?#%\\[\\]]{0,20}|.{0,40}") {
            if let Ok(url) = text.parse::<CopyUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
