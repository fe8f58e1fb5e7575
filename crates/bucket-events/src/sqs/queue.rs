//! The few calls of the SQS API that a consumer needs (AWS JSON 1.0 protocol), signed by our own signer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::ports::clock::Clock;
use cloakroom_signing::{Credentials, OutgoingRequest, PayloadHash, Region, Signer};
use http::Method;
use serde_json::{Value, json};

use super::CredentialsProvider;

/// Most messages in one answer and in one batch (SQS API, `ReceiveMessage`).
pub(super) const BATCH_MAX: usize = 10;
/// Largest answer that is read: ten messages of 1 MiB, escaped.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long an answer may take, beyond the long poll.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a call did not succeed. Never holds a credential or a signature.
#[derive(Debug, thiserror::Error)]
pub(super) enum SqsError {
    /// No answer, or one that says to come back.
    #[error("SQS does not answer: {0}")]
    Away(String),
    /// SQS answered and will not do it.
    #[error("SQS refuses {action}: {code}: {message}")]
    Refused {
        /// The call.
        action: &'static str,
        /// Its error code: `AccessDeniedException`, `QueueDoesNotExist`.
        code: String,
        /// What it says.
        message: String,
    },
    /// No credentials, or a request that cannot be signed.
    #[error("cannot sign for SQS: {0}")]
    Unsigned(String),
}

/// A message as received.
pub(super) struct Message {
    /// Names it in the log.
    pub(super) id: String,
    /// Names this delivery; good until the message is visible again.
    pub(super) receipt: String,
    /// What was sent.
    pub(super) body: String,
    /// Deliveries so far, this one included.
    pub(super) deliveries: u32,
}

/// How many messages a queue has, roughly, as SQS counts.
pub(super) struct Depth {
    /// Ready to be received.
    pub(super) visible: u64,
    /// Received, not yet deleted.
    pub(super) in_flight: u64,
    /// ARN of the dead-letter queue, where there is one.
    pub(super) dead_letter_arn: Option<String>,
}

/// One queue.
pub(super) struct Queue {
    pub(super) http: reqwest::Client,
    pub(super) endpoint: String,
    pub(super) url: String,
    pub(super) region: Region,
    pub(super) credentials: CredentialsProvider,
    pub(super) clock: Arc<dyn Clock>,
    /// Kept while the credentials stay the same.
    pub(super) signer: Mutex<Option<(Credentials, Arc<Signer>)>>,
}

impl Queue {
    /// Waits for messages, at most so long. Those received are hidden from others for `hidden_for`.
    pub(super) async fn receive(
        &self,
        wait: Duration,
        hidden_for: Duration,
    ) -> Result<Vec<Message>, SqsError> {
        let request = json!({
            "QueueUrl": self.url,
            "MaxNumberOfMessages": BATCH_MAX,
            "WaitTimeSeconds": wait.as_secs(),
            "VisibilityTimeout": hidden_for.as_secs(),
            // The name of old and the name of now.
            "AttributeNames": ["ApproximateReceiveCount"],
            "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
        });
        let answer = self
            .call("ReceiveMessage", &request, wait + ANSWER_TIMEOUT)
            .await?;
        let messages = answer["Messages"].as_array().map_or(&[][..], Vec::as_slice);
        let text = |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_owned();
        Ok(messages
            .iter()
            .map(|message| Message {
                id: text(message, "MessageId"),
                receipt: text(message, "ReceiptHandle"),
                body: text(message, "Body"),
                deliveries: message["Attributes"]["ApproximateReceiveCount"]
                    .as_str()
                    .and_then(|count| count.parse().ok())
                    .unwrap_or(1),
            })
            .collect())
    }

    /// Removes messages for good. Returns how many stay, and will come again.
    pub(super) async fn delete(&self, receipts: &[&str]) -> Result<usize, SqsError> {
        if receipts.is_empty() {
            return Ok(0);
        }
        let entries: Vec<Value> = receipts
            .iter()
            .enumerate()
            .map(|(index, receipt)| json!({"Id": index.to_string(), "ReceiptHandle": receipt}))
            .collect();
        let request = json!({"QueueUrl": self.url, "Entries": entries});
        let answer = self.call("DeleteMessageBatch", &request, ANSWER_TIMEOUT).await?;
        Ok(answer["Failed"].as_array().map_or(0, Vec::len))
    }

    /// Hides a message for this long from now on, then it comes again.
    pub(super) async fn hide(&self, receipt: &str, hidden_for: Duration) -> Result<(), SqsError> {
        let request = json!({
            "QueueUrl": self.url,
            "ReceiptHandle": receipt,
            "VisibilityTimeout": hidden_for.as_secs(),
        });
        self.call("ChangeMessageVisibility", &request, ANSWER_TIMEOUT)
            .await
            .map(drop)
    }

