//! Messages of an SQS queue, by long polling.
//!
//! A message is deleted when what it says is committed, and when it is well-formed but none of our business: the queue is
//! ours alone. One that cannot be read or meets a defect is never deleted by us. It becomes visible again later and
//! later, until the queue's own redrive policy moves it to the dead-letter queue, where a person can look at it.

mod depth;
mod queue;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_service::App;
use cloakroom_signing::{Credentials, Region};
use futures_util::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use self::queue::{Message, Queue, SqsError};
use crate::delivery::{Delivery, deliver};
use crate::pause::{reconnect_delay, redeliver_delay, rest, until_back};

/// Where the messages come from, in metrics and logs.
const SOURCE: &str = "sqs";
/// Longest that SQS lets a receiver wait (SQS API, `WaitTimeSeconds`).
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Gives the credentials to sign with; called before every request, so it should keep them and renew them in time. The
/// error is for the log and must not hold a secret.
pub type CredentialsProvider = Arc<dyn Fn() -> BoxFuture<'static, Result<Credentials, String>> + Send + Sync>;

/// Why options are refused.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSqsOptions {
    /// The address of the queue or of the endpoint.
    #[error("{0} is not an address of the form http(s)://host/path")]
    Url(String),
    /// A region that cannot be in a signature.
    #[error("{0:?} is not a region")]
    Region(String),
    /// No HTTP client can be made (its TLS has no certificates, for instance).
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// Which queue, and how to read it.
#[derive(Clone)]
pub struct SqsOptions {
    queue_url: String,
    endpoint: String,
    region: Region,
    credentials: CredentialsProvider,
    http: reqwest::Client,
    wait: Duration,
    hidden_for: Duration,
    depth_every: Duration,
}

impl fmt::Debug for SqsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsOptions")
            .field("queue_url", &self.queue_url)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl SqsOptions {
    /// The queue at this URL (`https://sqs.eu-west-1.amazonaws.com/123456789012/uploads`). Endpoint and region follow from
    /// it; a host that names no region is taken to be in `us-east-1`.
    pub fn new(queue_url: &str, credentials: CredentialsProvider) -> Result<Self, InvalidSqsOptions> {
        let endpoint = origin(queue_url)?;
        let host = endpoint.split("://").nth(1).unwrap_or_default();
        let region = match host.split('.').collect::<Vec<_>>()[..] {
            ["sqs", region, "amazonaws", ..] | [region, "queue", "amazonaws", ..] => {
                Region::new(region).map_err(|_| InvalidSqsOptions::Region(region.to_owned()))?
            }
            _ => Region::default(),
        };
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .pool_idle_timeout(Duration::from_secs(50))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| InvalidSqsOptions::Client(error.to_string()))?;
        Ok(Self {
            queue_url: queue_url.to_owned(),
            endpoint,
            region,
            credentials,
            http,
            wait: WAIT_MAX,
            hidden_for: Duration::from_mins(1),
            depth_every: Duration::from_mins(1),
        })
    }

    /// Where SQS is, if that is not the host of the queue's URL.
    pub fn with_endpoint(mut self, endpoint: &str) -> Result<Self, InvalidSqsOptions> {
        self.endpoint = origin(endpoint)?;
        Ok(self)
    }

    /// The region to sign for.
    pub fn with_region(mut self, region: Region) -> Self {
        self.region = region;
        self
    }

    /// How long one request waits for messages: whole seconds, at most 20.
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(WAIT_MAX);
        self
    }

    /// How long a received message is hidden from other consumers, in whole seconds: longer than it takes to handle ten.
    pub fn with_visibility(mut self, hidden_for: Duration) -> Self {
        self.hidden_for = hidden_for;
        self
    }

    /// How often the messages of the queue and its dead-letter queue are counted, for metrics.
    pub fn with_depth_every(mut self, every: Duration) -> Self {
        self.depth_every = every;
        self
    }
}

/// `scheme://host[:port]/` of an address; SQS takes every call there.
fn origin(url: &str) -> Result<String, InvalidSqsOptions> {
    let refused = || InvalidSqsOptions::Url(url.to_owned());
    let parsed = reqwest::Url::parse(url).map_err(|_| refused())?;
    if !matches!(parsed.scheme(), "http" | "https")
        || !parsed.username().is_empty()
        || parsed.password().is_some()
    {
        // Not shown: there may be a password in it.
        let has_credentials = !parsed.username().is_empty() || parsed.password().is_some();
        return Err(if has_credentials {
            InvalidSqsOptions::Url("an address with credentials".to_owned())
        } else {
            refused()
        });
    }
    Ok(format!("{}/", parsed.origin().ascii_serialization()))
}

