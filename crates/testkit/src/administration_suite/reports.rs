//! Reports of operations: lines in order, written with the progress that they belong to.

use cloakroom_core::id::{FileId, OperationId};
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::random::Random as _;
use jiff::SignedDuration;

use super::operations::{claim, ended, operation, put, running};
use super::{Store, stage};
use crate::metadata_store_suite::stage::{LEASE, Stage};

fn finding(stage: &Stage, n: usize) -> Finding {
    Finding {
        kind: "size_differs".to_owned(),
        bucket: n.is_multiple_of(2).then(|| "files".to_owned()),
        key: n.is_multiple_of(2).then(|| format!("documents/{n}/é\u{0}.pdf")),
        file_id: n
            .is_multiple_of(3)
            .then(|| FileId(stage.random.uuid_v7(stage.now()))),
        detail: format!("{n} bytes, \"other\" than the row says"),
        action: "reported".to_owned(),
    }
}

async fn report(store: &Store, id: OperationId, limit: u32) -> Vec<Finding> {
    let mut met = Vec::new();
    loop {
        let page = store
            .findings(id, met.len() as u64, limit)
            .await
            .expect("findings");
        assert!(page.items.len() <= limit as usize);
        met.extend(page.items);
        if !page.more {
            return met;
        }
    }
}

/// Over several saves and a change of hands.
pub async fn findings_keep_their_order_and_are_paged(store: Store) {
    let stage = stage(&store);
    let mut operation = running(&store, &stage, OperationKind::Verify).await;
    let id = operation.id;
    assert_eq!(report(&store, id, 10).await, []);
    let mut written = Vec::new();
    for portion in [1, 0, 3, 600, 2] {
        let first = written.len();
        let lines: Vec<Finding> = (first..first + portion).map(|n| finding(&stage, n)).collect();
        operation.done += portion as u64;
        operation.updated_at = stage.pass(1);
        operation.lease_until = Some(stage.now() + LEASE);
        store
            .save_operation(&operation, &lines)
            .await
            .expect("save_operation");
        written.extend(lines);
        stage.clock.advance(LEASE + SignedDuration::from_secs(1));
        operation = claim(&store, "next", stage.now()).await.expect("its claim ended");
    }
    for limit in [50, 606, 1000] {
        assert_eq!(report(&store, id, limit).await, written, "by {limit}");
    }
    let page = store.findings(id, 604, 1).await.expect("findings");
    assert_eq!((&page.items[..], page.more), (&written[604..605], true));
    let page = store.findings(id, 606, 1).await.expect("findings");
    assert_eq!((page.items, page.more), (vec![], false));
    let other = running(&store, &stage, OperationKind::Purge).await;
    assert_eq!(report(&store, other.id, 10).await, []);
}

/// Neither progress nor lines.
pub async fn a_fenced_worker_adds_no_findings(store: Store) {
    let stage = stage(&store);
    let first = running(&store, &stage, OperationKind::Verify).await;
    stage.clock.advance(LEASE * 2);
    let second = claim(&store, "worker-2", stage.now())
        .await
        .expect("its claim ended");
    let answer = store.save_operation(&first, &[finding(&stage, 0)]).await;
    assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    let line = finding(&stage, 1);
    store
        .save_operation(&second, std::slice::from_ref(&line))
        .await
        .expect("save_operation");
    assert_eq!(report(&store, first.id, 10).await, [line]);
}

/// More lines than anybody removes at a time: they go to the last one, the operation once, and the next one stays.
pub async fn a_long_report_is_trimmed_to_its_end(store: Store) {
    let stage = stage(&store);
    let mut claimed = running(&store, &stage, OperationKind::Verify).await;
    let lines: Vec<Finding> = (0..12_500).map(|n| finding(&stage, n)).collect();
    for portion in lines.chunks(2_500) {
        claimed.updated_at = stage.pass(1);
        claimed.lease_until = Some(stage.now() + LEASE);
        store
            .save_operation(&claimed, portion)
            .await
            .expect("save_operation");
    }
    let long = ended(&claimed, stage.pass(1));
    store.save_operation(&long, &[]).await.expect("save_operation");
    let next = running(&store, &stage, OperationKind::Verify).await;
    let next = ended(&next, stage.pass(1));
    store
        .save_operation(&next, &lines[..3])
        .await
        .expect("save_operation");
    let far = stage.now() + SignedDuration::from_hours(1);
    assert_eq!(store.trim_operations(far, 0).await.expect("trim_operations"), 0);
    assert_eq!(store.trim_operations(far, 1).await.expect("trim_operations"), 1);
    assert_eq!(store.operation(long.id).await.expect("operation"), None);
    assert_eq!(report(&store, long.id, 10).await, []);
    assert_eq!(report(&store, next.id, 10).await, lines[..3]);
    assert_eq!(store.trim_operations(far, 10).await.expect("trim_operations"), 1);
}

/// Those that were over before, the oldest first; what still runs stays.
pub async fn reports_are_trimmed_with_their_operations(store: Store) {
    let stage = stage(&store);
    let mut over: Vec<Operation> = Vec::new();
    for _ in 0..4 {
        let claimed = running(&store, &stage, OperationKind::Verify).await;
        let done = ended(&claimed, stage.pass(1));
        let lines: Vec<Finding> = (0..3).map(|n| finding(&stage, n)).collect();
        store.save_operation(&done, &lines).await.expect("save_operation");
        over.push(done);
    }
    let live = operation(&stage, OperationKind::Verify);
    assert!(put(&store, &live).await);
    let trim = async |before, limit| {
        store
            .trim_operations(before, limit)
            .await
            .expect("trim_operations")
    };
    let ended_at = |n: usize| over[n].finished_at.expect("it is over");
    assert_eq!(trim(ended_at(0), 10).await, 0, "not before its end");
    assert_eq!(trim(ended_at(3), 2).await, 2);
    assert_eq!(trim(ended_at(3), 2).await, 1);
    let left: Vec<OperationId> = store
        .operations(None, 10)
        .await
        .expect("operations")
        .items
        .iter()
        .map(|operation| operation.id)
        .collect();
    assert_eq!(left, [live.id, over[3].id]);
    assert_eq!(report(&store, over[0].id, 10).await, []);
    assert_eq!(report(&store, over[3].id, 10).await.len(), 3);
    let far = stage.now() + SignedDuration::from_hours(1000);
    assert_eq!(trim(far, 10).await, 1);
    assert_eq!(trim(far, 10).await, 0);
}
