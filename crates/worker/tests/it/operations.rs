//! Running operations: one claim at a time, held while it lasts, given up when it is lost, taken over when its holder dies.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::access::Role;
use cloakroom_core::id::WorkerId;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::operation::{Operation, OperationKind, OperationState};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_service::operations::Ended;
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingObjects};
use cloakroom_testkit::outages::OutageObjects;
use cloakroom_worker::{WorkerOptions, operations};
use jiff::SignedDuration;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::{Process, Stores, object, person};

async fn start(process: &Process, options: serde_json::Value) -> Operation {
    let ada = person("ada", Role::Admin);
    let started = process
        .app
        .start_operation(&ada, OperationKind::Verify, object(options))
        .await;
    started.expect("begun")
}

async fn now(stores: &Stores, operation: &Operation) -> Operation {
    let found = stores.administration.operation(operation.id).await;
    found.expect("an answer").expect("an operation")
}

fn worker(name: &str) -> WorkerOptions {
    WorkerOptions::new(WorkerId(name.to_owned()))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_mins(1), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

/// A process whose writes of operations go through a plan.
fn planned(stores: &Stores, plan: &Arc<CrashPlan>) -> Process {
    let administration = CrashingAdministration {
        inner: Arc::clone(&stores.administration),
        crash: Arc::clone(plan),
    };
    stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::new(administration),
        Arc::clone(&stores.objects),
        vec![],
    )
}

#[tokio::test]
async fn a_worker_runs_operations_until_it_is_told_to_stop() {
    let stores = Stores::new().await;
    let process = stores.start();
    let shutdown = CancellationToken::new();
    let running = {
        let (app, shutdown) = (Arc::clone(&process.app), shutdown.clone());
        tokio::spawn(async move { operations::run(app, &worker("a"), shutdown).await })
    };
    let asked = start(&process, json!({})).await;
    until("it is done", async || {
        now(&stores, &asked).await.state == OperationState::Done
    })
    .await;
    shutdown.cancel();
    running.await.expect("it ends");
    let asked = start(&process, json!({})).await;
    assert_eq!(now(&stores, &asked).await.state, OperationState::Waiting);
}

#[tokio::test]
async fn whoever_lost_the_claim_writes_nothing_more() {
    let stores = Stores::new().await;
    stores.send_to("foreign.bin", b"x").await;
    let asked = start(&stores.start(), json!({})).await;
    // Stands still before its claim's first write after the claim itself.
    let plan = CrashPlan::pausing_at(2);
    let slow = planned(&stores, &plan);
    let paused = tokio::spawn(async move { operations::run_due(&slow.app, &worker("slow")).await });
    plan.crashed().await;
    stores.clock.advance(SignedDuration::from_secs(16));
    let quick = stores.start();
    assert_eq!(
        operations::run_due(&quick.app, &worker("quick")).await,
        [Ended::Done]
    );
    plan.resume();
    assert_eq!(paused.await.expect("it ends"), [Ended::Lost]);
    let report = quick.report(asked.id).await;
    assert_eq!(report.lines(), [("object_unknown", "foreign.bin", "reported")]);
    assert_eq!(
        (report.operation.state, report.operation.lease_epoch),
        (OperationState::Done, 2)
    );
}

#[tokio::test]
async fn a_cancelled_operation_ends() {
    let stores = Stores::new().await;
    let process = stores.start();
    let asked = start(&process, json!({})).await;
    let plan = CrashPlan::pausing_at(2);
    let slow = planned(&stores, &plan);
    let paused = tokio::spawn(async move { operations::run_due(&slow.app, &worker("slow")).await });
    plan.crashed().await;
    let ada = person("ada", Role::Admin);
    let cancelled = process
        .app
        .cancel_operation(&ada, asked.id)
        .await
        .expect("cancelled");
    assert_eq!(cancelled.state, OperationState::Cancelled);
    plan.resume();
    assert_eq!(paused.await.expect("it ends"), [Ended::Cancelled]);
    assert_eq!(now(&stores, &asked).await.state, OperationState::Cancelled);
    // It is over, so there may be another one.
    start(&process, json!({})).await;
}

#[tokio::test]
async fn the_claim_is_held_while_the_work_says_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(b"bytes").await;
    process.work().await;
    let file = stores.file(id).await;
    let sidecar = ObjectPath::new(&stores.bucket, sidecar_key(&file.key, file.epoch));
    stores.objects.delete(&sidecar).await.expect("removed");
    let asked = start(&process, json!({"fix": true})).await;
    // Stands still before it writes the sidecar.
    let plan = CrashPlan::pausing_at(0);
    let objects = CrashingObjects {
        inner: Arc::clone(&stores.objects),
        crash: Arc::clone(&plan),
    };
    let slow = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::new(objects),
        vec![],
    );
    let options = WorkerOptions {
        lease: Duration::from_millis(60),
        ..worker("slow")
    };
    let paused = tokio::spawn(async move { operations::run_due(&slow.app, &options).await });
    plan.crashed().await;
    for _ in 0..3 {
        let before = now(&stores, &asked).await.lease_until;
        stores.clock.advance(SignedDuration::from_millis(40));
        until("the claim is extended", async || {
            now(&stores, &asked).await.lease_until > before
        })
        .await;
    }
    plan.resume();
    assert_eq!(paused.await.expect("it ends"), [Ended::Done]);
    let report = process.report(asked.id).await;
    assert_eq!(
        report.lines(),
        [("sidecar_missing", sidecar.key.as_str(), "repaired")]
    );
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_waited_for() {
    let stores = Stores::new().await;
    let objects = OutageObjects::new(Arc::clone(&stores.objects));
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&objects) as _,
        vec![],
    );
    let asked = start(&process, json!({})).await;
    objects.set_away(true);
    let ended = operations::run_due(&process.app, &worker("a")).await;
    assert!(matches!(&ended[..], [Ended::Held(_)]), "{ended:?}");
    let held = now(&stores, &asked).await;
    assert_eq!(
        (held.state, held.error.is_some()),
        (OperationState::Running, true)
    );
    // Not yet.
    assert_eq!(operations::run_due(&process.app, &worker("a")).await, []);
    objects.set_away(false);
    stores.clock.advance(SignedDuration::from_secs(6));
    assert_eq!(
        operations::run_due(&process.app, &worker("a")).await,
        [Ended::Done]
    );
    assert_eq!(now(&stores, &asked).await.error, None);
}
