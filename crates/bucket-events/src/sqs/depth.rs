//! How many messages wait, and how many nobody could read: the gauge that an alert on the dead-letter queue needs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::queue::{Depth, Queue, SqsError};
use super::{SOURCE, failed};
use crate::pause::rest;

/// Counts now and then until told to stop. Without the right to count (`sqs:GetQueueAttributes`), says so once.
pub(super) async fn watch(queue: &Queue, every: Duration, shutdown: &CancellationToken) {
    let mut said = false;
    loop {
        let counted = tokio::select! {
            () = shutdown.cancelled() => return,
            counted = count(queue, &mut said) => counted,
        };
        match counted {
            Ok(()) | Err(SqsError::Away(_)) => {}
            Err(error) if !said => {
                failed("GetQueueAttributes", &error);
                said = true;
            }
            Err(_) => {}
        }
        if !rest(every, shutdown).await {
            return;
        }
    }
}

async fn count(queue: &Queue, said: &mut bool) -> Result<(), SqsError> {
    let depth = queue.depth(None).await?;
    show("main", &depth);
    let Some(arn) = &depth.dead_letter_arn else {
        if !*said {
            tracing::warn!(
                event = "bucket_events_no_dead_letters",
                source = SOURCE,
                "the queue has no dead-letter queue: a message that nobody can read comes again until it expires"
            );
            *said = true;
        }
        return Ok(());
    };
    if let Some(url) = queue.url_of(arn).await? {
        show("dead_letter", &queue.depth(Some(&url)).await?);
    }
    Ok(())
}

fn show(queue: &'static str, depth: &Depth) {
    for (state, count) in [("visible", depth.visible), ("in_flight", depth.in_flight)] {
        metrics::gauge!(
            "cloakroom_bucket_events_queue_messages",
            "source" => SOURCE, "queue" => queue, "state" => state,
        )
        .set(count as f64);
    }
}
