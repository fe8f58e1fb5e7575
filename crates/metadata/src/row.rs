//! Rows to nouns, for every engine: which column is which field. What cannot have been written by us is
//! [`MetadataError::Inconsistent`], with its place.

use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{Declared, File, FileError, FileState, Staged, Trash, Verified};
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState};
use cloakroom_core::id::{AuditId, EventId, FileId, IntentId, JobId, OperationId, WorkerId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobProgress, JobState};
use cloakroom_core::media::MediaType;
use cloakroom_core::operation::{Finding, Operation, OperationKind, OperationState};
use cloakroom_core::ports::administration::UsageCheck;
use cloakroom_core::ports::metadata::{MetadataError, Usage};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::Timestamp;
use uuid::Uuid;

use crate::hold;

/// The columns of a row by number, as an engine gives them, and what is asked of them.
pub(crate) trait Columns {
    /// What goes wrong in the engine.
    type Failure: From<MetadataError>;

    /// The name of a column and the id of the row, for people.
    fn place(&self, column: usize) -> String;

    /// Text, as people wrote it.
    fn optional_text(&self, column: usize) -> Result<Option<String>, Self::Failure>;

    /// Text of ours, in which no engine has to undo anything.
    fn optional_name(&self, column: usize) -> Result<Option<&str>, Self::Failure>;

    fn optional_integer(&self, column: usize) -> Result<Option<i64>, Self::Failure>;

    fn optional_id(&self, column: usize) -> Result<Option<Uuid>, Self::Failure>;

    fn optional_time(&self, column: usize) -> Result<Option<Timestamp>, Self::Failure>;

    fn optional_object(&self, column: usize) -> Result<Option<JsonObject>, Self::Failure>;

    fn digest(&self, column: usize) -> Result<Option<Sha256Digest>, Self::Failure>;

    /// A value that no row of ours holds.
    fn inconsistent(&self, column: usize, what: &str) -> Self::Failure {
        MetadataError::Inconsistent(format!("column {} is {what}", self.place(column))).into()
    }

    fn present<T>(&self, column: usize, value: Option<T>) -> Result<T, Self::Failure> {
        value.ok_or_else(|| self.inconsistent(column, "empty"))
    }

    fn text(&self, column: usize) -> Result<String, Self::Failure> {
        self.present(column, self.optional_text(column)?)
    }

    fn id(&self, column: usize) -> Result<Uuid, Self::Failure> {
        self.present(column, self.optional_id(column)?)
    }

    fn time(&self, column: usize) -> Result<Timestamp, Self::Failure> {
        self.present(column, self.optional_time(column)?)
    }

    fn object(&self, column: usize) -> Result<JsonObject, Self::Failure> {
        self.present(column, self.optional_object(column)?)
    }

    fn optional_size(&self, column: usize) -> Result<Option<u64>, Self::Failure> {
        let value = self.optional_integer(column)?.map(u64::try_from).transpose();
        value.map_err(|_| self.inconsistent(column, "negative"))
    }

    fn size(&self, column: usize) -> Result<u64, Self::Failure> {
        self.present(column, self.optional_size(column)?)
    }

    fn optional_count(&self, column: usize) -> Result<Option<u32>, Self::Failure> {
        let value = self.optional_integer(column)?.map(u32::try_from).transpose();
        value.map_err(|_| self.inconsistent(column, "no count"))
    }

    fn count(&self, column: usize) -> Result<u32, Self::Failure> {
        self.present(column, self.optional_count(column)?)
    }

