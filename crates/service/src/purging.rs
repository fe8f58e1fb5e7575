//! Removing bytes, always after the row was claimed: what an upload left behind, and files whose time in the trash
//! is over.

use cloakroom_core::JsonObject;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{IntentId, JobId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{Job, JobKind, NewJob};
use cloakroom_core::key::tombstone_key;
use cloakroom_core::ports::objects::{
    ListOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions,
};
use cloakroom_core::transition::Fence;
use cloakroom_core::upload::Upload;
use jiff::SignedDuration;

use crate::app::App;
use crate::processing::{Attempt, AttemptError};

/// The actor of what the sweeper's jobs do.
pub(crate) const SWEEPER: &str = "sweeper";
/// How long a tombstone stands: longer than any late writer can be alive.
const TOMBSTONE_HOURS: i64 = 24;

impl App {
    /// Removes what a claimed upload left in staging, and says that it is gone.
    pub async fn reap_upload(&self, job: &Job) -> Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if file.state != FileState::Reaping {
            return Ok(Attempt::NothingToDo);
        }
        self.remove_staging(&file).await?;
        let mut transition = file
            .reaped(&self.occasion(SWEEPER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Complete(job.lease()));
        self.metadata.apply(transition).await?;
        Ok(Attempt::Completed)
    }

    /// Removes the bytes of a file that failed: in staging, and where an attempt may have promoted them to.
    pub async fn discard_staging(&self, job: &Job) -> Result<Attempt, AttemptError> {
        if let Some(file) = self.metadata.file(job.file_id).await?
            && (file.state == FileState::Failed
                || file.trash.is_some_and(|trash| trash.from == FileState::Failed))
        {
            self.remove_staging(&file).await?;
            self.objects
                .delete(&ObjectPath::new(&file.bucket, &file.key))
                .await?;
            self.remove_beside(&file, &tombstone_key(&file.key)).await?;
        }
        Ok(Attempt::NothingToDo)
    }

    /// Removes a purged file: tombstone first, so that no rebuild brings it back; then the object, whatever
    /// stands beside it, and the row.
    pub async fn purge_file(&self, job: &Job) -> Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if file.state != FileState::Purging {
            return Ok(Attempt::NothingToDo);
        }
        let occasion = self.occasion(SWEEPER);
        let intent = self.intend_delete(&file).await?;
        let tombstone = ObjectPath::new(&file.bucket, tombstone_key(&file.key));
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let words = serde_json::json!({"format": 1, "file_id": file.id.to_string(), "purged_at": occasion.now.to_string()});
        self.objects
            .put(&tombstone, options, PutBody::from_bytes(words.to_string()))
            .await?;
        self.remove_staging(&file).await?;
        self.objects
            .delete(&ObjectPath::new(&file.bucket, &file.key))
            .await?;
        self.remove_beside(&file, &tombstone.key).await?;

        let mut last = file.clone();
        last.version += 1;
        // The row goes; the event remembers where the tombstone stands.
        let mut event = occasion.event(&last, EventKind::Purged);
        event
            .data
            .insert("bucket".to_owned(), tombstone.bucket.clone().into());
        event
            .data
            .insert("tombstone".to_owned(), tombstone.key.clone().into());
        let follow_up = NewJob {
            id: JobId(self.random.uuid_v7(occasion.now)),
            kind: JobKind::RemoveTombstone,
            file_id: file.id,
            run_at: occasion
                .now
                .checked_add(SignedDuration::from_hours(TOMBSTONE_HOURS))
                .unwrap_or(occasion.now),
        };
        self.metadata
            .forget(&file, event, Some(job.lease()), Some(follow_up))
            .await?;
        self.metadata
            .end_intent(intent, IntentStatus::Committed, None, self.now())
            .await?;
        tracing::info!(event = "file_purged", file_id = %file.id, user_id = %file.owner, bucket = %file.bucket, "File purged");
        Ok(Attempt::Completed)
    }

    /// Removes the tombstone of a purged file, once no late writer can be alive.
    pub async fn remove_tombstone(&self, job: &Job) -> Result<Attempt, AttemptError> {
        let mut after = None;
        loop {
            let page = self.metadata.timeline(job.file_id, after, 1_000).await?;
            for event in &page.items {
                after = Some(event.version);
                let text = |name: &str| event.data.get(name).and_then(serde_json::Value::as_str);
                if let (EventKind::Purged, Some(bucket), Some(key)) =
                    (event.kind, text("bucket"), text("tombstone"))
                {
                    self.objects.delete(&ObjectPath::new(bucket, key)).await?;
                }
            }
            if !page.more {
                return Ok(Attempt::NothingToDo);
            }
        }
    }

    /// Staging object and parts of the file's upload.
    async fn remove_staging(&self, file: &File) -> Result<(), AttemptError> {
        let Some(Upload {
            staging_key,
            multipart_id,
            ..
        }) = self.metadata.upload(file.id).await?
        else {
            return Ok(());
        };
        let path = ObjectPath::new(&file.bucket, staging_key);
        if let Some(multipart_id) = multipart_id {
            match self.objects.abort_multipart(&path, &multipart_id).await {
                Ok(()) | Err(ObjectError::NoSuchUpload | ObjectError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.objects.delete(&path).await {
            Ok(()) | Err(ObjectError::NoSuchBucket(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sidecars and derivatives: everything whose key is the file's own and more, but for its tombstone.
    async fn remove_beside(&self, file: &File, tombstone: &str) -> Result<(), AttemptError> {
        let options = ListOptions {
            prefix: format!("{}.", file.key),
            limit: 1_000,
            ..ListOptions::default()
        };
        loop {
            let page = self.objects.list(&file.bucket, &options).await?;
            let ours: Vec<_> = page
                .objects
                .into_iter()
                .filter(|object| object.key != tombstone)
                .collect();
            if ours.is_empty() {
                return Ok(());
            }
            for object in ours {
                self.objects
                    .delete(&ObjectPath::new(&file.bucket, object.key))
                    .await?;
            }
        }
    }

    async fn intend_delete(&self, file: &File) -> Result<IntentId, AttemptError> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let mut data = JsonObject::new();
        data.insert("bucket".to_owned(), file.bucket.clone().into());
        data.insert("key".to_owned(), file.key.clone().into());
        let intent = Intent {
            id,
            kind: IntentKind::FileDelete,
            status: IntentStatus::Pending,
            file_id: file.id,
            epoch: file.epoch,
            data,
            actor: SWEEPER.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }
}
