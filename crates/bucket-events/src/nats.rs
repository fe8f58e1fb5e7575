//! Messages of a NATS subject.
//!
//! Where a JetStream stream holds the subject, a durable consumer reads it: a message is acknowledged when what it says is
//! committed, and comes again otherwise, to whichever of our processes asks next. Without a stream it is a plain
//! subscription of one queue group: what nobody is there to take is lost, and the sweep `arrived_uploads` makes up for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, ConnectOptions, Event};
use cloakroom_service::App;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::delivery::{Delivery, deliver};
use crate::pause::{reconnect_delay, redeliver_delay, rest, until_back};

/// Where the messages come from, in metrics and logs.
const SOURCE: &str = "nats";
/// Messages asked for at once.
const BATCH_MAX: usize = 10;
/// How long one request waits for messages.
const WAIT: Duration = Duration::from_secs(10);

/// Which subject, and where.
#[derive(Clone)]
pub struct NatsOptions {
    url: String,
    subject: String,
    consumer: String,
    redeliver_after: Duration,
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may carry a password or a token.
        f.debug_struct("NatsOptions")
            .field("subject", &self.subject)
            .field("consumer", &self.consumer)
            .finish_non_exhaustive()
    }
}

impl NatsOptions {
    /// A subject on the server at `nats://[user:password@]host:port` or `tls://..`; several servers of one cluster are
    /// separated by commas.
    pub fn new(url: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            subject: subject.into(),
            consumer: "cloakroom".to_owned(),
            redeliver_after: Duration::from_mins(1),
        }
    }

    /// The name of the durable consumer, or of the queue group. Processes of one instance share it.
    pub fn with_consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = name.into();
        self
    }

    /// After how long a message that was not acknowledged is given to another process.
    pub fn with_redeliver_after(mut self, redeliver_after: Duration) -> Self {
        self.redeliver_after = redeliver_after;
        self
    }
}

/// Reads a NATS subject.
pub struct NatsSource;

impl NatsSource {
    /// Takes messages over until told to stop; one that is being handled then is finished. Never gives up: while NATS is
    /// away it connects again, less and less often.
    pub async fn run(app: Arc<App>, options: NatsOptions, shutdown: CancellationToken) {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let mut progress = false;
            let ended = match connect(&options, &shutdown).await {
                None => return,
                Some(Ok(client)) => read(&app, &options, &client, &shutdown, &mut progress).await,
                Some(Err(error)) => Err(error),
            };
            let Err(error) = ended else { return };
            failures = if progress { 1 } else { failures + 1 };
            metrics::counter!("cloakroom_bucket_events_source_errors_total", "source" => SOURCE).increment(1);
            tracing::warn!(event = "bucket_events_source_error", source = SOURCE, %error, "NATS");
            if !rest(reconnect_delay(&app, failures), &shutdown).await {
                return;
            }
        }
    }
}

/// What NATS said, for the log.
type NatsError = Box<dyn std::error::Error + Send + Sync>;

/// Connects; `None` when told to stop meanwhile.
async fn connect(options: &NatsOptions, shutdown: &CancellationToken) -> Option<Result<Client, NatsError>> {
    let servers: Vec<&str> = options.url.split(',').map(str::trim).collect();
    let connecting = ConnectOptions::new()
        .name("cloakroom")
        .connection_timeout(Duration::from_secs(5))
        .event_callback(|event| async move {
            if let Event::Disconnected | Event::SlowConsumer(_) | Event::LameDuckMode = event {
                tracing::warn!(event = "bucket_events_source_event", source = SOURCE, what = %event, "NATS");
            }
        })
        .connect(servers);
    tokio::select! {
        () = shutdown.cancelled() => None,
        client = connecting => Some(client.map_err(Into::into)),
    }
}

async fn read(
    app: &App,
    options: &NatsOptions,
    client: &Client,
    shutdown: &CancellationToken,
    progress: &mut bool,
) -> Result<(), NatsError> {
    let consumer = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        consumer = durable_consumer(options, client) => consumer?,
    };
    tracing::info!(
        event = "bucket_events_source",
        source = SOURCE,
        subject = options.subject,
        durable = consumer.is_some(),
        "Bucket events are read from NATS"
    );
    *progress = true;
    match consumer {
        Some(consumer) => read_stream(app, &consumer, shutdown).await,
        None => read_subject(app, options, client, shutdown).await,
    }?;
    // The last acknowledgements may still be on their way.
    client.flush().await?;
    Ok(())
}

/// The consumer of the stream that holds the subject; `None` where no stream does.
async fn durable_consumer(options: &NatsOptions, client: &Client) -> Result<Option<PullConsumer>, NatsError> {
    if !client.server_info().jetstream {
        return Ok(None);
    }
    let jetstream = jetstream::new(client.clone());
    let stream = match jetstream.stream_by_subject(options.subject.as_str()).await {
        Ok(name) => jetstream.get_stream(name).await?,
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let config = pull::Config {
        durable_name: Some(options.consumer.clone()),
        description: Some("Cloakroom reads bucket events".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.redeliver_after,
        filter_subject: options.subject.clone(),
        ..pull::Config::default()
    };
    Ok(Some(
        stream.get_or_create_consumer(&options.consumer, config).await?,
    ))
}

async fn read_stream(
    app: &App,
    consumer: &PullConsumer,
    shutdown: &CancellationToken,
) -> Result<(), NatsError> {
    while !shutdown.is_cancelled() {
        let asking = consumer.batch().max_messages(BATCH_MAX).expires(WAIT);
        let mut messages = asking.messages().await?;
        loop {
            // What was sent and not handled when this ends comes again by itself.
            let message = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                message = messages.next() => message,
            };
            let Some(message) = message.transpose()? else {
                break;
            };
            if !take_over(app, &message).await? && !until_back(app, shutdown).await {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Handles a message and tells the stream. `false` when what we need ourselves is away.
async fn take_over(app: &App, message: &jetstream::Message) -> Result<bool, NatsError> {
    let (sequence, deliveries) = message
        .info()
        .map_or((0, 1), |info| (info.stream_sequence, info.delivered));
    let delivery = deliver(app, SOURCE, &sequence.to_string(), &message.payload).await;
    let answer = match delivery {
        Delivery::TakenOver => AckKind::Ack,
        Delivery::Unreadable => AckKind::Term,
        Delivery::Away | Delivery::Failed => {
            let deliveries = u32::try_from(deliveries).unwrap_or(1);
            AckKind::Nak(Some(redeliver_delay(app, deliveries)))
        }
    };
    message.ack_with(answer).await?;
    Ok(delivery != Delivery::Away)
}

async fn read_subject(
    app: &App,
    options: &NatsOptions,
    client: &Client,
    shutdown: &CancellationToken,
) -> Result<(), NatsError> {
    let group = options.consumer.clone();
    let mut messages = client.queue_subscribe(options.subject.clone(), group).await?;
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => break,
            message = messages.next() => message,
        };
        let Some(message) = message else {
            return Err("the subscription ended".into());
        };
        // Nobody else has this message: try until it is done.
        while deliver(app, SOURCE, &message.subject, &message.payload).await == Delivery::Away {
            if !until_back(app, shutdown).await {
                break;
            }
        }
    }
    Ok(())
}
