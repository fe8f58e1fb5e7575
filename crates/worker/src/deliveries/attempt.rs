//! One attempt: a message is posted, and its answer read for what it means.

use std::error::Error;
use std::time::Duration;

use cloakroom_core::event::Event;
use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::{WebhookOptions, message};

/// So much of an answer's body is read, for the connection to be used again; nothing in it matters.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What an attempt came to. Reasons hold no URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has it.
    Taken,
    /// Not now.
    Failed {
        /// Why.
        reason: String,
        /// How long the receiver asks to wait.
        wait: Option<Duration>,
    },
    /// The receiver does not want any such message again.
    Gone {
        /// Why.
        reason: String,
    },
}

/// Posts an event. Ends within the client's timeout.
pub(super) async fn send(
    client: &reqwest::Client,
    options: &WebhookOptions,
    event: &Event,
    now: Timestamp,
) -> Verdict {
    let (id, body) = (event.id.to_string(), message::body(event));
    let seconds = now.as_second();
    let signature = options.keys.sign(&id, seconds, &body);
    let request = client
        .post(options.target.url())
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds)
        .header("webhook-signature", signature)
        .body(body);
    match request.send().await {
        Ok(answer) => judge(answer).await,
        Err(error) => Verdict::Failed {
            reason: why(error),
            wait: None,
        },
    }
}

async fn judge(mut answer: Response) -> Verdict {
    let status = answer.status();
    let wait = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let mut left = ANSWER_BYTES_MAX;
    // What the receiver thinks stands in the status; a body that breaks off or never ends changes nothing.
    while let Ok(Some(piece)) = answer.chunk().await {
        left = left.saturating_sub(piece.len());
        if left == 0 {
            break;
        }
    }
    match status {
        _ if status.is_success() => Verdict::Taken,
        // Standard Webhooks: whoever answers so is to be left alone.
        StatusCode::GONE => Verdict::Gone {
            reason: "answered 410".to_owned(),
        },
        _ => {
            let note = if status.is_redirection() {
                "; redirects are not followed"
            } else {
                ""
            };
            Verdict::Failed {
                reason: format!("answered {}{note}", status.as_u16()),
                wait,
            }
        }
    }
}

/// The end of the chain of causes: `connection refused`, not `error sending request`. None of them quotes the URL.
pub(crate) fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut last: &dyn Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
