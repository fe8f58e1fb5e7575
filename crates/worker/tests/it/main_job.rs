//! From signature to download, and every way in which it must not go.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::access::{Credential, Role};
use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{FileError, FileState};
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::job::JobState;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput,
};
use cloakroom_core::record::RecordKey;
use cloakroom_service::cascading::Deletion;
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use futures_util::StreamExt;
use futures_util::future::join_all;
use jiff::SignedDuration;

use crate::app::{Stores, ann, person, settled};

#[tokio::test]
async fn nothing_is_handed_out_before_it_is_ready() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign(b"hello").await;
    let id = signed.file.id;
    let refused = async || {
        process
            .app
            .download(&ann(), id, false)
            .await
            .expect_err("refused")
            .code()
    };
    assert_eq!(refused().await, ErrorCode::FileNotReady);
    process.send(&signed, b"hello").await;
    assert_eq!(refused().await, ErrorCode::FileNotReady);
    process.confirm(id).await;
    assert_eq!(refused().await, ErrorCode::FileNotReady);
    process.work().await;
    process.app.download(&ann(), id, false).await.expect("ready");
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Ready);
    assert_eq!(stores.bytes(&file.key).await, b"hello");
    stores.assert_history(id).await;
}

#[tokio::test]
async fn a_url_used_again_changes_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign(b"clean").await;
    process.send(&signed, b"clean").await;
    process.confirm(signed.file.id).await;
    process.work().await;
    process.send(&signed, b"virus").await;
    process.recover().await;
    let file = stores.file(signed.file.id).await;
    assert_eq!(stores.bytes(&file.key).await, b"clean");
    assert!(
        !process
            .app
            .admits_upload(&signed.upload.staging_key)
            .await
            .expect("an answer")
    );
    // What was written again is swept.
    for _ in 0..10 {
        process.app.sweep_staging().await.expect("swept");
    }
    assert!(stores.keys().await.iter().all(|key| !key.starts_with("staging/")));
}

#[tokio::test]
async fn bytes_exchanged_after_confirm_are_never_served() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign(b"clean").await;
    process.send(&signed, b"clean").await;
    process.confirm(signed.file.id).await;
    process.send(&signed, b"virus").await;
    process.work().await;
    let file = stores.file(signed.file.id).await;
    assert_eq!(file.state, FileState::Failed);
    assert_eq!(
        file.error.map(|error| error.code).as_deref(),
        Some("upload_replaced")
    );
    assert!(stores.keys().await.is_empty());
}

#[tokio::test]
async fn content_that_is_not_what_it_says_fails_and_leaves_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let request = SignUpload {
        collection: "files".to_owned(),
        filename: "a.png".to_owned(),
        content_type: MediaType::parse("image/png").ok(),
        ..SignUpload::default()
    };
    let signed = process.app.sign_upload(&ann(), request).await.expect("signed");
    let path = cloakroom_core::ports::objects::ObjectPath::new(&stores.bucket, &signed.upload.staging_key);
    let attributes = cloakroom_core::ports::objects::ObjectAttributes {
        content_type: Some("image/png".to_owned()),
        ..Default::default()
    };
    let options = cloakroom_core::ports::objects::PutOptions {
        attributes,
        ..Default::default()
    };
    let body = cloakroom_core::ports::objects::PutBody::from_bytes(&b"<script>alert(1)</script>"[..]);
    stores.objects.put(&path, options, body).await.expect("stored");
    process.confirm(signed.file.id).await;
    process.work().await;
    let file = stores.file(signed.file.id).await;
    assert_eq!(
        file.error.map(|error| error.code).as_deref(),
        Some("content_type_mismatch")
    );
    process.work().await;
    assert!(stores.keys().await.is_empty());
    stores.assert_quiet().await;
}

#[tokio::test]
async fn a_collection_may_confirm_by_itself() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign_in("auto", b"seen").await;
    process.send(&signed, b"seen").await;
    process
        .app
        .observe_upload_begun(&signed.upload.staging_key)
        .await
        .expect("observed");
    process
        .app
        .observe_upload_done(&signed.upload.staging_key)
        .await
        .expect("observed");
    process.work().await;
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Ready);

    // Nobody told: the sweeper finds it.
    let signed = process.sign_in("auto", b"unseen").await;
    process.send(&signed, b"unseen").await;
    stores.clock.advance(SignedDuration::from_hours(25));
    process.app.sweep_expired_uploads().await.expect("swept");
    process.work().await;
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Ready);
}

