//! From `confirmed` to `ready`: one streaming pass over the staged bytes, promotion, processors, sidecar, commit.
//!
//! Every step is idempotent and named by the file and the epoch of the claim, so a worker may die after any of
//! them and the next one goes on from what stands.

mod attempt;
mod committing;
pub(crate) mod derivation;
mod progress;
pub(crate) mod verification;

use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::collection::ScanOversize;
use cloakroom_core::file::{File, FileError, FileState, Verified};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{Job, Stage};
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::objects::{
    GetOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::ports::scanner::Holdup;
use cloakroom_core::transition::{Fence, Transition};

pub use self::attempt::{Attempt, AttemptError};
use self::committing::{Made, Outcome};
pub use self::progress::Progress;
pub(crate) use self::verification::Unmeasured;
use self::verification::judge;
use crate::app::{App, Pause};
use crate::stores::Deed;

/// The actor of what workers do.
pub const WORKER: &str = "worker";

pub use cloakroom_core::file::PROCESSING_FAILED;

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
    pub async fn process_file(
        &self,
        job: &Job,
        pause: &Pause,
        progress: &Progress,
    ) -> Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(Attempt::NothingToDo);
        }
        let admission = self.job_admission(Deed::Verify, &file.bucket)?;
        self.scanner_is_back(&file).await?;
        self.processors_are_there(&file)?;
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
        let measured = match self
            .measure_and_scan(source, generation, collection, progress)
            .await
        {
            Ok(measured) => measured,
            Err(unmeasured) => return Err(self.put_off(&file, job, unmeasured).await?),
        };
        let verified = match judge(&file, collection, &measured) {
            Ok(verified) => verified,
            Err(error) => return self.refuse(&file, job, error).await,
        };
        let held = measured.held();
        if let (Some(held @ Holdup::NotFullyScanned { .. }), ScanOversize::Refuse) =
            (held, collection.scan.oversize)
        {
            return self.refuse(&file, job, held.error()).await;
        }
        let intent = self.intend(&file, staging.as_ref()).await?;
        self.job_still_admitted(&admission).await?;
        if let (Standing::Staged { generation }, Some(staging)) = (&standing, &staging) {
            progress.enter(Stage::Promoting, None);
            let promoted = self.promote_as(staging, generation, &target, &verified, progress);
            if let Some(exchanged) = promoted.await? {
                return self.refuse(&file, job, exchanged).await;
            }
        }
        let outcome = match held {
            // Nothing is made of what nobody may look at.
            Some(held) => Outcome::Held(held.clone()),
            None => match self
                .run_processors(&file, collection, &verified, &target, pause, progress)
                .await?
            {
                Ok((facts, derivatives)) => Outcome::Ready { facts, derivatives },
                Err(error) => return self.refuse(&file, job, error).await,
            },
        };
        self.job_still_admitted(&admission).await?;
        let made = Made {
            verified,
            outcome,
            intent,
        };
        self.commit_verified(&file, job, made).await?;
        if let Some(staging) = &staging {
            self.drop_staging(&file, staging).await;
        }
        Ok(Attempt::Completed)
    }

    /// Puts exactly the verified object at its final key. `Some` when other bytes came under way.
    async fn promote_as(
        &self,
        staging: &ObjectPath,
        generation: &str,
        target: &ObjectPath,
        verified: &Verified,
        progress: &Progress,
    ) -> Result<Option<FileError>, AttemptError> {
        let attributes = ObjectAttributes {
            content_type: Some(verified.content_type.to_string()),
            ..ObjectAttributes::default()
        };
        match self
            .objects
            .promote(staging, generation, target, attributes)
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
        // Without generations of its own the store pins by `ETag`, a weak digest: what it copied is looked at again.
        if !self.objects.capabilities_of(&target.bucket).generations
            && self.measure(target, None, progress).await?.sha256() != verified.sha256
        {
            // Two bodies with one ETag, exchanged between the pass and the copy (I2).
            return Ok(Some(replaced("The upload was exchanged while it was verified.")));
        }
        Ok(None)
    }

    /// A copying store leaves it behind. Failing here costs nothing: the sweeper removes it.
    async fn drop_staging(&self, file: &File, staging: &ObjectPath) {
        let removed = match self.objects.delete(staging).await {
            Ok(()) => self.remove_confirm_note(&staging.bucket, &staging.key).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(file_id = %file.id, %error, "a staging object waits for the sweeper");
        }
    }

    /// `confirmed` → `processing`, under a new epoch.
    async fn take_up(&self, file: &File, job: &Job) -> Result<File, AttemptError> {
        let mut transition = file
            .process(&self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        let data = &mut transition.event.data;
        data.insert("attempt".to_owned(), job.attempt.into());
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
