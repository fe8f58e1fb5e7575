//! Deleting an owner: every file and every record of theirs. Long work, so it is an operation; what is on legal hold, or in
//! a store that is closed, is reported and stays, and everything else goes.

use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::id::{IntentId, OperationId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::operation::{Finding, OperationState};
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::record::RecordKey;
use cloakroom_core::storage::StorageAction;
use jiff::SignedDuration;
use uuid::Uuid;

use super::{Deletion, PURGE_NOW, ROUND_MAX, deletion_of, is_held};
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::operations::Run;

/// In the data of an intent: whose everything goes.
const OWNER: &str = "owner";
/// In the data of an intent: the operation that does it.
const OPERATION: &str = "operation";
/// An operation goes on by itself when its worker dies; the intent outlives it only if nobody can finish it.
const LEASE: SignedDuration = SignedDuration::from_hours(24);
/// Records read in one step.
const RECORDS_PAGE: u32 = 500;

/// Who lets what go, and how.
struct Task {
    owner: String,
    deletion: Deletion,
    actor: String,
}

impl App {
    /// Deletes everything of one owner. Options: `owner`, and `purge_now` for files that do not wait in the trash.
    pub(crate) async fn run_delete_owner(&self, run: &mut Run<'_>) -> Result<()> {
        let Some(owner) = run.text(OWNER).map(str::to_owned) else {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "The option owner is missing.").into());
        };
        let task = Task {
            owner,
            deletion: Deletion {
                purge_now: run.flag(PURGE_NOW),
            },
            actor: run.operation().actor.clone(),
        };
        if run.place().is_none() {
            let mut data = JsonObject::new();
            data.insert(OWNER.to_owned(), task.owner.clone().into());
            data.insert(PURGE_NOW.to_owned(), task.deletion.purge_now.into());
            data.insert(OPERATION.to_owned(), run.operation().id.to_string().into());
            let intent = self
                .intend_deletion(IntentKind::OwnerDelete, data, &task.actor, LEASE)
                .await?;
            run.advance(0, format!("files/{intent}")).await?;
        }
        let place = run.place().unwrap_or_default().to_owned();
        let intent = place.split_once('/').and_then(|(_, id)| id.parse::<Uuid>().ok());
        let mut report = Report {
            run: Some(run),
            place,
        };
        self.delete_files_of(&task, &mut report).await?;
        self.delete_records_of(&task, &mut report).await?;
        if let Some(intent) = intent {
            self.metadata
                .end_intent(IntentId(intent), IntentStatus::Committed, None, self.now())
                .await?;
        }
        report.save(0).await
    }

    /// Goes on with the deletion of an owner whose operation cannot: it failed, or its row is gone. One that was cancelled
    /// stays undone.
    pub(crate) async fn recover_owner_deletion(&self, intent: &Intent) -> Result<IntentStatus> {
        let text = |name: &str| intent.data.get(name).and_then(serde_json::Value::as_str);
        let id = text(OPERATION).and_then(|id| id.parse::<OperationId>().ok());
        let operation = match id {
            Some(id) => self.administration.operation(id).await?,
            None => None,
        };
        match operation.map(|operation| operation.state) {
            Some(OperationState::Cancelled) => return Ok(IntentStatus::RolledBack),
            Some(OperationState::Done) => return Ok(IntentStatus::Committed),
            Some(OperationState::Waiting | OperationState::Running) => {
                // It is under way: looked at again a day later, under an intent of its own.
                self.intend_deletion(intent.kind, intent.data.clone(), &intent.actor, LEASE)
                    .await?;
                return Ok(IntentStatus::RolledBack);
            }
            Some(OperationState::Failed) | None => {}
        }
        let Some(owner) = text(OWNER) else {
            return Ok(IntentStatus::RolledBack);
        };
        let task = Task {
            owner: owner.to_owned(),
            deletion: deletion_of(intent),
            actor: intent.actor.clone(),
        };
        let mut nobody = Report::default();
        self.delete_files_of(&task, &mut nobody).await?;
        self.delete_records_of(&task, &mut nobody).await?;
        Ok(IntentStatus::Committed)
    }

    async fn delete_files_of(&self, task: &Task, report: &mut Report<'_, '_>) -> Result<()> {
        let mut query = FileQuery {
            owner: Some(task.owner.clone()),
            states: task.deletion.states(),
            limit: ROUND_MAX,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                self.delete_file_of(task, file, report).await?;
            }
            report.save(page.items.len() as u64).await?;
            let Some(last) = page.items.last().filter(|_| page.more) else {
                return Ok(());
            };
            query.after = Some(Cursor {
                created_at: last.created_at,
                id: last.id,
            });
        }
    }

    /// Tries until it went or has to stay.
    async fn delete_file_of(&self, task: &Task, file: &File, report: &mut Report<'_, '_>) -> Result<()> {
        let mut file = file.clone();
        loop {
            if let Err(refusal) = self.admit(StorageAction::Delete, &file.bucket)
                && !file.state.is_open()
            {
                report.keep("store_closed", Some(&file), refusal.message);
                return Ok(());
            }
            match self.let_go(&file, task.deletion, &task.actor).await {
                Ok(()) => {
                    report.count("files");
                    return Ok(());
                }
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => match is_held(&error) {
                    Some(refusal) => {
                        report.keep("legal_hold", Some(&file), refusal.message.clone());
                        return Ok(());
                    }
                    None => return Err(error),
                },
            }
            match self.metadata.file(file.id).await? {
                Some(now) if task.deletion.states().contains(&now.state) => file = now,
                _ => return Ok(()),
            }
        }
    }

    async fn delete_records_of(&self, task: &Task, report: &mut Report<'_, '_>) -> Result<()> {
        let mut after: Option<RecordKey> = None;
        loop {
            let page = self
                .administration
                .all_records(after.as_ref(), RECORDS_PAGE)
                .await?;
            report.save(page.items.len() as u64).await?;
            for record in page.items {
                after = Some(record.key.clone());
                if record.owner != task.owner {
                    continue;
                }
                match Box::pin(self.delete_below(&record.key, task.deletion, &task.actor)).await {
                    Ok(()) => report.count("records"),
                    Err(ServiceError::Refused(refusal)) => {
                        let detail = format!("The record {} stays: {}", record.key, refusal.message);
                        report.keep("record_kept", None, detail);
                    }
                    Err(error) => return Err(error),
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }
}

/// Says what went and what stays, where somebody reads it.
#[derive(Default)]
struct Report<'a, 'b> {
    run: Option<&'a mut Run<'b>>,
    /// Where a run goes on: from the beginning, as what went is not found again.
    place: String,
}

impl Report<'_, '_> {
    fn count(&mut self, name: &str) {
        if let Some(run) = &mut self.run {
            run.count(name, 1);
        }
    }

    fn keep(&mut self, kind: &str, file: Option<&File>, detail: String) {
        if let Some(run) = &mut self.run {
            run.find(Finding {
                kind: kind.to_owned(),
                bucket: file.map(|file| file.bucket.clone()),
                key: file.map(|file| file.key.clone()),
                file_id: file.map(|file| file.id),
                detail,
                action: "kept".to_owned(),
            });
        }
    }

    /// Looked at so many more. The error ends the work: it was cancelled, or is somebody else's.
    async fn save(&mut self, more: u64) -> Result<()> {
        match &mut self.run {
            Some(run) => run.advance(run.done() + more, self.place.clone()).await,
            None => Ok(()),
        }
    }
}
