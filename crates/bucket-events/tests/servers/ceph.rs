//! A real Ceph RADOS gateway pushes to our real HTTP server.

use std::sync::Arc;

use cloakroom_coordination::LocalRateLimiter;
use cloakroom_core::file::FileState;
use cloakroom_core::id::WorkerId;
use cloakroom_http::api::bucket_events::BucketEventsToken;
use cloakroom_http::auth::{Algorithm, Expectations};
use cloakroom_http::{AuthSettings, Authenticator, HttpSettings, HttpState};
use cloakroom_worker::{WorkerOptions, runner};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::aws::Account;
use crate::instance::{CONTENT, Instance, Sent};
use crate::unique;

const TOKEN: &str = "what-ceph-shows";

fn account() -> Account {
    let s3 = cloakroom_testkit::servers::s3();
    Account {
        endpoint: s3.endpoint,
        access_key: s3.access_key,
        secret_key: s3.secret_key,
        region: s3.region,
    }
}

/// Our HTTP server over the instance; returns its port.
async fn serve(instance: &Instance) -> u16 {
    let app = Arc::clone(&instance.app);
    let settings = AuthSettings {
        keys: Vec::new(),
        algorithms: vec![Algorithm::RS256],
        expected: Expectations::default(),
        ..AuthSettings::default()
    };
    let authenticator = Authenticator::new(settings, Arc::clone(&app.clock)).expect("no keys");
    let http = HttpSettings {
        bucket_events_token: Some(BucketEventsToken::new(TOKEN)),
        ..HttpSettings::default()
    };
    let state = HttpState::new(
        app,
        authenticator,
        http,
        Arc::new(LocalRateLimiter::default()),
        None,
        CancellationToken::new(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let router = cloakroom_http::router(state);
    tokio::spawn(cloakroom_http::serve(listener, router, std::future::pending()));
    port
}

/// Has the bucket tell of its uploads there.
async fn have_pushed(account: &Account, bucket: &str, endpoint: &str) {
    // The gateway keeps an owner's topics in one object, and answers 500 to who changes it at the same time.
    static SETTING_UP: Mutex<()> = Mutex::const_new(());
    let _alone = SETTING_UP.lock().await;
    let arn = topic(account, endpoint).await;
    account.notify(bucket, "Topic", &arn).await;
}

/// A topic, made through the gateway's SNS API.
async fn topic(account: &Account, endpoint: &str) -> String {
    let form = format!(
        "Action=CreateTopic&Name={}&Attributes.entry.1.key=push-endpoint&Attributes.entry.1.value={}",
        unique("topic"),
        utf8_percent_encode(endpoint, NON_ALPHANUMERIC)
    );
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        // A topic with a password is made over HTTPS only; this says that a proxy did that.
        ("x-forwarded-proto", "https"),
    ];
    let answer = account
        .call("sns", Method::POST, "/", &headers, form.as_bytes())
        .await;
    let (_, rest) = answer.split_once("<TopicArn>").expect("an ARN");
    let (arn, _) = rest.split_once("</TopicArn>").expect("an ARN");
    arn.to_owned()
}

/// What a client does with its URL.
async fn put(sent: &Sent, content: &[u8]) {
    let client = reqwest::Client::builder().build().expect("a client");
    let mut request = client.put(&sent.request.url).body(content.to_vec());
    for (name, value) in &sent.request.headers {
        request = request.header(name, value);
    }
    let response = request.send().await.expect("an answer");
    assert!(response.status().is_success(), "{}", response.status());
}

/// Everything that the client does not do.
async fn work(instance: &Instance) {
    let options = WorkerOptions::new(WorkerId("test".to_owned()));
    while runner::run_due(&instance.app, &options).await > 0 {}
}

#[tokio::test]
async fn an_upload_to_ceph_becomes_ready_without_a_word_of_the_client() {
    let account = account();
    let instance = Instance::on_s3(&account).await;
    let port = serve(&instance).await;
    let endpoint = format!("http://ceph:{TOKEN}@127.0.0.1:{port}/api/v1/bucket-events");
    have_pushed(&account, &instance.bucket, &endpoint).await;
    let sent = instance.sign().await;
    put(&sent, CONTENT).await;
    instance.confirmed(&sent).await;
    work(&instance).await;
    assert_eq!(instance.file(sent.id).await.state, FileState::Ready);
}

#[tokio::test]
async fn parts_that_are_put_together_on_ceph_are_one_upload() {
    let account = account();
    let instance = Instance::on_s3(&account).await;
    let bucket = &instance.bucket;
    let port = serve(&instance).await;
    let endpoint = format!("http://ceph:{TOKEN}@127.0.0.1:{port}/api/v1/bucket-events");
    have_pushed(&account, bucket, &endpoint).await;
    let sent = instance.sign().await;
    let path = format!("/{bucket}/{}", cloakroom_signing::encode_path(&sent.key));
    let begun = account.s3(Method::POST, &format!("{path}?uploads="), b"").await;
    let id = between(&begun, "<UploadId>", "</UploadId>");
    account
        .s3(
            Method::PUT,
            &format!("{path}?partNumber=1&uploadId={id}"),
            CONTENT,
        )
        .await;
    let listed = account
        .s3(Method::GET, &format!("{path}?uploadId={id}"), b"")
        .await;
    let etag = between(&listed, "<ETag>", "</ETag>");
    assert_eq!(instance.file(sent.id).await.state, FileState::Pending);
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    account
        .s3(Method::POST, &format!("{path}?uploadId={id}"), parts.as_bytes())
        .await;
    instance.confirmed(&sent).await;
}

#[tokio::test]
async fn what_ceph_says_without_the_token_is_not_heard_and_the_sweeper_finds_it() {
    let account = account();
    let instance = Instance::on_s3(&account).await;
    let port = serve(&instance).await;
    let stranger = format!("http://127.0.0.1:{port}/api/v1/bucket-events");
    have_pushed(&account, &instance.bucket, &stranger).await;
    let sent = instance.sign().await;
    // The gateway waits for our answer before it gives its own.
    put(&sent, CONTENT).await;
    assert_eq!(instance.file(sent.id).await.state, FileState::Pending);
    let coming = instance.sign().await;
    assert_eq!(instance.app.sweep_arrived_uploads().await.expect("swept"), 1);
    assert_eq!(instance.file(sent.id).await.state, FileState::Confirmed);
    assert_eq!(instance.file(coming.id).await.state, FileState::Pending);
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).expect("the beginning");
    rest.split_once(to).expect("the end").0
}
