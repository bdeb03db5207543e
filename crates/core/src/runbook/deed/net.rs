//! What is asked of the network. All of it only reads.

use super::quoted;
use lifeboat_plan::Interval;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Until what answers is given up.
const ANSWER: Duration = Duration::from_secs(10);

/// A web page, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Http {
    /// `http` or `https`.
    pub url: String,
    /// The status that it must have. Left out, any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What must stand in its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// How long it may take to be so; it is asked again until then. Left out, it is asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Interval>,
    /// How long one answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Interval>,
}

/// An address, and that something listens there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tcp {
    /// `host:port`.
    pub address: String,
    /// How long it may take to be so; it is asked again until then. Left out, it is asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Interval>,
    /// How long one answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Interval>,
}

/// An address that speaks TLS, and its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// `host:port`.
    pub address: String,
    /// For how long the certificate must still be valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<Interval>,
    /// A file with the authorities that are trusted instead of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// How long it may take to be so; it is asked again until then. Left out, it is asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Interval>,
    /// How long one answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Interval>,
}

impl Http {
    /// How long one answer may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        limit(self.answer)
    }

    pub(super) fn command(&self) -> String {
        let seconds = self.limit().as_secs().max(1);
        let url = quoted(&self.url);
        match (&self.contains, self.status) {
            (None, None) => format!("curl -fsS -m {seconds} -o /dev/null {url}"),
            (None, Some(status)) => {
                format!("test \"$(curl -sS -m {seconds} -o /dev/null -w '%{{http_code}}' {url})\" = {status}")
            }
            (Some(text), _) => format!("curl -fsS -m {seconds} {url} | grep -F {}", quoted(text)),
        }
    }
}

impl Tcp {
    /// How long one answer may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        limit(self.answer)
    }

    pub(super) fn command(&self) -> String {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        format!("nc -z -w {} {} {}", self.limit().as_secs().max(1), quoted(host), quoted(port))
    }
}

impl Tls {
    /// How long one answer may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        limit(self.answer)
    }

    pub(super) fn command(&self) -> String {
        let address = quoted(&self.address);
        let seconds = self.valid_for.map_or(0, |interval| interval.0.as_secs());
        format!("openssl s_client -connect {address} </dev/null | openssl x509 -noout -checkend {seconds}")
    }
}

fn limit(given: Option<Interval>) -> Duration {
    given.map_or(ANSWER, |interval| interval.0)
}
