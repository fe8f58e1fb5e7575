//! Nouns as tests need them: valid, with every field worth comparing set, to be adapted field by field.

use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{Declared, File, FileState, ObservedObject, Staged, Verified};
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState};
use cloakroom_core::id::{AuditId, FileId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::NewFile;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::random::Random;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::transition::Occasion;
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::{SignedDuration, Timestamp};

/// Size of a sample file in bytes.
pub const SAMPLE_BYTES: u64 = 1234;
/// Owner of a sample file.
pub const SAMPLE_OWNER: &str = "user-1";
/// How long a sample upload may be used.
pub const SAMPLE_UPLOAD_TIME: SignedDuration = SignedDuration::from_mins(15);

/// A JSON object from a `json!({..})`.
pub fn object(value: serde_json::Value) -> JsonObject {
    match value {
        serde_json::Value::Object(object) => object,
        other => panic!("a test wants a JSON object and wrote {other}"),
    }
}

/// A media type that is known to be one.
pub fn media_type(text: &str) -> MediaType {
    MediaType::parse(text).expect("a test writes valid media types")
}

/// A record key from `type/id`.
pub fn record_key(text: &str) -> RecordKey {
    RecordKey::parse(text).expect("a test writes valid record keys")
}

/// A digest of one repeated byte.
pub const fn digest(byte: u8) -> Sha256Digest {
    Sha256Digest([byte; 32])
}

/// A policy that takes what the samples are.
pub fn sample_collection() -> Collection {
    Collection::new("documents", "files")
}

/// A pending file of 1,234 bytes in `documents`, with a description and metadata, not linked.
pub fn sample_file(random: &dyn Random, now: Timestamp) -> File {
    let id = FileId(random.uuid_v7(now));
    File {
        id,
        owner: SAMPLE_OWNER.to_owned(),
        created_by_username: "ann".to_owned(),
        created_by_full_name: Some("Ann Example".to_owned()),
        collection: "documents".to_owned(),
        bucket: "files".to_owned(),
        state: FileState::Pending,
        version: 1,
        epoch: 0,
        record: None,
        filename: "report.pdf".to_owned(),
        description: Some("Quarterly figures".to_owned()),
        metadata: object(serde_json::json!({ "project": "north" })),
        declared: Declared {
            content_type: media_type("application/pdf"),
            size_bytes: Some(SAMPLE_BYTES),
            sha256: Some(digest(0xd1)),
        },
        staged: None,
        verified: None,
        key: format!("documents/{id}/report.pdf"),
        facts: JsonObject::new(),
        error: None,
        created_at: now,
        updated_at: now,
        uploaded_at: None,
        confirmed_at: None,
        processed_at: None,
        trash: None,
        hold: None,
        unarchived_at: None,
    }
}

/// The upload of a file: a single PUT for 15 minutes that reserves what was declared.
pub fn sample_upload(file: &File) -> Upload {
    Upload {
        file_id: file.id,
        method: UploadMethod::Put,
        staging_key: format!("staging/{}/report.pdf", file.id),
        expires_at: file.created_at + SAMPLE_UPLOAD_TIME,
        multipart_id: None,
        part_size_bytes: None,
        request_digest: Some(digest(0x5e)),
        reserved_bytes: file.declared.size_bytes.unwrap_or(0),
    }
}

/// A file, its upload and its event, ready to be inserted without a quota.
pub fn sample_new_file(random: &dyn Random, now: Timestamp) -> NewFile {
    new_file(sample_file(random, now), random)
}

/// A file as it is, with an upload and an event that belong to it.
pub fn new_file(file: File, random: &dyn Random) -> NewFile {
    let occasion = Occasion {
        now: file.created_at,
        actor: &file.owner.clone(),
        random,
    };
    let (upload, event) = (sample_upload(&file), occasion.event(&file, EventKind::Signed));
    NewFile {
        file,
        upload,
        event,
        record: None,
        quota_bytes: None,
    }
}

/// What a store shows of a complete upload of this file.
pub fn sample_observed(file: &File) -> ObservedObject {
    ObservedObject {
        staged: Staged {
            size_bytes: file.declared.size_bytes.unwrap_or(SAMPLE_BYTES),
            etag: "\"9b2cf535f27731c974343645a3985328\"".to_owned(),
            generation: format!("generation-of-{}", file.id),
        },
        content_type: Some(file.declared.content_type.as_str().to_owned()),
        sha256: file.declared.sha256,
    }
}

/// What measuring this file gives: what was declared.
pub fn sample_verified(file: &File) -> Verified {
    Verified {
        sha256: file.declared.sha256.unwrap_or(digest(0xfe)),
        size_bytes: file.size_bytes().unwrap_or(SAMPLE_BYTES),
        content_type: file.declared.content_type.clone(),
    }
}

/// A thumbnail of this file.
pub fn sample_derivative(file: &File, name: &str) -> Derivative {
    Derivative {
        file_id: file.id,
        name: name.to_owned(),
        outcome: DerivativeOutcome::Made {
            key: format!("{}.{}.{name}.webp", file.key, file.epoch),
            content_type: media_type("image/webp"),
            size_bytes: 321,
            width: Some(256),
            height: Some(144),
        },
        created_at: file.updated_at,
    }
}

/// A record of this owner without parent.
pub fn sample_record(key: &str, owner: &str, now: Timestamp) -> Record {
    Record {
        key: record_key(key),
        owner: owner.to_owned(),
        parent: None,
        payload: object(serde_json::json!({ "text": "Здравствуйте" })),
        meta: object(serde_json::json!({ "doc_id": 7 })),
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// A pending intent to promote this file, leased for a minute.
pub fn sample_intent(file: &File, random: &dyn Random, now: Timestamp) -> Intent {
    Intent {
        id: IntentId(random.uuid_v7(now)),
        kind: IntentKind::FileCreate,
        status: IntentStatus::Pending,
        file_id: Some(file.id),
        epoch: file.epoch,
        data: object(serde_json::json!({ "from": "staging/a", "to": file.key })),
        actor: "worker-1".to_owned(),
        started_at: now,
        lease_until: now + SignedDuration::from_mins(1),
        completed_at: None,
        error: None,
    }
}

/// Garbage in the trash for an hour.
pub fn sample_garbage(bucket: &str, key: &str, now: Timestamp) -> Garbage {
    Garbage {
        path: ObjectPath::new(bucket, key),
        upload_id: String::new(),
        reason: GarbageReason::LeftObject,
        state: GarbageState::Trashed,
        etag: "\"9b2cf535f27731c974343645a3985328\"".to_owned(),
        size_bytes: SAMPLE_BYTES,
        file_id: None,
        found_at: now,
        purge_at: now + SignedDuration::from_hours(1),
    }
}

/// An entry of the audit log.
pub fn sample_audit(action: &str, subject: &str, random: &dyn Random, now: Timestamp) -> AuditEntry {
    AuditEntry {
        id: AuditId(random.uuid_v7(now)),
        at: now,
        actor: "ada".to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        data: object(serde_json::json!({ "text": "Здравствуйте" })),
    }
}
