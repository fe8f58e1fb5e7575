//! `SqsSource` against moto's SQS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloakroom_bucket_events::{SqsOptions, SqsSource};
use cloakroom_core::file::FileState;
use cloakroom_signing::Credentials;
use futures_util::future::BoxFuture;
use http::Method;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::instance::{CONTENT, Instance};
use crate::moto::{self, Queues, credentials};
use crate::{eventually, forward, free_address};

fn options(queues: &Queues) -> SqsOptions {
    SqsOptions::new(&queues.main, credentials()).expect("options")
}

/// A source that runs until it is told to stop.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(instance: &Instance, options: SqsOptions) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(SqsSource::run(
            Arc::clone(&instance.app),
            options,
            shutdown.clone(),
        ));
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_mins(1), self.task)
            .await
            .expect("stops")
            .expect("does not panic");
    }
}

#[tokio::test]
async fn an_event_brings_the_file_in_and_leaves_the_queue() {
    let instance = Instance::new().await;
    let queues = Queues::new(3).await;
    let source = Running::start(&instance, options(&queues));
    let mut all = Vec::new();
    for _ in 0..25 {
        let sent = instance.send().await;
        queues.send(&instance.event(&sent)).await;
        all.push(sent);
    }
    for sent in &all {
        instance.confirmed(sent).await;
    }
    eventually("the queue is empty", async || {
        Queues::count(&queues.main).await == 0
    })
    .await;
    assert_eq!(Queues::count(&queues.dead).await, 0);
    source.stop().await;
}

#[tokio::test]
async fn a_notification_of_a_real_bucket_arrives() {
    let instance = Instance::new().await;
    let queues = Queues::new(3).await;
    let bucket = &instance.bucket;
    let account = moto::account();
    account.s3(Method::PUT, &format!("/{bucket}"), b"").await;
    account.notify(bucket, "Queue", &queues.arn).await;
    // The bytes go to our store and to the one that tells of them.
    let sent = instance.send().await;
    let encoded = cloakroom_signing::encode_path(&sent.key);
    account
        .s3(Method::PUT, &format!("/{bucket}/{encoded}"), CONTENT)
        .await;
    let source = Running::start(&instance, options(&queues));
    instance.confirmed(&sent).await;
    eventually("the queue is empty", async || {
        Queues::count(&queues.main).await == 0
    })
    .await;
    source.stop().await;
}

#[tokio::test]
async fn what_is_not_ours_leaves_and_what_nobody_can_read_is_moved_aside() {
    let instance = Instance::new().await;
    let queues = Queues::new(2).await;
    let other = json!({"Records": [{
        "eventName": "ObjectCreated:Put", "eventSource": "aws:s3",
        "s3": {"bucket": {"name": "b"}, "object": {"key": "holiday.jpg"}},
    }]});
    queues.send(&other.to_string()).await;
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"});
    queues.send(&test.to_string()).await;
    queues.send("poison").await;
    let sent = instance.send().await;
    queues.send(&instance.event(&sent)).await;
    let source = Running::start(&instance, options(&queues));
    instance.confirmed(&sent).await;
    eventually("the poison is moved aside", async || {
        Queues::count(&queues.dead).await == 1
    })
    .await;
    eventually("the queue is empty", async || {
        Queues::count(&queues.main).await == 0
    })
    .await;
    assert_eq!(queues.dead_bodies().await, ["poison"]);
    source.stop().await;
}

#[tokio::test]
async fn while_the_store_is_away_no_message_uses_up_its_deliveries() {
    let instance = Instance::new().await;
    let queues = Queues::new(2).await;
    let sent = instance.send().await;
    instance.objects.set_away(true);
    queues.send(&instance.event(&sent)).await;
    let source = Running::start(&instance, options(&queues));
    // Longer than it would take to be delivered twice.
    eventually("it was asked whether the store is back", async || {
        instance.objects.refused() >= 4
    })
    .await;
    assert_eq!(instance.file(sent.id).await.state, FileState::Pending);
    assert_eq!(Queues::count(&queues.main).await, 1);
    instance.objects.set_away(false);
    instance.confirmed(&sent).await;
    eventually("the queue is empty", async || {
        Queues::count(&queues.main).await == 0
    })
    .await;
    assert_eq!(Queues::count(&queues.dead).await, 0);
    source.stop().await;
}

#[tokio::test]
async fn a_queue_that_is_away_is_asked_again() {
    let instance = Instance::new().await;
    let queues = Queues::new(3).await;
    let sent = instance.send().await;
    queues.send(&instance.event(&sent)).await;
    let address = free_address();
    let endpoint = format!("http://{address}");
    let source = Running::start(
        &instance,
        options(&queues).with_endpoint(&endpoint).expect("an endpoint"),
    );
    // Nobody listens there yet.
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err());
    let server = moto::url().trim_start_matches("http://").to_owned();
    let forwarding = tokio::spawn(forward(address, server));
    instance.confirmed(&sent).await;
    source.stop().await;
    forwarding.abort();
}

#[tokio::test]
async fn a_long_poll_answers_when_a_message_comes_and_ends_when_told_to() {
    let instance = Instance::new().await;
    let queues = Queues::new(3).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // Every request asks for credentials once.
    let provider = move || -> BoxFuture<'static, Result<Credentials, String>> {
        counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Credentials::new("AKID", "secret")) })
    };
    let options = SqsOptions::new(&queues.main, Arc::new(provider)).expect("options");
    let source = Running::start(&instance, options);
    eventually("it waits", async || calls.load(Ordering::SeqCst) >= 1).await;
    let sent = instance.send().await;
    let began = Instant::now();
    queues.send(&instance.event(&sent)).await;
    instance.confirmed(&sent).await;
    // The wait alone takes 20 s.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // Receive, delete, receive, and what the metrics ask.
    assert!(calls.load(Ordering::SeqCst) <= 8, "{calls:?}");
    source.stop().await;
}

#[tokio::test]
async fn without_credentials_it_waits_for_them() {
    let instance = Instance::new().await;
    let queues = Queues::new(3).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let provider = move || -> BoxFuture<'static, Result<Credentials, String>> {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match call {
                0..3 => Err("the metadata service does not answer".to_owned()),
                _ => Ok(Credentials::new(format!("AKID{call}"), "secret").with_session_token("token")),
            }
        })
    };
    let options = SqsOptions::new(&queues.main, Arc::new(provider)).expect("options");
    let source = Running::start(&instance, options);
    let sent = instance.send().await;
    queues.send(&instance.event(&sent)).await;
    instance.confirmed(&sent).await;
    source.stop().await;
}

#[tokio::test]
async fn metrics_show_what_came_and_what_was_moved_aside() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // One thread runs this test and everything it starts.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let instance = Instance::new().await;
    let queues = Queues::new(1).await;
    let sent = instance.send().await;
    queues.send(&instance.event(&sent)).await;
    queues.send("{}").await;
    let options = options(&queues).with_depth_every(Duration::from_millis(100));
    let source = Running::start(&instance, options);
    for line in [
        "cloakroom_bucket_events_total{source=\"sqs\",outcome=\"confirmed\"} 1",
        "cloakroom_bucket_events_total{source=\"sqs\",outcome=\"malformed\"} 1",
        "cloakroom_bucket_events_queue_messages{source=\"sqs\",queue=\"dead_letter\",state=\"visible\"} 1",
        "cloakroom_bucket_events_queue_messages{source=\"sqs\",queue=\"main\",state=\"visible\"} 0",
    ] {
        eventually(line, async || handle.render().lines().any(|found| found == line)).await;
    }
    source.stop().await;
}
