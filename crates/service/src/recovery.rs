//! Finishing what a crash left half done: intents whose author is taken for dead (design §3), and changes of
//! metadata, which write a sidecar before the row.

use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::{IntentId, JobId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath};
use cloakroom_core::record::RecordKey;
use cloakroom_core::transition::Transition;
use futures_util::StreamExt;

use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::processing::{AttemptError, Revision};

/// Intents looked at in one round.
const ROUND_MAX: u32 = 200;
/// The actor of what recovery does.
const RECOVERY: &str = "recovery";

impl App {
    /// Commits a change of metadata. Where a sidecar stands, its next revision is written first: intent, sidecar,
    /// row; a crash in between is rolled forward if the sidecar was written, else back.
    pub(crate) async fn commit_update(&self, before: &File, mut transition: Transition) -> Result<File> {
        let updated = transition.file.clone();
        if !before.has_sidecar() {
            self.metadata.apply(transition).await?;
            return Ok(updated);
        }
        let derivatives = self.metadata.derivatives(before.id).await?;
        let intent = self
            .intend_update(before, &updated, &transition.event.actor)
            .await?;
        transition.derivatives = derivatives;
        let outcome = match self.put_sidecar(&transition, Revision::Contended).await {
            Ok(()) => {
                transition.derivatives.clear();
                transition.intent = Some(intent);
                self.metadata.apply(transition).await.map_err(ServiceError::from)
            }
            Err(AttemptError::Overtaken) => {
                // The revision is somebody else's, so there is nothing of ours to take back.
                self.metadata
                    .end_intent(intent, IntentStatus::RolledBack, None, self.now())
                    .await?;
                return Err(MetadataError::Conflict.into());
            }
            Err(AttemptError::Unavailable(reason)) => Err(ServiceError::Unavailable(reason)),
            Err(error) => Err(ServiceError::Internal(error.to_string())),
        };
        match outcome {
            Ok(()) => {
                self.drop_sidecars_before(&updated).await;
                Ok(updated)
            }
            Err(error) => {
                if error.code() == ErrorCode::Conflict {
                    // Somebody else's change won; our revision must not look like a newer truth.
                    let path = ObjectPath::new(&updated.bucket, sidecar_key(&updated.key, updated.epoch));
                    if !self.sidecar_is_current(&updated).await? {
                        self.objects.delete(&path).await?;
                    }
                    self.metadata
                        .end_intent(intent, IntentStatus::RolledBack, None, self.now())
                        .await?;
                }
                Err(error)
            }
        }
    }

    /// Whether the row has reached the epoch of this change, so that the sidecar of that epoch is another's truth.
    async fn sidecar_is_current(&self, lost: &File) -> Result<bool> {
        Ok(self
            .metadata
            .file(lost.id)
            .await?
            .is_some_and(|now| now.epoch >= lost.epoch))
    }

    async fn intend_update(&self, before: &File, after: &File, actor: &str) -> Result<IntentId> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let mut data = JsonObject::new();
        data.insert("from_version".to_owned(), before.version.into());
        data.insert("sidecar".to_owned(), sidecar_key(&after.key, after.epoch).into());
        let intent = Intent {
            id,
            kind: IntentKind::FileUpdate,
            status: IntentStatus::Pending,
            file_id: after.id,
            epoch: after.epoch,
            data,
            actor: actor.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }

    /// One round over the intents whose authors are dead; returns how many were ended. Run at start and every
    /// minute; doing it twice is doing it once.
    pub async fn recover_intents(&self) -> Result<u32> {
        let mut ended = 0;
        for intent in self.metadata.stale_intents(self.now(), ROUND_MAX).await? {
            match self.recover_and_end(&intent).await {
                Ok(()) => ended += 1,
                // The next round tries again; one sick file does not hold the others up.
                Err(error) => tracing::warn!(file_id = %intent.file_id, %error, "recovery failed for now"),
            }
        }
        Ok(ended)
    }

