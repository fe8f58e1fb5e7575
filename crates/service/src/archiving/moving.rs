//! Committing a move, finishing one whose author died, and removing what it left.

use cloakroom_core::JsonObject;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{FROM_BUCKET, FROM_KEY, File, FileState};
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::Job;
use cloakroom_core::key::{derivative_base, derivative_suffix, sidecar_key};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::transition::{Fence, Occasion, Transition};

use super::Direction;
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::processing::{Attempt, AttemptError, WORKER};
use crate::recovery::RECOVERY;

impl App {
    /// Intent, sidecar at the old place, row with the job's end.
    pub(super) async fn commit_move(
        &self,
        file: &File,
        job: &Job,
        direction: Direction,
        place: ObjectPath,
        derivatives: Vec<Derivative>,
    ) -> std::result::Result<Attempt, AttemptError> {
        let occasion = self.occasion(WORKER);
        let mut transition = moved(file, direction, place, derivatives, &occasion)?;
        let intent = self.intend_move(file, &transition).await?;
        if !self.put_moving_sidecar(file, &transition).await? {
            self.metadata
                .end_intent(intent.id, IntentStatus::RolledBack, None, self.now())
                .await?;
            // Another change of this epoch, or a move that died here: a recovery decides which soon.
            return Err(AttemptError::Unavailable(
                "another change of the file is under way".to_owned(),
            ));
        }
        transition.intent = Some(intent.id);
        transition.fence = Some(Fence::Complete(job.lease()));
        let after = transition.file.clone();
        match self.metadata.apply(transition).await {
            Ok(()) => {
                log_moved(&after);
                Ok(Attempt::Completed)
            }
            Err(MetadataError::Conflict) => {
                // The revision stands, so it is made true, or outlived, before anybody else looks at it.
                let now = self.metadata.file(file.id).await?;
                let status = match &now {
                    Some(now) => self.recover_move(now, &intent).await?,
                    None => IntentStatus::RolledBack,
                };
                self.metadata
                    .end_intent(intent.id, status, None, self.now())
                    .await?;
                Err(AttemptError::Overtaken)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn intend_move(
        &self,
        file: &File,
        transition: &Transition,
    ) -> std::result::Result<Intent, AttemptError> {
        let now = self.now();
        let after = &transition.file;
        let data = JsonObject::from_iter([
            ("from_version".to_owned(), file.version.into()),
            (FROM_BUCKET.to_owned(), file.bucket.clone().into()),
            (FROM_KEY.to_owned(), file.key.clone().into()),
            ("bucket".to_owned(), after.bucket.clone().into()),
            ("key".to_owned(), after.key.clone().into()),
        ]);
        let intent = Intent {
            id: IntentId(self.random.uuid_v7(now)),
            kind: IntentKind::FileMove,
            status: IntentStatus::Pending,
            file_id: Some(file.id),
            epoch: after.epoch,
            data,
            actor: WORKER.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(intent)
    }

    /// The revision that says where the file is from now on, at the place where it was; `false` when one of this epoch
    /// stands there already.
    async fn put_moving_sidecar(
        &self,
        before: &File,
        transition: &Transition,
    ) -> std::result::Result<bool, AttemptError> {
        let after = &transition.file;
        let mut sidecar = self.sidecar_of(after, &transition.derivatives, None).await?;
        sidecar.bucket = Some(after.bucket.clone());
        sidecar.key = Some(after.key.clone());
        let bytes = sidecar
            .encode_fitting()
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            conditions: WriteConditions {
                if_absent: true,
                ..WriteConditions::default()
            },
        };
        let path = ObjectPath::new(&before.bucket, sidecar_key(&before.key, after.epoch));
        match self.objects.put(&path, options, PutBody::from_bytes(bytes)).await {
            Ok(_) => Ok(true),
            Err(ObjectError::PreconditionFailed(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A move whose author died: forward if its sidecar stands. If it does not, an author who only stood still may yet write
    /// it, so the row takes that revision itself.
    pub(crate) async fn recover_move(&self, file: &File, intent: &Intent) -> Result<IntentStatus> {
        if file.epoch >= intent.epoch {
            return Ok(IntentStatus::Committed);
        }
        let text = |name: &str| intent.data.get(name).and_then(serde_json::Value::as_str);
        let direction = match file.state {
            FileState::Ready => Direction::There,
            FileState::Archived => Direction::Back,
            // Whatever changed its state has written a revision of its own.
            _ => return Ok(IntentStatus::RolledBack),
        };
        let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, intent.epoch));
        let Some(bytes) = self.read_document(&path, SIDECAR_BYTES_MAX).await? else {
            // When the author is faster this is a conflict, and the next round finds the revision.
            let transition = file.supersede(file.epoch, &self.occasion(RECOVERY))?;
            self.commit_update(file, transition).await?;
            // The row has a later version now than the place was for.
            if let (Some(bucket), Some(key)) = (text("bucket"), text("key")) {
                self.clear_place(&ObjectPath::new(bucket, key)).await?;
            }
            return Ok(IntentStatus::RolledBack);
        };
        let sidecar = SidecarV1::decode(&bytes)?;
        let (Some(bucket), Some(key)) = (&sidecar.bucket, &sidecar.key) else {
            return Ok(IntentStatus::RolledBack);
        };
        if Some(key.as_str()) != text("key") {
            // The revision of another change, which has an intent of its own.
            return Ok(IntentStatus::RolledBack);
        }
        let place = ObjectPath::new(bucket, key);
        let derivatives = if sidecar.omits("derivatives") {
            self.derivatives_moved(file, key).await?
        } else {
            let there = File {
                bucket: bucket.clone(),
                key: key.clone(),
                ..file.clone()
            };
            sidecar.derivatives(&there)?
        };
        // The row says what its sidecar says.
        let occasion = Occasion {
            now: sidecar.updated_at,
            actor: RECOVERY,
            random: &*self.random,
        };
        let transition = moved(file, direction, place, derivatives, &occasion)?;
        let after = transition.file.clone();
        self.metadata.apply(transition).await?;
        log_moved(&after);
        Ok(IntentStatus::Committed)
    }

    /// Derivatives of the row as the move has copied them.
    async fn derivatives_moved(&self, file: &File, key: &str) -> Result<Vec<Derivative>> {
        let mut derivatives = self.metadata.derivatives(file.id).await?;
        // Variants stayed behind.
        derivatives.retain(|one| !one.is_variant());
        for derivative in &mut derivatives {
            if let DerivativeOutcome::Made { key: old, .. } = &mut derivative.outcome
                && let Some(suffix) = derivative_suffix(&file.key, old)
            {
                *old = format!("{}{suffix}", derivative_base(key));
            }
        }
        Ok(derivatives)
    }

    /// Removes what a moved file left where it was, once its sidecar stands where it is.
    pub async fn remove_moved(&self, job: &Job) -> std::result::Result<Attempt, AttemptError> {
        // Of one kind there is one job per file: a file that moves again meanwhile is this one's too.
        while let Some(file) = self.metadata.file(job.file_id).await? {
            // A purge removes every place.
            if file.state == FileState::Purging {
                break;
            }
            self.put_standing_sidecar(&file).await?;
            let current = ObjectPath::new(&file.bucket, &file.key);
            for place in self.places_of(&file).await? {
                if place != current {
                    self.clear_place(&place).await?;
                }
            }
            let now = self.metadata.file(file.id).await?;
            if now.is_none_or(|now| now.key == file.key) {
                break;
            }
        }
        Ok(Attempt::NothingToDo)
    }

    /// Removes an object and all that is named after it. What is left of that by a failure is garbage, and found as such.
    async fn clear_place(&self, place: &ObjectPath) -> Result<()> {
        self.objects.delete(place).await?;
        match self.remove_beside(place).await {
            Ok(()) => Ok(()),
            Err(AttemptError::Unavailable(reason)) => Err(ServiceError::Unavailable(reason)),
            Err(error) => Err(ServiceError::Internal(error.to_string())),
        }
    }

    /// The revision of a file beside its object, unless it stands there.
    async fn put_standing_sidecar(&self, file: &File) -> std::result::Result<(), AttemptError> {
        let event = self.occasion(WORKER).event(file, EventKind::Updated);
        let mut standing = Transition::new(file.version, file.clone(), event);
        standing.derivatives = self.metadata.derivatives(file.id).await?;
        match self.put_sidecar(&standing).await {
            // A later change wrote it, or an earlier attempt.
            Ok(()) | Err(AttemptError::Overtaken) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn moved(
    file: &File,
    direction: Direction,
    place: ObjectPath,
    derivatives: Vec<Derivative>,
    occasion: &Occasion<'_>,
) -> Result<Transition> {
    Ok(match direction {
        Direction::There => file.archive(place, derivatives, occasion)?,
        Direction::Back => file.unarchive(place, derivatives, occasion)?,
    })
}

fn log_moved(file: &File) {
    let event = match file.state {
        FileState::Archived => "file_archived",
        _ => "file_unarchived",
    };
    tracing::info!(event, file_id = %file.id, user_id = %file.owner, bucket = %file.bucket, file_size = file.size_bytes(), "File moved");
    metrics::counter!("cloakroom_files_moved_total", "to" => file.state.as_str()).increment(1);
}
