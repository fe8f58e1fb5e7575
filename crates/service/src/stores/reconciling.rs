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
    let said = |state: &StoreState| {
        format!(
            "{} (epoch {}, since {}, by {})",
            state.mode.as_str(),
            state.epoch,
            state.changed_at,
            state.changed_by
        )
    };
    let mut words = format!("the mode of the store {name} is ");
    // Writing to a String cannot fail.
    match &sighting.database {
        Some(state) => drop(write!(words, "{} in the database", said(state))),
        None => words.push_str("not in the database"),
    }
    match newest(&sighting.files) {
        Some(_) => {
            for (bucket, state) in &sighting.files {
                let _ = write!(words, ", {} in {bucket}/{MODE_KEY}", said(state));
                if state.name != *name {
                    let _ = write!(words, " (of the store {})", state.name);
                }
            }
        }
        None => {
            let _ = write!(words, ", in no {MODE_KEY}");
        }
    }
    match definition.mode {
        Some(mode) => {
            let _ = write!(words, ", and {} in the configuration ({key})", mode.as_str());
        }
        None => {
            let _ = write!(words, ", and left open by the configuration ({key})");
        }
    }
    let _ = write!(
        words,
        ": set {key} to what is meant, or leave it out; or run `cloakroom stores reconcile {name} --take database|file|configuration`"
    );
    words
}

#[cfg(test)]
mod tests {
    use StorageMode::{Ar, Edit, Ro, Rw};

    use super::*;

    fn state(mode: StorageMode, epoch: u64) -> StoreState {
        StoreState {
            name: "main".to_owned(),
            mode,
            epoch,
            draining_until: None,
            changed_at: Timestamp::UNIX_EPOCH,
            changed_by: "ann".to_owned(),
        }
    }

    fn judged(
        configured: Option<StorageMode>,
        database: Option<StoreState>,
        files: &[StoreState],
        unfinished: bool,
    ) -> Verdict {
        let definition = StoreDefinition {
            mode: configured,
            ..StoreDefinition::new("main", ["a", "b"])
        };
        let sighting = Sighting {
            database,
            files: files
                .iter()
                .zip(["a", "b"])
                .map(|(state, bucket)| (bucket.to_owned(), state.clone()))
                .collect(),
            unfinished,
        };
        judge(&definition, &sighting, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn who_agrees_with_whom() {
        let db = |mode, epoch| Some(state(mode, epoch));
        let file = state;
        // Configuration, database, documents, whether a change is unfinished; the mode and epoch that come of it.
        let table: Vec<(_, _, Vec<StoreState>, _, _)> = vec![
            (None, None, vec![], false, Some((Edit, 1))),
            (Some(Rw), None, vec![], false, Some((Rw, 1))),
            (
                None,
                db(Ro, 3),
                vec![file(Ro, 3), file(Ro, 3)],
                false,
                Some((Ro, 3)),
            ),
            (Some(Ro), db(Ro, 3), vec![], false, Some((Ro, 3))),
            (Some(Rw), db(Ro, 3), vec![file(Ro, 3)], false, None),
            (Some(Edit), db(Rw, 3), vec![file(Rw, 3)], false, None),
            // A lost database.
            (None, None, vec![file(Ar, 7), file(Ar, 7)], false, Some((Ar, 7))),
            (Some(Ar), None, vec![file(Ar, 7)], false, Some((Ar, 7))),
            (Some(Edit), None, vec![file(Ar, 7)], false, None),
            // A crash between the row and the documents.
            (
                None,
                db(Ro, 4),
                vec![file(Rw, 3), file(Rw, 3)],
                true,
                Some((Ro, 4)),
            ),
            (
                None,
                db(Ro, 4),
                vec![file(Ro, 4), file(Rw, 3)],
                true,
                Some((Ro, 4)),
            ),
            // The same without a change under way: somebody put something back.
            (None, db(Ro, 4), vec![file(Rw, 3), file(Rw, 3)], false, None),
            (None, db(Rw, 3), vec![file(Ro, 4)], false, None),
            // One bucket was away when the others were written.
            (
                None,
                db(Ro, 4),
                vec![file(Ro, 4), file(Rw, 3)],
                false,
                Some((Ro, 4)),
            ),
            // A database from a copy, right by chance.
            (None, db(Rw, 1), vec![file(Rw, 3)], false, Some((Rw, 3))),
            // Two documents of one epoch.
            (None, None, vec![file(Rw, 3), file(Ro, 3)], false, None),
        ];
        for (configured, database, files, unfinished, expected) in table {
            let verdict = judged(configured, database.clone(), &files, unfinished);
            let found = match verdict {
                Verdict::Agreed(state) => Some((state.mode, state.epoch)),
                Verdict::Disagree(_) => None,
            };
            assert_eq!(
                found, expected,
                "{configured:?} {database:?} {files:?} {unfinished}"
            );
        }
    }

    #[test]
    fn a_bucket_of_another_store_is_not_opened_by_configuration() {
        let archive = StoreState {
            name: "archive".to_owned(),
            ..state(Ar, 1)
        };
        let verdict = judged(
            None,
            Some(state(Edit, 5)),
            &[state(Edit, 5), archive.clone()],
            false,
        );
        let Verdict::Disagree(words) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(
            words.contains("b/_cloakroom/mode.json (of the store archive)"),
            "{words}"
        );
        // A store that was only named anew.
        let renamed = judged(None, None, &[archive.clone(), archive], false);
        assert_eq!(renamed, Verdict::Agreed(state(Ar, 1)));
    }

    #[test]
    fn a_store_that_closes_may_be_configured_as_what_it_is_or_will_be() {
        let closing = StoreState {
            draining_until: Some(Timestamp::UNIX_EPOCH),
            ..state(Rw, 2)
        };
        for configured in [None, Some(Rw), Some(Ro)] {
            let verdict = judged(
                configured,
                Some(closing.clone()),
                std::slice::from_ref(&closing),
                false,
            );
            assert_eq!(verdict, Verdict::Agreed(closing.clone()));
        }
        assert!(matches!(
            judged(Some(Ar), Some(closing.clone()), &[closing], false),
            Verdict::Disagree(_)
        ));
    }

    #[test]
    fn a_disagreement_names_everybody_and_says_what_to_do() {
        let Verdict::Disagree(words) = judged(Some(Edit), Some(state(Rw, 2)), &[state(Ro, 3)], false) else {
            panic!("they agree")
        };
        assert_eq!(
            words,
            "the mode of the store main is rw (epoch 2, since 1970-01-01T00:00:00Z, by ann) in the database, \
             ro (epoch 3, since 1970-01-01T00:00:00Z, by ann) in a/_cloakroom/mode.json, and edit in the configuration \
             (storage.mode): set storage.mode to what is meant, or leave it out; or run \
             `cloakroom stores reconcile main --take database|file|configuration`"
        );
    }

    #[test]
    fn what_opens_is_told_from_what_closes() {
        assert!(allows_more(Rw, Ro) && allows_more(Edit, Rw) && allows_more(Ro, Ar));
        assert!(!allows_more(Ro, Rw) && !allows_more(Ar, Ro) && !allows_more(Rw, Rw));
    }
}
