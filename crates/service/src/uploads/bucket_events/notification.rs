//! The shapes in which object stores and what stands between tell of objects, read into one.
//!
//! | from | shape |
//! |---|---|
//! | S3 (straight to SQS), moto, MinIO, Ceph RGW | `{"Records": [{"eventName", "s3": {"bucket", "object"}}]}` |
//! | MinIO without records | `{"EventName", "Key": "bucket/key"}` |
//! | S3, once when a notification is set up | `{"Event": "s3:TestEvent"}` |
//! | SNS (to HTTP, or to SQS without raw delivery) | `{"Type": "Notification", "Message": "..."}` around one of these |
//! | EventBridge | `{"source": "aws.s3", "detail-type", "detail": {"bucket", "object"}}` |
//! | CloudEvents, structured JSON | `{"specversion", "data"}` around one of these, or around one record |
//!
//! Reading is total: any bytes give a [`Notification`] or a refusal that says what is wrong with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use serde_json::Value;

use super::BUCKET_EVENTS_BYTES_MAX;

/// Most records in one payload: S3, MinIO and Ceph send one.
pub(super) const RECORDS_MAX: usize = 1_000;
/// Envelopes around envelopes: SNS in CloudEvents and the like.
const ENVELOPES_MAX: u32 = 4;

/// What one payload says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notification {
    /// Things that happened to objects; may be none.
    Records(Vec<Record>),
    /// The store tries whether we listen.
    Test,
    /// SNS asks for the confirmation of a subscription, or of its end, to this topic.
    Subscription {
        /// The topic's ARN; empty when it says none.
        topic: String,
    },
}

/// One thing that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What.
    pub(super) what: Happening,
    /// The bucket.
    pub(super) bucket: String,
    /// The key as it stands in the message, encoded or not.
    pub(super) key: String,
}

/// What happened, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// An object came to be: put, posted, copied, put together from parts, replicated.
    Created,
    /// It went away: deleted, or its lifecycle ended.
    Removed,
    /// Something else, or to something that is no object of a store.
    Other,
}

impl Happening {
    /// From an event's name, with AWS's `s3:` or without it as Ceph sends it.
    fn parse(name: &str) -> Self {
        let name = name.strip_prefix("s3:").unwrap_or(name);
        match name.split(':').next().unwrap_or_default() {
            "ObjectCreated" => Self::Created,
            // Ceph, in the other zone of a replicated bucket.
            "ObjectSynced" if name.ends_with(":Create") => Self::Created,
            "ObjectRemoved" | "LifecycleExpiration" | "ObjectLifecycle" => Self::Removed,
            _ => Self::Other,
        }
    }
}

/// Reads a payload.
///
/// # Errors
/// `body_too_large`, or `malformed_body` with the reason.
pub(super) fn parse(payload: &[u8]) -> Result<Notification, Refusal> {
    if payload.len() > BUCKET_EVENTS_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::BodyTooLarge,
            format!(
                "{} bytes of bucket events came; at most {BUCKET_EVENTS_BYTES_MAX} are read at once.",
                payload.len()
            ),
        )
        .with("body_bytes_max", BUCKET_EVENTS_BYTES_MAX));
    }
    // serde_json refuses what is nested deeper than 128.
    let value: Value = serde_json::from_slice(payload)
        .map_err(|error| malformed(format!("The bucket events are not JSON: {error}.")))?;
    read(&value, 0)
}

fn read(value: &Value, envelopes: u32) -> Result<Notification, Refusal> {
    let Value::Object(message) = value else {
        return Err(malformed("A bucket event is a JSON object."));
    };
    if let Some(records) = message.get("Records").filter(|records| !records.is_null()) {
        return read_records(records);
    }
    if let Some(event) = text(message, "Event") {
        return match Happening::parse(event) {
            Happening::Other if event.ends_with(":TestEvent") => Ok(Notification::Test),
            _ => Ok(Notification::Records(Vec::new())),
        };
    }
    if let (Some(name), Some(place)) = (text(message, "EventName"), text(message, "Key")) {
        return read_minio(name, place);
    }
    if message.contains_key("s3") {
        return Ok(Notification::Records(vec![read_record(value)?]));
    }
    if let Some(detail) = message.get("detail") {
        return read_eventbridge(message, detail);
    }
    if envelopes == ENVELOPES_MAX {
        return Err(malformed(format!(
            "The bucket event is in more than {ENVELOPES_MAX} envelopes."
        )));
    }
    if message.contains_key("specversion") {
        return read_cloud_event(message, envelopes);
    }
    match text(message, "Type") {
        Some("Notification") => match message.get("Message") {
            Some(inner) => read_enclosed(inner, envelopes),
            None => Err(malformed("The SNS notification has no Message.")),
        },
        Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") => Ok(Notification::Subscription {
            topic: text(message, "TopicArn").unwrap_or_default().to_owned(),
        }),
        _ => Err(malformed(
            "This is no bucket event: there is neither Records (S3, MinIO, Ceph), nor detail (EventBridge), nor Type \
             and Message (SNS), nor specversion and data (CloudEvents).",
        )),
    }
}

