//! Changes of a mode: intent, row with its entry in the audit log, `mode.json` in every bucket, and the intent is closed. The
//! row decides; a crash after it leaves documents that recovery brings to what the row says, a crash before it leaves nothing.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::id::{AuditId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::storage::{StorageMode, StoreState};

use super::{StoreDefinition, StoreRegistry};
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::tokens::require_admin;
use crate::uploads::RACES_MAX;

/// A store with its mode.
#[derive(Clone, Debug)]
pub struct StoreView {
    /// What configuration says of it.
    pub definition: StoreDefinition,
    /// How far it is open.
    pub state: StoreState,
}

impl StoreView {
    /// The modes that an administrator can change it to now.
    pub fn next_modes(&self) -> Vec<StorageMode> {
        let modes = StorageMode::ALL.iter().copied();
        modes
            .filter(|next| admit_change(&self.state, *next, true).is_ok())
            .collect()
    }
}

impl StoreRegistry {
    fn view(&self, name: &str) -> Result<StoreView> {
        let definition = self.definition(name).ok_or_else(|| no_such_store(self, name))?;
        let state = self.state(name).ok_or_else(|| super::unread(name))?;
        Ok(StoreView {
            definition: definition.clone(),
            state,
        })
    }
}

fn no_such_store(registry: &StoreRegistry, name: &str) -> Refusal {
    let known: Vec<&str> = registry.definitions().map(|store| store.name.as_str()).collect();
    Refusal::new(
        ErrorCode::NotFound,
        format!("There is no store {name:?}; there are {}.", known.join(", ")),
    )
    .with("store", name)
    .with("known", known)
}

/// What is allowed from a state. A store that closes is on its way to `ro`, and may be called back like one that is there.
fn admit_change(state: &StoreState, next: StorageMode, confirmed: bool) -> std::result::Result<(), Refusal> {
    let from = match state.draining_until {
        Some(_) => StorageMode::Ro,
        None => state.mode,
    };
    if state.draining_until.is_some() && next == StorageMode::Ar {
        return Err(Refusal::new(
            ErrorCode::InvalidStorageMode,
            "The store is closing; it can become ar when it is ro.",
        )
        .with("mode", state.mode.as_str())
        .with("next", next.as_str()));
    }
    from.admit_change(&state.name, next, confirmed)
        .map_err(|refusal| refusal.with("store", state.name.as_str()))
}

impl App {
    /// Every store with its mode, for administrators.
    pub async fn store_views(&self, principal: &Principal) -> Result<Vec<StoreView>> {
        require_admin(principal)?;
        self.refresh_stores().await?;
        let names = self.stores.definitions().map(|store| store.name.as_str());
        names.map(|name| self.stores.view(name)).collect()
    }

    /// One store with its mode, for administrators.
    pub async fn store_view(&self, principal: &Principal, name: &str) -> Result<StoreView> {
        require_admin(principal)?;
        self.refresh_stores().await?;
        self.stores.view(name)
    }

