//! Signing: the row is written, space is reserved, and the client gets what it needs to send the bytes itself.

use std::sync::Arc;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{Declared, File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{self, KeyFacts};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile};
use cloakroom_core::ports::objects::{MultipartOptions, ObjectAttributes, ObjectPath};
use cloakroom_core::ports::signer::{SignedForm, SignedRequest, UploadConstraints};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StorageAction;
use cloakroom_core::upload::{SINGLE_PUT_BYTES_MAX, Upload, UploadMethod, part_size_bytes};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::multipart::SignedPart;
use super::validate::{admit_metadata, validate_description, validate_filename};
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::measuring::{Measured, Seen};
use crate::offers::admit_record_type;

/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Longest owner, in bytes.
const OWNER_BYTES_MAX: usize = 200;
/// How many part URLs come with the first answer.
const FIRST_PARTS_MAX: u64 = 100;

/// A request for an upload.
#[derive(Clone, Debug, Default)]
pub struct SignUpload {
    /// The policy.
    pub collection: String,
    /// The client's name for the file.
    pub filename: String,
    /// The type; by default what the name suggests.
    pub content_type: Option<MediaType>,
    /// The size in bytes, when known.
    pub size_bytes: Option<u64>,
    /// The SHA-256, when known; the store then refuses other bytes.
    pub checksum_sha256: Option<Sha256Digest>,
    /// What to link it to.
    pub record: Option<RecordKey>,
    /// Text for people.
    pub description: Option<String>,
    /// The application's own fields.
    pub metadata: JsonObject,
    /// How the bytes will come; by default what the collection says.
    pub method: Option<UploadMethod>,
    /// For whom; the caller unless it may act for others.
    pub owner: Option<String>,
    /// Makes repeating the request safe.
    pub idempotency_key: Option<String>,
}

/// What the client needs to send the bytes.
#[derive(Clone, Debug)]
pub enum Ticket {
    /// One request.
    Put(SignedRequest),
    /// A form.
    Post(SignedForm),
    /// Parts.
    Multipart {
        /// The store's id of the upload.
        multipart_id: String,
        /// Size of every part but the last.
        part_size_bytes: u64,
        /// The first parts; more by asking.
        parts: Vec<SignedPart>,
    },
    /// Nothing: the bytes come through the service itself.
    Stream,
}

/// A signed upload.
#[derive(Clone, Debug)]
pub struct SignedUpload {
    /// The file, still without bytes.
    pub file: File,
    /// Its upload.
    pub upload: Upload,
    /// What to send where.
    pub ticket: Ticket,
    /// Whether an earlier request with the same idempotency key had made it.
    pub repeated: bool,
}

/// A request that passed every check that needs no row.
pub(super) struct Prepared {
    pub(super) new: NewFile,
    pub(super) collection: Arc<Collection>,
}

impl App {
    /// Signs an upload. The answer is given after its row is durable.
    pub async fn sign_upload(&self, principal: &Principal, request: SignUpload) -> Result<SignedUpload> {
        let work = Box::pin(async {
            let prepared = self.prepare_upload(principal, request).await?;
            self.issue(principal, prepared).await
        });
        let whose = (principal.subject.as_str(), None);
        self.measured(Measured::SignUpload, whose, work, |signed| Seen {
            file: Some(&signed.file),
            repeated: signed.repeated,
        })
        .await
    }

    /// Every check, without a trace in the database.
    pub(super) async fn prepare_upload(
        &self,
        principal: &Principal,
        request: SignUpload,
    ) -> Result<Prepared> {
        let collection = Arc::clone(self.collection(&request.collection)?);
        let content_type = admit_request(principal, &collection, &request)?;
        self.admit_by_offer(principal).await?;
        self.admit(StorageAction::Create, &collection.bucket)?;
        let owner = Self::owner_of_new(principal, request.owner.as_deref())?;
        let method = self.upload_method(&collection, request.method, request.size_bytes)?;
        let record = self
            .record_to_link(principal, &owner, request.record.as_ref())
            .await?;

        let occasion = self.occasion(&principal.subject);
        let now = occasion.now;
        let (id, request_digest) = match &request.idempotency_key {
            Some(key) => {
                check_idempotency_key(key)?;
                let id = FileId::from_idempotency_key(&owner, key);
                (id, Some(digest_of(&request, &content_type, method)))
            }
            None => (FileId(self.random.uuid_v7(now)), None),
        };
        let seconds = SignedDuration::from_secs(i64::from(collection.upload_expires_seconds));
        let expires_at = now.checked_add(seconds).unwrap_or(Timestamp::MAX);
        let unknown_size = if self.policy.quota_bytes.is_some() {
            collection.size_bytes_max
        } else {
            0
        };
        let upload = Upload {
            file_id: id,
            method,
            staging_key: key::staging_key(id, &request.filename, expires_at),
            expires_at,
            multipart_id: None,
            part_size_bytes: (method == UploadMethod::Multipart)
                .then(|| part_size_bytes(request.size_bytes.unwrap_or_default())),
            request_digest,
            reserved_bytes: request.size_bytes.unwrap_or(unknown_size),
        };
        let file = new_file(principal, &collection, id, owner, content_type, request, now);
        admit_metadata(&file)?;
        let mut event = occasion.event(&file, EventKind::Signed);
        event.data.insert("method".to_owned(), method.as_str().into());
        let new = NewFile {
            file,
            upload,
            event,
            record,
            quota_bytes: self.policy.quota_bytes,
        };
        Ok(Prepared { new, collection })
    }