/// Reads an SQS queue.
pub struct SqsSource;

impl SqsSource {
    /// Takes messages over until told to stop; what was received by then is still finished. Never gives up: while SQS is
    /// away it asks again, less and less often.
    pub async fn run(app: Arc<App>, options: SqsOptions, shutdown: CancellationToken) {
        let queue = Queue {
            http: options.http.clone(),
            endpoint: options.endpoint.clone(),
            url: options.queue_url.clone(),
            region: options.region.clone(),
            credentials: Arc::clone(&options.credentials),
            clock: Arc::clone(&app.clock),
            signer: Mutex::new(None),
        };
        tracing::info!(
            event = "bucket_events_source",
            source = SOURCE,
            queue = options.queue_url,
            "Bucket events are read from SQS"
        );
        tokio::join!(
            poll(&app, &queue, &options, &shutdown),
            depth::watch(&queue, options.depth_every, &shutdown),
        );
    }
}

async fn poll(app: &App, queue: &Queue, options: &SqsOptions, shutdown: &CancellationToken) {
    let mut failures = 0;
    loop {
        // Breaking off a wait may leave messages that SQS just sent hidden until their time is over; none is lost.
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = queue.receive(options.wait, options.hidden_for) => received,
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                failures += 1;
                failed("ReceiveMessage", &error);
                if !rest(reconnect_delay(app, failures), shutdown).await {
                    return;
                }
                continue;
            }
        };
        failures = 0;
        let away = take_over(app, queue, &messages).await;
        if away && !until_back(app, shutdown).await {
            return;
        }
    }
}

/// Handles a batch and tells the queue. Says whether what we need ourselves is away.
async fn take_over(app: &App, queue: &Queue, messages: &[Message]) -> bool {
    let deliveries = join_all(
        messages
            .iter()
            .map(|message| deliver(app, SOURCE, &message.id, message.body.as_bytes())),
    )
    .await;
    let outcomes: Vec<_> = messages.iter().zip(deliveries).collect();
    let done: Vec<&str> = outcomes
        .iter()
        .filter(|(_, delivery)| *delivery == Delivery::TakenOver)
        .map(|(message, _)| message.receipt.as_str())
        .collect();
    match queue.delete(&done).await {
        Ok(0) => {}
        Ok(staying) => tracing::warn!(
            event = "bucket_events_not_deleted",
            source = SOURCE,
            staying,
            "messages will come again"
        ),
        // They come again, and are old news then.
        Err(error) => failed("DeleteMessageBatch", &error),
    }
    let hiding = outcomes
        .iter()
        .filter(|(_, delivery)| *delivery != Delivery::TakenOver)
        .map(|(message, _)| queue.hide(&message.receipt, redeliver_delay(app, message.deliveries)));
    for error in join_all(hiding).await.into_iter().filter_map(Result::err) {
        failed("ChangeMessageVisibility", &error);
    }
    outcomes.iter().any(|(_, delivery)| *delivery == Delivery::Away)
}

fn failed(operation: &'static str, error: &SqsError) {
    metrics::counter!("cloakroom_bucket_events_source_errors_total", "source" => SOURCE).increment(1);
    tracing::warn!(event = "bucket_events_source_error", source = SOURCE, operation, %error, "SQS");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Result<SqsOptions, InvalidSqsOptions> {
        let credentials = || -> BoxFuture<'static, Result<Credentials, String>> {
            Box::pin(async { Ok(Credentials::new("AKID", "hush")) })
        };
        SqsOptions::new(url, Arc::new(credentials))
    }

    #[test]
    fn endpoint_and_region_follow_from_the_queue() {
        for (url, endpoint, region) in [
            (
                "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads",
                "https://sqs.eu-west-1.amazonaws.com/",
                "eu-west-1",
            ),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
                "https://sqs.cn-north-1.amazonaws.com.cn/",
                "cn-north-1",
            ),
            (
                "http://127.0.0.1:9324/000000000000/q",
                "http://127.0.0.1:9324/",
                "us-east-1",
            ),
        ] {
            let options = options(url).expect("legal");
            assert_eq!(
                (options.endpoint.as_str(), options.region.as_str()),
                (endpoint, region)
            );
            let printed = format!("{options:?}");
            assert!(printed.contains(url) && !printed.contains("hush"), "{printed}");
        }
        for url in ["", "queue", "ftp://host/q", "https://user:hush@host/q"] {
            let refused = options(url).expect_err("refused").to_string();
            assert!(!refused.contains("hush"), "{refused}");
        }
    }
}
