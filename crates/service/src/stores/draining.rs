//! How a store closes: from `rw` to `ro` in two steps, so that what was promised before is kept.
//!
//! 1. From the first moment nothing more is signed or changed. Tickets that are out are honoured until the last of them ends.
//! 2. When the last one is over, the leader claims the uploads that nobody confirmed, so that a confirm which was held up on its
//!    way comes too late; and when what came in before is verified, it makes the store `ro`.

use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::FileState;
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::storage::{StorageMode, StoreState};
use jiff::{SignedDuration, Timestamp};

use super::{BELIEVED_FOR, StoreDefinition};
use crate::app::App;
use crate::error::Result;

/// No store closes sooner than this: until then every process knows of it, or does not believe what it knows any more.
pub const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(BELIEVED_FOR.as_secs() + 1);

/// Uploads looked at in one step.
const ROUND_MAX: u32 = 1_000;
/// The actor of what the leader does by itself.
const LEADER: &str = "leader";

impl App {
    /// When the last ticket ends that was given out for a store.
    pub(super) async fn drain_end(&self, definition: &StoreDefinition) -> Result<Timestamp> {
        let settled = self.now().checked_add(SETTLED_AFTER).unwrap_or(Timestamp::MAX);
        let under_way = self.administration.under_way(&buckets(definition)).await?;
        Ok(under_way.open_until.map_or(settled, |until| until.max(settled)))
    }

    /// Ends what is over: stores that were closing, whose last ticket has ended and whose files are verified, are `ro` then.
    /// Returns how many. Run every second by the leader; doing it twice is doing it once.
    pub async fn end_drains(&self) -> Result<u32> {
        if !self.stores.is_watched() {
            return Ok(0);
        }
        let mut ended = 0;
        for state in self.administration.stores().await? {
            let (Some(until), Some(definition)) = (state.draining_until, self.stores.definition(&state.name))
            else {
                continue;
            };
            match self.end_drain(definition, &state, until).await {
                Ok(true) => ended += 1,
                Ok(false) => {}
                // An administrator called it back, or another leader was first.
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }

    async fn end_drain(
        &self,
        definition: &StoreDefinition,
        state: &StoreState,
        until: Timestamp,
    ) -> Result<bool> {
        let under_way = self.administration.under_way(&buckets(definition)).await?;
        let next = StoreState {
            epoch: state.epoch + 1,
            ..state.clone()
        };
        let mut data = JsonObject::new();
        if let Some(later) = under_way.open_until.filter(|later| *later > until) {
            // Signed by a process that did not know yet.
            let extended = StoreState {
                draining_until: Some(later),
                ..next
            };
            self.commit_state(
                definition,
                extended,
                Some(state.epoch),
                LEADER,
                "store.drain_extended",
                data,
            )
            .await?;
            return Ok(false);
        }
        if self.now() <= until {
            return Ok(false);
        }
        if under_way.open_until.is_some() {
            self.claim_open_uploads(definition).await?;
            return Ok(false);
        }
        if under_way.unverified > 0 {
            return Ok(false);
        }
        data.insert("from".to_owned(), state.mode.as_str().into());
        data.insert("to".to_owned(), StorageMode::Ro.as_str().into());
        let closed = StoreState {
            mode: StorageMode::Ro,
            draining_until: None,
            changed_at: self.now(),
            ..next
        };
        self.commit_state(
            definition,
            closed,
            Some(state.epoch),
            LEADER,
            "store.mode_changed",
            data,
        )
        .await?;
        Ok(true)
    }

    async fn claim_open_uploads(&self, definition: &StoreDefinition) -> Result<()> {
        let mut query = FileQuery {
            states: OPEN_STATES.to_vec(),
            limit: ROUND_MAX,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            let ours = page.items.iter();
            for file in ours.filter(|file| definition.buckets.contains(&file.bucket)) {
                self.claim_expired(file).await?;
            }
            match page.items.last() {
                Some(last) if page.more => {
                    query.after = Some(Cursor {
                        created_at: last.created_at,
                        id: last.id,
                    });
                }
                _ => return Ok(()),
            }
        }
    }
}

/// Uploads that nobody confirmed.
const OPEN_STATES: &[FileState] = &[FileState::Pending, FileState::Uploading, FileState::Uploaded];

fn buckets(definition: &StoreDefinition) -> Vec<String> {
    definition.buckets.iter().cloned().collect()
}
