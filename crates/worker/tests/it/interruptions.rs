//! Processes that die, or stand still, at a point of a scenario: of every change of any store.

use std::sync::Arc;

use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};

use crate::PAIR;
use crate::app::{Database, Process, Store, Stores};

/// More points than any scenario here has; a scenario that reaches it never ends.
pub const POINTS_MAX: usize = 300;

/// The points of a long scenario: every one on the embedded pair, every third where each step crosses a network.
pub fn points() -> impl Iterator<Item = usize> {
    let embedded = matches!((&PAIR.database, &PAIR.store), (Database::Sqlite, Store::Local));
    (0..POINTS_MAX).step_by(if embedded { 1 } else { 3 })
}

/// A process that does what the plan says.
pub fn planned(stores: &Stores, plan: &Arc<CrashPlan>) -> Process {
    stores.start_with(
        Arc::new(CrashingMetadata {
            inner: Arc::clone(&stores.metadata),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingAdministration {
            inner: Arc::clone(&stores.administration),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingObjects {
            inner: Arc::clone(&stores.objects),
            crash: Arc::clone(plan),
        }),
        vec![],
    )
}

/// Runs `scenario` until it ends or dies at a point; `true` when it ended.
pub async fn run_doomed(stores: &Stores, point: usize, scenario: impl AsyncFnOnce(&Process)) -> bool {
    let plan = CrashPlan::at(point);
    let process = planned(stores, &plan);
    let running = Box::pin(scenario(&process));
    tokio::select! {
        () = running => true,
        () = plan.crashed() => false,
    }
}

/// Runs `scenario` up to a point, then `meanwhile`, then the rest of `scenario`; `false` when there is no such point.
pub async fn interrupted(
    stores: &Stores,
    point: usize,
    scenario: impl AsyncFnOnce(&Process),
    meanwhile: impl AsyncFnOnce(),
) -> bool {
    let plan = CrashPlan::pausing_at(point);
    let process = planned(stores, &plan);
    let mut running = Box::pin(scenario(&process));
    tokio::select! {
        () = &mut running => return false,
        () = plan.crashed() => {}
    }
    // Together, for what has reached the database goes on there.
    let meanwhile = Box::pin(async {
        meanwhile().await;
        plan.resume();
    });
    tokio::join!(running, meanwhile);
    true
}