    /// Writes the row and signs.
    pub(super) async fn issue(&self, principal: &Principal, prepared: Prepared) -> Result<SignedUpload> {
        let Prepared { new, collection } = prepared;
        let (mut file, mut upload) = (new.file.clone(), new.upload.clone());
        let quota_bytes = new.quota_bytes;
        let mut repeated = false;
        match self.metadata.insert(new).await.map_err(insert_refusal)? {
            Inserted::New => {}
            Inserted::QuotaExceeded(usage) => {
                return Err(Refusal::new(
                    ErrorCode::QuotaExceeded,
                    "The quota is used up; delete files or wait until signed uploads expire.",
                )
                .with("quota_bytes", quota_bytes)
                .with("stored_bytes", usage.stored_bytes)
                .with("reserved_bytes", usage.reserved_bytes)
                .into());
            }
            Inserted::Existing(rows) => {
                if rows.1.request_digest != upload.request_digest {
                    return Err(Refusal::new(
                        ErrorCode::IdempotencyKeyReused,
                        "This Idempotency-Key came with another request before; use a new key for a new upload.",
                    )
                    .into());
                }
                (file, upload) = *rows;
                if matches!(
                    file.state,
                    FileState::Reaping | FileState::Expired | FileState::Purging
                ) {
                    return Err(Refusal::new(
                        ErrorCode::UploadExpired,
                        "The upload of this Idempotency-Key is over; use a new key to begin another one.",
                    )
                    .with("file_id", file.id.to_string())
                    .with("state", file.state.as_str())
                    .into());
                }
                repeated = true;
                self.renew(&file, &mut upload, &collection).await?;
            }
        }
        if upload.method == UploadMethod::Multipart && file.state.is_open() {
            if upload.multipart_id.is_none() {
                self.begin_multipart(&file, &mut upload).await?;
            } else {
                self.keep_multipart_open(&file, &mut upload).await?;
            }
        }
        let ticket = self.ticket(&file, &upload, &collection).inspect_err(|error| {
            tracing::error!(event = "s3_presign_error", file_id = %file.id, %error, "signing failed");
            self.alert_presign_error(&file, error);
        })?;
        tracing::info!(
            event = "file_presigned",
            file_id = %file.id,
            user_id = %principal.subject,
            collection = %file.collection,
            bucket = %file.bucket,
            method = upload.method.as_str(),
            file_size = file.declared.size_bytes,
            repeated,
            "Upload started: {}, size: {}", file.filename, size_in_words(file.declared.size_bytes)
        );
        metrics::counter!("cloakroom_uploads_signed_total", "collection" => file.collection.clone(), "method" => upload.method.as_str())
            .increment(1);
        Ok(SignedUpload {
            file,
            upload,
            ticket,
            repeated,
        })
    }

    /// A repeated request whose first signature has expired gets a fresh one, if the upload is still open.
    async fn renew(&self, file: &File, upload: &mut Upload, collection: &Collection) -> Result<()> {
        let now = self.now();
        if !file.state.is_open() || upload.expires_at > now {
            return Ok(());
        }
        upload.expires_at = now
            .checked_add(SignedDuration::from_secs(i64::from(
                collection.upload_expires_seconds,
            )))
            .unwrap_or(Timestamp::MAX);
        Ok(self.metadata.update_upload(upload, file.version).await?)
    }