fn read_records(records: &Value) -> Result<Notification, Refusal> {
    let Value::Array(records) = records else {
        return Err(malformed("Records is not a list."));
    };
    if records.len() > RECORDS_MAX {
        return Err(malformed(format!(
            "{} records came; at most {RECORDS_MAX} are read at once.",
            records.len()
        ))
        .with("records_max", RECORDS_MAX));
    }
    let records = records.iter().map(read_record);
    Ok(Notification::Records(records.collect::<Result<_, _>>()?))
}

fn read_record(record: &Value) -> Result<Record, Refusal> {
    let Value::Object(record) = record else {
        return Err(malformed("A record is not a JSON object."));
    };
    // A queue may be shared with other services of AWS; their records have other fields. Stores name themselves
    // `aws:s3`, `minio:s3`, `ceph:s3`, or not at all.
    if text(record, "eventSource").is_some_and(|source| !source.ends_with(":s3")) {
        return Ok(other());
    }
    let name = text(record, "eventName").ok_or_else(|| malformed("A record has no eventName."))?;
    let what = Happening::parse(name);
    if what == Happening::Other {
        return Ok(other());
    }
    let place = record.get("s3").and_then(Value::as_object);
    let (bucket, key) = place.map_or((None, None), bucket_and_key);
    happened(what, bucket, key, "s3.bucket.name", "s3.object.key")
}

fn read_minio(name: &str, place: &str) -> Result<Notification, Refusal> {
    let what = Happening::parse(name);
    if what == Happening::Other {
        return Ok(Notification::Records(vec![other()]));
    }
    let (bucket, key) = place
        .split_once('/')
        .map_or((None, None), |(b, k)| (Some(b), Some(k)));
    let record = happened(what, bucket, key, "Key", "Key")?;
    Ok(Notification::Records(vec![record]))
}

fn read_eventbridge(message: &JsonObject, detail: &Value) -> Result<Notification, Refusal> {
    if text(message, "source").is_some_and(|source| source != "aws.s3") {
        return Ok(Notification::Records(vec![other()]));
    }
    let what = match text(message, "detail-type") {
        Some("Object Created") => Happening::Created,
        Some("Object Deleted") => Happening::Removed,
        Some(_) => return Ok(Notification::Records(vec![other()])),
        None => return Err(malformed("The EventBridge event has no detail-type.")),
    };
    let (bucket, key) = detail.as_object().map_or((None, None), bucket_and_key);
    let record = happened(what, bucket, key, "detail.bucket.name", "detail.object.key")?;
    Ok(Notification::Records(vec![record]))
}

fn read_cloud_event(message: &JsonObject, envelopes: u32) -> Result<Notification, Refusal> {
    if let Some(encoded) = text(message, "data_base64") {
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| malformed("data_base64 of the CloudEvent is not base64."))?;
        let inner: Value = serde_json::from_slice(&bytes)
            .map_err(|error| malformed(format!("The data of the CloudEvent is not JSON: {error}.")))?;
        return read(&inner, envelopes + 1);
    }
    match message.get("data") {
        Some(data) => read_enclosed(data, envelopes),
        None => Err(malformed("The CloudEvent has no data.")),
    }
}

/// A message inside of an envelope: as JSON in a string, or as it is.
fn read_enclosed(inner: &Value, envelopes: u32) -> Result<Notification, Refusal> {
    match inner {
        Value::String(text) => {
            let inner: Value = serde_json::from_str(text)
                .map_err(|error| malformed(format!("The message in the envelope is not JSON: {error}.")))?;
            read(&inner, envelopes + 1)
        }
        inner => read(inner, envelopes + 1),
    }
}

fn bucket_and_key(place: &JsonObject) -> (Option<&str>, Option<&str>) {
    let field = |of: &str, name: &str| place.get(of)?.as_object()?.get(name)?.as_str();
    (field("bucket", "name"), field("object", "key"))
}

fn happened(
    what: Happening,
    bucket: Option<&str>,
    key: Option<&str>,
    bucket_at: &str,
    key_at: &str,
) -> Result<Record, Refusal> {
    let missing = |field: &str| malformed(format!("A bucket event has no {field}.")).with("field", field);
    Ok(Record {
        what,
        bucket: bucket.ok_or_else(|| missing(bucket_at))?.to_owned(),
        key: key.ok_or_else(|| missing(key_at))?.to_owned(),
    })
}

fn other() -> Record {
    Record {
        what: Happening::Other,
        bucket: String::new(),
        key: String::new(),
    }
}

fn text<'a>(object: &'a JsonObject, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn malformed(reason: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::MalformedBody, reason)
}

#[cfg(test)]
mod tests;
