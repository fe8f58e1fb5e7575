//! Interrupted anywhere, a verification goes on and reports the same.

use std::sync::Arc;

use cloakroom_core::id::WorkerId;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_service::operations::Ended;
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};
use cloakroom_worker::{WorkerOptions, operations};
use futures_util::FutureExt;
use jiff::SignedDuration;
use serde_json::json;

use super::{ready, remove, start, verify_deep, write};
use crate::app::{Process, Stores, object, person};

/// More points than a verification of these has.
const POINTS_MAX: usize = 500;

/// Files with a drift of nearly every kind.
async fn drifted() -> (Stores, Process) {
    let stores = Stores::new().await;
    let process = start(&stores);
    let mut files = Vec::new();
    for content in 0..5 {
        files.push(ready(&stores, &process, format!("content {content}").as_bytes()).await);
    }
    remove(&stores, &files[0].key).await;
    write(&stores, &files[1].key, b"x").await;
    write(&stores, &files[2].key, b"content X").await;
    let sidecar = format!("{}.{}.attr.json", files[3].key, files[3].epoch);
    remove(&stores, &sidecar).await;
    write(&stores, "foreign.bin", b"x").await;
    (stores, process)
}

#[tokio::test]
async fn stopped_at_every_step_the_report_is_the_same() {
    let (_stores, process) = drifted().await;
    let whole = verify_deep(&process).await;
    assert_eq!(whole.findings.len(), 5, "{:?}", whole.lines());
    let admin = person("ada", cloakroom_core::access::Role::Admin);
    let options = object(json!({"deep": true}));
    let asked = process
        .app
        .start_operation(&admin, OperationKind::Verify, options)
        .await
        .expect("begun");
    let worker = WorkerOptions::new(WorkerId("test".to_owned()));
    let mut runs = 0;
    loop {
        let lease = SignedDuration::from_secs(15);
        let now = process.app.now();
        let claimed = process
            .app
            .administration
            .claim_operation_by_id(asked.id, &worker.id, now, lease)
            .await
            .expect("an answer")
            .expect("what was given back can be claimed at once");
        runs += 1;
        // It is told to stop before it begins, so it gets exactly one step further.
        let stop = std::future::ready(()).boxed().shared();
        match operations::attend(&process.app, claimed, &worker, stop).await {
            Ended::Stopped => {}
            Ended::Done => break,
            other => panic!("{other:?}"),
        }
        assert!(runs < POINTS_MAX, "it never gets to its end");
    }
    assert!(runs > 5, "{runs} runs");
    let report = process.report(asked.id).await;
    assert_eq!(report.findings, whole.findings);
    assert_eq!(report.operation.counts, whole.operation.counts);
    assert_eq!(
        (report.operation.done, report.operation.state),
        (whole.operation.done, OperationState::Done)
    );
}

#[tokio::test]
async fn killed_at_every_change_the_report_is_the_same() {
    for point in 0..POINTS_MAX {
        let (stores, process) = drifted().await;
        let admin = person("ada", cloakroom_core::access::Role::Admin);
        let options = object(json!({"deep": true, "fix": false}));
        let asked = process
            .app
            .start_operation(&admin, OperationKind::Verify, options)
            .await
            .expect("begun");
        let plan = CrashPlan::at(point);
        let doomed = stores.start_with(
            Arc::new(CrashingMetadata {
                inner: Arc::clone(&stores.metadata),
                crash: Arc::clone(&plan),
            }),
            Arc::new(CrashingAdministration {
                inner: Arc::clone(&stores.administration),
                crash: Arc::clone(&plan),
            }),
            Arc::new(CrashingObjects {
                inner: Arc::clone(&stores.objects),
                crash: Arc::clone(&plan),
            }),
            vec![],
        );
        let ended = tokio::select! {
            () = doomed.run_operations() => true,
            () = plan.crashed() => false,
        };
        // The dead worker's claim ends, and another one goes on.
        stores.clock.advance(SignedDuration::from_secs(16));
        process.run_operations().await;
        let report = process.report(asked.id).await;
        assert_eq!(report.operation.state, OperationState::Done, "died at {point}");
        assert_eq!(report.findings.len(), 5, "died at {point}: {:?}", report.lines());
        if ended {
            return;
        }
    }
    panic!("the verification never ended by itself");
}