#[tokio::test]
async fn confirm_and_the_endpoint_and_the_sweeper_converge() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign_in("auto", b"race").await;
    process.send(&signed, b"race").await;
    let id = signed.file.id;
    let ann = ann();
    let confirms = join_all((0..10).map(|_| process.app.confirm_upload(&ann, id, ConfirmUpload::default())));
    let observed = join_all((0..10).map(|_| process.app.observe_upload_done(&signed.upload.staging_key)));
    let (confirms, observed) = futures_util::future::join(confirms, observed).await;
    assert!(confirms.iter().all(Result::is_ok) && observed.iter().all(Result::is_ok));
    process.work().await;
    let events = stores
        .metadata
        .timeline(id, None, 100)
        .await
        .expect("events")
        .items;
    assert_eq!(
        events
            .iter()
            .filter(|event| event.state == FileState::Confirmed)
            .count(),
        1
    );
    stores.assert_history(id).await;
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!((usage.files, usage.stored_bytes, usage.reserved_bytes), (1, 4, 0));
}

#[tokio::test]
async fn strangers_and_scopes() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(b"mine").await;
    process.work().await;
    let code = async |principal| {
        process
            .app
            .file(&principal, id)
            .await
            .map_err(|error| error.code())
            .err()
    };
    assert_eq!(code(ann()).await, None);
    assert_eq!(
        code(person("bob", Role::User)).await,
        Some(ErrorCode::FileNotFound)
    );
    assert_eq!(code(person("olga", Role::Operator)).await, None);
    let operator = person("olga", Role::Operator);
    assert_eq!(
        process
            .app
            .delete_file(&operator, id)
            .await
            .expect_err("refused")
            .code(),
        ErrorCode::FileNotFound
    );
    let service = |collections: Option<Vec<String>>| {
        let mut principal = person("bot", Role::User);
        principal.credential = Credential::ServiceToken {
            id: ServiceTokenId(uuid::Uuid::nil()),
            collections,
        };
        principal
    };
    assert_eq!(code(service(None)).await, None);
    assert_eq!(code(service(Some(vec!["files".to_owned()]))).await, None);
    assert_eq!(
        code(service(Some(vec!["auto".to_owned()]))).await,
        Some(ErrorCode::FileNotFound)
    );

    let query = || FileQuery {
        limit: 10,
        ..FileQuery::default()
    };
    let seen = async |principal| {
        process
            .app
            .files(&principal, query())
            .await
            .expect("a list")
            .items
            .len()
    };
    assert_eq!(seen(ann()).await, 1);
    assert_eq!(seen(person("bob", Role::User)).await, 0);
    assert_eq!(seen(service(Some(vec!["auto".to_owned()]))).await, 0);
    assert_eq!(seen(service(Some(vec!["files".to_owned()]))).await, 1);
}

#[tokio::test]
async fn a_record_takes_its_children_and_files_along() {
    let stores = Stores::new().await;
    let process = stores.start();
    let app = &process.app;
    let key = |text: &str| RecordKey::parse(text).expect("a record key");
    let put = |parent: Option<&str>| cloakroom_service::records::PutRecord {
        parent: parent.map(|text| Some(key(text))),
        ..Default::default()
    };
    app.put_record(&ann(), &key("session/1"), put(None))
        .await
        .expect("created");
    app.put_record(&ann(), &key("artifact/1"), put(Some("session/1")))
        .await
        .expect("created");
    let above_itself = app
        .put_record(&ann(), &key("session/1"), put(Some("artifact/1")))
        .await;
    assert_eq!(
        above_itself.expect_err("refused").code(),
        ErrorCode::InvalidRequest
    );

    let id = process.upload(b"linked").await;
    process.work().await;
    let patch = cloakroom_core::file::FilePatch {
        record: Some(Some(key("artifact/1"))),
        ..Default::default()
    };
    app.update_file(&ann(), id, patch.clone(), None)
        .await
        .expect("linked");
    let bob = person("bob", Role::User);
    let foreign = app.record(&bob, &key("artifact/1")).await.expect_err("refused");
    assert_eq!(foreign.code(), ErrorCode::RecordNotFound);

    app.delete_record(&ann(), &key("session/1"), Deletion::default())
        .await
        .expect("deleted");
    assert_eq!(stores.file(id).await.state, FileState::Trashed);
    for gone in ["session/1", "artifact/1"] {
        assert_eq!(stores.metadata.record(&key(gone)).await.expect("an answer"), None);
    }
}

/// Does what its fields say.
struct Scripted {
    outcome: fn() -> Result<ProcessorOutput, ProcessorError>,
}

