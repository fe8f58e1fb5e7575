//! Setting up buckets on a real Ceph RADOS gateway.

use cloakroom_core::ports::objects::ObjectStore as _;
use cloakroom_objects::s3::S3Store;
use cloakroom_objects::s3::bootstrap::{BucketPlan, Outcome, Step};
use cloakroom_testkit::servers;

use crate::options;

fn plan() -> BucketPlan {
    BucketPlan {
        name: servers::unique_bucket(),
        cors_origins: vec!["https://app.example".to_owned()],
        staging_days: 9,
        block_public: false,
        encryption: None,
        notify: None,
    }
}

#[tokio::test]
async fn a_bucket_is_set_up_once() {
    let store = S3Store::new(options()).expect("a client");
    let plan = plan();
    let steps = [Step::Bucket, Step::Cors, Step::Lifecycle];
    let first = store.set_up(&plan).await.expect("set up");
    assert_eq!(first, steps.map(|step| (step, Outcome::Changed)));
    let again = store.set_up(&plan).await.expect("set up");
    assert_eq!(again, steps.map(|step| (step, Outcome::Unchanged)));
    let more = BucketPlan {
        cors_origins: vec![
            "https://app.example".to_owned(),
            "https://other.example".to_owned(),
        ],
        staging_days: 10,
        ..plan.clone()
    };
    let changed = store.set_up(&more).await.expect("set up");
    assert_eq!(
        changed,
        [
            (Step::Bucket, Outcome::Unchanged),
            (Step::Cors, Outcome::Changed),
            (Step::Lifecycle, Outcome::Changed)
        ]
    );
    assert_eq!(
        store.set_up(&more).await.expect("set up")[1],
        (Step::Cors, Outcome::Unchanged),
        "no rule twice"
    );
    store.delete_bucket(&plan.name).await.expect("removed");
}

#[tokio::test]
async fn ten_nodes_set_up_one_bucket() {
    let plan = plan();
    let nodes: Vec<_> = (0..10)
        .map(|_| S3Store::new(options()).expect("a client"))
        .collect();
    let done = futures_util::future::join_all(nodes.iter().map(|node| node.set_up(&plan))).await;
    for outcome in done {
        let steps = outcome.expect("set up");
        assert!(
            steps
                .iter()
                .all(|(_, outcome)| !matches!(outcome, Outcome::Skipped(_))),
            "{steps:?}"
        );
    }
    nodes[0].delete_bucket(&plan.name).await.expect("removed");
}

#[tokio::test]
async fn what_the_provider_cannot_do_is_skipped_with_a_reason() {
    let store = S3Store::new(options()).expect("a client");
    let plan = BucketPlan {
        // There is no such topic.
        notify: Some("arn:aws:sns:default::nobody".to_owned()),
        ..plan()
    };
    let steps = store.set_up(&plan).await.expect("set up");
    assert!(
        matches!(steps.last(), Some((Step::Notification, Outcome::Skipped(reason))) if !reason.is_empty()),
        "{steps:?}"
    );
    store.delete_bucket(&plan.name).await.expect("removed");
}
