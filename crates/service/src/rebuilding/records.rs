//! Rows of records out of their documents.

use cloakroom_core::format::record_v1::{RECORD_DOCUMENT_BYTES_MAX, RecordV1};
use cloakroom_core::intent::{Intent, IntentKind};
use cloakroom_core::key::{RECORDS_PREFIX, RecordDocument, record_document, record_document_key};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::ObjectPath;
use futures_util::FutureExt;
use jiff::Timestamp;

use super::outcome::Outcome;
use super::place::{Phase, Place};
use super::{PENDING_MAX, side_by_side};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

impl App {
    pub(super) async fn rebuild_records(
        &self,
        run: &mut Run<'_>,
        bucket: &str,
        mut after: Option<String>,
    ) -> Result<()> {
        // The last document of a page may not be the last of its record.
        let mut last: Option<(RecordDocument, Option<String>)> = None;
        let mut before = after.clone();
        loop {
            let Some(page) = self.rebuild_page(bucket, RECORDS_PREFIX, after).await? else {
                return Ok(());
            };
            let mut whole = Vec::new();
            for object in &page.objects {
                if let Some(document) = record_document(&object.key) {
                    // Names of one record's documents sort by version, then by time.
                    match last.take() {
                        Some((other, place)) if other.record == document.record => {
                            last = Some((document.max(other), place));
                        }
                        other => {
                            whole.extend(other.map(|(other, _)| other));
                            last = Some((document, before.clone()));
                        }
                    }
                }
                before = Some(object.key.clone());
            }
            if page.next.is_none() {
                whole.extend(last.take().map(|(document, _)| document));
            }
            if !whole.is_empty() {
                let pending = self.metadata.stale_intents(Timestamp::MAX, PENDING_MAX).await?;
                let pending = &pending;
                let work = whole
                    .into_iter()
                    .map(|document| self.restore_record(bucket, document, pending).boxed());
                side_by_side(work.collect(), run).await?;
            }
            let place = Place {
                phase: Phase::Records,
                bucket: bucket.to_owned(),
                key: match &last {
                    Some((_, place)) => place.clone(),
                    None => before.clone(),
                },
            };
            run.advance(run.done() + page.objects.len() as u64, place.to_string())
                .await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn restore_record(
        &self,
        bucket: &str,
        document: RecordDocument,
        pending: &[Intent],
    ) -> Result<Outcome> {
        let row = self.metadata.record(&document.record).await?;
        if row.as_ref().is_some_and(|row| row.version >= document.version) {
            return Ok(Outcome::counted("records_unchanged"));
        }
        if document.deleted && row.is_none() {
            return Ok(Outcome::counted("records_deleted"));
        }
        let key = record_document_key(&document);
        let now = self.now();
        let under_way = pending.iter().any(|intent| {
            intent.kind == IntentKind::RecordUpdate
                && intent.lease_until > now
                && intent.data.get("document").and_then(serde_json::Value::as_str) == Some(&key)
        });
        if under_way {
            return Ok(Outcome::counted("under_way"));
        }
        let path = ObjectPath::new(bucket, key);
        let invalid = |reason: String| Ok(Outcome::found("invalid_attribute_file", &path, None, reason));
        let Some(bytes) = self.read_document(&path, RECORD_DOCUMENT_BYTES_MAX).await? else {
            return Ok(Outcome::counted("changed_meanwhile"));
        };
        let content = match RecordV1::decode(&bytes) {
            Ok(content) => content,
            Err(refusal) => return invalid(refusal.message),
        };
        let record = content.record()?;
        let said = (&record.key, record.version, content.deleted);
        if said != (&document.record, document.version, document.deleted) {
            return invalid("it is of another record or version than its key".to_owned());
        }
        let expected = row.as_ref().map(|row| row.version);
        let outcome = match (content.deleted, expected) {
            (true, Some(version)) => self.metadata.delete_record(&record.key, version).await,
            _ => self.metadata.put_record(&record, expected).await,
        };
        match outcome {
            Ok(()) if content.deleted => Ok(Outcome::counted("records_deleted")),
            Ok(()) => Ok(Outcome::counted("records_restored")),
            Err(MetadataError::Conflict) => Ok(Outcome::counted("changed_meanwhile")),
            Err(error) => Err(error.into()),
        }
    }
}