    async fn recover_and_end(&self, intent: &Intent) -> Result<()> {
        let status = self.recover(intent).await?;
        self.metadata
            .end_intent(intent.id, status, None, self.now())
            .await?;
        tracing::info!(
            event = "intent_recovered",
            file_id = %intent.file_id,
            operation = intent.kind.as_str(),
            status = status.as_str(),
            "An unfinished operation was recovered"
        );
        Ok(())
    }

    async fn recover(&self, intent: &Intent) -> Result<IntentStatus> {
        let Some(file) = self.metadata.file(intent.file_id).await? else {
            return Ok(IntentStatus::Committed);
        };
        match intent.kind {
            IntentKind::FileCreate => self.recover_create(&file, intent).await,
            IntentKind::FileUpdate => self.recover_update(&file, intent).await,
            IntentKind::FileDelete => self.requeue(&file, FileState::Purging, JobKind::PurgeFile).await,
        }
    }

    /// Promotion: the job does it again from what stands, so all there is to do is to see that the job is there.
    async fn recover_create(&self, file: &File, intent: &Intent) -> Result<IntentStatus> {
        if file.has_sidecar() && file.epoch >= intent.epoch {
            return Ok(IntentStatus::Committed);
        }
        self.requeue(file, FileState::Confirmed, JobKind::ProcessFile)
            .await?;
        self.requeue(file, FileState::Processing, JobKind::ProcessFile)
            .await
    }

    async fn requeue(&self, file: &File, state: FileState, kind: JobKind) -> Result<IntentStatus> {
        if file.state == state {
            let now = self.now();
            let job = NewJob {
                id: JobId(self.random.uuid_v7(now)),
                kind,
                file_id: file.id,
                run_at: now,
            };
            self.metadata.enqueue(&job).await?;
        }
        Ok(IntentStatus::RolledBack)
    }

    /// A change of metadata: forward if its sidecar stands and nobody has changed the row since, else back.
    ///
    /// Back is not a deletion: whoever decides on one and stands still before it would, when it goes on, remove what a
    /// later change has written under the same epoch. So the row moves on to an epoch of its own, by compare-and-set, and
    /// the abandoned sidecar is an old one from then on.
    async fn recover_update(&self, file: &File, intent: &Intent) -> Result<IntentStatus> {
        let from_version = intent
            .data
            .get("from_version")
            .and_then(serde_json::Value::as_u64);
        if file.epoch >= intent.epoch {
            return Ok(IntentStatus::Committed);
        }
        let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, intent.epoch));
        let Some(sidecar) = self.read_sidecar(&path).await? else {
            return Ok(IntentStatus::RolledBack);
        };
        let occasion = self.occasion(RECOVERY);
        if from_version != Some(file.version) {
            if file.state == FileState::Purging {
                // The purge removes whatever stands beside the object.
                return Ok(IntentStatus::RolledBack);
            }
            self.commit_update(file, file.supersede(intent.epoch, &occasion)?)
                .await?;
            return Ok(IntentStatus::RolledBack);
        }
        if file.state == FileState::Trashed {
            // Nothing but a recovery changes what is in the trash: it died when its sidecar stood.
            let mut transition = file.supersede(file.epoch, &occasion)?;
            transition.file.epoch = intent.epoch;
            self.metadata.apply(transition).await?;
            return Ok(IntentStatus::Committed);
        }
        let patch = FilePatch {
            filename: Some(sidecar.filename),
            description: Some(sidecar.description),
            metadata: Some(sidecar.metadata),
            record: Some(sidecar.record.as_deref().map(RecordKey::parse).transpose()?),
        };
        let mut transition = file.update(patch, &occasion)?;
        // A recovery that died itself had moved on further.
        transition.file.epoch = intent.epoch;
        self.metadata.apply(transition).await?;
        Ok(IntentStatus::Committed)
    }

    /// A sidecar, if it stands and can be read.
    async fn read_sidecar(&self, path: &ObjectPath) -> Result<Option<SidecarV1>> {
        let mut read = match self.objects.get(path, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| ServiceError::Unavailable(error.to_string()))?);
        }
        SidecarV1::decode(&bytes)
            .map(Some)
            .map_err(|reason| ServiceError::Internal(format!("sidecar of epoch {}: {reason}", path.key)))
    }
}