    /// Counts a queue's messages; this one's unless told otherwise.
    pub(super) async fn depth(&self, url: Option<&str>) -> Result<Depth, SqsError> {
        let request = json!({
            "QueueUrl": url.unwrap_or(&self.url),
            "AttributeNames": ["All"],
        });
        let answer = self.call("GetQueueAttributes", &request, ANSWER_TIMEOUT).await?;
        let attributes = &answer["Attributes"];
        let count = |name: &str| attributes[name].as_str().and_then(|text| text.parse().ok());
        let redrive: Option<Value> = attributes["RedrivePolicy"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        Ok(Depth {
            visible: count("ApproximateNumberOfMessages").unwrap_or_default(),
            in_flight: count("ApproximateNumberOfMessagesNotVisible").unwrap_or_default(),
            dead_letter_arn: redrive
                .and_then(|policy| policy["deadLetterTargetArn"].as_str().map(str::to_owned)),
        })
    }

    /// The URL of the queue with this ARN (`arn:aws:sqs:<region>:<account>:<name>`).
    pub(super) async fn url_of(&self, arn: &str) -> Result<Option<String>, SqsError> {
        let mut parts = arn.rsplit(':');
        let (Some(name), Some(account)) = (parts.next(), parts.next()) else {
            return Ok(None);
        };
        let request = json!({"QueueName": name, "QueueOwnerAWSAccountId": account});
        let answer = self.call("GetQueueUrl", &request, ANSWER_TIMEOUT).await?;
        Ok(answer["QueueUrl"].as_str().map(str::to_owned))
    }

    async fn call(
        &self,
        action: &'static str,
        request: &Value,
        timeout: Duration,
    ) -> Result<Value, SqsError> {
        let body = request.to_string();
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target".to_owned(), format!("AmazonSQS.{action}")),
        ];
        let signed = self
            .signer()
            .await?
            .sign_headers(&OutgoingRequest {
                method: &Method::POST,
                url: &self.endpoint,
                headers: &headers,
                payload: PayloadHash::of(body.as_bytes()),
                now: self.clock.now(),
            })
            .map_err(|error| SqsError::Unsigned(error.to_string()))?;
        headers.extend(
            signed
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut sending = self.http.post(&self.endpoint).timeout(timeout).body(body);
        for (name, value) in headers {
            sending = sending.header(name, value);
        }
        let away = |error: reqwest::Error| SqsError::Away(with_causes(&error.without_url()));
        let mut response = sending.send().await.map_err(away)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(away)? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(SqsError::Away(format!(
                    "{action} has an answer of more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            bytes.extend_from_slice(&piece);
        }
        let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            // Calls without a result have an empty answer.
            None if status.is_success() && bytes.is_empty() => Ok(Value::Null),
            _ => Err(refusal(action, status, &answer.unwrap_or_default())),
        }
    }

    async fn signer(&self) -> Result<Arc<Signer>, SqsError> {
        let credentials = (self.credentials)().await.map_err(SqsError::Unsigned)?;
        let mut kept = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, signer)) = &*kept
            && *of == credentials
        {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::for_service(
            credentials.clone(),
            self.region.clone(),
            "sqs",
        ));
        *kept = Some((credentials, Arc::clone(&signer)));
        Ok(signer)
    }
}

fn refusal(action: &'static str, status: reqwest::StatusCode, answer: &Value) -> SqsError {
    let text = |names: [&str; 2]| names.iter().find_map(|name| answer[*name].as_str());
    // `com.amazonaws.sqs#QueueDoesNotExist`
    let code = text(["__type", "code"]).and_then(|code| code.rsplit('#').next());
    let message = text(["message", "Message"]).unwrap_or_default();
    let passes = status.is_server_error()
        || status == reqwest::StatusCode::TOO_MANY_REQUESTS
        || code.is_some_and(|code| code.contains("Throttl") || code == "ServiceUnavailable");
    match code {
        Some(code) if !passes => SqsError::Refused {
            action,
            code: code.to_owned(),
            message: message.to_owned(),
        },
        _ => SqsError::Away(format!("{action} is answered with {status} {message}")),
    }
}

/// An error and what caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        let of = |status: u16, answer: Value| {
            let status = reqwest::StatusCode::from_u16(status).expect("a status");
            refusal("ReceiveMessage", status, &answer).to_string()
        };
        assert_eq!(
            of(
                400,
                json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"})
            ),
            "SQS refuses ReceiveMessage: QueueDoesNotExist: no such queue"
        );
        for (status, answer) in [
            (500, json!({"__type": "InternalError"})),
            (429, json!({})),
            (
                400,
                json!({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "slow down"}),
            ),
            (502, Value::Null),
        ] {
            assert!(of(status, answer).starts_with("SQS does not answer"), "{status}");
        }
    }
}
