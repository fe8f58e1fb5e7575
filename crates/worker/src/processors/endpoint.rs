//! An own processor behind HTTP: the file is posted to it as it comes out of the store, and what it answers is read.
//!
//! A request says what it is about in one header, and that header is signed as a webhook is: with the digest of the file in
//! it, so that the body need not be read twice.
//!
//! An endpoint that is away (nobody takes the connection, or a proxy in front says so) is asked again later, by all files
//! together: what waits for it meanwhile is not read again and again.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::processor::{ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput};
use reqwest::header::RETRY_AFTER;
use reqwest::{Body, Response, StatusCode};

use super::attendance::Attendance;
use super::own::{Said, nonsense};
use super::sandboxed::{rejected, unread};
use crate::deliveries::{SigningKeys, Target, why};

/// The header that describes the file.
const REQUEST: &str = "cloakroom-request";
/// Room for an answer's JSON beside the bytes of derivatives, in bytes.
const JSON_BYTES_MAX: u64 = 1024 * 1024;
/// Files are sent at least this fast, in bytes a second.
const SENDING_BYTES_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;
/// Each request has a timeout of its own, which is shorter.
const CLIENT_TIMEOUT: Duration = Duration::from_hours(24);
/// Idle connections that are kept.
const CONNECTIONS: usize = 4;
/// See the module.
pub(super) struct Endpoint {
    target: Target,
    keys: SigningKeys,
    clock: Arc<dyn Clock>,
    client: OnceLock<reqwest::Client>,
    attendance: Attendance,
}

impl Endpoint {
    pub(super) fn new(target: Target, keys: SigningKeys, clock: Arc<dyn Clock>) -> Self {
        Self {
            target,
            keys,
            clock,
            client: OnceLock::new(),
            attendance: Attendance::default(),
        }
    }

    /// Whether it may be asked now.
    pub(super) fn ready(&self) -> Result<(), ProcessorError> {
        self.attendance.ready(self.clock.now())
    }

    fn client(&self) -> Result<&reqwest::Client, ProcessorError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.target.client(CLIENT_TIMEOUT, CONNECTIONS);
        let client = client.map_err(|error| ProcessorError::Retry(error.to_string()))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Posts a file, and reads the answer.
    pub(super) async fn ask(
        &self,
        processor: &str,
        description: &str,
        input: &ProcessorInput<'_>,
        limits: &ProcessorLimits,
    ) -> Result<ProcessorOutput, ProcessorError> {
        let body = input.source.read(None).await.map_err(unread)?;
        let description = in_ascii(description);
        let id = format!("{}-{}", input.file.id, input.file.epoch);
        let seconds = self.clock.now().as_second();
        let signature = self.keys.sign(&id, seconds, description.as_bytes());
        let size_bytes = input.verified.size_bytes;
        let sending = Duration::from_secs(size_bytes / SENDING_BYTES_PER_SECOND_MIN);
        let request = self
            .client()?
            .post(self.target.url())
            .timeout(limits.wall.saturating_add(sending))
            .header("content-type", input.verified.content_type.as_str())
            .header("content-length", size_bytes)
            .header(REQUEST, &description)
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(Body::wrap_stream(body));
        let answer = match request.send().await {
            Ok(answer) => answer,
            // What breaks off later may be the file's doing.
            Err(error) if error.is_connect() => {
                return Err(self.attendance.unreachable(self.clock.now(), why(error)));
            }
            Err(error) => return Err(ProcessorError::Retry(why(error))),
        };
        let status = answer.status();
        if is_away(status) {
            let (now, reason) = (self.clock.now(), format!("answered {}", status.as_u16()));
            let away = self
                .attendance
                .said_away(now, input.file.id, reason, asked_wait(&answer));
            return Err(away);
        }
        self.attendance.answered(input.file.id);
        let most = limits.output_bytes_max;
        // Base64 makes four bytes of three.
        let said = read_most(
            answer,
            (most / 3 + 1).saturating_mul(4).saturating_add(JSON_BYTES_MAX),
        );
        let is_verdict = matches!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY
                | StatusCode::UNSUPPORTED_MEDIA_TYPE
                | StatusCode::PAYLOAD_TOO_LARGE
        );
        if !status.is_success() && !is_verdict {
            let note = if status.is_redirection() {
                "; redirects are not followed"
            } else {
                ""
            };
            return Err(ProcessorError::Retry(format!(
                "answered {}{note}",
                status.as_u16()
            )));
        }
        let said = said.await?.ok_or_else(|| {
            rejected(
                "output_too_large",
                format!("The processor {processor} answered more than {most} bytes."),
            )
        })?;
        let said = Said::parse(&said);
        if is_verdict && !said.as_ref().is_ok_and(Said::is_rejection) {
            let message = format!(
                "The processor {processor} does not take the file (it answered {}).",
                status.as_u16()
            );
            return Err(rejected("processor_failed", message));
        }
        let said = said.map_err(|reason| nonsense(processor, &reason))?;
        said.into_output(processor, most, |derivative| {
            let data = derivative.data.as_deref().unwrap_or_default();
            let bytes = STANDARD
                .decode(data)
                .map_err(|_| nonsense(processor, "a derivative's data is not Base64"))?;
            Ok(Bytes::from(bytes))
        })
    }
}

/// What a proxy in front of the endpoint says when there is nobody behind it, or the endpoint itself when it comes up.
fn is_away(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How long the endpoint asks to wait, where it says so in seconds.
fn asked_wait(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The whole body; `None` where it is longer.
async fn read_most(mut answer: Response, most: u64) -> Result<Option<Vec<u8>>, ProcessorError> {
    let mut body = Vec::new();
    while let Some(piece) = answer
        .chunk()
        .await
        .map_err(|error| ProcessorError::Retry(why(error)))?
    {
        if (body.len() + piece.len()) as u64 > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// The same JSON in ASCII, as headers want it. What is not ASCII stands in texts, and there it may be escaped.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\x7f' {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_fit_into_headers() {
        let object = serde_json::json!({"filename": "Счёт \u{1f4c4}\u{7f}\"\n.pdf"});
        let ascii = in_ascii(&object.to_string());
        assert!(ascii.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{ascii}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&ascii).expect("JSON"),
            object
        );
    }
}
