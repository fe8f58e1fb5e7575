//! Artifacts of sessions (S0) as records: an artifact's parent is its session, its content is the payload, and its type,
//! format and `doc_id` stand in the meta. Files hang on artifacts as on any record.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::file::File;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::{FileQuery, Page};
use cloakroom_core::ports::objects::ByteStream;
use cloakroom_core::record::{Record, RecordKey};
use futures_util::stream;

use crate::app::App;
use crate::error::Result;
use crate::records::PutRecord;
use crate::specimen;
use crate::uploads::SignUpload;

/// The type of records that are sessions.
pub const SESSION: &str = "session";
/// The type of records that are artifacts.
pub const ARTIFACT: &str = "artifact";

/// A PDF to try an instance with.
#[derive(Clone, Debug, Default)]
pub struct TestPdf {
    /// The collection that it is put into.
    pub collection: String,
    /// Id of the session that the artifact is of; a new one without it.
    pub session_id: Option<String>,
    /// What the artifact's meta calls `doc_id`.
    pub doc_id: Option<String>,
    /// Whose it is; the caller's without it.
    pub owner: Option<String>,
}

/// An artifact with its file.
#[derive(Clone, Debug)]
pub struct StoredArtifact {
    /// The file, confirmed.
    pub file: File,
    /// The record that it hangs on.
    pub artifact: Record,
}

impl App {
    /// Begins a session: a record that artifacts hang on.
    pub async fn open_session(
        &self,
        principal: &Principal,
        owner: Option<String>,
        meta: JsonObject,
    ) -> Result<Record> {
        let put = PutRecord {
            meta: Some(meta),
            owner,
            ..PutRecord::default()
        };
        self.put_new_record(principal, SESSION, put).await
    }

    /// Makes a PDF and keeps it as the file of a new artifact. What was made of records goes again when the file is refused.
    pub async fn put_test_pdf(&self, principal: &Principal, request: TestPdf) -> Result<StoredArtifact> {
        let (session, is_new) = match &request.session_id {
            // A session of somebody else is none.
            Some(id) => (
                self.record_for(principal, Action::Write, &RecordKey::new(SESSION, id)?)
                    .await?,
                false,
            ),
            None => (
                self.open_session(principal, request.owner.clone(), source())
                    .await
                    .inspect_err(|error| self.tell_unstored(principal, &request.collection, error))?,
                true,
            ),
        };
        let stored = self.put_test_artifact(principal, &session, &request).await;
        if stored.is_err() && is_new {
            self.take_back(principal, &session).await;
        }
        stored
    }

    async fn put_test_artifact(
        &self,
        principal: &Principal,
        session: &Record,
        request: &TestPdf,
    ) -> Result<StoredArtifact> {
        let mut meta = source();
        meta.insert("type".to_owned(), "test_pdf".into());
        meta.insert("format".to_owned(), "pdf".into());
        if let Some(doc_id) = &request.doc_id {
            meta.insert("doc_id".to_owned(), doc_id.clone().into());
        }
        let title = format!("Cloakroom test {}", self.now().strftime("%Y-%m-%d %H-%M-%S"));
        let put = PutRecord {
            parent: Some(Some(session.key.clone())),
            payload: Some(JsonObject::from_iter([(
                "title".to_owned(),
                title.clone().into(),
            )])),
            meta: Some(meta),
            // Whose the session is: a session and its artifacts have one owner.
            owner: Some(session.owner.clone()),
        };
        let artifact = self
            .put_new_record(principal, ARTIFACT, put)
            .await
            .inspect_err(|error| self.tell_unstored(principal, &request.collection, error))?;
        let pdf = Bytes::from(specimen::pdf(&title));
        let sign = SignUpload {
            collection: request.collection.clone(),
            filename: "test.pdf".to_owned(),
            content_type: MediaType::from_extension("pdf"),
            size_bytes: Some(pdf.len() as u64),
            record: Some(artifact.key.clone()),
            owner: Some(session.owner.clone()),
            ..SignUpload::default()
        };
        let body: ByteStream = Box::pin(stream::iter([Ok(pdf)]));
        match Box::pin(self.receive_upload(principal, sign, body)).await {
            Ok(confirmed) => Ok(StoredArtifact {
                file: confirmed.file,
                artifact,
            }),
            Err(error) => {
                self.take_back(principal, &artifact).await;
                Err(error)
            }
        }
    }

    /// A record of this type under a fresh id.
    async fn put_new_record(&self, principal: &Principal, kind: &str, put: PutRecord) -> Result<Record> {
        let id = self.random.uuid_v7(self.now()).to_string();
        let (record, _) = self
            .put_record(principal, &RecordKey::new(kind, &id)?, put)
            .await?;
        Ok(record)
    }

    /// Removes a record that was made for nothing. A failure leaves an empty record, which does no harm.
    async fn take_back(&self, principal: &Principal, record: &Record) {
        if let Err(error) = self.commit_record_deletion(record, &principal.subject).await {
            tracing::warn!(event = "record_left", record = %record.key, %error, "a record without a file is left");
        }
    }

    /// A page of files, each with the record that it hangs on, as far as the caller may see that.
    pub async fn files_with_records(
        &self,
        principal: &Principal,
        query: FileQuery,
    ) -> Result<Page<(File, Option<Record>)>> {
        let page = self.files(principal, query).await?;
        let keys: BTreeSet<RecordKey> = page.items.iter().filter_map(|file| file.record.clone()).collect();
        let keys: Vec<RecordKey> = keys.into_iter().collect();
        let records = self.metadata.records(&keys).await?;
        let seen: BTreeMap<RecordKey, Record> = records
            .into_iter()
            .filter(|record| principal.may_record(Action::Read, record))
            .map(|record| (record.key.clone(), record))
            .collect();
        let items = page.items.into_iter().map(|file| {
            let record = file.record.as_ref().and_then(|key| seen.get(key).cloned());
            (file, record)
        });
        Ok(Page {
            items: items.collect(),
            more: page.more,
        })
    }
}

/// Says in a record's meta where it came from.
fn source() -> JsonObject {
    JsonObject::from_iter([("source".to_owned(), "debug".into())])
}
