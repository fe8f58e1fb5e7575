//! Records: the application's things that files hang on.

mod documents;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::ports::metadata::{FileQuery, MetadataError, Page};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StorageAction;

use crate::app::App;
use crate::error::Result;
use crate::offers::admit_record_type;
use crate::uploads::RACES_MAX;

/// Largest payload and meta of a record together, as JSON, in bytes.
const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Longest chain of parents.
const PARENTS_MAX: usize = 16;

/// A record as the application wants it; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct PutRecord {
    /// A new parent; `Some(None)` removes it.
    pub parent: Option<Option<RecordKey>>,
    /// New payload, whole.
    pub payload: Option<JsonObject>,
    /// New meta, whole.
    pub meta: Option<JsonObject>,
    /// For whom, when it is new; the caller unless it may act for others.
    pub owner: Option<String>,
}

/// The answer for a record that does not exist and for one that the caller may not know of (I8).
pub(crate) fn record_not_found(key: &RecordKey) -> Refusal {
    Refusal::new(
        ErrorCode::RecordNotFound,
        "There is no such record, or it is not yours.",
    )
    .with("record", key.to_string())
}

impl App {
    pub(crate) async fn record_for(
        &self,
        principal: &Principal,
        action: Action,
        key: &RecordKey,
    ) -> Result<Record> {
        match self.metadata.record(key).await? {
            Some(record) if principal.may_record(action, &record) => Ok(record),
            _ => Err(record_not_found(key).into()),
        }
    }

    /// One record.
    pub async fn record(&self, principal: &Principal, key: &RecordKey) -> Result<Record> {
        self.record_for(principal, Action::Read, key).await
    }

    /// Creates a record or changes it. `true` when it is new.
    pub async fn put_record(
        &self,
        principal: &Principal,
        key: &RecordKey,
        put: PutRecord,
    ) -> Result<(Record, bool)> {
        check_size(&put)?;
        admit_record_type(key)?;
        self.admit_records(StorageAction::Update)?;
        if let Some(Some(parent)) = &put.parent {
            self.check_parent(principal, key, parent).await?;
        }
        for _ in 0..RACES_MAX {
            let now = self.now();
            let existing = self.metadata.record(key).await?;
            let (mut record, expected_version) = match existing {
                Some(record) if principal.may_record(Action::Write, &record) => {
                    let version = record.version;
                    (
                        Record {
                            version: version + 1,
                            updated_at: now,
                            ..record
                        },
                        Some(version),
                    )
                }
                Some(_) => return Err(record_not_found(key).into()),
                None => {
                    let owner = Self::owner_of_new(principal, put.owner.as_deref())?;
                    let record = Record {
                        key: key.clone(),
                        owner,
                        parent: None,
                        payload: JsonObject::new(),
                        meta: JsonObject::new(),
                        version: 1,
                        created_at: now,
                        updated_at: now,
                    };
                    (record, None)
                }
            };
            if let Some(owner) = &put.owner
                && *owner != record.owner
            {
                return Err(
                    Refusal::new(ErrorCode::InvalidRequest, "A record's owner cannot be changed.")
                        .with("field", "owner")
                        .into(),
                );
            }
            if let Some(parent) = &put.parent {
                record.parent.clone_from(parent);
            }
            if let Some(payload) = &put.payload {
                record.payload.clone_from(payload);
            }
            if let Some(meta) = &put.meta {
                record.meta.clone_from(meta);
            }
            match self
                .commit_record(&mut record, expected_version, &principal.subject)
                .await
            {
                Ok(()) => return Ok((record, expected_version.is_none())),
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// A page of the files of a record.
    pub async fn files_of_record(
        &self,
        principal: &Principal,
        key: &RecordKey,
        mut query: FileQuery,
    ) -> Result<Page<File>> {
        self.record_for(principal, Action::Read, key).await?;
        query.record = Some(key.clone());
        self.files(principal, query).await
    }

    /// A parent exists, is the caller's, and is not the record itself or below it.
    async fn check_parent(&self, principal: &Principal, key: &RecordKey, parent: &RecordKey) -> Result<()> {
        let refused =
            |message: &str| Refusal::new(ErrorCode::InvalidRequest, message).with("field", "parent");
        let mut above = Some(parent.clone());
        for _ in 0..PARENTS_MAX {
            let Some(next) = above else { return Ok(()) };
            if next == *key {
                return Err(refused("A record cannot be above itself.").into());
            }
            above = self.record_for(principal, Action::Read, &next).await?.parent;
        }
        Err(refused("Records may be at most 16 levels deep.").into())
    }
}

fn check_size(put: &PutRecord) -> Result<()> {
    let mut bytes = 0;
    for (field, object) in [("payload", &put.payload), ("meta", &put.meta)] {
        let Some(object) = object else { continue };
        let value = serde_json::Value::Object(object.clone());
        if crate::uploads::contains_nul(&value) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("{field} has no NUL characters."),
            )
            .with("field", field)
            .into());
        }
        bytes += value.to_string().len();
    }
    if bytes > RECORD_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::MetadataTooLarge,
            format!("payload and meta have {bytes} bytes and may have {RECORD_BYTES_MAX}."),
        )
        .into());
    }
    Ok(())
}
