//! Own processors behind HTTP that are away for a while.

use std::net::SocketAddr;
use std::sync::Arc;

use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::job::{Job, JobKind};
use cloakroom_core::ports::processor::ProcessorLimits;
use cloakroom_processors::{Sandbox, SandboxOptions};
use cloakroom_worker::deliveries::{SigningKeys, Target};
use cloakroom_worker::processors::decoders::Decoders;
use cloakroom_worker::processors::own::{Call, OwnProcessor};
use cloakroom_worker::processors::{ProcessorOptions, registry};
use jiff::SignedDuration;
use tokio::net::TcpSocket;

use crate::app::{Later as _, Process, Stores};
use crate::webhooks::receiver::{Answer, Receiver};

/// A process whose collection `strict` requires the processor behind this address.
fn process(stores: &Stores, address: SocketAddr) -> Process {
    let own = OwnProcessor {
        name: "words".to_owned(),
        content_types: vec![],
        limits: ProcessorLimits::default(),
        call: Call::Endpoint {
            target: Target::new(&format!("http://{address}/"), true).expect("a target"),
            keys: SigningKeys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key"),
        },
    };
    let options = ProcessorOptions {
        sandbox: Arc::new(Sandbox::new(SandboxOptions::new(std::env::temp_dir()))),
        limits: ProcessorLimits::default(),
        decoders: Decoders::none(),
        own: vec![own],
        clock: Arc::clone(&stores.clock) as _,
    };
    let words = registry(&options).remove("words").expect("the processor");
    stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![words],
    )
}

async fn upload(process: &Process) -> FileId {
    let signed = process.sign_in("strict", b"some words").await;
    process.send(&signed, b"some words").await;
    process.confirm(signed.file.id).await.id
}

async fn job(stores: &Stores, id: FileId) -> Job {
    let job = stores.metadata.live_job(id, JobKind::ProcessFile).await;
    job.expect("an answer").expect("a job that waits")
}

#[tokio::test]
async fn files_wait_for_an_endpoint_that_takes_no_connection() {
    let stores = Stores::new().await;
    // A port that nobody else gets, and nobody listens at.
    let port = TcpSocket::new_v4().expect("a socket");
    port.bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    let process = process(&stores, port.local_addr().expect("an address"));
    let id = upload(&process).await;
    for _ in 0..5 {
        process.work().await;
        assert_eq!(stores.file(id).await.state, FileState::Processing);
        let job = job(&stores, id).await;
        assert_eq!(job.failures, 0, "{:?}", job.last_error);
        assert!(job.last_error.is_some_and(|error| error.starts_with("words: ")));
        stores.clock.advance(SignedDuration::from_mins(5));
    }
    process.work().await;
    let later = upload(&process).await;
    process.work().await;
    assert_eq!(
        stores.file(later).await.state,
        FileState::Confirmed,
        "what is known to be away costs no pass over the file"
    );
    let receiver = Receiver::start_with(port.listen(8).expect("a listener"));
    stores.clock.advance(SignedDuration::from_mins(5));
    process.work().await;
    for id in [id, later] {
        assert_eq!(stores.file(id).await.state, FileState::Ready);
        stores.assert_history(id).await;
    }
    assert_eq!(receiver.seen().len(), 2);
}

#[tokio::test]
async fn an_endpoint_may_say_how_long_it_is_away_and_a_broken_one_is_given_up() {
    let stores = Stores::new().await;
    let receiver = Receiver::start().await;
    let process = process(&stores, receiver.address);
    let retry_after = |seconds: &str| Answer::Status(503, format!("retry-after: {seconds}\r\n"));
    receiver.answer([
        retry_after("120"),
        Answer::Status(502, String::new()),
        Answer::Status(504, String::new()),
        retry_after("86400"),
    ]);
    let id = upload(&process).await;
    for least in [120, 10, 20, 300] {
        let begun = stores.clock.now_plus(SignedDuration::ZERO);
        process.work().await;
        let job = job(&stores, id).await;
        assert_eq!(job.failures, 0, "{:?}", job.last_error);
        assert_eq!(job.run_at.duration_since(begun), SignedDuration::from_secs(least));
        stores.clock.advance(SignedDuration::from_secs(least));
    }
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);

    receiver.answer([500, 500, 500].map(|status| Answer::Status(status, String::new())));
    let broken = upload(&process).await;
    for _ in 0..3 {
        process.work().await;
        stores.clock.advance(SignedDuration::from_mins(1));
    }
    assert_eq!(stores.file(broken).await.state, FileState::Failed);
}
