//! Webhooks: events that wait in the outbox are posted to one address, signed, until it has taken them.
//!
//! At least once: an event leaves the outbox only when a 2xx has come, so a worker that dies in between makes the
//! receiver see it again, under the same `webhook-id`. In no order: each event waits and is tried again by itself;
//! `data.version` tells the receiver which of two events of a file is the later one. Any number of processes deliver
//! together; claims are fenced, so the outcome of one that was overtaken is dropped.

mod addresses;
mod attempt;
mod message;
mod schedule;
mod signature;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::metadata::{Claim, ClaimedEvent, Delivery, EventLease, MetadataError};
use cloakroom_service::App;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::attempt::why;
pub use self::schedule::ATTEMPTS_MAX;
pub use self::signature::{KeyError, SigningKeys};
pub use self::target::{Target, TargetError};

use self::attempt::Verdict;

/// A claim outlasts the longest attempt by this, so that its outcome can still be written.
const LEASE_MARGIN: Duration = Duration::from_secs(15);

/// How webhooks are delivered.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Who claims.
    pub id: WorkerId,
    /// Where to.
    pub target: Target,
    /// What messages are signed with.
    pub keys: SigningKeys,
    /// Deliveries at the same time.
    pub concurrency: usize,
    /// How long the receiver may take to answer, the connection included.
    pub timeout: Duration,
    /// How often to look for events when there were none.
    pub poll: Duration,
    /// How long deliveries under way may take to end at shutdown before they are given back.
    pub grace: Duration,
}

impl WebhookOptions {
    /// The defaults.
    pub fn new(id: WorkerId, target: Target, keys: SigningKeys) -> Self {
        Self {
            id,
            target,
            keys,
            concurrency: 8,
            timeout: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(20),
        }
    }
}

/// What a delivery works with.
struct Courier {
    app: Arc<App>,
    client: reqwest::Client,
    options: WebhookOptions,
    /// Whether the receiver took the last message: a change is worth a log line, each attempt is not.
    failing: AtomicBool,
    /// Cancelled when deliveries under way are to be given back.
    cut: CancellationToken,
}

/// Delivers until told to stop, then lets deliveries under way end.
pub async fn run(app: Arc<App>, options: WebhookOptions, shutdown: CancellationToken) {
    describe_metrics();
    let client = match options.target.client(options.timeout, options.concurrency) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(event = "webhooks_unavailable", %error, "no webhook is delivered by this process");
            return shutdown.cancelled().await;
        }
    };
    let courier = Arc::new(Courier {
        app,
        client,
        options,
        failing: AtomicBool::new(false),
        cut: CancellationToken::new(),
    });
    let mut under_way = JoinSet::new();
    while !shutdown.is_cancelled() {
        let free = courier.options.concurrency.saturating_sub(under_way.len());
        if free > 0 {
            for event in courier.claim(free).await {
                let courier = Arc::clone(&courier);
                under_way.spawn(async move { courier.deliver(event).await });
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some(_) = under_way.join_next() => {}
            () = tokio::time::sleep(courier.options.poll) => {}
        }
    }
    let grace = courier.options.grace;
    let ended = tokio::time::timeout(grace, async { while under_way.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        courier.cut.cancel();
        while under_way.join_next().await.is_some() {}
    }
}

/// Delivers what is due, once; returns how many events were tried. For tests and tools.
pub async fn run_due(app: &Arc<App>, options: &WebhookOptions) -> Result<usize, TargetError> {
    let courier = Courier {
        client: options.target.client(options.timeout, options.concurrency)?,
        app: Arc::clone(app),
        options: options.clone(),
        failing: AtomicBool::new(false),
        cut: CancellationToken::new(),
    };
    let claimed = courier.claim(options.concurrency).await;
    let found = claimed.len();
    futures_util::future::join_all(claimed.into_iter().map(|event| courier.deliver(event))).await;
    Ok(found)
}

impl Courier {
    async fn claim(&self, limit: usize) -> Vec<ClaimedEvent> {
        let lease = self.options.timeout.saturating_add(LEASE_MARGIN);
        let claim = Claim {
            worker: &self.options.id,
            now: self.app.now(),
            lease: SignedDuration::try_from(lease).unwrap_or(SignedDuration::MAX),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            at_most: &[],
        };
        match self.app.metadata.claim_events(&claim).await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(event = "claim_error", %error, "no events could be claimed for now");
                vec![]
            }
        }
    }

    async fn deliver(&self, claimed: ClaimedEvent) {
        let begun_at = self.app.now();
        let verdict = tokio::select! {
            biased;
            () = self.cut.cancelled() => None,
            verdict = attempt::send(&self.client, &self.options, &claimed.event, begun_at) => Some(verdict),
        };
        let now = self.app.now();
        metrics::histogram!("cloakroom_webhook_duration_seconds")
            .record(now.duration_since(begun_at).as_secs_f64());
        let (delivery, outcome) = match verdict {
            None => (retry(now, "the worker was stopped".to_owned()), "retried"),
            Some(verdict) => {
                self.tell_changes(&verdict);
                self.conclude(&claimed, verdict, now)
            }
        };
        self.settle(claimed.lease, delivery, outcome).await;
    }

    fn conclude(&self, claimed: &ClaimedEvent, verdict: Verdict, now: Timestamp) -> (Delivery, &'static str) {
        let event = &claimed.event;
        match verdict {
            Verdict::Taken => (Delivery::Delivered, "delivered"),
            Verdict::Failed { reason, wait } if claimed.attempt < ATTEMPTS_MAX => {
                let wait = schedule::wait_after(claimed.attempt, self.app.random.unit(), wait);
                tracing::debug!(event = "webhook_retry", event_id = %event.id, attempt = claimed.attempt, reason, "a webhook is tried again");
                let run_at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
                (retry(run_at, reason), "retried")
            }
            Verdict::Failed { reason, .. } | Verdict::Gone { reason } => {
                tracing::error!(event = "webhook_given_up", event_id = %event.id, file_id = %event.file_id, attempt = claimed.attempt, reason, "a webhook was not delivered; its event stays in the timeline of the file");
                (Delivery::GivenUp, "given_up")
            }
        }
    }

    async fn settle(&self, lease: EventLease, delivery: Delivery, outcome: &'static str) {
        let outcome = match self.app.metadata.settle_event(lease, &delivery).await {
            Ok(()) => outcome,
            Err(MetadataError::Fenced) => "lost",
            // It is delivered once more when the claim ends: at least once is the promise.
            Err(error) => {
                tracing::warn!(event = "webhook_outcome_lost", event_id = %lease.event_id, %error, "what became of a webhook could not be written");
                "lost"
            }
        };
        metrics::counter!("cloakroom_webhooks_total", "outcome" => outcome).increment(1);
    }

    fn tell_changes(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Taken => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(event = "webhooks_restored", "the receiver takes webhooks again");
                }
            }
            Verdict::Failed { reason, .. } | Verdict::Gone { reason } => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event = "webhooks_failing",
                        reason,
                        "the receiver does not take webhooks; they are tried again"
                    );
                }
            }
        }
    }
}

fn retry(run_at: Timestamp, error: String) -> Delivery {
    Delivery::Retry { run_at, error }
}

fn describe_metrics() {
    metrics::describe_counter!(
        "cloakroom_webhooks_total",
        "Attempts to deliver an event, by outcome."
    );
    metrics::describe_histogram!(
        "cloakroom_webhook_duration_seconds",
        metrics::Unit::Seconds,
        "Time that the receiver took to answer."
    );
}
