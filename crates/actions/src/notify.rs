//! Messages to people, by way of a web server.
//!
//! Sent again it is the same message: its `Idempotency-Key` is made of run and step alone, so that a server that knows
//! such keys tells people once. Redirects are not followed: the message is for that server.

use crate::task::Task;
use lifeboat_base::error_chain;
use lifeboat_core::port::Trouble;
use lifeboat_core::run::{Outcome, Told};
use lifeboat_core::runbook::Webhook;
use reqwest::Client;
use reqwest::redirect::Policy;

/// So much of an answer is told.
const ANSWER_BYTES: usize = 1 << 10;

/// Sends a message.
pub(crate) async fn webhook(task: &Task, with: &Webhook) -> Result<Told<Outcome>, Trouble> {
    let url = match (&with.url, &with.url_from) {
        (Some(url), _) => url.as_str(),
        (None, name) => task.secret(name.as_deref().unwrap_or_default())?,
    };
    let client = Client::builder().redirect(Policy::none()).user_agent("lifeboat").build()?;
    let request = client
        .post(url)
        .timeout(with.limit().min(task.limit()))
        .header("content-type", "application/json")
        .header("idempotency-key", format!("{}/{}", task.under.run, task.step))
        .body(with.sent().to_string());
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let nothing_was_sent = error.is_connect() || error.is_builder();
            let why = error_chain(&error.without_url());
            return Ok(match nothing_was_sent {
                true => Outcome::Failed { why: format!("nothing was sent: {why}") },
                false => Outcome::Unknown { why: format!("there was no answer: {why}") },
            }
            .into());
        }
    };
    let status = response.status();
    let answer = match response.chunk().await {
        Ok(Some(chunk)) => String::from_utf8_lossy(&chunk[..chunk.len().min(ANSWER_BYTES)]).into_owned(),
        _ => String::new(),
    };
    let result = match status.as_u16() {
        200..300 => Outcome::Done,
        // It may have been passed on before that.
        500.. => Outcome::Unknown { why: format!("the server answered {status}") },
        _ => Outcome::Failed { why: format!("the server refused it: {status}") },
    };
    Ok(Told { output: format!("{status} {answer}\n"), ..result.into() })
}
