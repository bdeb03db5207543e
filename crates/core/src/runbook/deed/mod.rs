//! What a step does, typed: its arguments, what repeating it does, and the command that a person could type instead.

mod files;
mod net;
mod notify;
pub mod postgres;

pub use files::{CONTENT_LIMIT_BYTES, FilesPut};
pub use net::{Http, Tcp, Tls};
pub use notify::Webhook;
pub use postgres::Postgres;

use super::bind::Server;
use crate::run::Class;
use lifeboat_plan::nearest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Commands that must succeed, and what they must print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Check {
    /// As they are typed.
    pub run: String,
    /// What they must print, but for blanks around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Commands, and the shell variables that they leave to later steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Shell {
    /// As they are typed.
    pub run: String,
    /// Variables of the shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "with")]
pub enum Deed {
    /// Nothing that a machine does: people do it, decide it, agree to it.
    #[serde(rename = "people")]
    People,
    /// Runs commands.
    #[serde(rename = "shell")]
    Shell(Shell),
    /// Runs commands that change nothing.
    #[serde(rename = "check")]
    Check(Check),
    /// Lets time pass.
    #[serde(rename = "wait")]
    Wait {
        /// How long.
        seconds: u64,
    },
    /// Asks a web server.
    #[serde(rename = "http.check")]
    HttpCheck(Http),
    /// Opens a connection.
    #[serde(rename = "tcp.check")]
    TcpCheck(Tcp),
    /// Opens a connection by TLS and looks at the certificate.
    #[serde(rename = "tls.check")]
    TlsCheck(Tls),
    /// Replaces a file.
    #[serde(rename = "files.put")]
    FilesPut(FilesPut),
    /// Sends a message to a web server.
    #[serde(rename = "notify.webhook")]
    Webhook(Webhook),
    /// Does something to a PostgreSQL cluster.
    #[serde(rename = "postgres")]
    Postgres(Postgres),
}

/// The names of the actions that a plan may call, but for PostgreSQL's.
const ACTIONS: [&str; 5] = ["http.check", "tcp.check", "tls.check", "files.put", "notify.webhook"];

impl Deed {
    /// An action as the plan calls it; or what is wrong with it.
    pub(super) fn action(name: &str, arguments: &Value) -> Result<Self, String> {
        let all = || ACTIONS.into_iter().chain(postgres::ACTIONS);
        if !all().any(|known| known == name) {
            return Err(match nearest(name, all()) {
                Some(near) => format!("there is no action `{name}`; did you mean `{near}`?"),
                None => {
                    format!("there is no action `{name}`; there are {}", all().collect::<Vec<_>>().join(", "))
                }
            });
        }
        if postgres::ACTIONS.contains(&name) {
            return Postgres::action(name, arguments).map(Self::Postgres);
        }
        let form = serde_json::json!({ "action": name, "with": arguments });
        let deed: Self = serde_json::from_value(form).map_err(|error| format!("`{name}`: {error}"))?;
        deed.check().map_err(|why| format!("`{name}`: {why}"))?;
        Ok(deed)
    }

    /// What is wrong with its arguments that their types do not tell.
    fn check(&self) -> Result<(), String> {
        match self {
            Self::FilesPut(with) => with.check(),
            Self::Webhook(with) => with.check(),
            _ => Ok(()),
        }
    }

    /// The environment variables whose secret values it needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        match self {
            Self::Webhook(with) => with.url_from.iter().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// What repeating it does, where the plan does not say.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Shell(_) => Class::Destructive,
            Self::People => Class::Idempotent,
            Self::Check(_) | Self::Wait { .. } => Class::Read,
            Self::HttpCheck(_) | Self::TcpCheck(_) | Self::TlsCheck(_) => Class::Read,
            Self::FilesPut(_) | Self::Webhook(_) => Class::Idempotent,
            Self::Postgres(with) => with.class(),
        }
    }

    /// What its class means for how it is done.
    pub(super) fn classed(&mut self, class: Class) {
        if let Self::Postgres(with) = self {
            with.classed(class);
        }
    }

    /// Why it cannot be done to that cluster, as the plan knows it.
    pub(super) fn fits(&self, server: &Server) -> Result<(), String> {
        match self {
            Self::Postgres(with) => with.fits(server),
            _ => Ok(()),
        }
    }

    /// Whether it takes production down: people agree to it, though it may be repeated.
    pub(super) fn is_grave(&self) -> bool {
        matches!(self, Self::Postgres(Postgres::Fence(_)))
    }

    /// Whether the world can be asked if it was done.
    #[must_use]
    pub fn has_probe(&self) -> bool {
        match self {
            Self::FilesPut(_) => true,
            Self::Postgres(with) => with.has_probe(),
            _ => false,
        }
    }

    /// Whether the world can be asked if it is as wanted.
    #[must_use]
    pub fn has_verify(&self) -> bool {
        match self {
            Self::FilesPut(_) => true,
            Self::Postgres(with) => with.has_verify(),
            _ => false,
        }
    }

    /// Whether it can be undone.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        match self {
            Self::FilesPut(_) => true,
            Self::Postgres(with) => with.has_undo(),
            _ => false,
        }
    }

    /// The service that it is about.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Postgres(with) => Some(with.service()),
            _ => None,
        }
    }

    /// What a person could type instead.
    #[must_use]
    pub fn command(&self, server: Option<&Server>) -> String {
        match self {
            Self::People => String::new(),
            Self::Shell(shell) => shell.run.clone(),
            Self::Check(check) => check.run.clone(),
            Self::Wait { seconds } => format!("sleep {seconds}"),
            Self::HttpCheck(http) => http.command(),
            Self::TcpCheck(tcp) => tcp.command(),
            Self::TlsCheck(tls) => tls.command(),
            Self::FilesPut(with) => with.command(),
            Self::Webhook(with) => with.command(),
            Self::Postgres(with) => with.command(server),
        }
    }
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._:/@+,%=-".contains(&b);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
