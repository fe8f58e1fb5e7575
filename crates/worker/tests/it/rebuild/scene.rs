//! An instance with files in every state, and what a lost database must come back as.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::access::{Principal, Role};
use cloakroom_core::derivative::Derivative;
use cloakroom_core::file::{File, FileError, FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::FileId;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::media::MediaType;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::ports::metadata::Usage;
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput,
};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;
use cloakroom_service::records::PutRecord;
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use jiff::SignedDuration;
use serde_json::json;

use crate::app::{Process, Report, Stores, ann, object, person};
use crate::originals::stores_of_originals;

/// Makes a thumbnail and a fact of everything.
pub struct Thumbnails;

#[async_trait]
impl Processor for Thumbnails {
    fn name(&self) -> &'static str {
        "thumbnails"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        if input.file.filename.contains("bad") {
            return Err(ProcessorError::Rejected(FileError {
                code: "broken".to_owned(),
                message: "It is broken.".to_owned(),
            }));
        }
        Ok(ProcessorOutput {
            facts: object(json!({"width": 40})),
            derivatives: vec![MadeDerivative {
                name: "thumbnail-256".to_owned(),
                extension: "webp".to_owned(),
                content_type: MediaType::parse("image/webp").expect("a type"),
                bytes: Bytes::from_static(b"small"),
                width: Some(4),
                height: Some(3),
            }],
            ..ProcessorOutput::default()
        })
    }
}

/// A process with a processor.
pub fn start(stores: &Stores) -> Process {
    stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(Thumbnails)],
    )
}

pub fn key(text: &str) -> RecordKey {
    RecordKey::parse(text).expect("a record")
}

pub async fn confirmed(process: &Process, name: &str, record: Option<&str>, owner: &Principal) -> FileId {
    let content = format!("the bytes of {name}");
    let request = SignUpload {
        collection: "files".to_owned(),
        filename: name.to_owned(),
        description: Some(format!("about {name}")),
        metadata: object(json!({"name": name})),
        size_bytes: Some(content.len() as u64),
        record: record.map(key),
        idempotency_key: Some(format!("key of {name}")),
        ..SignUpload::default()
    };
    let signed = process.app.sign_upload(owner, request).await.expect("signed");
    process.send(&signed, content.as_bytes()).await;
    let id = signed.file.id;
    process
        .app
        .confirm_upload(owner, id, ConfirmUpload::default())
        .await
        .expect("confirmed");
    id
}

pub async fn ready(process: &Process, name: &str, record: Option<&str>) -> FileId {
    let id = confirmed(process, name, record, &ann()).await;
    process.work().await;
    id
}

/// Held back by a scanner, as the job that looks again does it.
async fn quarantine(stores: &Stores, id: FileId) {
    let file = stores.file(id).await;
    let derivatives = stores.metadata.derivatives(id).await.expect("derivatives");
    let mut held_back = File {
        state: FileState::Quarantined,
        version: file.version + 1,
        epoch: file.epoch + 1,
        error: Some(FileError {
            code: "infected".to_owned(),
            message: "The scanner found Eicar.".to_owned(),
        }),
        ..file.clone()
    };
    held_back.facts.clear();
    let upload = stores
        .metadata
        .upload(id)
        .await
        .expect("an answer")
        .expect("an upload");
    let sidecar = SidecarV1::of(&held_back, &derivatives)
        .expect("verified")
        .with_upload(&upload);
    let bytes = sidecar.encode_fitting().expect("fits");
    stores
        .send_to(&sidecar_key(&file.key, held_back.epoch), &bytes)
        .await;
    let event = cloakroom_core::event::Event {
        id: cloakroom_core::id::EventId(held_back.id.0),
        file_id: id,
        kind: cloakroom_core::event::EventKind::Quarantined,
        state: held_back.state,
        version: held_back.version,
        actor: "scanner".to_owned(),
        data: object(json!({})),
        at: held_back.updated_at,
    };
    let transition = Transition::new(file.version, held_back, event);
    stores.metadata.apply(transition).await.expect("committed");
}

/// Files in every state that comes back, and those that do not.
pub struct Scene {
    pub stores: Stores,
    pub kept: Vec<FileId>,
    pub gone: Vec<FileId>,
}

impl Scene {
    pub async fn new() -> Self {
        Box::pin(Self::made()).await
    }

