//! `NatsSource` against a real nats-server with JetStream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use cloakroom_bucket_events::{NatsOptions, NatsSource};
use cloakroom_core::file::FileState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::instance::Instance;
use crate::{eventually, forward, free_address, unique};

fn url() -> String {
    cloakroom_testkit::servers::nats_url()
}

/// A subject, held by a stream of its own.
struct Subject {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    name: String,
}

impl Subject {
    async fn plain() -> Self {
        let client = async_nats::connect(url()).await.expect("nats-server");
        let jetstream = jetstream::new(client.clone());
        Self {
            client,
            jetstream,
            name: unique("events"),
        }
    }

    async fn in_a_stream() -> Self {
        let subject = Self::plain().await;
        let config = stream::Config {
            name: subject.name.clone(),
            subjects: vec![subject.name.clone()],
            storage: stream::StorageType::Memory,
            ..stream::Config::default()
        };
        subject.jetstream.create_stream(config).await.expect("a stream");
        subject
    }

    async fn publish(&self, payload: &str) {
        let published = self
            .jetstream
            .publish(self.name.clone(), payload.to_owned().into());
        published.await.expect("published").await.expect("kept");
    }

    /// Messages that wait for a delivery or an acknowledgement.
    async fn waiting(&self) -> u64 {
        let stream = self.jetstream.get_stream(&self.name).await.expect("the stream");
        let info = stream.consumer_info("cloakroom").await.expect("the consumer");
        info.num_pending + info.num_ack_pending as u64
    }

    fn options(&self) -> NatsOptions {
        NatsOptions::new(url(), &self.name)
    }

    async fn emptied(&self) {
        eventually("every message is settled", async || self.waiting().await == 0).await;
    }
}

struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(instance: &Instance, options: NatsOptions) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(NatsSource::run(
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
async fn a_stream_keeps_what_was_told_while_nobody_was_there() {
    let instance = Instance::new().await;
    let subject = Subject::in_a_stream().await;
    let mut all = Vec::new();
    for _ in 0..25 {
        let sent = instance.send().await;
        subject.publish(&instance.event(&sent)).await;
        all.push(sent);
    }
    // The server may not yet have seen that a process has ended, and send it what comes next.
    let options = subject.options().with_redeliver_after(Duration::from_secs(5));
    let source = Running::start(&instance, options.clone());
    for sent in &all {
        instance.confirmed(sent).await;
    }
    subject.emptied().await;
    source.stop().await;
    // Durable: what comes now waits for the next process.
    let later = instance.send().await;
    subject.publish(&instance.event(&later)).await;
    let source = Running::start(&instance, options);
    instance.confirmed(&later).await;
    subject.emptied().await;
    source.stop().await;
}

#[tokio::test]
async fn a_message_is_acknowledged_after_the_commit_and_not_before() {
    let instance = Instance::new().await;
    let subject = Subject::in_a_stream().await;
    let sent = instance.send().await;
    instance.objects.set_away(true);
    subject.publish(&instance.event(&sent)).await;
    let source = Running::start(&instance, subject.options());
    eventually("it was tried", async || instance.objects.refused() >= 2).await;
    assert_eq!(instance.file(sent.id).await.state, FileState::Pending);
    assert_eq!(subject.waiting().await, 1);
    instance.objects.set_away(false);
    instance.confirmed(&sent).await;
    subject.emptied().await;
    source.stop().await;
}

#[tokio::test]
async fn what_a_dead_process_had_comes_to_another() {
    let instance = Instance::new().await;
    let subject = Subject::in_a_stream().await;
    let options = subject.options().with_redeliver_after(Duration::from_secs(2));
    // A process that takes a message and dies with it.
    let dead = Running::start(&instance, options.clone());
    eventually("the consumer is there", async || {
        let stream = subject
            .jetstream
            .get_stream(&subject.name)
            .await
            .expect("the stream");
        stream.consumer_info("cloakroom").await.is_ok()
    })
    .await;
    dead.task.abort();
    let _ = dead.task.await;
    let sent = instance.send().await;
    subject.publish(&instance.event(&sent)).await;
    let stream = subject
        .jetstream
        .get_stream(&subject.name)
        .await
        .expect("the stream");
    let consumer: jetstream::consumer::PullConsumer =
        stream.get_consumer("cloakroom").await.expect("the consumer");
    // The server may have sent it to the dead one first, and sends it again then.
    let asking = consumer.batch().max_messages(1).expires(Duration::from_mins(1));
    let mut taken = asking.messages().await.expect("asked");
    let message = futures_util::StreamExt::next(&mut taken).await;
    drop(message.expect("one message").expect("a message"));
    let source = Running::start(&instance, options);
    instance.confirmed(&sent).await;
    subject.emptied().await;
    source.stop().await;
}

#[tokio::test]
async fn what_nobody_can_read_is_not_delivered_again() {
    let instance = Instance::new().await;
    let subject = Subject::in_a_stream().await;
    subject.publish("poison").await;
    subject.publish("{}").await;
    let sent = instance.send().await;
    subject.publish(&instance.event(&sent)).await;
    let source = Running::start(&instance, subject.options());
    instance.confirmed(&sent).await;
    subject.emptied().await;
    // The stream still has it, for a person to look at.
    let mut stream = subject
        .jetstream
        .get_stream(&subject.name)
        .await
        .expect("the stream");
    assert_eq!(stream.info().await.expect("its state").state.messages, 3);
    source.stop().await;
}

#[tokio::test]
async fn a_plain_subject_works_while_somebody_listens() {
    let instance = Instance::new().await;
    let subject = Subject::plain().await;
    let source = Running::start(&instance, subject.options());
    let sent = instance.send().await;
    instance.objects.set_away(true);
    // Published until the subscription stands: before, nobody is there to take it.
    eventually("it arrives", async || {
        let payload = instance.event(&sent).into();
        subject
            .client
            .publish(subject.name.clone(), payload)
            .await
            .expect("published");
        instance.objects.refused() >= 1
    })
    .await;
    instance.objects.set_away(false);
    instance.confirmed(&sent).await;
    source.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let instance = Instance::new().await;
    let subject = Subject::in_a_stream().await;
    let sent = instance.send().await;
    subject.publish(&instance.event(&sent)).await;
    let address = free_address();
    let options = NatsOptions::new(format!("nats://{address}"), &subject.name);
    let source = Running::start(&instance, options);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let server = url().trim_start_matches("nats://").to_owned();
    let forwarding = tokio::spawn(forward(address, server));
    instance.confirmed(&sent).await;
    source.stop().await;
    forwarding.abort();
}
