//! Finishing what a crash left half done: intents whose author is taken for dead (design §3).

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::id::JobId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::objects::ObjectPath;

use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::revising::{INTENT, REVISION, digest};

/// Intents looked at in one round.
const ROUND_MAX: u32 = 200;
/// The actor of what recovery does.
pub(crate) const RECOVERY: &str = "recovery";

impl App {
    /// One round over the intents whose authors are dead; returns how many were ended. Run at start and every
    /// minute; doing it twice is doing it once.
    pub async fn recover_intents(&self) -> Result<u32> {
        let mut ended = 0;
        for intent in self.metadata.stale_intents(self.now(), ROUND_MAX).await? {
            match self.recover_and_end(&intent).await {
                Ok(()) => ended += 1,
                // The next round tries again; one sick file does not hold the others up.
                Err(error) => {
                    tracing::warn!(intent_id = %intent.id, %error, "recovery failed for now");
                }
            }
        }
        Ok(ended)
    }

    pub(crate) async fn recover_and_end(&self, intent: &Intent) -> Result<()> {
        let status = self.recover(intent).await?;
        self.metadata
            .end_intent(intent.id, status, None, self.now())
            .await?;
        tracing::info!(
            event = "intent_recovered",
            intent_id = %intent.id,
            file_id = intent.file_id.map(tracing::field::display),
            operation = intent.kind.as_str(),
            status = status.as_str(),
            "An unfinished operation was recovered"
        );
        Ok(())
    }

    async fn recover(&self, intent: &Intent) -> Result<IntentStatus> {
        if intent.kind == IntentKind::ModeChange {
            return self.recover_mode_change(intent).await;
        }
        if intent.kind == IntentKind::RecordUpdate {
            return self.recover_record_update(intent).await;
        }
        match intent.kind {
            IntentKind::RecordDelete => return Box::pin(self.recover_cascade(intent)).await,
            IntentKind::OwnerDelete => return Box::pin(self.recover_owner_deletion(intent)).await,
            _ => {}
        }
        // What is about no single file is done again by whoever asked for it; the log only says that it was begun.
        let Some(file_id) = intent.file_id else {
            return Ok(IntentStatus::RolledBack);
        };
        let Some(file) = self.metadata.file(file_id).await? else {
            return Ok(IntentStatus::Committed);
        };
        match intent.kind {
            IntentKind::FileCreate => self.recover_create(&file, intent).await,
            IntentKind::FileUpdate => self.recover_update(&file, intent).await,
            IntentKind::FileDelete => self.requeue(&file, FileState::Purging, JobKind::PurgeFile).await,
            IntentKind::FileMove => Box::pin(self.recover_move(&file, intent)).await,
            IntentKind::CacheRebuild
            | IntentKind::ModeChange
            | IntentKind::RecordUpdate
            | IntentKind::RecordDelete
            | IntentKind::OwnerDelete => Ok(IntentStatus::RolledBack),
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

    /// A change of a verified file: forward if its sidecar stands and nobody has changed the row since, else back.
    ///
    /// Each epoch has one writer, and the next one is written only from a row that stands at the one before. Back is not a
    /// deletion: whoever decides on one and stands still before it would, when it goes on, remove what a
    /// later change has written under the same epoch. So the row moves on to an epoch of its own, by compare-and-set, and
    /// the abandoned sidecar is an old one from then on.
    async fn recover_update(&self, file: &File, intent: &Intent) -> Result<IntentStatus> {
        if file.epoch >= intent.epoch {
            return Ok(IntentStatus::Committed);
        }
        let text = |name: &str| intent.data.get(name).and_then(serde_json::Value::as_str);
        let from_version = intent
            .data
            .get("from_version")
            .and_then(serde_json::Value::as_u64);
        let key = text("sidecar").map_or_else(|| sidecar_key(&file.key, intent.epoch), str::to_owned);
        let path = ObjectPath::new(text("bucket").unwrap_or(&file.bucket), key);
        if file.state == FileState::Purging {
            // The purge removes whatever stands beside the object.
            return Ok(IntentStatus::RolledBack);
        }
        let occasion = self.occasion(RECOVERY);
        let Some(bytes) = self.read_document(&path, SIDECAR_BYTES_MAX).await? else {
            // Its author may stand still and write it yet. The row takes that epoch itself, so that the author comes too
            // late; if the author is faster, the next round finds its sidecar.
            self.commit_update(file, file.supersede(file.epoch, &occasion)?)
                .await?;
            return Ok(IntentStatus::RolledBack);
        };
        if text(REVISION).is_some_and(|revision| revision != digest(&bytes)) {
            // Another was first with this epoch, and has an intent of its own.
            return Ok(IntentStatus::RolledBack);
        }
        if from_version == Some(file.version) {
            match self.roll_forward(file, intent, &bytes).await {
                Ok(()) => return Ok(IntentStatus::Committed),
                // What it says can never become true.
                Err(ServiceError::Refused(refusal)) if refusal.code != ErrorCode::Conflict => {
                    tracing::warn!(event = "revision_abandoned", file_id = %file.id, %refusal, "a change was taken back");
                }
                Err(error) => return Err(error),
            }
        }
        self.commit_update(file, file.supersede(intent.epoch, &occasion)?)
            .await?;
        Ok(IntentStatus::RolledBack)
    }

    /// The same event as the one that was begun, by the same actor.
    async fn roll_forward(&self, file: &File, intent: &Intent, bytes: &[u8]) -> Result<()> {
        let sidecar = SidecarV1::decode(bytes)?;
        let mut revised = sidecar.file(&file.bucket, &file.key)?;
        // A recovery that died itself had moved on further.
        revised.epoch = intent.epoch;
        let text = |name: &str| intent.data.get(name).and_then(serde_json::Value::as_str);
        let kind = text("event")
            .and_then(EventKind::parse)
            .unwrap_or(EventKind::Updated);
        if kind == EventKind::Cleared
            && ["facts", "derivatives", "derivative_details"]
                .iter()
                .any(|part| sidecar.omits(part))
        {
            // What was made is not all in there; the job makes it again.
            return Err(
                Refusal::new(ErrorCode::InvalidState, "The revision does not tell all of it.").into(),
            );
        }
        let derivatives = sidecar.derivatives(&revised)?;
        let mut transition = file.roll_forward(revised, kind, &self.occasion(&intent.actor))?;
        if kind == EventKind::Cleared {
            transition.derivatives = derivatives;
        }
        if let Some(serde_json::Value::Object(data)) = intent.data.get("event_data") {
            transition.event.data.clone_from(data);
        }
        transition.event.data.insert("recovered".to_owned(), true.into());
        // So that its author, should it live, sees that it happened.
        transition
            .event
            .data
            .insert(INTENT.to_owned(), intent.id.0.to_string().into());
        // Refused if it became another owner's since.
        transition.record = sidecar.linked_record()?;
        Ok(self.metadata.apply(transition).await?)
    }
}
