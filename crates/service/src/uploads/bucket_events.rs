//! What a foreign store tells of uploads. An event is a hint, never a proof: whoever sends it, what counts is what the
//! store itself shows, and the file's own state. So an event that comes twice, late, out of order or from a stranger
//! changes nothing that a confirm of the client could not have changed.

mod notification;

use std::collections::BTreeSet;

use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::FileState;
use cloakroom_core::key::notified_staging_key;

use self::notification::{Happening, Notification, Record};
use super::RACES_MAX;
use super::confirm::observed;
use super::counting::count_confirmed;
use crate::app::App;
use crate::error::{Result, ServiceError};

/// Largest payload in bytes: what SQS takes in one message.
pub const BUCKET_EVENTS_BYTES_MAX: usize = 1024 * 1024;

/// The actor of what bucket events caused.
const ACTOR: &str = "bucket-event";

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordOutcome {
    /// The file is `confirmed` since.
    Confirmed,
    /// The file is `uploaded` since, and waits for the client's confirm.
    Uploaded,
    /// As [`Self::Uploaded`], in a collection with `auto_confirm`: what arrived is not what was declared, and the
    /// client may send it again.
    Mismatched,
    /// Old news: the file was that far before, or is over.
    Settled,
    /// The store has no such object (any more).
    Absent,
    /// A staging object went away; the sweeper and the lifecycle rule do that.
    Removed,
    /// Spelled like a staging key, but no upload of ours writes there.
    Unknown,
    /// The mode of the store does not allow that it is taken in.
    Closed,
    /// Not about a staging object.
    Ignored,
    /// The store tried whether we listen.
    Test,
    /// SNS waits for a subscription to be confirmed, which an operator must do.
    Subscription,
}

impl RecordOutcome {
    /// Every outcome.
    pub const ALL: &'static [Self] = &[
        Self::Confirmed,
        Self::Uploaded,
        Self::Mismatched,
        Self::Settled,
        Self::Absent,
        Self::Removed,
        Self::Unknown,
        Self::Closed,
        Self::Ignored,
        Self::Test,
        Self::Subscription,
    ];

    /// The stable name, in metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Uploaded => "uploaded",
            Self::Mismatched => "mismatched",
            Self::Settled => "settled",
            Self::Absent => "absent",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::Ignored => "ignored",
            Self::Test => "test",
            Self::Subscription => "subscription",
        }
    }
}

/// What became of a payload that was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What became of its records, in their order.
    pub outcomes: Vec<RecordOutcome>,
}

impl Received {
    /// How many records ended so.
    pub fn count(&self, outcome: RecordOutcome) -> usize {
        self.outcomes.iter().filter(|&&found| found == outcome).count()
    }

    /// Counts them in `cloakroom_bucket_events_total`, as come from this source: `http`, `sqs`, `nats`.
    pub fn measure(&self, source: &'static str) {
        for outcome in &self.outcomes {
            measure(source, outcome.as_str());
        }
    }
}

/// Counts a payload that was not taken over.
pub fn measure_refused(source: &'static str, error: &ServiceError) {
    let outcome = match error {
        ServiceError::Refused(_) => "malformed",
        ServiceError::Unavailable(_) => "unavailable",
        ServiceError::Internal(_) => "failed",
    };
    measure(source, outcome);
}

fn measure(source: &'static str, outcome: &'static str) {
    metrics::counter!("cloakroom_bucket_events_total", "source" => source, "outcome" => outcome).increment(1);
}

