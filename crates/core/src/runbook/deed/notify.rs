//! Telling people, by way of other programs.

use super::quoted;
use lifeboat_plan::{EnvironmentName, Interval};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Until a server that takes messages has answered.
const ANSWER: Duration = Duration::from_secs(10);

/// A message to a web server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Webhook {
    /// Where to; or `urlFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds where to: of a chat's webhook it is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<String>,
    /// What is sent as JSON; of a text `{"text": …}` is made, as chats want it.
    pub body: Value,
    /// How long the answer may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Interval>,
}

impl Webhook {
    /// How long the answer may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.answer.map_or(ANSWER, |interval| interval.0)
    }

    /// What is sent.
    #[must_use]
    pub fn sent(&self) -> Value {
        match &self.body {
            Value::String(text) => json!({ "text": text }),
            body => body.clone(),
        }
    }

    /// What is wrong with its arguments.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_web = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        match (&self.url, &self.url_from) {
            (None, None) | (Some(_), Some(_)) => Err("it needs either `url` or `urlFrom`".to_owned()),
            (Some(url), None) if !is_web(url) => Err(format!("`{url}` is no address of a web server")),
            (None, Some(name)) => {
                name.parse::<EnvironmentName>().map(|_| ()).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn command(&self) -> String {
        let url = match (&self.url, &self.url_from) {
            (None, Some(name)) => format!("\"${name}\""),
            (url, _) => quoted(url.as_deref().unwrap_or_default()),
        };
        let seconds = self.limit().as_secs().max(1);
        let body = quoted(&self.sent().to_string());
        format!("curl -fsS -m {seconds} -H 'Content-Type: application/json' -d {body} {url}")
    }
}
