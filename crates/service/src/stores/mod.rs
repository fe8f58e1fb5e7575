//! Stores and their modes (design §4): which store a bucket belongs to, how far it is open now, and what that allows.
//!
//! The database decides; what every process remembers of it is read anew every second or so, and is believed for a few
//! seconds. So a store that closes does so in two steps: it is said that it is closing, and once every process has read it or
//! believes itself no longer, nothing is begun there that is not allowed afterwards.

mod cascade;
mod changing;
mod draining;
mod leading;
mod mode_file;
mod reconciling;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, RwLock};

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::storage::{MAIN_STORE, StorageAction, StorageMode, StoreState, mode_key};
use cloakroom_core::upload::UploadMethod;
use jiff::{SignedDuration, Timestamp};

pub use self::changing::StoreView;
pub use self::draining::SETTLED_AFTER;
pub use self::leading::Leader;
pub use self::reconciling::{Disagreement, Take, Taken};
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::processing::AttemptError;

/// What was read of the modes is believed for so long.
const BELIEVED_FOR: SignedDuration = SignedDuration::from_secs(5);

/// What a store is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// Files of a directory.
    Local,
    /// An S3 service.
    S3,
}

impl StoreKind {
    /// The name in configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
        }
    }
}

/// What configuration says of a store.
#[derive(Clone, Debug)]
pub struct StoreDefinition {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: StoreKind,
    /// Where clients reach it, without a secret.
    pub address: Option<String>,
    /// Its buckets.
    pub buckets: BTreeSet<String>,
    /// The mode that it has according to configuration; `None`: whatever the database says, `edit` in a new instance.
    pub mode: Option<StorageMode>,
    /// The key that says so, for messages.
    pub mode_key: String,
    /// Upload methods whose limits it enforces; `None` as the policy of the instance says.
    pub methods: Option<Vec<UploadMethod>>,
    /// How many bytes it is meant to hold.
    pub capacity_bytes: Option<u64>,
}

impl StoreDefinition {
    /// A local store with these buckets, and nothing more said of it.
    pub fn new(name: &str, buckets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.to_owned(),
            kind: StoreKind::Local,
            address: None,
            buckets: buckets.into_iter().map(Into::into).collect(),
            mode: None,
            mode_key: mode_key(name),
            methods: None,
            capacity_bytes: None,
        }
    }
}

/// What was read of the database.
#[derive(Debug, Default)]
struct Known {
    states: BTreeMap<String, StoreState>,
    read_at: Option<Timestamp>,
}

/// The stores of the instance and their modes, as this process knows them.
#[derive(Debug)]
pub struct StoreRegistry {
    definitions: BTreeMap<String, StoreDefinition>,
    by_bucket: BTreeMap<String, String>,
    /// Whether the modes are kept in the database; else they are those of the definitions, for good.
    watched: bool,
    known: RwLock<Known>,
    /// Since when this process leads.
    elected_at: Mutex<Option<Timestamp>>,
}

/// What is to be done in a store, as finely as its mode decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// What the matrix names.
    Act(StorageAction),
    /// Take in what was signed before. A store that closes does so until its time is over.
    TakeIn,
    /// Verify what was taken in. A store that closes waits for that.
    Verify,
}

/// That something was admitted under an epoch of a store's mode. It is asked for again before it is committed.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    bucket: String,
    deed: Deed,
    epoch: u64,
}

impl StoreRegistry {
    /// One store, `main`, of mode `edit` for good.
    pub fn single(buckets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::fixed([StoreDefinition::new(MAIN_STORE, buckets)])
    }

    /// Stores whose modes are those of their definitions, for good.
    pub fn fixed(definitions: impl IntoIterator<Item = StoreDefinition>) -> Self {
        Self::of(definitions, false)
    }

    /// Stores whose modes are in the database. Until they are read nothing is admitted.
    pub fn new(definitions: impl IntoIterator<Item = StoreDefinition>) -> Self {
        Self::of(definitions, true)
    }

    fn of(definitions: impl IntoIterator<Item = StoreDefinition>, watched: bool) -> Self {
        let definitions: BTreeMap<_, _> = definitions
            .into_iter()
            .map(|definition| (definition.name.clone(), definition))
            .collect();
        let by_bucket = definitions
            .values()
            .flat_map(|store| {
                let buckets = store.buckets.iter();
                buckets.map(|bucket| (bucket.clone(), store.name.clone()))
            })
            .collect();
        Self {
            definitions,
            by_bucket,
            watched,
            known: RwLock::default(),
            elected_at: Mutex::new(None),
        }
    }

    /// The store that a bucket belongs to: `main` for one that nobody names (any more).
    pub fn store_of(&self, bucket: &str) -> &str {
        self.by_bucket.get(bucket).map_or(MAIN_STORE, String::as_str)
    }

