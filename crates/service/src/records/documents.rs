//! Documents of records in the store: what a rebuild brings back a record with its parent, payload and meta from (I6).
//!
//! Each version of a record that somebody wrote stands under a key of its own, and is written before the row. The highest
//! version counts; whoever committed removes the older ones, whoever lost removes its own. A deletion is a version too. A
//! record that was only ever made by linking a file to it has no document: the sidecars of its files say whose it is.

use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::format::record_v1::{RECORD_DOCUMENT_BYTES_MAX, RecordV1};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::key::{RecordDocument, record_document, record_document_key, record_documents_prefix};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    ListOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions,
};
use cloakroom_core::record::{Record, RecordKey};

use crate::app::App;
use crate::error::Result;

/// What becomes of a record's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It is inserted, or replaces the row of this version.
    Put(Option<u64>),
    /// The row of this version goes.
    Delete(u64),
}

/// A document that was written, or is about to be.
struct Written {
    document: RecordV1,
    path: ObjectPath,
    change: Change,
}

impl App {
    /// Commits a new version of a record: intent, document, row. Gives it the version that it has then.
    pub(crate) async fn commit_record(
        &self,
        record: &mut Record,
        expected_version: Option<u64>,
        actor: &str,
    ) -> Result<()> {
        record.version = self.next_version(record, expected_version).await?;
        self.commit_document(RecordV1::of(record), Change::Put(expected_version), record, actor)
            .await
    }

    /// Deletes one record, to which no file is linked outside of the trash: intent, document, row.
    pub(crate) async fn commit_record_deletion(&self, record: &Record, actor: &str) -> Result<()> {
        let mut last = record.clone();
        last.version = self.next_version(record, Some(record.version)).await?;
        last.updated_at = self.now();
        self.commit_document(
            RecordV1::tombstone(&last),
            Change::Delete(record.version),
            &last,
            actor,
        )
        .await
    }

    /// Beyond every version that was ever written, in a document that was abandoned too.
    async fn next_version(&self, record: &Record, current: Option<u64>) -> Result<u64> {
        let keys = self.document_keys(&record.key).await?;
        let written = keys
            .iter()
            .filter_map(|key| record_document(key))
            .map(|document| document.version);
        let highest = written.max().unwrap_or_default().max(current.unwrap_or_default());
        Ok(highest.saturating_add(1))
    }

