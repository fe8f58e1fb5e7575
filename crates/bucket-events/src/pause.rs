//! Waiting: for a moment, and for what is away to be back.

use std::time::Duration;

use cloakroom_core::job::RetryPolicy;
use cloakroom_service::App;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

/// Between attempts to reach a queue, or what we need ourselves.
const RECONNECT: RetryPolicy = RetryPolicy {
    attempts_max: u32::MAX,
    initial_delay: SignedDuration::from_millis(500),
    delay_max: SignedDuration::from_secs(30),
    exponential_base: 2.0,
};

/// Between deliveries of one message that was not taken over.
const REDELIVER: RetryPolicy = RetryPolicy {
    attempts_max: u32::MAX,
    initial_delay: SignedDuration::from_secs(1),
    delay_max: SignedDuration::from_mins(15),
    exponential_base: 2.0,
};

/// How long to wait after so many failures in a row (from 1).
pub(crate) fn reconnect_delay(app: &App, failures: u32) -> Duration {
    RECONNECT.delay_after(failures, app.random.unit()).unsigned_abs()
}

/// How long a message waits after its so manieth delivery (from 1) failed.
pub(crate) fn redeliver_delay(app: &App, deliveries: u32) -> Duration {
    REDELIVER
        .delay_after(deliveries, app.random.unit())
        .unsigned_abs()
}

/// Waits. `false` when told to stop meanwhile.
pub(crate) async fn rest(pause: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}

/// Waits until the database and the store answer again, so that no message uses up its deliveries on an outage of ours.
/// `false` when told to stop meanwhile.
pub(crate) async fn until_back(app: &App, shutdown: &CancellationToken) -> bool {
    let mut failures = 1;
    while rest(reconnect_delay(app, failures), shutdown).await {
        if app.metadata.ping().await.is_ok() && app.objects.ping().await.is_ok() {
            return true;
        }
        failures = failures.saturating_add(1);
    }
    false
}
