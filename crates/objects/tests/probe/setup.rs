//! Setting up: what it opens, what it closes, what it leaves alone, and what it does.

use cloakroom_core::ports::objects::{GetOptions, ObjectPath, ObjectStore as _, PutBody, PutOptions};
use cloakroom_objects::s3::Encryption;
use cloakroom_objects::s3::bootstrap::{BucketPlan, Outcome, Step};
use cloakroom_testkit::servers;

use crate::stand::{ORIGIN, Stand};

pub fn plan(stand: &Stand) -> BucketPlan {
    BucketPlan {
        name: stand.target.bucket.clone(),
        cors_origins: Vec::new(),
        staging_days: 0,
        block_public: false,
        encryption: None,
        notify: None,
    }
}

pub async fn set_up(stand: &Stand, plan: &BucketPlan) -> Vec<(Step, Outcome)> {
    stand.store.set_up(plan).await.expect("set up")
}

pub async fn write(stand: &Stand, key: &str) {
    let path = ObjectPath::new(&stand.target.bucket, key);
    let body = PutBody::from_bytes("bytes");
    stand
        .store
        .put(&path, PutOptions::default(), body)
        .await
        .expect("written");
}

#[tokio::test]
async fn a_bucket_is_closed_to_the_public_and_stays_open_to_us() {
    for stand in [Stand::ceph().await, Stand::moto().await] {
        write(&stand, "a.jpg").await;
        let closed = BucketPlan {
            block_public: true,
            ..plan(&stand)
        };
        let step = |outcome| Some((Step::PublicAccess, outcome));
        assert_eq!(set_up(&stand, &closed).await.pop(), step(Outcome::Changed));
        assert_eq!(set_up(&stand, &closed).await.pop(), step(Outcome::Unchanged));
        assert_eq!(stand.anonymous("a.jpg").await, 403);
        let ours = ObjectPath::new(&stand.target.bucket, "a.jpg");
        let looked = stand.store.head(&ours, &GetOptions::default()).await;
        looked.expect("we still read it");
        write(&stand, "b.jpg").await;
    }
}

#[tokio::test]
async fn what_somebody_else_has_made_public_stays() {
    let stand = Stand::ceph().await;
    let bucket = &stand.target.bucket;
    write(&stand, "shared/report.pdf").await;
    let theirs = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Theirs","Effect":"Allow","Principal":"*",
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/shared/*"}}]}}"#
    );
    stand.configure("policy", theirs).await;
    let closed = BucketPlan {
        block_public: true,
        ..plan(&stand)
    };
    let done = set_up(&stand, &closed).await;
    assert!(
        matches!(done.last(), Some((Step::PublicAccess, Outcome::Skipped(_)))),
        "{done:?}"
    );
    assert_eq!(stand.anonymous("shared/report.pdf").await, 200);
}

#[tokio::test]
async fn switches_that_somebody_else_has_set_stay() {
    let stand = Stand::ceph().await;
    let theirs = "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>";
    stand.configure("publicAccessBlock", theirs.to_owned()).await;
    let before = stand.configuration("publicAccessBlock").await;
    let closed = BucketPlan {
        block_public: true,
        ..plan(&stand)
    };
    let done = set_up(&stand, &closed).await;
    assert!(
        matches!(done.last(), Some((Step::PublicAccess, Outcome::Skipped(_)))),
        "{done:?}"
    );
    assert_eq!(stand.configuration("publicAccessBlock").await, before);
}

#[tokio::test]
async fn rules_of_others_stay_beside_ours() {
    for stand in [Stand::ceph().await, Stand::moto().await] {
        let cors = "<CORSConfiguration><CORSRule><ID>theirs</ID><AllowedOrigin>https://their.example</AllowedOrigin>\
             <AllowedMethod>DELETE</AllowedMethod></CORSRule></CORSConfiguration>";
        let lifecycle = "<LifecycleConfiguration><Rule><ID>theirs</ID><Filter><Prefix>logs/</Prefix></Filter>\
             <Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
        stand.configure("cors", cors.to_owned()).await;
        stand.configure("lifecycle", lifecycle.to_owned()).await;
        let wanted = BucketPlan {
            cors_origins: vec![ORIGIN.to_owned()],
            staging_days: 9,
            ..plan(&stand)
        };
        let steps = [Step::Cors, Step::Lifecycle];
        let done = set_up(&stand, &wanted).await;
        assert_eq!(done[1..], steps.map(|step| (step, Outcome::Changed)));
        let done = set_up(&stand, &wanted).await;
        assert_eq!(done[1..], steps.map(|step| (step, Outcome::Unchanged)));
        let (cors, lifecycle) = (
            stand.configuration("cors").await,
            stand.configuration("lifecycle").await,
        );
        for (text, expected) in [
            (&cors, ["their.example", ORIGIN]),
            (&lifecycle, ["logs/", "staging/"]),
        ] {
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}

#[tokio::test]
async fn encryption_and_notifications_are_set_up_once() {
    let stand = Stand::moto().await;
    let queue = servers::unique_bucket();
    let moto = servers::moto_url();
    let call = format!("Action=CreateQueue&Version=2012-11-05&QueueName={queue}");
    let (status, text) = stand.call_sqs(&format!("{moto}/"), call).await;
    assert!(status.is_success(), "{text}");
    let wanted = BucketPlan {
        encryption: Some(Encryption::Kms {
            key_id: Some("arn:aws:kms:us-east-1:123456789012:key/files".to_owned()),
        }),
        notify: Some(format!("arn:aws:sqs:us-east-1:123456789012:{queue}")),
        ..plan(&stand)
    };
    let steps = [Step::Encryption, Step::Notification];
    let done = set_up(&stand, &wanted).await;
    assert_eq!(done[1..], steps.map(|step| (step, Outcome::Changed)));
    let done = set_up(&stand, &wanted).await;
    assert_eq!(done[1..], steps.map(|step| (step, Outcome::Unchanged)));
    assert!(stand.configuration("notification").await.contains("staging/"));
    assert!(stand.configuration("encryption").await.contains("key/files"));
}