    async fn commit_document(
        &self,
        document: RecordV1,
        change: Change,
        record: &Record,
        actor: &str,
    ) -> Result<()> {
        let key = record_document_key(&RecordDocument {
            record: record.key.clone(),
            version: record.version,
            unique: self.random.uuid_v7(self.now()),
            deleted: document.deleted,
        });
        let written = Written {
            document,
            path: ObjectPath::new(&self.policy.home_bucket, key),
            change,
        };
        let intent = self.intend_record(&written, record.version, actor).await?;
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let bytes = Bytes::from(written.document.encode());
        self.objects
            .put(&written.path, options, PutBody::from_bytes(bytes))
            .await?;
        let status = self.make_true(&written).await?;
        match self.metadata.end_intent(intent, status, None, self.now()).await {
            // A recovery has ended it already.
            Ok(()) | Err(MetadataError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        match status {
            IntentStatus::Committed => Ok(()),
            _ => Err(MetadataError::Conflict.into()),
        }
    }

    async fn intend_record(&self, written: &Written, version: u64, actor: &str) -> Result<IntentId> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let from_version = match written.change {
            Change::Put(expected) => expected.into(),
            Change::Delete(version) => version.into(),
        };
        let data = JsonObject::from_iter([
            ("record".to_owned(), written.document.record.clone().into()),
            ("bucket".to_owned(), written.path.bucket.clone().into()),
            ("document".to_owned(), written.path.key.clone().into()),
            ("version".to_owned(), version.into()),
            ("from_version".to_owned(), from_version),
        ]);
        let intent = Intent {
            id,
            kind: IntentKind::RecordUpdate,
            status: IntentStatus::Pending,
            file_id: None,
            epoch: 0,
            data,
            actor: actor.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }

    /// The row, after its document. Done again by a recovery it changes nothing, and its author then finds that what it
    /// wanted is true. A document that cannot become true any more is removed: its key is nobody else's.
    async fn make_true(&self, written: &Written) -> Result<IntentStatus> {
        let record = written.document.record()?;
        let outcome = match written.change {
            Change::Put(expected) => self.metadata.put_record(&record, expected).await,
            Change::Delete(version) => self.metadata.delete_record(&record.key, version).await,
        };
        match outcome {
            Ok(()) => {}
            Err(MetadataError::Conflict) => {
                let now = self.metadata.record(&record.key).await?;
                let is_true = match (written.change, now) {
                    (Change::Put(_), Some(now)) => says_the_same(&now, &record),
                    (Change::Delete(_), None) => true,
                    _ => false,
                };
                if !is_true {
                    self.objects.delete(&written.path).await?;
                    return Ok(IntentStatus::RolledBack);
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.drop_documents_before(&record, &written.path.key).await;
        Ok(IntentStatus::Committed)
    }

    /// A record's document without its row: forward if the row is still the one that was to be replaced, else back.
    pub(crate) async fn recover_record_update(&self, intent: &Intent) -> Result<IntentStatus> {
        let text = |name: &str| intent.data.get(name).and_then(serde_json::Value::as_str);
        let (Some(bucket), Some(key)) = (text("bucket"), text("document")) else {
            return Ok(IntentStatus::RolledBack);
        };
        let path = ObjectPath::new(bucket, key);
        let Some(bytes) = self.read_document(&path, RECORD_DOCUMENT_BYTES_MAX).await? else {
            return Ok(IntentStatus::RolledBack);
        };
        let document = RecordV1::decode(&bytes)?;
        let from_version = intent
            .data
            .get("from_version")
            .and_then(serde_json::Value::as_u64);
        let change = match (document.deleted, from_version) {
            (true, version) => Change::Delete(version.unwrap_or_default()),
            (false, expected) => Change::Put(expected),
        };
        self.make_true(&Written {
            document,
            path,
            change,
        })
        .await
    }

    /// Removes the documents that this version replaces. One that stays is only garbage: the highest version counts.
    async fn drop_documents_before(&self, record: &Record, kept: &str) {
        let keys = match self.document_keys(&record.key).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%error, "older documents of a record stay behind");
                return;
            }
        };
        for key in keys {
            let older = record_document(&key).is_some_and(|document| document.version <= record.version);
            if !older || key == kept {
                continue;
            }
            let path = ObjectPath::new(&self.policy.home_bucket, key);
            if let Err(error) = self.objects.delete(&path).await {
                tracing::warn!(%error, "an older document of a record stays behind");
            }
        }
    }

    /// What the store says of a record; `None` when nobody ever wrote it, and it is made of links alone or is not there.
    ///
    /// # Errors
    /// `invalid_attribute_file` when its newest document cannot be used.
    pub(crate) async fn record_document(&self, record: &RecordKey) -> Result<Option<RecordV1>> {
        let keys = self.document_keys(record).await?;
        let newest = keys.iter().filter_map(|key| record_document(key)).max();
        let Some(newest) = newest else { return Ok(None) };
        let key = record_document_key(&newest);
        let path = ObjectPath::new(&self.policy.home_bucket, key);
        match self.read_document(&path, RECORD_DOCUMENT_BYTES_MAX).await? {
            Some(bytes) => Ok(Some(RecordV1::decode(&bytes)?)),
            // Replaced since it was listed.
            None => Err(MetadataError::Conflict.into()),
        }
    }

    async fn document_keys(&self, record: &RecordKey) -> Result<Vec<String>> {
        let mut options = ListOptions {
            prefix: record_documents_prefix(record),
            limit: 1_000,
            ..ListOptions::default()
        };
        let mut keys = Vec::new();
        loop {
            let page = match self.objects.list(&self.policy.home_bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(keys),
                Err(error) => return Err(error.into()),
            };
            keys.extend(page.objects.into_iter().map(|object| object.key));
            match page.next {
                Some(next) => options.after = Some(next),
                None => return Ok(keys),
            }
        }
    }
}

/// Whether two rows say the same, as far as a database keeps it: times to the microsecond.
fn says_the_same(now: &Record, wanted: &Record) -> bool {
    let mut now = now.clone();
    now.created_at = wanted.created_at;
    now.updated_at = wanted.updated_at;
    now == *wanted
}
