//! Records: the application's things that files hang on.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::metadata::{FileQuery, MetadataError, Page};
use cloakroom_core::record::{Record, RecordKey};

use crate::app::App;
use crate::error::Result;
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
    async fn record_for(&self, principal: &Principal, action: Action, key: &RecordKey) -> Result<Record> {
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
            match self.metadata.put_record(&record, expected_version).await {
                Ok(()) => return Ok((record, expected_version.is_none())),
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// Deletes a record: its files go to the trash, its child records go the same way, then the record itself. A
    /// crash in between leaves a record with fewer files; deleting again goes on from there.
    pub async fn delete_record(&self, principal: &Principal, key: &RecordKey) -> Result<()> {
        self.record_for(principal, Action::Write, key).await?;
        // Depth first, without recursion: children are found before their parent goes.
        let mut stack = vec![key.clone()];
        let mut order = Vec::new();
        while let Some(next) = stack.pop() {
            if order.contains(&next) {
                continue;
            }
            stack.extend(
                self.metadata
                    .child_records(&next)
                    .await?
                    .into_iter()
                    .map(|child| child.key),
            );
            order.push(next);
        }
        for key in order.iter().rev() {
            self.delete_one_record(key, &principal.subject).await?;
        }
        Ok(())
    }

    async fn delete_one_record(&self, key: &RecordKey, actor: &str) -> Result<()> {
        for _ in 0..RACES_MAX {
            let Some(record) = self.metadata.record(key).await? else {
                return Ok(());
            };
            self.trash_files_of(key, actor).await?;
            match self.metadata.delete_record(key, record.version).await {
                Ok(()) => return Ok(()),
                // Changed, or a file was linked in between: look again.
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    async fn trash_files_of(&self, key: &RecordKey, actor: &str) -> Result<()> {
        let states = FileState::ALL
            .iter()
            .copied()
            .filter(|state| {
                !matches!(
                    state,
                    FileState::Trashed | FileState::Purging | FileState::Reaping | FileState::Expired
                )
            })
            .collect();
        let query = FileQuery {
            record: Some(key.clone()),
            states,
            limit: 200,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            if page.items.is_empty() {
                return Ok(());
            }
            for file in page.items {
                match self.let_go(&file, actor).await {
                    // A lost race shows up again in the next page.
                    Ok(()) | Err(MetadataError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Trash for a file, reaping for an open upload.
    async fn let_go(&self, file: &File, actor: &str) -> std::result::Result<(), MetadataError> {
        if !file.state.is_open() {
            return self.trash(file, actor).await;
        }
        let Some(upload) = self.metadata.upload(file.id).await? else {
            return Err(MetadataError::Conflict);
        };
        let transition = file
            .reap(&upload, "record deleted", &self.occasion(actor))
            .map_err(|_| MetadataError::Conflict)?;
        self.metadata.apply(transition).await
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
