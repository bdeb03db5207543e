//! Files of the machine that carries the run.

use super::quoted;
use serde::{Deserialize, Serialize};

/// More belongs into a package, or into the vault.
pub const CONTENT_LIMIT_BYTES: usize = 1 << 20;

/// A file, and what it must hold. It is replaced whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FilesPut {
    /// Where it is, from the root.
    pub path: String,
    /// What it must hold; or `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Another file of the machine, from the root, which it must be like; or `content`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who may read and write it, as `0640`. Left out, as it is; a new one is its owner's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

impl FilesPut {
    /// Its permission bits, if they are given.
    #[must_use]
    pub fn bits(&self) -> Option<u32> {
        self.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok())
    }

    /// What is wrong with its arguments.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.content.is_some() == self.from.is_some() {
            return Err("it needs either `content` or `from`".to_owned());
        }
        for path in [Some(&self.path), self.from.as_ref()].into_iter().flatten() {
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(format!("`{path}` is no path of a file from the root"));
            }
        }
        if self.content.as_ref().is_some_and(|content| content.len() > CONTENT_LIMIT_BYTES) {
            return Err(format!("`content` is larger than {} KiB", CONTENT_LIMIT_BYTES >> 10));
        }
        match (&self.mode, self.bits()) {
            (Some(mode), None | Some(0o10000..)) => {
                Err(format!("`mode` is permission bits as `0640`, in quotes, not `{mode}`"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn command(&self) -> String {
        let mode = self.mode.as_deref().unwrap_or("0600");
        let path = quoted(&self.path);
        match (&self.content, &self.from) {
            (_, Some(from)) => format!("install -m {mode} {} {path}", quoted(from)),
            (content, None) => {
                let content = quoted(content.as_deref().unwrap_or_default());
                format!("printf %s {content} | install -m {mode} /dev/stdin {path}")
            }
        }
    }
}