    /// Changes the mode of a store. `rw` to `ro` begins here and ends by itself, when everything that was signed before is in or
    /// over ([`Self::end_drains`]); asking for it again changes nothing. A store that closes is called back with `rw`.
    ///
    /// # Errors
    /// `invalid_storage_mode` and `confirmation_required` as [`StorageMode::admit_change`] says; `unavailable` when the mode is
    /// changed and could not be written beside the data yet, which recovery does.
    pub async fn change_mode(
        &self,
        principal: &Principal,
        name: &str,
        next: StorageMode,
        confirmed: bool,
    ) -> Result<StoreView> {
        require_admin(principal)?;
        for _ in 0..RACES_MAX {
            self.refresh_stores().await?;
            let StoreView { definition, state } = self.stores.view(name)?;
            if !self.stores.is_watched() {
                return Err(Refusal::new(
                    ErrorCode::InvalidStorageMode,
                    "The modes of this instance are fixed.",
                )
                .into());
            }
            if state.draining_until.is_some() && next == StorageMode::Ro {
                return Ok(StoreView { definition, state });
            }
            admit_change(&state, next, confirmed)?;
            let changed = self
                .after_change(&definition, &state, next, &principal.subject)
                .await?;
            let mut data = JsonObject::new();
            data.insert("from".to_owned(), state.mode.as_str().into());
            data.insert("to".to_owned(), next.as_str().into());
            data.insert("confirmed".to_owned(), confirmed.into());
            let action = if changed.draining_until.is_some() {
                "store.drain_started"
            } else {
                "store.mode_changed"
            };
            match self
                .commit_state(
                    &definition,
                    changed,
                    Some(state.epoch),
                    &principal.subject,
                    action,
                    data,
                )
                .await
            {
                Err(error) if error.code() == ErrorCode::Conflict => {}
                other => return other.map(|state| StoreView { definition, state }),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// The state after a change that is allowed.
    async fn after_change(
        &self,
        definition: &StoreDefinition,
        state: &StoreState,
        next: StorageMode,
        actor: &str,
    ) -> Result<StoreState> {
        let mut changed = StoreState {
            mode: next,
            epoch: state.epoch + 1,
            draining_until: None,
            changed_at: self.now(),
            changed_by: actor.to_owned(),
            ..state.clone()
        };
        if (state.mode, next) == (StorageMode::Rw, StorageMode::Ro) {
            changed.mode = StorageMode::Rw;
            changed.draining_until = Some(self.drain_end(definition).await?);
        }
        Ok(changed)
    }

    /// Writes a new state of a store: see the module. `expected_epoch` is that of the state which it replaces.
    pub(super) async fn commit_state(
        &self,
        definition: &StoreDefinition,
        state: StoreState,
        expected_epoch: Option<u64>,
        actor: &str,
        action: &str,
        mut data: JsonObject,
    ) -> Result<StoreState> {
        data.insert("mode".to_owned(), state.mode.as_str().into());
        data.insert("epoch".to_owned(), state.epoch.into());
        if let Some(until) = state.draining_until {
            data.insert("draining_until".to_owned(), until.to_string().into());
        }
        let audit = AuditEntry {
            id: AuditId(self.random.uuid_v7(self.now())),
            at: self.now(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: state.name.clone(),
            data,
        };
        let intent = self.intend_mode_change(&state, actor).await?;
        match self
            .administration
            .put_store(&state, expected_epoch, &audit)
            .await
        {
            Ok(()) => {}
            Err(error) => {
                if matches!(error, MetadataError::Conflict) {
                    self.metadata
                        .end_intent(intent, IntentStatus::RolledBack, None, self.now())
                        .await?;
                }
                return Err(error.into());
            }
        }
        self.stores.learn_one(state.clone());
        self.write_mode_files(definition).await.map_err(|error| {
            tracing::warn!(event = "mode_file_delayed", store = definition.name, %error, "a mode stands in the database alone for now");
            ServiceError::Unavailable(format!(
                "the store {} is {} now; that will be written beside its data when it answers",
                state.name,
                state.mode.as_str()
            ))
        })?;
        self.metadata
            .end_intent(intent, IntentStatus::Committed, None, self.now())
            .await?;
        Ok(state)
    }

    async fn intend_mode_change(&self, state: &StoreState, actor: &str) -> Result<IntentId> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let mut data = JsonObject::new();
        data.insert("store".to_owned(), state.name.clone().into());
        data.insert("mode".to_owned(), state.mode.as_str().into());
        data.insert("store_epoch".to_owned(), state.epoch.into());
        let intent = Intent {
            id,
            kind: IntentKind::ModeChange,
            status: IntentStatus::Pending,
            file_id: None,
            epoch: 0,
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

    /// Finishes a change whose author is taken for dead: forward when the row was written, else there is nothing to undo.
    pub(crate) async fn recover_mode_change(&self, intent: &Intent) -> Result<IntentStatus> {
        let (store, epoch) = (
            intent.data.get("store").and_then(serde_json::Value::as_str),
            intent.data.get("store_epoch").and_then(serde_json::Value::as_u64),
        );
        let (Some(name), Some(epoch)) = (store, epoch) else {
            return Err(ServiceError::Internal(format!(
                "intent {} names no store and epoch",
                intent.id
            )));
        };
        let states = self.administration.stores().await?;
        let state = states.into_iter().find(|state| state.name == name);
        let Some(definition) = self.stores.definition(name) else {
            // Whoever has the store in its configuration again finds out at its start what stands there.
            return Ok(IntentStatus::RolledBack);
        };
        if state.is_none_or(|state| state.epoch < epoch) {
            return Ok(IntentStatus::RolledBack);
        }
        self.write_mode_files(definition).await?;
        Ok(IntentStatus::Committed)
    }
}
