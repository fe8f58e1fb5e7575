//! Why an import does not go on. Damage of single objects is no error: it is reported, and the others are moved.

use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::ObjectError;

/// Why an import stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// One of the databases.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// One of the stores, with what was to be done.
    #[error("cannot {what}: {source}")]
    Objects {
        /// What was to be done.
        what: String,
        /// Why it was not.
        source: ObjectError,
    },
    /// The target is not free for this instance.
    #[error("{0}")]
    Refused(String),
}

impl ImportError {
    /// An error of a store.
    pub(super) fn objects(what: impl Into<String>) -> impl FnOnce(ObjectError) -> Self {
        let what = what.into();
        move |source| Self::Objects { what, source }
    }
}
