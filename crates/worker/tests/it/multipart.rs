//! Large files in parts: completed too early, and ended behind our back.

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::{CompletedPart, ObjectPath, PutBody, WriteConditions};
use cloakroom_core::upload::UploadMethod;
use cloakroom_service::error::ServiceError;
use cloakroom_service::uploads::SignUpload;
use serde_json::json;

use crate::app::{Process, Stores, ann};

const PART_BYTES: usize = 8 * 1024 * 1024;
/// Three parts, the last one short.
const SIZE_BYTES: usize = 2 * PART_BYTES + 5;

/// An upload under way.
struct Sent<'a> {
    stores: &'a Stores,
    process: Process,
    id: FileId,
    request: SignUpload,
}

impl<'a> Sent<'a> {
    async fn begin(stores: &'a Stores) -> Self {
        let process = stores.start();
        let request = SignUpload {
            collection: "files".to_owned(),
            filename: "a.bin".to_owned(),
            size_bytes: Some(SIZE_BYTES as u64),
            method: Some(UploadMethod::Multipart),
            idempotency_key: Some("large".to_owned()),
            ..SignUpload::default()
        };
        let signed = process.app.sign_upload(&ann(), request.clone()).await;
        Self {
            stores,
            process,
            id: signed.expect("signed").file.id,
            request,
        }
    }

    /// Where the row says that parts go.
    async fn place(&self) -> (ObjectPath, String) {
        let upload = self.stores.metadata.upload(self.id).await.expect("an answer");
        let upload = upload.expect("an upload");
        let path = ObjectPath::new(&self.stores.bucket, upload.staging_key);
        (path, upload.multipart_id.expect("begun"))
    }

    async fn send(&self, number: u32) -> CompletedPart {
        let (path, multipart_id) = self.place().await;
        let size = if number == 3 { 5 } else { PART_BYTES };
        let body = PutBody::from_bytes(vec![b'0' + number as u8; size]);
        let objects = &self.stores.objects;
        let part = objects.put_part(&path, &multipart_id, number, body).await;
        CompletedPart {
            number,
            etag: part.expect("taken").etag,
            ..CompletedPart::default()
        }
    }

    async fn refused(&self, parts: Vec<CompletedPart>) -> Refusal {
        let answer = self.process.app.complete_upload(&ann(), self.id, parts).await;
        match answer.expect_err("refused") {
            ServiceError::Refused(refusal) => refusal,
            other => panic!("{other}"),
        }
    }

    async fn arrived(&self) -> Vec<u32> {
        let uploaded = self.process.app.uploaded_parts(&ann(), self.id).await;
        let parts = uploaded.expect("an answer").parts;
        parts.iter().map(|part| part.number).collect()
    }

    async fn sign_again(&self) -> Result<(), ServiceError> {
        let signed = self.process.app.sign_parts(&ann(), self.id, &[1, 2, 3]).await;
        signed.map(drop)
    }

    /// Whatever came before, the whole file can still be brought in.
    async fn bring_in(self) {
        for number in 1..=3 {
            self.send(number).await;
        }
        let completed = self.process.app.complete_upload(&ann(), self.id, vec![]).await;
        assert_eq!(completed.expect("completed").file.state, FileState::Confirmed);
        self.process.work().await;
        let file = self.stores.file(self.id).await;
        assert_eq!(file.state, FileState::Ready, "{:?}", file.error);
        assert_eq!(file.size_bytes(), Some(SIZE_BYTES as u64));
    }
}

#[tokio::test]
async fn completing_too_early_names_what_is_missing_and_leaves_the_parts() {
    let stores = Stores::new().await;
    let sent = Sent::begin(&stores).await;
    let refused = sent.refused(vec![]).await;
    assert_eq!(refused.code, ErrorCode::UploadIncomplete);
    assert_eq!(refused.details["missing_part_numbers"], json!([1, 2, 3]));
    let first = sent.send(1).await;
    sent.send(3).await;
    for (named, missing) in [(vec![], json!([2])), (vec![first], json!([2, 3]))] {
        let refused = sent.refused(named).await;
        assert_eq!(refused.code, ErrorCode::UploadIncomplete);
        assert_eq!(refused.details["missing_part_numbers"], missing);
        assert_eq!(sent.arrived().await, [1, 3], "the parts are still there");
    }
    assert_eq!(stores.file(sent.id).await.state, FileState::Pending);
    sent.bring_in().await;
}

#[tokio::test]
async fn parts_that_are_too_large_leave_the_upload_open() {
    let stores = Stores::new().await;
    let sent = Sent::begin(&stores).await;
    let (path, multipart_id) = sent.place().await;
    for number in 1..=3 {
        let body = PutBody::from_bytes(vec![7; PART_BYTES]);
        let part = stores.objects.put_part(&path, &multipart_id, number, body).await;
        part.expect("taken");
    }
    let refused = sent.refused(vec![]).await;
    assert_eq!(refused.code, ErrorCode::SizeMismatch);
    assert_eq!(sent.arrived().await, [1, 2, 3]);
    sent.bring_in().await;
}

#[tokio::test]
async fn what_was_aborted_behind_our_back_is_begun_again() {
    let stores = Stores::new().await;
    let sent = Sent::begin(&stores).await;
    for whole_request in [false, true] {
        sent.send(1).await;
        let (path, dead) = sent.place().await;
        let aborted = stores.objects.abort_multipart(&path, &dead).await;
        aborted.expect("aborted");
        let refused = sent.refused(vec![]).await;
        assert_eq!(refused.code, ErrorCode::UploadIncomplete);
        assert_eq!(refused.details["missing_part_numbers"], json!([1, 2, 3]));
        if whole_request {
            let app = &sent.process.app;
            let signed = app.sign_upload(&ann(), sent.request.clone()).await;
            assert!(signed.expect("signed").repeated);
        } else {
            sent.sign_again().await.expect("signed");
        }
        assert_ne!(sent.place().await.1, dead);
    }
    sent.bring_in().await;
}

#[tokio::test]
async fn what_was_completed_behind_our_back_counts_when_it_is_whole() {
    for whole in [false, true] {
        let stores = Stores::new().await;
        let sent = Sent::begin(&stores).await;
        let mut parts = vec![sent.send(1).await];
        if whole {
            parts.extend([sent.send(2).await, sent.send(3).await]);
        }
        let (path, dead) = sent.place().await;
        let completed = stores
            .objects
            .complete_multipart(&path, &dead, &parts, WriteConditions::default())
            .await;
        completed.expect("completed");
        let signed = sent.sign_again().await;
        if whole {
            assert_eq!(signed.expect_err("refused").code(), ErrorCode::InvalidState);
            let completed = sent.process.app.complete_upload(&ann(), sent.id, vec![]).await;
            assert_eq!(completed.expect("completed").file.state, FileState::Confirmed);
        } else {
            signed.expect("signed");
            sent.bring_in().await;
        }
    }
}
