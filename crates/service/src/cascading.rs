//! Deleting a record, or an owner, with everything that hangs on it.
//!
//! A cascade is many commits, so an intent stands before the first of them: whoever dies in between is followed by a
//! recovery that goes on until nothing is left. Every step asks for the rows as they are then, so two that do the same do
//! it once. What is on legal hold stops a cascade before it begins.

mod owner;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::metadata::{Cursor, FileQuery, MetadataError};
use cloakroom_core::record::{Record, RecordKey};
use jiff::SignedDuration;

use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::tokens::require_admin;
use crate::uploads::RACES_MAX;

/// In the data of an intent: the record whose cascade it is.
const CASCADE: &str = "cascade";
/// In the data of an intent: files do not wait in the trash.
const PURGE_NOW: &str = "purge_now";
/// In the data of an intent: when its record was made, in microseconds since 1970. Another one may have its name later.
const MADE_AT: &str = "record_made_at";
/// Files handled in one step.
const ROUND_MAX: u32 = 200;

/// How a deletion lets files go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Files are removed for good at once, those in the trash too, instead of waiting there. For administrators.
    pub purge_now: bool,
}

impl Deletion {
    /// States of files that it lets go.
    fn states(self) -> Vec<FileState> {
        let over = |state: FileState| {
            matches!(
                state,
                FileState::Purging | FileState::Reaping | FileState::Expired
            ) || state == FileState::Trashed && !self.purge_now
        };
        FileState::ALL
            .iter()
            .copied()
            .filter(|state| !over(*state))
            .collect()
    }
}

impl App {
    /// Deletes a record: its files go to the trash, or for good; its child records go the same way; then the record
    /// itself.
    ///
    /// # Errors
    /// `legal_hold`, naming the file, and `invalid_storage_mode`, before anything is changed.
    pub async fn delete_record(
        &self,
        principal: &Principal,
        key: &RecordKey,
        deletion: Deletion,
    ) -> Result<()> {
        let root = self.record_for(principal, Action::Write, key).await?;
        if deletion.purge_now {
            require_admin(principal)?;
        }
        let records = self.records_below(key).await?;
        self.admit_cascade(&records).await?;
        for record in &records {
            self.admit_removal_from(record, deletion).await?;
        }
        let intent = self.intend_cascade(&root, deletion, &principal.subject).await?;
        let outcome = self.delete_below(key, deletion, &principal.subject).await;
        let status = match &outcome {
            Ok(()) => IntentStatus::Committed,
            // A recovery goes on.
            Err(ServiceError::Unavailable(_) | ServiceError::Internal(_)) => return outcome,
            // Refused: somebody put a file on hold, or keeps linking files.
            Err(ServiceError::Refused(_)) => IntentStatus::RolledBack,
        };
        self.metadata.end_intent(intent, status, None, self.now()).await?;
        outcome
    }

    /// A record and every one below it, parents before their children.
    async fn records_below(&self, key: &RecordKey) -> Result<Vec<RecordKey>> {
        let mut stack = vec![key.clone()];
        let mut order: Vec<RecordKey> = Vec::new();
        while let Some(next) = stack.pop() {
            if order.contains(&next) {
                continue;
            }
            let children = self.metadata.child_records(&next).await?;
            stack.extend(children.into_iter().map(|child| child.key));
            order.push(next);
        }
        Ok(order)
    }