    pub(super) async fn begin_multipart(&self, file: &File, upload: &mut Upload) -> Result<()> {
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let attributes = ObjectAttributes {
            content_type: Some(file.declared.content_type.to_string()),
            ..ObjectAttributes::default()
        };
        let options = MultipartOptions {
            attributes,
            ..MultipartOptions::default()
        };
        upload.multipart_id = Some(self.objects.begin_multipart(&path, options).await?);
        Ok(self.metadata.update_upload(upload, file.version).await?)
    }

    /// What the client needs. Signed at the time that gives the upload's own expiry, so a repeated request gets
    /// the same URL.
    fn ticket(&self, file: &File, upload: &Upload, collection: &Collection) -> Result<Ticket> {
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let seconds = collection.upload_expires_seconds;
        let signed_at = upload
            .expires_at
            .checked_sub(SignedDuration::from_secs(i64::from(seconds)))
            .unwrap_or(Timestamp::MIN);
        let constraints = UploadConstraints {
            content_type: file.declared.content_type.to_string(),
            size_bytes: file.declared.size_bytes,
            size_bytes_range: match file.declared.size_bytes {
                Some(size) => (size, size),
                None => (
                    collection.size_bytes_min,
                    collection.size_bytes_max.min(SINGLE_PUT_BYTES_MAX),
                ),
            },
            sha256: file.declared.sha256,
            success_action_status: collection.success_action_status,
        };
        Ok(match upload.method {
            UploadMethod::Put => Ticket::Put(self.signer.put(&path, &constraints, seconds, signed_at)?),
            UploadMethod::Post => Ticket::Post(self.signer.post(&path, &constraints, seconds, signed_at)?),
            UploadMethod::Stream => Ticket::Stream,
            UploadMethod::Multipart => {
                let part_size = upload.part_size_bytes.unwrap_or_else(|| part_size_bytes(0));
                let count = match file.declared.size_bytes {
                    Some(size) => size.div_ceil(part_size).clamp(1, FIRST_PARTS_MAX),
                    None => 1,
                };
                let multipart_id = upload.multipart_id.clone().unwrap_or_default();
                let parts = (1..=count as u32)
                    .map(|number| self.sign_part(&path, &multipart_id, number, seconds, signed_at))
                    .collect::<Result<_>>()?;
                Ticket::Multipart {
                    multipart_id,
                    part_size_bytes: part_size,
                    parts,
                }
            }
        })
    }

    fn upload_method(
        &self,
        collection: &Collection,
        requested: Option<UploadMethod>,
        size_bytes: Option<u64>,
    ) -> Result<UploadMethod> {
        let too_large_for_one = size_bytes.is_some_and(|size| size > SINGLE_PUT_BYTES_MAX);
        let method = match requested {
            Some(method) => method,
            None if too_large_for_one => UploadMethod::Multipart,
            None => collection.default_method,
        };
        let methods = self.stores.methods(&collection.bucket);
        let methods = methods.unwrap_or(&self.policy.methods);
        if !methods.contains(&method) {
            let offered: Vec<&str> = methods.iter().map(|m| m.as_str()).collect();
            return Err(Refusal::new(
                ErrorCode::MethodNotOffered,
                format!(
                    "This store cannot take {} uploads; it takes {}.",
                    method.as_str(),
                    offered.join(", ")
                ),
            )
            .with("offered", offered)
            .into());
        }
        if too_large_for_one && matches!(method, UploadMethod::Put | UploadMethod::Post) {
            return Err(Refusal::new(
                ErrorCode::MethodNotOffered,
                "A file above 5 GiB cannot come in one request; use method multipart.",
            )
            .with("size_bytes_max", SINGLE_PUT_BYTES_MAX)
            .into());
        }
        Ok(method)
    }

