//! Handing one message over to the use case.

use cloakroom_service::uploads::measure_refused;
use cloakroom_service::{App, ServiceError};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// What it says is committed, or is nothing for us: it may leave the queue.
    TakenOver,
    /// Nobody here will ever read it.
    Unreadable,
    /// The database or the store does not answer.
    Away,
    /// A defect of ours, or a damaged row.
    Failed,
}

/// Hands a message over, counts it and says in the log why it was not taken over. `message` names it there.
pub(crate) async fn deliver(app: &App, source: &'static str, message: &str, payload: &[u8]) -> Delivery {
    let error = match app.receive_bucket_events(payload).await {
        Ok(received) => {
            received.measure(source);
            return Delivery::TakenOver;
        }
        Err(error) => error,
    };
    measure_refused(source, &error);
    match error {
        ServiceError::Refused(refusal) => {
            tracing::warn!(
                event = "bucket_event_unreadable",
                source,
                message_id = message,
                reason = refusal.message,
                "a message of the queue is no bucket event"
            );
            Delivery::Unreadable
        }
        ServiceError::Unavailable(reason) => {
            tracing::warn!(
                event = "bucket_event_unavailable",
                source,
                message_id = message,
                reason,
                "a bucket event waits: the database or the store does not answer"
            );
            Delivery::Away
        }
        ServiceError::Internal(reason) => {
            tracing::error!(
                event = "bucket_event_failed",
                source,
                message_id = message,
                reason,
                "a bucket event met a defect"
            );
            Delivery::Failed
        }
    }
}
