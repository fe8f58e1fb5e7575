//! Records against their documents, and the counters against the rows.

use cloakroom_core::format::record_v1::{RECORD_DOCUMENT_BYTES_MAX, RecordV1};
use cloakroom_core::key::{record_document, record_documents_prefix};
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::administration::UsageCheck;
use cloakroom_core::ports::objects::{ListOptions, ObjectError, ObjectPath};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StorageAction;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::{Depth, Place, REPAIRED, VERIFY, finding, finding_at};
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::operations::Run;

/// Records in a page.
const PAGE_MAX: u32 = 500;
/// Records looked at at the same time.
const LOOKS: usize = 16;
/// How often a record that changes is looked at again, before it is left for the next verification.
const AGAIN_MAX: u32 = 5;
/// Intents under way that are looked through.
const INTENTS_MAX: u32 = 10_000;

impl App {
    /// Goes through the records, after a key. One that was only ever made by linking has no document: the sidecars of its
    /// files say whose it is.
    pub(super) async fn verify_records(
        &self,
        run: &mut Run<'_>,
        depth: Depth,
        after: Option<RecordKey>,
    ) -> Result<()> {
        let mut after = after;
        loop {
            let page = self.administration.all_records(after.as_ref(), PAGE_MAX).await?;
            let looks = stream::iter(page.items)
                .map(|record| async move {
                    Ok::<_, ServiceError>((record.key.clone(), self.look_at_record(record, depth).await?))
                })
                .buffered(LOOKS);
            let mut looks = std::pin::pin!(looks);
            while let Some(looked) = looks.next().await {
                let (key, found) = looked?;
                run.count("records", 1);
                if let Some(finding) = found {
                    run.find(finding);
                }
                after = Some(key);
                run.advance(run.done() + 1, Place::Records(after.clone()).text())
                    .await?;
            }
            if !page.more {
                break;
            }
        }
        run.advance(run.done(), Place::Counters.text()).await
    }

    async fn look_at_record(&self, record: Record, depth: Depth) -> Result<Option<Finding>> {
        let mut record = record;
        for _ in 0..AGAIN_MAX {
            if record.is_link_alone() {
                return Ok(None);
            }
            let Some(found) = self.record_drift(&record).await? else {
                return Ok(None);
            };
            // In this order: a change that was under way at that look either still is, or the row says that it was made.
            if self.record_is_changing(&record.key).await? {
                return Ok(None);
            }
            match self.metadata.record(&record.key).await? {
                None => return Ok(None),
                Some(now) if now != record => record = now,
                Some(_) if depth.fix => return Ok(Some(self.rewrite_document(record, found).await?)),
                Some(_) => return Ok(Some(found)),
            }
        }
        Ok(None)
    }

    /// How the newest document of a record differs from its row.
    async fn record_drift(&self, record: &Record) -> Result<Option<Finding>> {
        let about = |kind: &str, path: &ObjectPath, detail: String| {
            finding_at(kind, path, None, format!("Record {}: {detail}", record.key))
        };
        let Some(path) = self.newest_document(&record.key).await? else {
            let path = ObjectPath::new(&self.policy.home_bucket, record_documents_prefix(&record.key));
            let detail = "no document stands under this prefix.".to_owned();
            return Ok(Some(about("record_document_missing", &path, detail)));
        };
        let Some(bytes) = self.read_document(&path, RECORD_DOCUMENT_BYTES_MAX).await? else {
            let detail = "the document is gone.".to_owned();
            return Ok(Some(about("record_document_missing", &path, detail)));
        };
        let document = match RecordV1::decode(&bytes) {
            Ok(document) => document,
            Err(refusal) => {
                let detail = format!("{}: {}", refusal.code.as_str(), refusal.message);
                return Ok(Some(about("record_document_differs", &path, detail)));
            }
        };
        let fields = differing_fields(&RecordV1::of(record), &document);
        Ok((!fields.is_empty()).then(|| {
            let detail = format!("other than the row: {}.", fields.join(", "));
            about("record_document_differs", &path, detail)
        }))
    }

    async fn newest_document(&self, record: &RecordKey) -> Result<Option<ObjectPath>> {
        let bucket = &self.policy.home_bucket;
        let mut options = ListOptions {
            prefix: record_documents_prefix(record),
            limit: 1_000,
            ..ListOptions::default()
        };
        let mut newest = None;
        loop {
            let page = match self.objects.list(bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // Names sort by version, then by time.
            let last = page
                .objects
                .into_iter()
                .map(|object| object.key)
                .rfind(|key| record_document(key).is_some());
            newest = last.or(newest);
            match page.next {
                Some(next) => options.after = Some(next),
                None => return Ok(newest.map(|key| ObjectPath::new(bucket, key))),
            }
        }
    }

    async fn record_is_changing(&self, key: &RecordKey) -> Result<bool> {
        let name = key.to_string();
        let intents = self.metadata.stale_intents(Timestamp::MAX, INTENTS_MAX).await?;
        Ok(intents.iter().any(|intent| {
            intent.data.get("record").and_then(serde_json::Value::as_str) == Some(name.as_str())
        }))
    }

    /// A new version of the record, as its row says it.
    async fn rewrite_document(&self, record: Record, mut found: Finding) -> Result<Finding> {
        let outcome = match self.admit_records(StorageAction::Update) {
            Ok(()) => {
                let version = record.version;
                let mut next = Record {
                    updated_at: self.now(),
                    ..record
                };
                self.commit_record(&mut next, Some(version), VERIFY).await
            }
            Err(refusal) => Err(refusal.into()),
        };
        match outcome {
            Ok(()) => REPAIRED.clone_into(&mut found.action),
            Err(ServiceError::Refused(refusal)) => {
                found.detail.push_str(" Not repaired: ");
                found.detail.push_str(&refusal.message);
            }
            Err(error) => return Err(error),
        }
        Ok(found)
    }

    /// What is counted of every owner, against what their rows add up to.
    pub(super) async fn verify_counters(&self, run: &mut Run<'_>, depth: Depth) -> Result<()> {
        for check in self.administration.check_usage(depth.fix).await? {
            let mut line = finding("counters_differ", difference(&check));
            if depth.fix {
                REPAIRED.clone_into(&mut line.action);
            }
            run.find(line);
        }
        Ok(())
    }
}

/// The names of the fields in which a document is not as expected.
fn differing_fields(expected: &RecordV1, found: &RecordV1) -> Vec<String> {
    let mut fields = Vec::new();
    let mut compare = |name: &str, same: bool| {
        if !same {
            fields.push(name.to_owned());
        }
    };
    compare("record", expected.record == found.record);
    compare("version", expected.version == found.version);
    compare("deleted", expected.deleted == found.deleted);
    compare("owner", expected.owner == found.owner);
    compare("parent", expected.parent == found.parent);
    compare("payload", expected.payload == found.payload);
    compare("meta", expected.meta == found.meta);
    compare("created_at", expected.created_at == found.created_at);
    compare("updated_at", expected.updated_at == found.updated_at);
    fields
}

fn difference(check: &UsageCheck) -> String {
    let (counted, found) = (&check.counted, &check.found);
    let pairs = [
        ("files", counted.files, found.files),
        ("stored bytes", counted.stored_bytes, found.stored_bytes),
        ("reserved bytes", counted.reserved_bytes, found.reserved_bytes),
    ];
    let differences: Vec<String> = pairs
        .iter()
        .filter(|(_, counted, found)| counted != found)
        .map(|(name, counted, found)| format!("{counted} {name} are counted, the rows have {found}"))
        .collect();
    format!("Owner {}: {}.", check.owner, differences.join("; "))
}