#[async_trait]
impl Processor for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let mut body = input.source.read(None).await.expect("the verified bytes");
        while let Some(piece) = body.next().await {
            piece.expect("a piece");
        }
        (self.outcome)()
    }
}

async fn process_with(
    collection: &str,
    outcome: fn() -> Result<ProcessorOutput, ProcessorError>,
) -> (Stores, crate::app::Process, cloakroom_core::id::FileId) {
    let stores = Stores::new().await;
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(Scripted { outcome })],
    );
    let signed = process.sign_in(collection, b"bytes").await;
    stores.send_to(&signed.upload.staging_key, b"bytes").await;
    process.confirm(signed.file.id).await;
    process.work().await;
    (stores, process, signed.file.id)
}

#[tokio::test]
async fn processors_give_facts_and_derivatives() {
    let (stores, process, id) = process_with("files", || {
        let mut output = ProcessorOutput::default();
        output.facts.insert("row_count".to_owned(), 3.into());
        output.derivatives.push(MadeDerivative {
            name: "thumbnail".to_owned(),
            extension: "txt".to_owned(),
            content_type: MediaType::parse("text/plain").expect("a type"),
            bytes: Bytes::from_static(b"small"),
            width: Some(1),
            height: Some(2),
        });
        Ok(output)
    })
    .await;
    assert_eq!(stores.file(id).await.facts["row_count"], 3);
    let (_, derivatives) = process
        .app
        .file_with_derivatives(&ann(), id)
        .await
        .expect("the file");
    let DerivativeOutcome::Made { key, .. } = &derivatives[0].outcome else {
        panic!("made")
    };
    assert_eq!(stores.bytes(key).await, b"small");
    process
        .app
        .download_derivative(&ann(), id, "thumbnail")
        .await
        .expect("a URL");
    let missing = process
        .app
        .download_derivative(&ann(), id, "poster")
        .await
        .expect_err("refused");
    assert_eq!(missing.code(), ErrorCode::DerivativeNotFound);
}

fn rejected() -> Result<ProcessorOutput, ProcessorError> {
    Err(ProcessorError::Rejected(FileError {
        code: "bad_table".to_owned(),
        message: "line 3".to_owned(),
    }))
}

#[tokio::test]
async fn a_rejected_file_fails_only_where_the_processor_is_required() {
    let (stores, process, id) = process_with("files", rejected).await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    let (_, derivatives) = process
        .app
        .file_with_derivatives(&ann(), id)
        .await
        .expect("the file");
    assert_eq!(
        derivatives[0].outcome,
        DerivativeOutcome::Failed {
            error: "line 3".to_owned()
        }
    );

    let (stores, _, id) = process_with("strict", rejected).await;
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Failed);
    assert_eq!(file.error.map(|error| error.code).as_deref(), Some("bad_table"));
    assert!(stores.keys().await.is_empty(), "nothing of it stays");
}

#[tokio::test]
async fn a_job_that_fails_again_and_again_ends_in_the_dead_letter_list_and_can_be_retried() {
    let (stores, process, id) = process_with("files", || {
        Err(ProcessorError::Retry("the disk is on fire".to_owned()))
    })
    .await;
    for _ in 0..5 {
        stores.clock.advance(SignedDuration::from_mins(1));
        process.work().await;
    }
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Failed);
    assert_eq!(
        file.error.as_ref().map(|error| error.code.as_str()),
        Some("processing_failed")
    );
    let dead = stores
        .metadata
        .jobs(Some(JobState::Dead), None, 10)
        .await
        .expect("jobs")
        .items;
    assert_eq!((dead.len(), dead[0].attempt), (1, 3));
    assert!(
        dead[0]
            .last_error
            .as_deref()
            .is_some_and(|error| error.contains("on fire"))
    );

    // The fire is out: an administrator has it tried again, and the bytes are still there.
    let mended = stores.start();
    let refused = mended
        .app
        .retry_job(&ann(), dead[0].id)
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::InsufficientPermissions);
    mended
        .app
        .retry_job(&person("root", Role::Admin), dead[0].id)
        .await
        .expect("retried");
    mended.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    stores.assert_history(id).await;
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!((usage.files, usage.stored_bytes), (1, 5));
}

#[tokio::test]
async fn a_panicking_processor_does_not_take_the_worker_along() {
    let (stores, process, id) = process_with("files", || panic!("a defect")).await;
    for _ in 0..5 {
        stores.clock.advance(SignedDuration::from_mins(1));
        process.work().await;
    }
    assert!(settled(stores.file(id).await.state));
    let other = stores.start().upload(b"another").await;
    stores.start().work().await;
    assert_eq!(stores.file(other).await.state, FileState::Ready);
}
