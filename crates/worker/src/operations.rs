//! Runs operations that administrators asked for, beside jobs: claims one that waits or was left behind, holds on to it,
//! and gives it back at shutdown so that another worker goes on at once.

use std::sync::Arc;

use cloakroom_core::operation::{Operation, OperationKind};
use cloakroom_service::App;
use cloakroom_service::operations::{Ended, Hold};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::WorkerOptions;

/// Operations at the same time: one of each kind, so a long one does not hold the others up.
const CONCURRENCY: usize = OperationKind::ALL.len();

/// Runs operations until told to stop; then gives back those that are under way.
pub async fn run(app: Arc<App>, options: &WorkerOptions, shutdown: CancellationToken) {
    let mut running: JoinSet<()> = JoinSet::new();
    while !shutdown.is_cancelled() {
        while running.try_join_next().is_some() {}
        if running.len() < CONCURRENCY
            && let Some(operation) = claim(&app, options).await
        {
            let (app, options, stop) = (Arc::clone(&app), options.clone(), stop_signal(&shutdown));
            running.spawn(async move {
                attend(&app, operation, &options, stop).await;
            });
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(options.poll) => {}
        }
    }
    while running.join_next().await.is_some() {}
}

/// Runs what waits now, one operation after the other, and returns how each of them ended.
pub async fn run_due(app: &Arc<App>, options: &WorkerOptions) -> Vec<Ended> {
    let never = CancellationToken::new();
    let mut ended = Vec::new();
    while let Some(operation) = claim(app, options).await {
        ended.push(attend(app, operation, options, stop_signal(&never)).await);
    }
    ended
}

/// Runs one operation that this process has claimed.
pub async fn attend(
    app: &App,
    operation: Operation,
    options: &WorkerOptions,
    stop: Shared<BoxFuture<'static, ()>>,
) -> Ended {
    let hold = Hold {
        lease: options.lease,
        grace: options.grace,
        pause: &|time| tokio::time::sleep(time).boxed(),
    };
    app.run_operation(operation, &hold, stop).await
}

/// Ready when the token is cancelled, for as many operations as wait for it.
pub fn stop_signal(shutdown: &CancellationToken) -> Shared<BoxFuture<'static, ()>> {
    shutdown.clone().cancelled_owned().boxed().shared()
}

async fn claim(app: &App, options: &WorkerOptions) -> Option<Operation> {
    let lease = SignedDuration::try_from(options.lease).unwrap_or(SignedDuration::from_secs(15));
    match app
        .administration
        .claim_operation(&options.id, app.now(), lease)
        .await
    {
        Ok(claimed) => claimed,
        Err(error) => {
            tracing::warn!(event = "claim_error", %error, "no operation could be claimed for now");
            None
        }
    }
}
