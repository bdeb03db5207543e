//! A web page, and whether it is as it must be.

use lifeboat_base::error_chain;
use lifeboat_core::runbook::Http;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response};

/// So much of a page is read.
const BODY_BYTES: usize = 1 << 20;
/// So often a server may lead on.
const REDIRECTS: usize = 5;

/// What was seen; or what is wrong with it.
pub(super) async fn look(with: &Http) -> Result<String, String> {
    let client = Client::builder().redirect(Policy::custom(follow)).user_agent("lifeboat").build();
    let client = client.map_err(|error| error_chain(&error))?;
    let response = client.get(&with.url).timeout(with.limit()).send().await;
    let response = response.map_err(|error| error_chain(&error.without_url()))?;
    let status = response.status();
    let is_wanted = match with.status {
        Some(wanted) => status.as_u16() == wanted,
        None => status.is_success(),
    };
    if !is_wanted {
        let wanted = with.status.map_or_else(|| "2xx".to_owned(), |wanted| wanted.to_string());
        let leads = response.headers().get("location").and_then(|to| to.to_str().ok());
        let leads = leads.map(|to| format!(", leading to {to}, which is not followed")).unwrap_or_default();
        return Err(format!("it answered {status}, not {wanted}{leads}"));
    }
    if let Some(text) = &with.contains
        && !body(response).await?.contains(text.as_str())
    {
        return Err(format!("it answered {status}, but `{text}` is not in what it says"));
    }
    Ok(format!("{} answered {status}", with.url))
}

/// On the same host only, and never from TLS to none: what another host says is no answer of this one.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let Some(last) = attempt.previous().last() else { return attempt.stop() };
    let next = attempt.url();
    let is_same_host = last.host_str() == next.host_str();
    let keeps_tls = last.scheme() == next.scheme() || next.scheme() == "https";
    match is_same_host && keeps_tls && attempt.previous().len() <= REDIRECTS {
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

/// The beginning of it.
async fn body(mut response: Response) -> Result<String, String> {
    let mut body = Vec::new();
    while body.len() < BODY_BYTES {
        let chunk = response.chunk().await.map_err(|error| error_chain(&error.without_url()))?;
        let Some(chunk) = chunk else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES - body.len())]);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