    /// Whether none of a record's files is on legal hold.
    async fn admit_removal_from(&self, key: &RecordKey, deletion: Deletion) -> Result<()> {
        let record = self.metadata.record(key).await?;
        let mut query = FileQuery {
            record: Some(key.clone()),
            states: deletion.states(),
            limit: 1_000,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                if hangs_on(file, record.as_ref()) {
                    file.admit_removal()?;
                }
            }
            let Some(last) = page.items.last().filter(|_| page.more) else {
                return Ok(());
            };
            query.after = Some(Cursor {
                created_at: last.created_at,
                id: last.id,
            });
        }
    }

    async fn intend_cascade(&self, root: &Record, deletion: Deletion, actor: &str) -> Result<IntentId> {
        let mut data = JsonObject::new();
        data.insert(CASCADE.to_owned(), root.key.to_string().into());
        data.insert(MADE_AT.to_owned(), root.created_at.as_microsecond().into());
        data.insert(PURGE_NOW.to_owned(), deletion.purge_now.into());
        self.intend_deletion(IntentKind::RecordDelete, data, actor, self.policy.intent_lease)
            .await
    }

    async fn intend_deletion(
        &self,
        kind: IntentKind,
        data: JsonObject,
        actor: &str,
        lease: SignedDuration,
    ) -> Result<IntentId> {
        let now = self.now();
        let intent = Intent {
            id: IntentId(self.random.uuid_v7(now)),
            kind,
            status: IntentStatus::Pending,
            file_id: None,
            epoch: 0,
            data,
            actor: actor.to_owned(),
            started_at: now,
            lease_until: now.checked_add(lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(intent.id)
    }

    /// Goes on with a cascade whose author died. What came on legal hold since stops it where it is.
    pub(crate) async fn recover_cascade(&self, intent: &Intent) -> Result<IntentStatus> {
        let text = intent.data.get(CASCADE).and_then(serde_json::Value::as_str);
        let Some(key) = text.map(RecordKey::parse).transpose()? else {
            return Ok(IntentStatus::RolledBack);
        };
        let made_at = intent.data.get(MADE_AT).and_then(serde_json::Value::as_i64);
        let standing = self.metadata.record(&key).await?;
        if let (Some(made_at), Some(standing)) = (made_at, standing)
            && standing.created_at.as_microsecond() != made_at
        {
            // The record went, last of all, and somebody has made a new one.
            return Ok(IntentStatus::Committed);
        }
        match self.delete_below(&key, deletion_of(intent), &intent.actor).await {
            Ok(()) => Ok(IntentStatus::Committed),
            Err(ServiceError::Refused(refusal)) => {
                tracing::warn!(event = "cascade_stopped", record = %key, error_code = refusal.code.as_str(), "a record was deleted in part: {}", refusal.message);
                Ok(IntentStatus::RolledBack)
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_below(&self, key: &RecordKey, deletion: Deletion, actor: &str) -> Result<()> {
        for record in self.records_below(key).await?.iter().rev() {
            self.delete_one_record(record, deletion, actor).await?;
        }
        Ok(())
    }

    async fn delete_one_record(&self, key: &RecordKey, deletion: Deletion, actor: &str) -> Result<()> {
        for _ in 0..RACES_MAX {
            let record = self.metadata.record(key).await?;
            self.let_go_from(key, record.as_ref(), deletion, actor).await?;
            let Some(record) = record else { return Ok(()) };
            match self.commit_record_deletion(&record, actor).await {
                Ok(()) => return Ok(()),
                // Changed, or a file was linked in between: look again.
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// Lets every file go that hangs on a record.
    async fn let_go_from(
        &self,
        key: &RecordKey,
        record: Option<&Record>,
        deletion: Deletion,
        actor: &str,
    ) -> Result<()> {
        let mut query = FileQuery {
            record: Some(key.clone()),
            states: deletion.states(),
            limit: ROUND_MAX,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            let Some(last) = page.items.last() else {
                return Ok(());
            };
            let last = Cursor {
                created_at: last.created_at,
                id: last.id,
            };
            let mut found = false;
            for file in page.items.iter().filter(|file| hangs_on(file, record)) {
                found = true;
                match self.let_go(file, deletion, actor).await {
                    Ok(()) => {}
                    // A lost race shows up again in the next page.
                    Err(error) if error.code() == ErrorCode::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            // What went is not found again; what stays is passed by.
            query.after = if found { None } else { Some(last) };
        }
    }

    /// Reaping for an open upload, the trash for a file, and the purge after it where that is asked for. An open upload
    /// becomes a file, and a file goes to the trash, when somebody else is faster: the next look sees it.
    async fn let_go(&self, file: &File, deletion: Deletion, actor: &str) -> Result<()> {
        let occasion = self.occasion(actor);
        if file.state.is_open() {
            let upload = self.metadata.upload(file.id).await?;
            let upload = upload.ok_or(MetadataError::Conflict)?;
            let transition = file.reap(&upload, "deleted", &occasion)?;
            return Ok(self.metadata.apply(transition).await?);
        }
        if file.state == FileState::Trashed {
            return Ok(self.metadata.apply(file.purge(&occasion)?).await?);
        }
        if !deletion.purge_now {
            return Box::pin(self.trash(file, actor)).await;
        }
        let transition = file.trash(SignedDuration::ZERO, &occasion)?;
        let trashed = Box::pin(self.commit_update(file, transition)).await?;
        Ok(self.metadata.apply(trashed.purge(&self.occasion(actor))?).await?)
    }
}

/// Whether a file that names a record hangs on the one that has this name now. What somebody else had put into the trash
/// before that one was made hung on an earlier one.
fn hangs_on(file: &File, record: Option<&Record>) -> bool {
    record.is_none_or(|record| {
        file.owner == record.owner || file.trash.is_none_or(|trash| trash.at >= record.created_at)
    })
}

fn deletion_of(intent: &Intent) -> Deletion {
    Deletion {
        purge_now: intent.data.get(PURGE_NOW) == Some(&serde_json::Value::Bool(true)),
    }
}

/// The refusal of a file that came on hold while its record was being deleted, told from other refusals.
fn is_held(error: &ServiceError) -> Option<&Refusal> {
    match error {
        ServiceError::Refused(refusal) if refusal.code == ErrorCode::LegalHold => Some(refusal),
        _ => None,
    }
}