    /// A stable name of an enumeration.
    fn optional_named<T>(
        &self,
        column: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Self::Failure> {
        let Some(name) = self.optional_name(column)? else {
            return Ok(None);
        };
        parse(name)
            .map(Some)
            .ok_or_else(|| self.inconsistent(column, &format!("{name:?}")))
    }

    fn named<T>(&self, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T, Self::Failure> {
        self.present(column, self.optional_named(column, parse)?)
    }

    fn media_type(&self, column: usize) -> Result<MediaType, Self::Failure> {
        self.named(column, |text| MediaType::parse(text).ok())
    }

    fn record_key(&self, kind: usize) -> Result<Option<RecordKey>, Self::Failure> {
        let (Some(name), Some(id)) = (self.optional_text(kind)?, self.optional_text(kind + 1)?) else {
            return Ok(None);
        };
        RecordKey::new(&name, &id)
            .map(Some)
            .map_err(|_| self.inconsistent(kind, "no record key"))
    }
}

/// Reads the columns of `file_columns!`, and the two that stand somewhere else in each engine.
pub(crate) fn file<C: Columns>(c: &C, legal_hold: usize, unarchived_at: usize) -> Result<File, C::Failure> {
    let staged = match c.optional_size(17)? {
        None => None,
        Some(size_bytes) => Some(Staged {
            size_bytes,
            etag: c.text(18)?,
            generation: c.text(19)?,
        }),
    };
    let verified = match c.digest(20)? {
        None => None,
        Some(sha256) => Some(Verified {
            sha256,
            size_bytes: c.size(21)?,
            content_type: c.media_type(22)?,
        }),
    };
    let error = match c.optional_text(25)? {
        None => None,
        Some(code) => Some(FileError {
            code,
            message: c.text(26)?,
        }),
    };
    let trash = match c.optional_named(32, FileState::parse)? {
        None => None,
        Some(from) => Some(Trash {
            from,
            at: c.time(33)?,
            purge_at: c.time(34)?,
        }),
    };
    let hold = match c.optional_object(legal_hold)? {
        None => None,
        Some(object) => Some(hold::read(&object).ok_or_else(|| c.inconsistent(legal_hold, "no legal hold"))?),
    };
    Ok(File {
        id: FileId(c.id(0)?),
        owner: c.text(1)?,
        created_by_username: c.text(2)?,
        created_by_full_name: c.optional_text(3)?,
        collection: c.text(4)?,
        bucket: c.text(5)?,
        state: c.named(6, FileState::parse)?,
        version: c.size(7)?,
        epoch: c.count(8)?,
        record: c.record_key(9)?,
        filename: c.text(11)?,
        description: c.optional_text(12)?,
        metadata: c.object(13)?,
        declared: Declared {
            content_type: c.media_type(14)?,
            size_bytes: c.optional_size(15)?,
            sha256: c.digest(16)?,
        },
        staged,
        verified,
        key: c.text(23)?,
        facts: c.object(24)?,
        error,
        created_at: c.time(27)?,
        updated_at: c.time(28)?,
        uploaded_at: c.optional_time(29)?,
        confirmed_at: c.optional_time(30)?,
        processed_at: c.optional_time(31)?,
        trash,
        hold,
        unarchived_at: c.optional_time(unarchived_at)?,
    })
}

/// Reads the columns of an upload, beginning at `from`.
pub(crate) fn upload<C: Columns>(c: &C, from: usize) -> Result<Upload, C::Failure> {
    Ok(Upload {
        file_id: FileId(c.id(from)?),
        method: c.named(from + 1, UploadMethod::parse)?,
        staging_key: c.text(from + 2)?,
        expires_at: c.time(from + 3)?,
        multipart_id: c.optional_text(from + 4)?,
        part_size_bytes: c.optional_size(from + 5)?,
        request_digest: c.digest(from + 6)?,
        reserved_bytes: c.size(from + 7)?,
    })
}

/// Reads a derivative.
pub(crate) fn derivative<C: Columns>(c: &C) -> Result<Derivative, C::Failure> {
    let outcome = match c.optional_text(7)? {
        Some(error) => DerivativeOutcome::Failed { error },
        None => DerivativeOutcome::Made {
            key: c.text(2)?,
            content_type: c.media_type(3)?,
            size_bytes: c.size(4)?,
            width: c.optional_count(5)?,
            height: c.optional_count(6)?,
        },
    };
    Ok(Derivative {
        file_id: FileId(c.id(0)?),
        name: c.text(1)?,
        outcome,
        created_at: c.time(8)?,
    })
}

/// Reads an event.
pub(crate) fn event<C: Columns>(c: &C) -> Result<Event, C::Failure> {
    Ok(Event {
        file_id: FileId(c.id(0)?),
        version: c.size(1)?,
        id: EventId(c.id(2)?),
        kind: c.named(3, EventKind::parse)?,
        state: c.named(4, FileState::parse)?,
        actor: c.text(5)?,
        data: c.object(6)?,
        at: c.time(7)?,
    })
}

/// Reads the columns of `job_columns!`.
pub(crate) fn job<C: Columns>(c: &C) -> Result<Job, C::Failure> {
    Ok(Job {
        id: JobId(c.id(0)?),
        kind: c.named(1, JobKind::parse)?,
        file_id: FileId(c.id(2)?),
        state: c.named(3, JobState::parse)?,
        run_at: c.time(4)?,
        attempt: c.count(5)?,
        lease_epoch: c.count(6)?,
        lease_owner: c.optional_text(7)?.map(WorkerId),
        lease_until: c.optional_time(8)?,
        last_error: c.optional_text(9)?,
        created_at: c.time(10)?,
        failures: c.count(11)?,
        owner: c.optional_text(12)?,
        turn_at: c.optional_time(13)?,
        progress: c.optional_object(14)?.as_ref().and_then(JobProgress::from_json),
    })
}

/// Reads the columns of `intent_columns!`.
pub(crate) fn intent<C: Columns>(c: &C) -> Result<Intent, C::Failure> {
    Ok(Intent {
        id: IntentId(c.id(0)?),
        kind: c.named(1, IntentKind::parse)?,
        status: c.named(2, IntentStatus::parse)?,
        file_id: c.optional_id(3)?.map(FileId),
        epoch: c.count(4)?,
        data: c.object(5)?,
        actor: c.text(6)?,
        started_at: c.time(7)?,
        lease_until: c.time(8)?,
        completed_at: c.optional_time(9)?,
        error: c.optional_text(10)?,
    })
}

/// Reads a record.
pub(crate) fn record<C: Columns>(c: &C) -> Result<Record, C::Failure> {
    Ok(Record {
        key: c.present(0, c.record_key(0)?)?,
        owner: c.text(2)?,
        parent: c.record_key(3)?,
        payload: c.object(5)?,
        meta: c.object(6)?,
        version: c.size(7)?,
        created_at: c.time(8)?,
        updated_at: c.time(9)?,
    })
}

/// Reads what an owner uses, beginning at `from`.
pub(crate) fn usage<C: Columns>(c: &C, from: usize) -> Result<Usage, C::Failure> {
    Ok(Usage {
        reserved_bytes: c.size(from)?,
        stored_bytes: c.size(from + 1)?,
        files: c.size(from + 2)?,
    })
}

/// Reads the counters of an owner beside what they should be.
pub(crate) fn usage_check<C: Columns>(c: &C) -> Result<UsageCheck, C::Failure> {
    Ok(UsageCheck {
        owner: c.text(0)?,
        counted: usage(c, 1)?,
        found: usage(c, 4)?,
    })
}

/// Reads an object that nobody names.
pub(crate) fn garbage<C: Columns>(c: &C) -> Result<Garbage, C::Failure> {
    Ok(Garbage {
        path: ObjectPath::new(c.text(0)?, c.text(1)?),
        upload_id: c.text(2)?,
        reason: c.named(3, GarbageReason::parse)?,
        state: c.named(4, GarbageState::parse)?,
        etag: c.text(5)?,
        size_bytes: c.size(6)?,
        file_id: c.optional_id(7)?.map(FileId),
        found_at: c.time(8)?,
        purge_at: c.time(9)?,
    })
}

/// Reads a store and its mode.
pub(crate) fn store_state<C: Columns>(c: &C) -> Result<StoreState, C::Failure> {
    Ok(StoreState {
        name: c.text(0)?,
        mode: c.named(1, StorageMode::parse)?,
        epoch: c.size(2)?,
        draining_until: c.optional_time(3)?,
        changed_at: c.time(4)?,
        changed_by: c.text(5)?,
    })
}

/// Reads what an administrator did.
pub(crate) fn audit_entry<C: Columns>(c: &C) -> Result<AuditEntry, C::Failure> {
    Ok(AuditEntry {
        id: AuditId(c.id(0)?),
        at: c.time(1)?,
        actor: c.text(2)?,
        action: c.text(3)?,
        subject: c.text(4)?,
        data: c.object(5)?,
    })
}

/// Reads an operation.
pub(crate) fn operation<C: Columns>(c: &C) -> Result<Operation, C::Failure> {
    Ok(Operation {
        id: OperationId(c.id(0)?),
        kind: c.named(1, OperationKind::parse)?,
        state: c.named(2, OperationState::parse)?,
        options: c.object(3)?,
        done: c.size(4)?,
        total: c.optional_size(5)?,
        place: c.optional_text(6)?,
        counts: c.object(7)?,
        error: c.optional_text(8)?,
        actor: c.text(9)?,
        created_at: c.time(10)?,
        updated_at: c.time(11)?,
        finished_at: c.optional_time(12)?,
        lease_epoch: c.count(13)?,
        lease_owner: c.optional_text(14)?.map(WorkerId),
        lease_until: c.optional_time(15)?,
    })
}

/// Reads what an operation found.
pub(crate) fn finding<C: Columns>(c: &C) -> Result<Finding, C::Failure> {
    Ok(Finding {
        kind: c.text(0)?,
        bucket: c.optional_text(1)?,
        key: c.optional_text(2)?,
        file_id: c.optional_id(3)?.map(FileId),
        detail: c.text(4)?,
        action: c.text(5)?,
    })
}
