//! From `confirmed` to `ready`: one streaming pass over the staged bytes, promotion, processors, sidecar, commit.
//!
//! Every step is idempotent and named by the file and the epoch of the claim, so a worker may die after any of
//! them and the next one goes on from what stands.

mod attempt;
mod derivation;
mod verification;

use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::file::{File, FileError, FileState, Verified};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::Job;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    GetOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::transition::{Fence, Transition};

pub use self::attempt::{Attempt, AttemptError};
use self::verification::judge;
use crate::app::{App, Pause};
use crate::stores::Deed;
use crate::uploads::RACES_MAX;

/// The actor of what workers do.
pub const WORKER: &str = "worker";

pub use cloakroom_core::file::PROCESSING_FAILED;

/// What verification and the processors made, ready to be committed.
struct Made {
    verified: Verified,
    facts: JsonObject,
    derivatives: Vec<Derivative>,
    intent: IntentId,
}

/// Where the confirmed bytes stand.
enum Standing {
    /// In staging, as confirmed.
    Staged { generation: String },
    /// At the final key already: an earlier attempt died after promotion.
    Promoted,
    /// Nowhere, or other bytes than those that were confirmed.
    Gone(&'static str),
}

/// The confirmed bytes are not there any more.
fn replaced(reason: &str) -> FileError {
    FileError {
        code: "upload_replaced".to_owned(),
        message: reason.to_owned(),
    }
}

impl App {
    /// Verifies and promotes one confirmed file, under the claim of `job`.
    pub async fn process_file(&self, job: &Job, pause: &Pause) -> Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(Attempt::NothingToDo);
        }
        let admission = self.job_admission(Deed::Verify, &file.bucket)?;
        let file = self.take_up(&file, job).await?;
        let Ok(collection) = self.collection(&file.collection) else {
            return Err(AttemptError::Retry(format!(
                "collection {} is not configured",
                file.collection
            )));
        };
        let upload = self.metadata.upload(file.id).await?;
        let staging = upload.map(|upload| ObjectPath::new(&file.bucket, upload.staging_key));
        let target = ObjectPath::new(&file.bucket, &file.key);

