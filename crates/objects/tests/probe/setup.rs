//! Setting up: what it opens, what it closes, what it leaves alone, and what it does.

use std::time::Duration;

use cloakroom_core::ports::objects::{ObjectPath, ObjectStore as _, PutBody, PutOptions};
use cloakroom_objects::s3::Encryption;
use cloakroom_objects::s3::bootstrap::{Access, BucketPlan, Outcome, Step};
use cloakroom_testkit::servers;

use crate::stand::{ORIGIN, Stand, send};

fn plan(stand: &Stand) -> BucketPlan {
    BucketPlan {
        name: stand.target.bucket.clone(),
        cors_origins: Vec::new(),
        staging_days: 0,
        access: Access::AsItIs,
        encryption: None,
        notify: None,
    }
}

async fn set_up(stand: &Stand, plan: &BucketPlan) -> Vec<(Step, Outcome)> {
    stand.store.set_up(plan).await.expect("set up")
}

async fn write(stand: &Stand, key: &str) {
    let path = ObjectPath::new(&stand.target.bucket, key);
    let body = PutBody::from_bytes("bytes");
    stand
        .store
        .put(&path, PutOptions::default(), body)
        .await
        .expect("written");
}

#[tokio::test]
async fn a_public_bucket_shows_files_and_nothing_else() {
    let stand = Stand::ceph().await;
    let hidden = [
        "staging/20261121T0600Z/x/a.jpg",
        "_cloakroom/mode.json",
        "a.jpg.1.attr.json",
    ];
    for key in hidden.into_iter().chain(["a.jpg", "deep/er/b.jpg"]) {
        write(&stand, key).await;
    }
    let public = BucketPlan {
        access: Access::PublicRead,
        ..plan(&stand)
    };
    assert_eq!(
        set_up(&stand, &public).await.last(),
        Some(&(Step::Access, Outcome::Changed))
    );
    assert_eq!(
        set_up(&stand, &public).await.last(),
        Some(&(Step::Access, Outcome::Unchanged))
    );
    for key in ["a.jpg", "deep/er/b.jpg"] {
        assert_eq!(stand.anonymous(key).await, 200, "{key}");
    }
    for key in hidden.into_iter().chain(["", "missing"]) {
        assert_eq!(stand.anonymous(key).await, 403, "{key}");
    }
    let ours = ObjectPath::new(&stand.target.bucket, hidden[0]);
    stand
        .store
        .head(&ours, &Default::default())
        .await
        .expect("we still read everything");

    let private = BucketPlan {
        access: Access::Private,
        ..public
    };
    assert_eq!(
        set_up(&stand, &private).await.last(),
        Some(&(Step::Access, Outcome::Changed))
    );
    assert_eq!(
        set_up(&stand, &private).await.last(),
        Some(&(Step::Access, Outcome::Unchanged))
    );
    assert_eq!(stand.anonymous("a.jpg").await, 403);
    let policy = stand.configuration("policy").await;
    assert!(policy.contains("NoSuchBucketPolicy"), "{policy}");
}

#[tokio::test]
async fn the_policy_of_somebody_else_stays() {
    let stand = Stand::ceph().await;
    let bucket = &stand.target.bucket;
    write(&stand, "shared/report.pdf").await;
    let theirs = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Theirs","Effect":"Allow","Principal":"*",
            "Action":"s3:GetObject","Resource":"arn:aws:s3:::{bucket}/shared/*"}}]}}"#
    );
    stand.configure("policy", theirs).await;
    let private = BucketPlan {
        access: Access::Private,
        ..plan(&stand)
    };
    let done = set_up(&stand, &private).await;
    assert!(
        matches!(done.last(), Some((Step::Access, Outcome::Skipped(_)))),
        "{done:?}"
    );
    assert_eq!(stand.anonymous("shared/report.pdf").await, 200);

    let public = BucketPlan {
        access: Access::PublicRead,
        ..private.clone()
    };
    assert_eq!(
        set_up(&stand, &public).await.last(),
        Some(&(Step::Access, Outcome::Changed))
    );
    assert!(stand.configuration("policy").await.contains("Theirs"));
    set_up(&stand, &private).await;
    let policy = stand.configuration("policy").await;
    assert!(
        policy.contains("Theirs") && !policy.contains("CloakroomPublicRead"),
        "{policy}"
    );
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
    let made = format!("{moto}/?Action=CreateQueue&Version=2012-11-05&QueueName={queue}");
    let sqs = [(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=k/20261121/us-east-1/sqs/aws4_request".to_owned(),
    )];
    let (status, text) = send(http::Method::GET, &made, &sqs, String::new()).await;
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

/// A day lasts ten seconds in this Ceph.
#[tokio::test]
async fn the_bucket_itself_removes_what_is_old() {
    let stand = Stand::ceph().await;
    write(&stand, "staging/20261121T0600Z/x/a.jpg").await;
    write(&stand, "kept/a.jpg").await;
    let wanted = BucketPlan {
        staging_days: 1,
        ..plan(&stand)
    };
    set_up(&stand, &wanted).await;
    let removed = async {
        while stand.keys().await != "kept/a.jpg" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), removed)
        .await
        .expect("Ceph removes it within a few of its days");
}
