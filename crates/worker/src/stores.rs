//! The modes of the stores: every process reads them anew every second, and the one that is elected ends what closes.
//!
//! Whoever was paused past the end of its lease may still be at it, so everything that it writes is decided by the epoch of the
//! mode that it read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::Leases;
use cloakroom_service::App;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::election::Election;

/// The lease of whoever decides on modes.
pub const LEASE: &str = "stores";

/// How often the modes are read, and what closes is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the modes of a process fresh, and decides on them whenever this process holds the lease, until told to stop; then gives
/// the lease back.
pub async fn run(
    app: Arc<App>,
    leases: Arc<dyn Leases>,
    candidate: WorkerId,
    leader_lease: Duration,
    shutdown: CancellationToken,
) {
    let election = Election {
        name: LEASE,
        leases,
        clock: Arc::clone(&app.clock),
        candidate: candidate.clone(),
        duration: leader_lease,
    };
    let refreshing = async {
        tokio::select! {
            () = shutdown.cancelled() => {}
            never = keep_fresh(&app) => match never {},
        }
    };
    tokio::join!(
        refreshing,
        election.run(shutdown.clone(), || lead(&app, &candidate)),
    );
}

/// Reads the modes anew every second, for as long as it is polled: without that a process soon admits nothing.
pub async fn keep_fresh(app: &App) -> Infallible {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reachable = true;
    loop {
        ticks.tick().await;
        match app.refresh_stores().await {
            Ok(()) => reachable = true,
            Err(error) => {
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(event = "store_modes_unread", %error, "the modes of the stores cannot be read; what depends on them waits");
                }
            }
        }
    }
}

/// Says for as long as it lives that this process leads.
struct Term<'a>(&'a App);

impl Drop for Term<'_> {
    fn drop(&mut self) {
        self.0.stores.set_elected_at(None);
    }
}

async fn lead(app: &App, candidate: &WorkerId) -> Infallible {
    let _term = Term(app);
    app.stores.set_elected_at(Some(app.now()));
    let mut announced = false;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !announced {
            match app.announce_leader(candidate).await {
                Ok(()) => announced = true,
                Err(error) => tracing::debug!(%error, "who leads is not written yet"),
            }
        }
        match app.end_drains().await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(
                event = "stores_closed",
                ended,
                "stores that were closing are read-only now"
            ),
            Err(error) => {
                tracing::warn!(event = "store_drain_error", %error, "whether a closing store is done could not be found out for now");
            }
        }
    }
}