        let standing = self.standing(&file, staging.as_ref(), &target).await?;
        let (source, generation) = match (&standing, &staging) {
            (Standing::Staged { generation }, Some(staging)) => (staging, Some(generation.clone())),
            (Standing::Gone(reason), _) => return self.refuse(&file, job, replaced(reason)).await,
            _ => (&target, None),
        };
        let measured = self.measure(source, generation).await?;
        let verified = match judge(&file, collection, &measured) {
            Ok(verified) => verified,
            Err(error) => return self.refuse(&file, job, error).await,
        };
        let intent = self.intend(&file, staging.as_ref()).await?;
        self.job_still_admitted(&admission).await?;
        if let (Standing::Staged { generation }, Some(staging)) = (&standing, &staging) {
            // Without generations of its own the store pins by `ETag`, a weak digest: what it copied is looked at again.
            let attributes = ObjectAttributes {
                content_type: Some(verified.content_type.to_string()),
                ..ObjectAttributes::default()
            };
            match self
                .objects
                .promote(staging, generation, &target, attributes)
                .await
            {
                Ok(_) => {}
                Err(ObjectError::PreconditionFailed(_) | ObjectError::NotFound) => {
                    // Exchanged after it was verified, or promoted by a worker that lost its claim; the next attempt sees
                    // what stands then.
                    return Err(AttemptError::Unavailable(
                        "the staging object changed while it was verified".to_owned(),
                    ));
                }
                Err(error) => return Err(error.into()),
            }
            if !self.objects.capabilities_of(&file.bucket).generations
                && self.measure(&target, None).await?.sha256() != verified.sha256
            {
                // Two bodies with one ETag, exchanged between the pass and the copy (I2).
                return self
                    .refuse(
                        &file,
                        job,
                        replaced("The upload was exchanged while it was verified."),
                    )
                    .await;
            }
        }
        let (facts, derivatives) = match self
            .run_processors(&file, collection, &verified, &target, pause)
            .await?
        {
            Ok(made) => made,
            Err(error) => return self.refuse(&file, job, error).await,
        };
        self.job_still_admitted(&admission).await?;
        let made = Made {
            verified,
            facts,
            derivatives,
            intent,
        };
        self.make_ready(&file, job, made).await?;
        if let Some(staging) = &staging {
            // A copying store leaves it behind. Failing here costs nothing: the sweeper removes it.
            let removed = match self.objects.delete(staging).await {
                Ok(()) => self.remove_confirm_note(&staging.bucket, &staging.key).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(file_id = %file.id, %error, "a staging object waits for the sweeper");
            }
        }
        Ok(Attempt::Completed)
    }

    /// `confirmed` → `processing`, under a new epoch.
    async fn take_up(&self, file: &File, job: &Job) -> Result<File, AttemptError> {
        let mut transition = file
            .process(&self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Hold(job.lease()));
        let taken = transition.file.clone();
        self.metadata.apply(transition).await?;
        Ok(taken)
    }

    async fn standing(
        &self,
        file: &File,
        staging: Option<&ObjectPath>,
        target: &ObjectPath,
    ) -> Result<Standing, AttemptError> {
        let staged = match staging {
            Some(path) => match self.objects.head(path, &GetOptions::default()).await {
                Ok(info) => Some(info),
                Err(ObjectError::NotFound) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let confirmed = file.staged.as_ref().map(|staged| staged.generation.as_str());
        match staged {
            Some(info) if confirmed == Some(info.generation.as_str()) => {
                return Ok(Standing::Staged {
                    generation: info.generation,
                });
            }
            // Written again after confirm. If we know which bytes were meant, measuring tells whether these are they.
            Some(info) if file.declared.sha256.is_some() => {
                return Ok(Standing::Staged {
                    generation: info.generation,
                });
            }
            _ => {}
        }
        match self.objects.head(target, &GetOptions::default()).await {
            Ok(_) => Ok(Standing::Promoted),
            Err(ObjectError::NotFound) if staged.is_some() => Ok(Standing::Gone(
                "The upload was written again after it was confirmed.",
            )),
            Err(ObjectError::NotFound) => Ok(Standing::Gone("The uploaded object is gone from the store.")),
            Err(error) => Err(error.into()),
        }
    }

    async fn intend(&self, file: &File, staging: Option<&ObjectPath>) -> Result<IntentId, AttemptError> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let mut data = JsonObject::new();
        data.insert("key".to_owned(), file.key.clone().into());
        data.insert(
            "staging_key".to_owned(),
            staging.map(|path| path.key.clone()).into(),
        );
        let intent = Intent {
            id,
            kind: IntentKind::FileCreate,
            status: IntentStatus::Pending,
            file_id: Some(file.id),
            epoch: file.epoch,
            data,
            actor: WORKER.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }

    /// Sidecar, then row, event, job and intent in one commit. A patch that came in between wins its place in the
    /// row and in the sidecar; the bytes need no second look for it.
    async fn make_ready(&self, file: &File, job: &Job, made: Made) -> Result<(), AttemptError> {
        let mut current = file.clone();
        let mut own = None;
        for _ in 0..RACES_MAX {
            let mut transition = current
                .ready(
                    made.verified.clone(),
                    made.facts.clone(),
                    made.derivatives.clone(),
                    &self.occasion(WORKER),
                )
                .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
            own = Some(self.put_revision(&transition, own).await?);
            transition.intent = Some(made.intent);
            transition.fence = Some(Fence::Complete(job.lease()));
            let ready = transition.file.clone();
            match self.metadata.apply(transition).await {
                Ok(()) => {
                    self.log_ready(&ready);
                    self.drop_sidecars_before(&ready).await;
                    return Ok(());
                }
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            match self.metadata.file(file.id).await? {
                Some(now) if now.state == FileState::Processing && now.epoch == file.epoch => current = now,
                _ => return Err(AttemptError::Overtaken),
            }
        }
        Err(AttemptError::Overtaken)
    }

    fn log_ready(&self, file: &File) {
        let started_at = file.confirmed_at.unwrap_or(file.created_at);
        let duration_ms = self.now().duration_since(started_at).as_millis() as i64;
        tracing::info!(
            event = "file_ready",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            file_size = file.size_bytes(),
            bucket = %file.bucket,
            duration_ms,
            status = "success",
            "Storage operation completed"
        );
        metrics::histogram!("cloakroom_confirm_to_ready_seconds").record(duration_ms as f64 / 1000.0);
    }

    /// Removes the revisions that this one replaces. One that stays is only garbage: the highest epoch counts.
    pub(crate) async fn drop_sidecars_before(&self, file: &File) {
        for epoch in (1..file.epoch).rev() {
            let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, epoch));
            match self.objects.head(&path, &GetOptions::default()).await {
                Ok(_) => {}
                // Revisions were removed up to here before, or never written by a claim that did not get so far.
                Err(_) if epoch + 1 < file.epoch => return,
                Err(_) => continue,
            }
            if let Err(error) = self.objects.delete(&path).await {
                tracing::warn!(file_id = %file.id, %error, "a superseded sidecar stays behind");
            }
        }
    }

    /// Writes the revision of the sidecar that this transition makes true. The first who writes an epoch wins it.
    pub(crate) async fn put_sidecar(&self, transition: &Transition) -> Result<(), AttemptError> {
        self.put_revision(transition, None).await.map(drop)
    }

    /// The same, over one of its own that a change of the row made untrue; returns its generation.
    ///
    /// A claim gives a worker an epoch for itself, but a database that was lost knows of no claims: without the condition a
    /// worker of before could write over what has become true since.
    async fn put_revision(
        &self,
        transition: &Transition,
        own: Option<String>,
    ) -> Result<String, AttemptError> {
        let bytes = self.revision(transition).await?;
        self.put_revision_bytes(&transition.file, bytes, own).await
    }

    /// The sidecar that this transition makes true, as it is written.
    pub(crate) async fn revision(&self, transition: &Transition) -> Result<Bytes, AttemptError> {
        let sidecar = self
            .sidecar_of(
                &transition.file,
                &transition.derivatives,
                transition.record.as_ref(),
            )
            .await?;
        let bytes = sidecar
            .encode_fitting()
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        Ok(bytes.into())
    }

    /// Writes a revision, if there is none, or over its own one of this generation; returns its generation.
    pub(crate) async fn put_revision_bytes(
        &self,
        file: &File,
        bytes: Bytes,
        own: Option<String>,
    ) -> Result<String, AttemptError> {
        let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, file.epoch));
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            conditions: WriteConditions {
                if_absent: own.is_none(),
                if_generation: own,
                ..WriteConditions::default()
            },
        };
        match self.objects.put(&path, options, PutBody::from_bytes(bytes)).await {
            Ok(info) => Ok(info.generation),
            Err(ObjectError::PreconditionFailed(_)) => Err(AttemptError::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// The verdict against the file. Its bytes are removed by a job of their own, after this commit: a worker that
    /// lost its claim must not get to remove what the winner made.
    async fn refuse(&self, file: &File, job: &Job, error: FileError) -> Result<Attempt, AttemptError> {
        tracing::warn!(
            event = "file_failed",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            bucket = %file.bucket,
            error_code = %error.code,
            status = "failed",
            "Upload failed: {}", error.message
        );
        let mut transition = file
            .fail(error, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Complete(job.lease()));
        self.metadata.apply(transition).await?;
        Ok(Attempt::Completed)
    }

    /// After the last attempt: the file must still reach an end (I3).
    pub async fn give_up_processing(&self, job: &Job, reason: &str) -> Result<(), AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(());
        };
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(());
        }
        let error = FileError {
            code: PROCESSING_FAILED.to_owned(),
            message:
                "The file could not be processed; the operator finds the reason in the dead-letter list."
                    .to_owned(),
        };
        tracing::error!(event = "file_processing_gave_up", file_id = %file.id, reason, "processing gave up");
        let mut transition = file
            .fail(error, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        // The bytes stay: an operator may find that we were at fault, and have the job tried again.
        transition.jobs.clear();
        transition.fence = Some(Fence::Hold(job.lease()));
        Ok(self.metadata.apply(transition).await?)
    }
}