impl App {
    /// Takes over what a store tells of its objects, in any of the shapes that stores, queues and topics use. Doing it
    /// again is safe, and necessary after an error: what was done before the error stays done.
    ///
    /// # Errors
    /// Refused, and nothing was changed: the payload cannot be read. Unavailable: the database or the store does not
    /// answer, so the sender must try again. Internal: one of the records met a defect; all others are done.
    pub async fn receive_bucket_events(&self, payload: &[u8]) -> Result<Received> {
        let records = match notification::parse(payload)? {
            Notification::Records(records) => records,
            Notification::Test => {
                tracing::info!(event = "bucket_event_test", "A store tried whether we listen");
                return Ok(only(RecordOutcome::Test));
            }
            Notification::Subscription { topic } => {
                // Its URL would make us call an address that the message chose.
                tracing::warn!(
                    event = "bucket_event_subscription",
                    topic,
                    "SNS waits for this subscription to be confirmed by an operator"
                );
                return Ok(only(RecordOutcome::Subscription));
            }
        };
        let mut outcomes = Vec::with_capacity(records.len());
        let mut seen = BTreeSet::new();
        let mut failed = None;
        for record in &records {
            let outcome = if seen.insert((&record.bucket, &record.key, record.what == Happening::Created)) {
                self.receive_record(record).await
            } else {
                Ok(RecordOutcome::Settled)
            };
            match outcome {
                Ok(outcome) => outcomes.push(outcome),
                Err(error @ ServiceError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    tracing::error!(event = "bucket_event_error", %error, "a bucket event met a defect");
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(Received { outcomes }), Err)
    }

    async fn receive_record(&self, record: &Record) -> Result<RecordOutcome> {
        if record.what == Happening::Other {
            return Ok(RecordOutcome::Ignored);
        }
        let Some((id, key)) = notified_staging_key(&record.key) else {
            return Ok(RecordOutcome::Ignored);
        };
        if record.what == Happening::Removed {
            return Ok(RecordOutcome::Removed);
        }
        for _ in 0..RACES_MAX {
            let Some(file) = self.metadata.file(id).await? else {
                return Ok(RecordOutcome::Unknown);
            };
            if file.bucket != record.bucket {
                return Ok(RecordOutcome::Unknown);
            }
            if !file.state.is_open() {
                return Ok(RecordOutcome::Settled);
            }
            let collection = self
                .collection(&file.collection)
                .ok()
                .filter(|collection| collection.auto_confirm);
            let seen_before = file.state == FileState::Uploaded;
            if seen_before && collection.is_none() {
                return Ok(RecordOutcome::Settled);
            }
            let Some(upload) = self.metadata.upload(id).await? else {
                return Ok(RecordOutcome::Unknown);
            };
            if upload.staging_key != key {
                return Ok(RecordOutcome::Unknown);
            }
            match self.admit_ticket(&file.bucket) {
                Ok(()) => {}
                Err(refusal) if refusal.code == ErrorCode::Unavailable => {
                    return Err(ServiceError::Unavailable(refusal.message));
                }
                Err(_) => return Ok(RecordOutcome::Closed),
            }
            let Some(info) = self.staging_object(&file, &upload).await? else {
                return Ok(RecordOutcome::Absent);
            };
            let occasion = self.occasion(ACTOR);
            let confirm = collection.map(|c| file.confirm(&upload, &observed(&info), c, &occasion));
            let (transition, outcome) = match confirm {
                Some(Ok(transition)) => (transition, RecordOutcome::Confirmed),
                Some(Err(_)) if seen_before => return Ok(RecordOutcome::Settled),
                Some(Err(_)) => match file.uploaded(&occasion) {
                    Some(transition) => (transition, RecordOutcome::Mismatched),
                    None => return Ok(RecordOutcome::Settled),
                },
                None => match file.uploaded(&occasion) {
                    Some(transition) => (transition, RecordOutcome::Uploaded),
                    None => return Ok(RecordOutcome::Settled),
                },
            };
            match self.commit_confirm(transition, Some(&upload)).await {
                Ok(()) => {
                    tracing::info!(
                        event = "bucket_event",
                        operation = "upload",
                        file_id = %id,
                        bucket = %record.bucket,
                        file_size = info.size_bytes,
                        status = outcome.as_str(),
                        "A store told of an upload"
                    );
                    if outcome == RecordOutcome::Confirmed {
                        count_confirmed(&file.collection, info.size_bytes);
                    }
                    return Ok(outcome);
                }
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::Unavailable(
            "a file is changed by others again and again".to_owned(),
        ))
    }
}

fn only(outcome: RecordOutcome) -> Received {
    Received {
        outcomes: vec![outcome],
    }
}