    /// Every store, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &StoreDefinition> {
        self.definitions.values()
    }

    /// One store.
    pub fn definition(&self, name: &str) -> Option<&StoreDefinition> {
        self.definitions.get(name)
    }

    /// Upload methods whose limits the bucket's store enforces, where that is known.
    pub fn methods(&self, bucket: &str) -> Option<&[UploadMethod]> {
        self.definitions.get(self.store_of(bucket))?.methods.as_deref()
    }

    /// Whether the modes are kept in the database.
    pub fn is_watched(&self) -> bool {
        self.watched
    }

    /// What is known of a store's mode; `None` before it was read.
    pub fn state(&self, name: &str) -> Option<StoreState> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.states.get(name).cloned().or_else(|| self.fixed_state(name))
    }

    fn fixed_state(&self, name: &str) -> Option<StoreState> {
        let definition = self.definitions.get(name).filter(|_| !self.watched);
        let mode = match definition {
            Some(definition) => definition.mode.unwrap_or(StorageMode::Edit),
            None if !self.watched => StorageMode::Edit,
            None => return None,
        };
        Some(StoreState {
            name: name.to_owned(),
            mode,
            epoch: 0,
            draining_until: None,
            changed_at: Timestamp::UNIX_EPOCH,
            changed_by: "configuration".to_owned(),
        })
    }

    /// Takes over what the database said of all stores when it was asked at that time.
    pub(crate) fn learn(&self, states: Vec<StoreState>, now: Timestamp) {
        for state in states {
            self.learn_one(state);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.read_at = Some(known.read_at.map_or(now, |before| before.max(now)));
    }

    /// Takes over what the database says of one store.
    pub(crate) fn learn_one(&self, state: StoreState) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match known.states.get(&state.name) {
            // An answer that was overtaken by another one.
            Some(before) if before.epoch > state.epoch => return,
            Some(before) if before.epoch < state.epoch => tracing::info!(
                event = "store_mode_changed",
                store = state.name,
                mode = state.mode.as_str(),
                draining = state.draining_until.is_some(),
                epoch = state.epoch,
                "the mode of a store changed"
            ),
            _ => {}
        }
        known.states.insert(state.name.clone(), state);
    }

    /// Forgets what was known, before a database is looked at that is another one now.
    pub(crate) fn unlearn(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    /// This process decides on modes since then, or no longer.
    pub fn set_elected_at(&self, at: Option<Timestamp>) {
        *self.elected_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Since when this process decides on modes.
    pub fn elected_at(&self) -> Option<Timestamp> {
        *self.elected_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a deed is allowed now, and under which epoch.
    fn ask(&self, deed: Deed, bucket: &str, now: Timestamp) -> std::result::Result<u64, Refusal> {
        // The matrix allows it in every mode; so no database need be asked.
        if deed == Deed::Act(StorageAction::ReadMetadata) {
            return Ok(0);
        }
        let name = self.store_of(bucket);
        if self.watched {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let fresh = known
                .read_at
                .is_some_and(|at| now.duration_since(at) <= BELIEVED_FOR);
            match known.states.get(name).filter(|_| fresh) {
                Some(state) => decide(state, deed, now),
                None => Err(unread(name)),
            }
        } else {
            self.fixed_state(name)
                .map_or_else(|| Err(unread(name)), |state| decide(&state, deed, now))
        }
    }
}

/// Whether a store in this state admits a deed.
fn decide(state: &StoreState, deed: Deed, now: Timestamp) -> std::result::Result<u64, Refusal> {
    use StorageAction::{Create, Update};
    let action = match deed {
        Deed::Act(action) => action,
        Deed::TakeIn | Deed::Verify => Create,
    };
    let closing = state.draining_until.is_some_and(|until| match deed {
        Deed::Act(action) => matches!(action, Create | Update),
        Deed::TakeIn => now > until,
        Deed::Verify => false,
    });
    if state.mode.allows(action) && !closing {
        return Ok(state.epoch);
    }
    Err(refusal(state, action, closing))
}

fn unread(store: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Unavailable,
        format!("The mode of the store {store} is not known at the moment; try again."),
    )
    .with("store", store)
}

fn refusal(state: &StoreState, action: StorageAction, closing: bool) -> Refusal {
    let (name, mode) = (&state.name, state.mode.as_str());
    let what = match action {
        StorageAction::ReadBytes => {
            return Refusal::new(
                ErrorCode::ArchivedFile,
                format!(
                    "The file is in the archive {name}; ask an administrator to take it out (POST /api/v1/files/{{file_id}}/unarchive)."
                ),
            )
            .with("store", name.as_str())
            .with("mode", mode)
            .with("restore", "POST /api/v1/files/{file_id}/unarchive");
        }
        StorageAction::ReadMetadata | StorageAction::Create => "takes no new files",
        StorageAction::Update => "keeps its files as they are",
        StorageAction::Delete => "deletes nothing",
    };
    let message = if closing {
        format!("The store {name} is closing, and {what} any more.")
    } else {
        format!("The store {name} is in mode {mode}, and {what}.")
    };
    let refusal = Refusal::new(ErrorCode::InvalidStorageMode, message)
        .with("store", name.as_str())
        .with("mode", mode);
    match state.draining_until {
        Some(until) => refusal.with("draining_until", until.to_string()),
        None => refusal,
    }
}

impl App {
    /// Whether the store of this bucket allows that now (design §4).
    ///
    /// # Errors
    /// `invalid_storage_mode`, for bytes in an archive `archived_file`; `unavailable` while the mode is not known.
    pub fn admit(&self, action: StorageAction, bucket: &str) -> std::result::Result<(), Refusal> {
        self.stores.ask(Deed::Act(action), bucket, self.now()).map(drop)
    }

    /// Whether the store of this bucket takes in what was signed for it before: other than [`Self::admit`] with `Create`, also
    /// while it is closing.
    ///
    /// # Errors
    /// As those of [`Self::admit`].
    pub fn admit_ticket(&self, bucket: &str) -> std::result::Result<(), Refusal> {
        self.stores.ask(Deed::TakeIn, bucket, self.now()).map(drop)
    }

    /// [`Self::admit`] for a job: it waits until the store is open for that.
    ///
    /// # Errors
    /// [`AttemptError::Closed`].
    pub fn admit_job(&self, action: StorageAction, bucket: &str) -> std::result::Result<(), AttemptError> {
        self.admit(action, bucket).map_err(AttemptError::from_mode)
    }

    /// Whether a file may move from one bucket to another that is an archive: out of a store whose files are changed, into one
    /// that is not `ro`. That is the one way in which something gets into a store of mode `ar`.
    ///
    /// # Errors
    /// As those of [`Self::admit`].
    pub fn admit_archiving(&self, from: &str, to: &str) -> std::result::Result<(), Refusal> {
        self.admit(StorageAction::Update, from)?;
        let target = self.stores.state(self.stores.store_of(to));
        match target {
            Some(state) if state.mode == StorageMode::Ar => Ok(()),
            _ => self.admit(StorageAction::Create, to),
        }
    }

    /// Whether a file may move back out of an archive: from a store of any mode, into one that takes new files.
    ///
    /// # Errors
    /// As those of [`Self::admit`].
    pub fn admit_unarchiving(&self, from: &str, to: &str) -> std::result::Result<(), Refusal> {
        self.admit(StorageAction::ReadMetadata, from)?;
        self.admit(StorageAction::Create, to)
    }

    /// Whether the store that records are kept in allows that.
    pub(crate) fn admit_records(&self, action: StorageAction) -> std::result::Result<(), Refusal> {
        self.admit(action, &self.policy.home_bucket)
    }

    /// As [`Self::admit`], for work that takes a while: [`Self::still_admitted`] asks again before it is committed.
    pub(crate) fn admission(&self, deed: Deed, bucket: &str) -> std::result::Result<Admission, Refusal> {
        Ok(Admission {
            bucket: bucket.to_owned(),
            deed,
            epoch: self.stores.ask(deed, bucket, self.now())?,
        })
    }

    /// Whether what was begun under an earlier epoch of the mode is still allowed. The database itself is asked: whoever stood
    /// still may have missed what the others know.
    ///
    /// # Errors
    /// Refused, as by [`Self::admit`], when the mode has changed to one that does not allow it.
    pub(crate) async fn still_admitted(&self, admission: &Admission) -> Result<()> {
        if !self.stores.is_watched() {
            return Ok(());
        }
        self.refresh_stores().await?;
        let epoch = self.stores.ask(admission.deed, &admission.bucket, self.now())?;
        if epoch != admission.epoch {
            tracing::debug!(
                bucket = admission.bucket,
                epoch,
                "work goes on under another mode of its store"
            );
        }
        Ok(())
    }

    /// [`Self::admission`] for a job.
    pub(crate) fn job_admission(
        &self,
        deed: Deed,
        bucket: &str,
    ) -> std::result::Result<Admission, AttemptError> {
        self.admission(deed, bucket).map_err(AttemptError::from_mode)
    }

    /// [`Self::still_admitted`] for a job.
    pub(crate) async fn job_still_admitted(
        &self,
        admission: &Admission,
    ) -> std::result::Result<(), AttemptError> {
        match self.still_admitted(admission).await {
            Err(ServiceError::Refused(refusal)) => Err(AttemptError::from_mode(refusal)),
            other => Ok(other?),
        }
    }

    /// Reads the modes of all stores anew. Run every second in every process.
    pub async fn refresh_stores(&self) -> Result<()> {
        if !self.stores.is_watched() {
            return Ok(());
        }
        // The time before the question: what changes after it is not in the answer.
        let asked_at = self.now();
        let states = self.administration.stores().await?;
        self.stores.learn(states, asked_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(mode: StorageMode, draining: bool) -> StoreState {
        StoreState {
            name: "main".to_owned(),
            mode,
            epoch: 4,
            draining_until: draining.then_some(Timestamp::UNIX_EPOCH),
            changed_at: Timestamp::UNIX_EPOCH,
            changed_by: "ann".to_owned(),
        }
    }

    #[test]
    fn a_mode_decides_as_its_matrix_says() {
        for &mode in StorageMode::ALL {
            for &action in StorageAction::ALL {
                let decided = decide(&state(mode, false), Deed::Act(action), Timestamp::UNIX_EPOCH);
                assert_eq!(decided.is_ok(), mode.allows(action), "{mode:?} {action:?}");
                if let Err(refusal) = decided {
                    let archived = action == StorageAction::ReadBytes;
                    let expected = if archived {
                        "archived_file"
                    } else {
                        "invalid_storage_mode"
                    };
                    assert_eq!(refusal.code.as_str(), expected);
                    assert_eq!(refusal.details["mode"], mode.as_str());
                }
            }
            for deed in [Deed::TakeIn, Deed::Verify] {
                let taken_in = decide(&state(mode, false), deed, Timestamp::UNIX_EPOCH);
                assert_eq!(taken_in.is_ok(), mode.is_writable(), "{mode:?}");
            }
        }
    }

    #[test]
    fn a_store_that_closes_takes_in_what_was_signed_and_begins_nothing() {
        let closing = state(StorageMode::Rw, true);
        let until = Timestamp::UNIX_EPOCH;
        let later = until + SignedDuration::from_secs(1);
        assert!(decide(&closing, Deed::TakeIn, until).is_ok());
        assert!(decide(&closing, Deed::TakeIn, later).is_err());
        assert!(decide(&closing, Deed::Verify, later).is_ok());
        assert!(decide(&closing, Deed::Act(StorageAction::ReadBytes), later).is_ok());
        for action in [
            StorageAction::Create,
            StorageAction::Update,
            StorageAction::Delete,
        ] {
            let refusal = decide(&closing, Deed::Act(action), until).expect_err("refused");
            assert_eq!(refusal.details["draining_until"], "1970-01-01T00:00:00Z");
        }
    }

    #[test]
    fn what_was_not_read_or_long_ago_admits_nothing_that_depends_on_it() {
        let registry = StoreRegistry::new([StoreDefinition::new("main", ["a"])]);
        let now = Timestamp::UNIX_EPOCH;
        let create = Deed::Act(StorageAction::Create);
        let code = |deed, now| registry.ask(deed, "a", now).err().map(|refusal| refusal.code);
        assert_eq!(code(create, now), Some(ErrorCode::Unavailable));
        assert_eq!(code(Deed::Act(StorageAction::ReadMetadata), now), None);
        registry.learn(vec![state(StorageMode::Edit, false)], now);
        assert_eq!(code(create, now + BELIEVED_FOR), None);
        let later = now + BELIEVED_FOR + SignedDuration::from_millis(1);
        assert_eq!(code(create, later), Some(ErrorCode::Unavailable));
    }

    #[test]
    fn a_late_answer_does_not_open_what_was_closed() {
        let registry = StoreRegistry::new([StoreDefinition::new("main", ["a"])]);
        let now = Timestamp::UNIX_EPOCH;
        let closed = StoreState {
            epoch: 5,
            ..state(StorageMode::Ro, false)
        };
        registry.learn(vec![closed.clone()], now);
        registry.learn(vec![state(StorageMode::Rw, false)], now);
        assert_eq!(registry.state("main"), Some(closed));
    }

    #[test]
    fn a_bucket_that_nobody_names_is_of_the_main_store() {
        let registry = StoreRegistry::fixed([
            StoreDefinition::new("main", ["a"]),
            StoreDefinition {
                mode: Some(StorageMode::Ar),
                ..StoreDefinition::new("archive", ["b"])
            },
        ]);
        assert_eq!(registry.store_of("b"), "archive");
        assert_eq!((registry.store_of("a"), registry.store_of("c")), ("main", "main"));
        assert!(registry.ask(Deed::TakeIn, "c", Timestamp::UNIX_EPOCH).is_ok());
        assert!(registry.ask(Deed::TakeIn, "b", Timestamp::UNIX_EPOCH).is_err());
    }
}
