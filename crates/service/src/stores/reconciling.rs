//! What three places say of a store's mode, brought together at every start: the database, `mode.json` beside the data, and
//! configuration. A lost database takes the mode from `mode.json`; a disagreement is an error that names all three, since the
//! wrong one of them would open what somebody closed.

use std::fmt::{self, Write as _};

use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::format::mode_v1::MODE_KEY;
use cloakroom_core::intent::IntentKind;
use cloakroom_core::storage::{StorageAction, StorageMode, StoreState};
use jiff::Timestamp;

use super::StoreDefinition;
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::uploads::RACES_MAX;

/// Unfinished intents that are looked through for changes of modes.
const INTENTS_MAX: u32 = 10_000;

/// Whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// That of the database.
    Database,
    /// That of `mode.json`.
    File,
    /// That of configuration.
    Configuration,
}

impl Take {
    /// The name on the command line and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::File => "file",
            Self::Configuration => "configuration",
        }
    }
}

/// What does not agree, and what to do about it, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement(pub String);

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a store whose mode was taken from somewhere.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its state now.
    pub state: StoreState,
    /// Whether that is another than before.
    pub changed: bool,
}

/// What the three places say of one store.
#[derive(Clone, Debug, Default)]
struct Sighting {
    database: Option<StoreState>,
    /// By bucket.
    files: Vec<(String, StoreState)>,
    /// A change was begun and not finished: the documents may be behind the row.
    unfinished: bool,
}

/// What is true of a store, if all agree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The row and the documents are to be this.
    Agreed(StoreState),
    /// They are not to be touched.
    Disagree(String),
}

impl App {
    /// Brings the three places together, and reads the modes. What disagrees is left as it is.
    pub async fn reconcile_stores(&self) -> Result<Vec<Disagreement>> {
        if !self.stores.is_watched() {
            return Ok(Vec::new());
        }
        self.stores.unlearn();
        let mut found = Vec::new();
        for definition in self.stores.definitions() {
            if let Some(words) = self.reconcile(definition).await? {
                found.push(Disagreement(words));
            }
        }
        for state in self.administration.stores().await? {
            if self.stores.definition(&state.name).is_none() {
                tracing::warn!(
                    event = "store_not_configured",
                    store = state.name,
                    "the database knows a store that configuration does not name; files of its buckets count as those of main"
                );
            }
        }
        self.refresh_stores().await?;
        Ok(found)
    }

