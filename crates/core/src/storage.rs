//! Storage modes: what may be done to the files of a store (design §4).

use jiff::Timestamp;

use crate::error::{ErrorCode, Refusal};

/// The store of every bucket that no other store has.
pub const MAIN_STORE: &str = "main";

/// How far a store is open (S3-seed `StorageMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageMode {
    /// Everything, for good: fixed by configuration.
    Edit,
    /// New files and new metadata; nothing is deleted.
    Rw,
    /// Reading alone.
    Ro,
    /// An archive: metadata can be read, bytes after a restore.
    Ar,
}

/// What somebody wants to do to files of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageAction {
    /// Hand bytes out.
    ReadBytes,
    /// Show rows.
    ReadMetadata,
    /// Sign an upload, or take in what was signed.
    Create,
    /// Change name, description, metadata, record.
    Update,
    /// Delete, or empty the trash.
    Delete,
}

impl StorageAction {
    /// Every action.
    pub const ALL: &'static [Self] = &[
        Self::ReadBytes,
        Self::ReadMetadata,
        Self::Create,
        Self::Update,
        Self::Delete,
    ];
}

impl StorageMode {
    /// Every mode, in the order in which a store may close.
    pub const ALL: &'static [Self] = &[Self::Edit, Self::Rw, Self::Ro, Self::Ar];

    /// The name in configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Rw => "rw",
            Self::Ro => "ro",
            Self::Ar => "ar",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.as_str() == text)
    }

    /// The matrix of design §4.
    pub const fn allows(self, action: StorageAction) -> bool {
        match action {
            StorageAction::ReadMetadata => true,
            StorageAction::ReadBytes => !matches!(self, Self::Ar),
            StorageAction::Create | StorageAction::Update => matches!(self, Self::Edit | Self::Rw),
            StorageAction::Delete => matches!(self, Self::Edit),
        }
    }

    /// Whether changes of files are made here, so that one node is elected to decide on the mode.
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::Edit | Self::Rw)
    }

    /// Checks a change of the mode of a store by an administrator. `confirmed` is their word that they know that a store in `ro` is to be
    /// written to again.
    ///
    /// # Errors
    /// `confirmation_required` for `ro` to `rw` without a confirmation, `invalid_storage_mode` for any other step that is
    /// not in the table.
    pub fn admit_change(self, store: &str, next: Self, confirmed: bool) -> Result<(), Refusal> {
        match (self, next) {
            (Self::Rw, Self::Ro) | (Self::Ro, Self::Ar) => Ok(()),
            (Self::Ro, Self::Rw) if confirmed => Ok(()),
            (Self::Ro, Self::Rw) => Err(Refusal::new(
                ErrorCode::ConfirmationRequired,
                "The store becomes writable again; send confirm: true if that is meant.",
            )
            .with("mode", self.as_str())
            .with("next", next.as_str())),
            _ => Err(Refusal::new(
                ErrorCode::InvalidStorageMode,
                format!(
                    "{} does not become {}; {}.",
                    self.as_str(),
                    next.as_str(),
                    self.ways_out(store)
                ),
            )
            .with("mode", self.as_str())
            .with("next", next.as_str())),
        }
    }

    fn ways_out(self, store: &str) -> String {
        match self {
            Self::Edit => format!(
                "the mode edit is fixed by configuration: set {} and run `cloakroom stores reconcile {store} --take \
                 configuration`",
                mode_key(store)
            ),
            Self::Rw => "from rw there is ro alone".to_owned(),
            Self::Ro => "from ro there are ar, and rw with confirm: true".to_owned(),
            Self::Ar => "an archive stays one".to_owned(),
        }
    }
}

/// The setting that names the mode of a store.
pub fn mode_key(store: &str) -> String {
    if store == MAIN_STORE {
        "storage.mode".to_owned()
    } else {
        format!("stores.{store}.mode")
    }
}

/// A store of the instance, as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    /// Its name in configuration: `main`.
    pub name: String,
    /// Its mode.
    pub mode: StorageMode,
    /// Grows with each change of the mode; work that was begun under an earlier one is decided anew.
    pub epoch: u64,
    /// While `rw` closes: until when uploads that were signed before are still taken in. Nothing new is signed.
    pub draining_until: Option<Timestamp>,
    /// When the mode was last changed.
    pub changed_at: Timestamp,
    /// By whom; `configuration` for the first one.
    pub changed_by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_that_of_the_design() {
        use StorageAction::{Create, Delete, ReadBytes, ReadMetadata, Update};
        let allowed = |mode: StorageMode| -> Vec<StorageAction> {
            let actions = StorageAction::ALL.iter().copied();
            actions.filter(|action| mode.allows(*action)).collect()
        };
        assert_eq!(
            allowed(StorageMode::Edit),
            [ReadBytes, ReadMetadata, Create, Update, Delete]
        );
        assert_eq!(
            allowed(StorageMode::Rw),
            [ReadBytes, ReadMetadata, Create, Update]
        );
        assert_eq!(allowed(StorageMode::Ro), [ReadBytes, ReadMetadata]);
        assert_eq!(allowed(StorageMode::Ar), [ReadMetadata]);
    }

    #[test]
    fn one_step_at_a_time() {
        for &mode in StorageMode::ALL {
            for &next in StorageMode::ALL {
                let code = |confirmed| {
                    mode.admit_change(MAIN_STORE, next, confirmed)
                        .err()
                        .map(|refusal| refusal.code)
                };
                let expected = match (mode.as_str(), next.as_str()) {
                    ("rw", "ro") | ("ro", "ar") => (None, None),
                    ("ro", "rw") => (Some(ErrorCode::ConfirmationRequired), None),
                    _ => (
                        Some(ErrorCode::InvalidStorageMode),
                        Some(ErrorCode::InvalidStorageMode),
                    ),
                };
                assert_eq!((code(false), code(true)), expected, "{mode:?} to {next:?}");
            }
        }
    }

    #[test]
    fn what_configuration_fixes_says_how_it_is_changed() {
        let refused = |store| {
            let refusal = StorageMode::Edit.admit_change(store, StorageMode::Ro, true);
            refusal.expect_err("fixed").message
        };
        assert_eq!(
            refused(MAIN_STORE),
            "edit does not become ro; the mode edit is fixed by configuration: set storage.mode and run `cloakroom stores \
             reconcile main --take configuration`."
        );
        assert!(
            refused("archive")
                .contains("set stores.archive.mode and run `cloakroom stores reconcile archive ")
        );
    }
}