    async fn made() -> Self {
        // Thumbnails stand in a directory of their own, the harder case.
        let stores = stores_of_originals().await;
        let process = start(&stores);
        let app = &process.app;
        let bob = person("bob", Role::User);
        let put = PutRecord {
            payload: Some(object(json!({"status": "open", "жалоба": [1, 2]}))),
            ..PutRecord::default()
        };
        app.put_record(&ann(), &key("case/7"), put.clone())
            .await
            .expect("a record");
        let child = PutRecord {
            parent: Some(Some(key("case/7"))),
            meta: Some(object(json!({"doc_id": 7}))),
            ..put
        };
        app.put_record(&ann(), &key("complaint/жалоба 42%"), child)
            .await
            .expect("a record");
        app.put_record(&ann(), &key("case/7"), PutRecord::default())
            .await
            .expect("a second version");
        app.put_record(&ann(), &key("case/over"), PutRecord::default())
            .await
            .expect("a record");

        let mut kept = vec![
            ready(&process, "plain.bin", None).await,
            ready(&process, "linked.bin", Some("message/1")).await,
            ready(&process, "recorded.bin", Some("complaint/жалоба 42%")).await,
            ready(&process, "Фото \"bad\".bin", None).await,
        ];
        stores.clock.advance(SignedDuration::from_secs(5));
        let renamed = ready(&process, "before.bin", None).await;
        let patch = FilePatch {
            filename: Some("after.bin".to_owned()),
            record: Some(Some(key("message/2"))),
            ..FilePatch::default()
        };
        app.update_file(&ann(), renamed, patch, None)
            .await
            .expect("updated");
        let trashed = ready(&process, "trashed.bin", Some("message/3")).await;
        app.delete_file(&ann(), trashed).await.expect("deleted");
        let restored = ready(&process, "restored.bin", None).await;
        app.delete_file(&ann(), restored).await.expect("deleted");
        app.restore_file(&ann(), restored).await.expect("restored");
        let held = ready(&process, "held.bin", None).await;
        let admin = person("counsel", Role::Admin);
        app.hold_file(&admin, held, "case 7").await.expect("held");
        let orphaned = ready(&process, "orphaned.bin", Some("case/over")).await;
        app.delete_record(
            &ann(),
            &key("case/over"),
            cloakroom_service::cascading::Deletion::default(),
        )
        .await
        .expect("deleted");
        let quarantined = ready(&process, "quarantined.bin", None).await;
        quarantine(&stores, quarantined).await;
        let purged = ready(&process, "purged.bin", None).await;
        app.delete_file(&ann(), purged).await.expect("deleted");
        purge(&stores, &process, purged).await;
        kept.extend([renamed, trashed, restored, held, orphaned, quarantined]);
        // From here on nobody works.
        kept.push(confirmed(&process, "waiting.bin", Some("message/4"), &bob).await);
        let discarded = confirmed(&process, "discarded.bin", None, &bob).await;
        app.delete_file(&bob, discarded).await.expect("deleted");
        kept.push(discarded);
        let pending = process.sign(b"never sent").await.file.id;
        for key in [
            "foreign.txt",
            "foreign/x.1.attr.json",
            "staging/other/thing",
            "_cloakroom/records/x/y.json",
        ] {
            stores.send_to(key, b"foreign").await;
        }
        Self {
            stores,
            kept,
            gone: vec![purged, pending],
        }
    }

    /// What the API can tell, of all that comes back.
    pub async fn snapshot(&self, stores: &Stores) -> Snapshot {
        Snapshot::of(stores, &self.kept).await
    }
}

/// Purges one trashed file alone.
async fn purge(stores: &Stores, process: &Process, id: FileId) {
    let file = stores.file(id).await;
    let transition = file.purge(&process.app.occasion("sweeper")).expect("purging");
    stores.metadata.apply(transition).await.expect("committed");
    process.work().await;
    assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
}

/// Rows, field by field.
#[derive(Debug, PartialEq)]
pub struct Snapshot {
    files: BTreeMap<FileId, (File, Option<Upload>, Vec<Derivative>)>,
    records: Vec<Record>,
    usage: Vec<Usage>,
}

impl Snapshot {
    pub async fn of(stores: &Stores, ids: &[FileId]) -> Self {
        let mut files = BTreeMap::new();
        for id in ids {
            let Some(mut file) = stores.metadata.file(*id).await.expect("an answer") else {
                continue;
            };
            let mut upload = stores.metadata.upload(*id).await.expect("an answer");
            if file.has_sidecar() {
                // Of the staging object, which is gone; as is what it was named after a file was renamed.
                if let Some(staged) = &mut file.staged {
                    staged.generation.clone_from(&staged.etag);
                }
                if let Some(upload) = &mut upload {
                    upload.staging_key =
                        cloakroom_core::key::staging_key(*id, &file.filename, upload.expires_at);
                }
            }
            let derivatives = stores.metadata.derivatives(*id).await.expect("derivatives");
            if !file.has_sidecar() && file.version > 1_000 {
                // It begins beyond whatever a process of before may still write.
                file.version -= 1_000;
                file.epoch -= 1_000;
            }
            files.insert(*id, (file, upload, derivatives));
        }
        let records = stores
            .administration
            .all_records(None, 1_000)
            .await
            .expect("records");
        let mut usage = Vec::new();
        for owner in ["ann", "bob"] {
            let used = stores.metadata.usage(owner).await.expect("usage");
            // What is reserved for uploads that nobody has confirmed is not restored with them.
            usage.push(Usage {
                reserved_bytes: 0,
                ..used
            });
        }
        Self {
            files,
            records: records.items,
            usage,
        }
    }

    /// The same, said file by file.
    pub fn assert_is(&self, expected: &Self, when: &str) {
        for (id, row) in &expected.files {
            assert_eq!(self.files.get(id), Some(row), "{when}: {}", row.0.filename);
        }
        assert_eq!(self.records, expected.records, "{when}");
        assert_eq!(self.usage, expected.usage, "{when}");
        assert_eq!(self.files.len(), expected.files.len(), "{when}");
    }
}

pub async fn rebuild(process: &Process) -> Report {
    let report = process.operate(OperationKind::Rebuild, json!({})).await;
    assert_eq!(
        report.operation.state,
        OperationState::Done,
        "{:?}",
        report.operation.error
    );
    report
}

/// A count of a report.
pub fn count(report: &Report, name: &str) -> u64 {
    report
        .operation
        .counts
        .get(name)
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_default()
}