    async fn reconcile(&self, definition: &StoreDefinition) -> Result<Option<String>> {
        for _ in 0..RACES_MAX {
            let sighting = self.look(definition).await?;
            let agreed = match judge(definition, &sighting, self.now()) {
                Verdict::Agreed(agreed) => agreed,
                Verdict::Disagree(words) => return Ok(Some(words)),
            };
            let stands = |files: &[(String, StoreState)]| files.iter().all(|(_, found)| *found == agreed);
            if sighting.database.as_ref() == Some(&agreed) {
                if sighting.files.len() != definition.buckets.len() || !stands(&sighting.files) {
                    self.write_mode_files(definition).await?;
                }
                return Ok(None);
            }
            let mut data = JsonObject::new();
            data.insert("from_file".to_owned(), (!sighting.files.is_empty()).into());
            let actor = agreed.changed_by.clone();
            let expected = sighting.database.as_ref().map(|state| state.epoch);
            match self
                .commit_state(definition, agreed, expected, &actor, "store.registered", data)
                .await
            {
                Ok(_) => return Ok(None),
                // Another process starts at the same time.
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::Unavailable(format!(
            "the mode of the store {} changes again and again",
            definition.name
        )))
    }

    async fn look(&self, definition: &StoreDefinition) -> Result<Sighting> {
        let states = self.administration.stores().await?;
        let mut sighting = Sighting {
            database: states.into_iter().find(|state| state.name == definition.name),
            ..Sighting::default()
        };
        for bucket in &definition.buckets {
            if let Some(state) = self.read_mode_file(bucket).await? {
                sighting.files.push((bucket.clone(), state));
            }
        }
        let pending = self.metadata.stale_intents(Timestamp::MAX, INTENTS_MAX).await?;
        sighting.unfinished = pending.iter().any(|intent| {
            intent.kind == IntentKind::ModeChange
                && intent.data.get("store").and_then(serde_json::Value::as_str) == Some(&definition.name)
        });
        Ok(sighting)
    }

    /// Ends a disagreement: what one place says is written to the others, under a new epoch and with an entry in the audit log.
    ///
    /// # Errors
    /// `not_found` for a store that there is not or a place that says nothing; `confirmation_required` when that would allow
    /// more than one of the other places, and `confirmed` is not given.
    pub async fn take_mode(&self, name: &str, take: Take, confirmed: bool, actor: &str) -> Result<Taken> {
        let definition = self.stores.definition(name).ok_or_else(|| {
            Refusal::new(ErrorCode::NotFound, format!("There is no store {name:?}.")).with("store", name)
        })?;
        let sighting = self.look(definition).await?;
        let file = newest(&sighting.files);
        let mode = match take {
            Take::Database => sighting.database.as_ref().map(|state| state.mode),
            Take::File => file.map(|(_, state)| state.mode),
            Take::Configuration => definition.mode,
        };
        let mode = mode.ok_or_else(|| {
            Refusal::new(
                ErrorCode::NotFound,
                format!(
                    "The {} says nothing of the mode of the store {name}.",
                    take.as_str()
                ),
            )
        })?;
        let said = [
            sighting.database.as_ref().map(|state| state.mode),
            file.map(|(_, state)| state.mode),
        ];
        let opens = said.into_iter().flatten().any(|before| allows_more(mode, before));
        if opens && !confirmed {
            return Err(Refusal::new(
                ErrorCode::ConfirmationRequired,
                format!(
                    "The mode {} allows more than another place says of the store {name}; confirm that this is meant.",
                    mode.as_str()
                ),
            )
            .into());
        }
        let epochs = sighting
            .database
            .iter()
            .chain(sighting.files.iter().map(|(_, state)| state));
        let epoch = epochs.map(|state| state.epoch).max().unwrap_or_default() + 1;
        if let Some(state) = &sighting.database
            && state.mode == mode
            && sighting.files.iter().all(|(_, found)| found == state)
        {
            let state = state.clone();
            return Ok(Taken {
                state,
                changed: false,
            });
        }
        let state = StoreState {
            name: name.to_owned(),
            mode,
            epoch,
            draining_until: None,
            changed_at: self.now(),
            changed_by: actor.to_owned(),
        };
        let expected = sighting.database.as_ref().map(|state| state.epoch);
        let mut data = JsonObject::new();
        data.insert("take".to_owned(), take.as_str().into());
        let state = self
            .commit_state(definition, state, expected, actor, "store.mode_reconciled", data)
            .await?;
        Ok(Taken { state, changed: true })
    }
}

fn allows_more(mode: StorageMode, than: StorageMode) -> bool {
    let actions = StorageAction::ALL.iter();
    actions
        .copied()
        .any(|action| mode.allows(action) && !than.allows(action))
}

/// The document with the greatest epoch.
fn newest(files: &[(String, StoreState)]) -> Option<&(String, StoreState)> {
    files.iter().max_by_key(|(_, state)| state.epoch)
}

/// The decision; nothing but what it is given counts.
fn judge(definition: &StoreDefinition, sighting: &Sighting, now: Timestamp) -> Verdict {
    let file = newest(&sighting.files);
    let truth = match (&sighting.database, file) {
        (Some(row), Some((_, found))) if row.mode == found.mode && row.epoch < found.epoch => {
            // A database that was put back from a copy of an earlier day, and is right by chance.
            found.clone()
        }
        (Some(row), _) => row.clone(),
        (None, Some((_, found))) => StoreState {
            name: definition.name.clone(),
            ..found.clone()
        },
        (None, None) => StoreState {
            name: definition.name.clone(),
            mode: definition.mode.unwrap_or(StorageMode::Edit),
            epoch: 1,
            draining_until: None,
            changed_at: now,
            changed_by: "configuration".to_owned(),
        },
    };
    // A document that is behind is brought up to date, if it is behind the truth, and of this store.
    let contradicts = |found: &StoreState| {
        let behind = found.name == definition.name && found.epoch < truth.epoch;
        let outdated =
            behind && (sighting.unfinished || file.is_some_and(|(_, state)| state.epoch == truth.epoch));
        found.mode != truth.mode && !outdated
    };
    let files_agree = !sighting.files.iter().any(|(_, found)| contradicts(found));
    let closing = truth.draining_until.is_some();
    let configuration_agrees = definition
        .mode
        .is_none_or(|mode| mode == truth.mode || closing && mode == StorageMode::Ro);
    if files_agree && configuration_agrees {
        return Verdict::Agreed(StoreState {
            name: definition.name.clone(),
            ..truth
        });
    }
    Verdict::Disagree(describe(definition, sighting))
}

fn describe(definition: &StoreDefinition, sighting: &Sighting) -> String {
    let (name, key) = (&definition.name, &definition.mode_key);
    let mut words = format!("the mode of the store {name} is ");
    if sighting.database.is_none() {
        words.push_str("not in the database, ");
    }
    for (state, places) in said_where(sighting) {
        // Writing to a String cannot fail.
        let _ = write!(
            words,
            "{} (epoch {}, since {}, by {}) in {places}",
            state.mode.as_str(),
            state.epoch,
            state.changed_at,
            state.changed_by
        );
        if state.name != *name {
            let _ = write!(words, " (of the store {})", state.name);
        }
        words.push_str(", ");
    }
    if sighting.files.is_empty() {
        let _ = write!(words, "in no {MODE_KEY}, ");
    }
    match definition.mode {
        Some(mode) => drop(write!(
            words,
            "and {} in the configuration ({key})",
            mode.as_str()
        )),
        None => drop(write!(words, "and left open by the configuration ({key})")),
    }
    let _ = write!(
        words,
        ": set {key} to what is meant, or leave it out; or run `cloakroom stores reconcile {name} --take database|file|configuration`"
    );
    words
}

/// What is said, each of it once, and the places that say it: a store has many buckets, which usually agree.
fn said_where(sighting: &Sighting) -> Vec<(&StoreState, String)> {
    let mut said: Vec<(&StoreState, bool, Vec<&str>)> = Vec::new();
    said.extend(sighting.database.as_ref().map(|state| (state, true, Vec::new())));
    for (bucket, state) in &sighting.files {
        match said.iter_mut().find(|(known, ..)| *known == state) {
            Some((_, _, buckets)) => buckets.push(bucket),
            None => said.push((state, false, vec![bucket])),
        }
    }
    let places = |in_database: bool, buckets: &[&str]| {
        let files = match buckets {
            [] => None,
            [bucket] => Some(format!("{bucket}/{MODE_KEY}")),
            several => Some(format!("{MODE_KEY} of the buckets {}", several.join(", "))),
        };
        let database = in_database.then(|| "the database".to_owned());
        database
            .into_iter()
            .chain(files)
            .collect::<Vec<_>>()
            .join(" and in ")
    };
    said.iter()
        .map(|(state, in_database, buckets)| (*state, places(*in_database, buckets)))
        .collect()
}

#[cfg(test)]
mod tests;
