//! Removing bytes, always after the row was claimed: what an upload left behind, and files whose time in the trash
//! is over.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{FROM_BUCKET, FROM_KEY, File, FileState};
use cloakroom_core::format::tombstone_v1::TombstoneV1;
use cloakroom_core::garbage::TOMBSTONE_FOR;
use cloakroom_core::id::{FileId, IntentId, JobId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{Job, JobKind, NewJob};
use cloakroom_core::key::{beside, derivative_base, move_of, tombstone_key};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    ListOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions,
};
use cloakroom_core::storage::StorageAction;
use cloakroom_core::transition::Fence;
use cloakroom_core::upload::{Upload, UploadMethod};

use crate::app::App;
use crate::processing::{Attempt, AttemptError};
use crate::stores::Deed;

/// The actor of what the sweeper's jobs do.
pub(crate) const SWEEPER: &str = "sweeper";

/// What the sweeper asks for, it asks for in its own name.
pub(crate) fn sweeper() -> Principal {
    Principal {
        subject: SWEEPER.to_owned(),
        role: Role::Admin,
        credential: Credential::AccessToken,
        username: SWEEPER.to_owned(),
        full_name: None,
    }
}

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
            && file.state_below_trash() == FileState::Failed
            // The end of the hold enqueues this again.
            && file.hold.is_none()
        {
            self.remove_staging(&file).await?;
            let place = ObjectPath::new(&file.bucket, &file.key);
            self.objects.delete(&place).await?;
            self.remove_beside(&place).await?;
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
        let admission = self.job_admission(Deed::Act(StorageAction::Delete), &file.bucket)?;
        let occasion = self.occasion(SWEEPER);
        let intent = self.intend_delete(&file).await?;
        self.job_still_admitted(&admission).await?;
        // At every place that it ever had: what stands at one that it left could bring it back.
        for place in self.places_of(&file).await? {
            self.put_tombstone(&file, &place).await?;
        }
        self.remove_staging(&file).await?;
        for place in self.places_of(&file).await? {
            self.objects.delete(&place).await?;
            self.remove_beside(&place).await?;
        }

        let mut last = file.clone();
        last.version += 1;
        // The row goes; the event remembers where the tombstone stands, and those of moves where the others do.
        let mut event = occasion.event(&last, EventKind::Purged);
        event.data.insert("bucket".to_owned(), file.bucket.clone().into());
        event
            .data
            .insert("tombstone".to_owned(), tombstone_key(&file.key).into());
        let follow_up = NewJob {
            id: JobId(self.random.uuid_v7(occasion.now)),
            kind: JobKind::RemoveTombstone,
            file_id: file.id,
            run_at: occasion.now.checked_add(TOMBSTONE_FOR).unwrap_or(occasion.now),
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

    /// Removes the tombstones of a purged file, once no late writer can be alive; and before each of them whatever late
    /// writers left there, which would come back to life without it.
    pub async fn remove_tombstone(&self, job: &Job) -> Result<Attempt, AttemptError> {
        for event in self.whole_timeline(job.file_id).await? {
            let places = [place_left(&event), place_purged(&event)];
            for place in places.into_iter().flatten() {
                self.objects.delete(&place).await?;
                self.remove_beside(&place).await?;
                let tombstone = ObjectPath::new(&place.bucket, tombstone_key(&place.key));
                self.objects.delete(&tombstone).await?;
            }
        }
        Ok(Attempt::NothingToDo)
    }

    /// Where the file is, and every place that it left.
    pub(crate) async fn places_of(&self, file: &File) -> Result<Vec<ObjectPath>, MetadataError> {
        let mut places = vec![ObjectPath::new(&file.bucket, &file.key)];
        // Whoever never moved is spared the look.
        if move_of(&file.key).is_some() {
            let timeline = self.whole_timeline(file.id).await?;
            places.extend(timeline.iter().filter_map(place_left));
        }
        Ok(places)
    }

    pub(crate) async fn whole_timeline(&self, id: FileId) -> Result<Vec<Event>, MetadataError> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map(|event| event.version);
            let page = self.metadata.timeline(id, after, 1_000).await?;
            events.extend(page.items);
            if !page.more {
                return Ok(events);
            }
        }
    }

    async fn put_tombstone(&self, file: &File, place: &ObjectPath) -> Result<(), AttemptError> {
        let tombstone = ObjectPath::new(&place.bucket, tombstone_key(&place.key));
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let words = TombstoneV1 {
            format: 1,
            file_id: file.id.0,
            purged_at: self.now(),
        };
        self.objects
            .put(&tombstone, options, PutBody::from_bytes(words.encode()))
            .await?;
        Ok(())
    }

    /// Staging object and parts of the file's upload.
    async fn remove_staging(&self, file: &File) -> Result<(), AttemptError> {
        let Some(Upload {
            staging_key, method, ..
        }) = self.metadata.upload(file.id).await?
        else {
            return Ok(());
        };
        let path = ObjectPath::new(&file.bucket, staging_key);
        if method == UploadMethod::Multipart {
            // The row may not know of it: whoever began it may have died before it said so.
            let begun = match self.objects.multiparts(&path.bucket, &path.key).await {
                Ok(begun) => begun,
                Err(ObjectError::NoSuchBucket(_)) => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            for upload in begun.iter().filter(|upload| upload.key == path.key) {
                match self.objects.abort_multipart(&path, &upload.id).await {
                    Ok(()) | Err(ObjectError::NoSuchUpload | ObjectError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match self.objects.delete(&path).await {
            Ok(()) | Err(ObjectError::NoSuchBucket(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Last: without bytes it says nothing.
        Ok(self.remove_confirm_note(&path.bucket, &path.key).await?)
    }

    /// Sidecars and derivatives: everything whose key is that of the place and more, but for its tombstone; and derivatives
    /// that stand in a directory of their own.
    pub(crate) async fn remove_beside(&self, place: &ObjectPath) -> Result<(), AttemptError> {
        let tombstone = tombstone_key(&place.key);
        self.remove_all(&place.bucket, &place.key, |key| key != tombstone)
            .await?;
        let base = derivative_base(&place.key);
        if base == place.key {
            return Ok(());
        }
        self.remove_all(&place.bucket, &base, |key| beside(&place.key, key).is_some())
            .await
    }

    /// Removes what begins with this and a dot, and is meant, until there is nothing of it.
    async fn remove_all(
        &self,
        bucket: &str,
        base: &str,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<(), AttemptError> {
        let options = ListOptions {
            prefix: format!("{base}."),
            limit: 1_000,
            ..ListOptions::default()
        };
        loop {
            let page = match self.objects.list(bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let ours: Vec<_> = page
                .objects
                .into_iter()
                .filter(|object| is_meant(&object.key))
                .collect();
            if ours.is_empty() {
                return Ok(());
            }
            for object in ours {
                self.objects.delete(&ObjectPath::new(bucket, object.key)).await?;
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
            file_id: Some(file.id),
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

/// The place that a file left with this event.
pub(crate) fn place_left(event: &Event) -> Option<ObjectPath> {
    let text = |name: &str| event.data.get(name).and_then(serde_json::Value::as_str);
    Some(ObjectPath::new(text(FROM_BUCKET)?, text(FROM_KEY)?))
}

/// The place whose tombstone this event remembers.
fn place_purged(event: &Event) -> Option<ObjectPath> {
    if event.kind != EventKind::Purged {
        return None;
    }
    let text = |name: &str| event.data.get(name).and_then(serde_json::Value::as_str);
    let key = text("tombstone")?.strip_suffix(&tombstone_key(""))?;
    Some(ObjectPath::new(text("bucket")?, key))
}
