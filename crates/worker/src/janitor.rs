//! The janitor: sweeps that are idempotent, take no input, and run at start and then periodically, in one of all the
//! processes that work together.
//!
//! Which one is decided by a lease (`Election`). That saves work and no more: whoever was paused past the end of its
//! lease may still be in the middle of a sweep, so every sweep claims by compare-and-set what it changes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::leases::Leases;
use cloakroom_service::{App, Result};
use futures_util::future::BoxFuture;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::WorkerOptions;
use crate::election::Election;

/// The lease of whoever sweeps.
pub const LEASE: &str = "janitor";

/// One sweep.
pub struct Sweep {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// Its period, in rounds of the janitor (a round is a minute unless configured).
    pub every_rounds: u32,
    /// What it does; returns how many things it found to do.
    pub run: for<'a> fn(&'a App) -> BoxFuture<'a, Result<u64>>,
}

/// Every sweep there is.
pub const SWEEPS: &[Sweep] = &[
    Sweep {
        name: "recover_intents",
        every_rounds: 1,
        run: |app| Box::pin(async { Ok(app.recover_intents().await?.into()) }),
    },
    Sweep {
        name: "expired_uploads",
        every_rounds: 1,
        run: |app| Box::pin(async { Ok(app.sweep_expired_uploads().await?.into()) }),
    },
    Sweep {
        name: "arrived_uploads",
        every_rounds: 1,
        run: |app| Box::pin(async { Ok(app.sweep_arrived_uploads().await?.into()) }),
    },
    Sweep {
        name: "trash",
        every_rounds: 1,
        run: |app| Box::pin(async { Ok(app.sweep_trash().await?.into()) }),
    },
    Sweep {
        name: "staging",
        every_rounds: 10,
        run: |app| Box::pin(async { Ok(app.sweep_staging().await?.into()) }),
    },
    Sweep {
        name: "stranded",
        every_rounds: 5,
        run: |app| Box::pin(async { Ok(app.sweep_stranded().await?.into()) }),
    },
    Sweep {
        name: "scanner",
        every_rounds: 1,
        run: |app| Box::pin(app.sweep_scanner()),
    },
    Sweep {
        name: "retention",
        every_rounds: 5,
        run: |app| Box::pin(app.sweep_retention()),
    },
    Sweep {
        name: "garbage",
        every_rounds: 10,
        run: |app| Box::pin(app.sweep_garbage()),
    },
    Sweep {
        name: "garbage_scan",
        every_rounds: 10,
        run: |app| Box::pin(app.scan_garbage_when_due()),
    },
    Sweep {
        name: "log",
        every_rounds: 60,
        run: |app| Box::pin(app.trim_log()),
    },
    Sweep {
        name: "operations",
        every_rounds: 60,
        run: |app| Box::pin(app.trim_operations()),
    },
];

/// Sweeps whenever this process holds the lease, until told to stop; then gives the lease back.
pub async fn run(
    app: Arc<App>,
    leases: Arc<dyn Leases>,
    options: &WorkerOptions,
    sweeps: &[Sweep],
    shutdown: CancellationToken,
) {
    let election = Election {
        name: LEASE,
        leases,
        clock: Arc::clone(&app.clock),
        candidate: options.id.clone(),
        duration: options.leader_lease,
    };
    election
        .run(shutdown, || sweep_for_ever(&app, options.sweep_every, sweeps))
        .await;
}

/// A failing sweep is logged and tried again in its next round.
async fn sweep_for_ever(app: &App, round: Duration, sweeps: &[Sweep]) -> Infallible {
    let mut ticks = tokio::time::interval(round);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    loop {
        ticks.tick().await;
        for sweep in sweeps
            .iter()
            .filter(|sweep| count.is_multiple_of(sweep.every_rounds))
        {
            sweep_once(app, sweep).await;
        }
        count = count.wrapping_add(1);
    }
}

async fn sweep_once(app: &App, sweep: &Sweep) {
    match (sweep.run)(app).await {
        Ok(0) => {}
        Ok(found) => {
            metrics::counter!("cloakroom_swept_total", "sweep" => sweep.name).increment(found);
            tracing::info!(event = "sweep", operation = sweep.name, found, "Sweep done");
        }
        Err(error) => {
            tracing::warn!(event = "sweep_error", operation = sweep.name, %error, "a sweep failed for now");
        }
    }
}