    /// Whose the new file will be.
    pub(crate) fn owner_of_new(principal: &Principal, owner: Option<&str>) -> Result<String> {
        match owner {
            None => Ok(principal.subject.clone()),
            Some(owner) if owner == principal.subject => Ok(owner.to_owned()),
            Some(_) if !principal.may_act_for_others() => Err(Refusal::new(
                ErrorCode::InsufficientPermissions,
                "Only service tokens and administrators may name another owner.",
            )
            .with("field", "owner")
            .into()),
            Some(owner)
                if owner.is_empty()
                    || owner.len() > OWNER_BYTES_MAX
                    || owner.chars().any(char::is_control) =>
            {
                Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("An owner is 1 to {OWNER_BYTES_MAX} bytes without control characters."),
                )
                .with("field", "owner")
                .into())
            }
            Some(owner) => Ok(owner.to_owned()),
        }
    }

    /// The record to create with the link, or `None` when it exists and may be linked to. The first owner to link
    /// owns the record; linking to a stranger's record is a record that does not exist (design §6).
    pub(crate) async fn record_to_link(
        &self,
        principal: &Principal,
        owner: &str,
        key: Option<&RecordKey>,
    ) -> Result<Option<Record>> {
        let Some(key) = key else { return Ok(None) };
        admit_record_type(key)?;
        match self.metadata.record(key).await? {
            Some(record) if principal.may_record(Action::Write, &record) => Ok(None),
            Some(_) => Err(crate::records::record_not_found(key).into()),
            None => Ok(Some(self.linked_record(key, owner))),
        }
    }

    /// A record that is made by linking a file to it.
    pub(crate) fn linked_record(&self, key: &RecordKey, owner: &str) -> Record {
        let now = self.now();
        Record {
            key: key.clone(),
            owner: owner.to_owned(),
            parent: None,
            payload: JsonObject::new(),
            meta: JsonObject::new(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// An id that cannot be inserted and has no row any more is that of a purged file.
fn insert_refusal(error: MetadataError) -> ServiceError {
    match error {
        MetadataError::Conflict => Refusal::new(
            ErrorCode::IdempotencyKeyReused,
            "The file of this Idempotency-Key was deleted for good; use a new key for a new upload.",
        )
        .into(),
        other => other.into(),
    }
}

/// The checks of the request alone; returns the content type that counts.
fn admit_request(principal: &Principal, collection: &Collection, request: &SignUpload) -> Result<MediaType> {
    if !principal.may_use_collection(&collection.name) {
        return Err(Refusal::new(
            ErrorCode::InsufficientPermissions,
            format!(
                "This service token is not scoped to collection {}.",
                collection.name
            ),
        )
        .into());
    }
    validate_filename(&request.filename)?;
    if let Some(description) = &request.description {
        validate_description(description)?;
    }
    let extension = request.filename.rsplit_once('.').map(|(_, extension)| extension);
    let content_type = match &request.content_type {
        Some(content_type) => content_type.clone(),
        None => extension
            .and_then(MediaType::from_extension)
            .unwrap_or_else(MediaType::octet_stream),
    };
    collection.admit(&request.filename, &content_type, request.size_bytes)?;
    Ok(content_type)
}

fn new_file(
    principal: &Principal,
    collection: &Collection,
    id: FileId,
    owner: String,
    content_type: MediaType,
    request: SignUpload,
    now: Timestamp,
) -> File {
    let key = collection.key_template.render(&KeyFacts {
        file_id: id,
        filename: &request.filename,
        username: &principal.username,
        collection: &collection.name,
        record_id: request.record.as_ref().map(RecordKey::id),
        at: now,
    });
    File {
        id,
        owner,
        created_by_username: principal.username.clone(),
        created_by_full_name: principal.full_name.clone(),
        collection: collection.name.clone(),
        bucket: collection.bucket.clone(),
        state: FileState::Pending,
        version: 1,
        epoch: 0,
        record: request.record,
        key,
        filename: request.filename,
        description: request.description,
        metadata: request.metadata,
        declared: Declared {
            content_type,
            size_bytes: request.size_bytes,
            sha256: request.checksum_sha256,
        },
        staged: None,
        verified: None,
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

fn check_idempotency_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "An Idempotency-Key is 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes without control characters."
            ),
        )
        .with("field", "Idempotency-Key")
        .into());
    }
    Ok(())
}

/// A size as the log has it.
fn size_in_words(size_bytes: Option<u64>) -> String {
    size_bytes.map_or_else(|| "unknown".to_owned(), |size| size.to_string())
}

/// Equal requests have equal digests: every field that the row depends on, each with its length.
fn digest_of(request: &SignUpload, content_type: &MediaType, method: UploadMethod) -> Sha256Digest {
    let mut hash = Sha256::new();
    let mut field = |text: Option<&str>| {
        let text = text.unwrap_or("\0");
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    field(Some(&request.collection));
    field(Some(&request.filename));
    field(Some(content_type.as_str()));
    field(request.size_bytes.map(|size| size.to_string()).as_deref());
    field(
        request
            .checksum_sha256
            .map(|digest| digest.to_string())
            .as_deref(),
    );
    field(request.record.as_ref().map(ToString::to_string).as_deref());
    field(request.description.as_deref());
    field(Some(
        &serde_json::Value::Object(request.metadata.clone()).to_string(),
    ));
    field(Some(method.as_str()));
    Sha256Digest(hash.finalize().into())
}
