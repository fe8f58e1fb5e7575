//! Background work: the runner that claims jobs, operations that administrators ask for, the janitor that sweeps, the
//! processors that make something of verified bytes; and the courier that delivers events.
//!
//! | to add | write | and |
//! |---|---|---|
//! | a processor | `processors/<name>.rs` | one line in [`processors::registry`] |
//! | a sweep | a use case in the service | one line in [`janitor::SWEEPS`] |
//! | an operation | `App::run_<kind>` in the service | one line in its dispatch |

pub mod alerts;
pub mod deliveries;
mod election;
pub mod janitor;
pub mod operations;
pub mod processors;
mod room;
pub mod runner;
pub mod signals;
pub mod stores;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::id::WorkerId;
use cloakroom_core::job::JobKind;
use cloakroom_core::ports::leases::Leases;
use cloakroom_service::App;
use tokio_util::sync::CancellationToken;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Who claims.
    pub id: WorkerId,
    /// Jobs at the same time. With more than one, neither heavy nor light work ([`cloakroom_core::job::Lane`]) takes the
    /// last place.
    pub concurrency: usize,
    /// Jobs of a kind at the same time, where that is to be fewer.
    pub limits: BTreeMap<JobKind, u32>,
    /// How long a claim holds unless extended; a dead worker's jobs are taken over after this.
    pub lease: Duration,
    /// How often to look for jobs without being woken.
    pub poll: Duration,
    /// How long running jobs may take to end at shutdown before they are given back.
    pub grace: Duration,
    /// One round of the janitor.
    pub sweep_every: Duration,
    /// How long the janitor's lease lasts without being renewed: so long after its death another process takes over.
    pub leader_lease: Duration,
}

impl WorkerOptions {
    /// The defaults, under this name.
    pub fn new(id: WorkerId) -> Self {
        Self {
            id,
            concurrency: 4,
            limits: BTreeMap::new(),
            lease: Duration::from_secs(15),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(20),
            sweep_every: Duration::from_mins(1),
            leader_lease: Duration::from_secs(15),
        }
    }
}

/// Works until told to stop, then drains. Of all processes that ask `leases`, one sweeps.
pub async fn run(
    app: Arc<App>,
    leases: Arc<dyn Leases>,
    options: WorkerOptions,
    shutdown: CancellationToken,
) {
    tokio::join!(
        runner::run(Arc::clone(&app), &options, shutdown.clone()),
        operations::run(Arc::clone(&app), &options, shutdown.clone()),
        janitor::run(app, leases, &options, janitor::SWEEPS, shutdown.clone()),
    );
}
