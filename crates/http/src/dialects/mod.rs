//! The founding documents' own paths, fields and answers.
//!
//! A dialect translates: wire to a call of the service, and the answer back to the wire. It holds no logic of its own, so
//! what is promised of the native API (ownership, consistency, modes, limits) holds for it by the same code. A further
//! dialect is a folder here, a variant of [`Dialect`] and an arm of `Dialect::routes`.
//!
//! Where a dialect's path is one of the native API, the native handler answers, with the dialect's fields beside its own:
//! see `beside.rs`.

pub mod artifacts;
pub mod attachments;
pub mod element;
pub mod photos;
pub mod reconciliation;

mod beside;
mod settling;

use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::beside::{beside, status_beside};

use crate::state::HttpState;

/// One founding document's way of speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// S0: artifacts of sessions.
    Artifacts,
    /// S1: attachments of chat messages.
    Attachments,
    /// S2: tables to reconcile.
    Reconciliation,
    /// S3: a storage element.
    Element,
    /// S4: photos of complaints.
    Photos,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Artifacts,
        Self::Attachments,
        Self::Reconciliation,
        Self::Element,
        Self::Photos,
    ];

    /// Its name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Attachments => "attachments",
            Self::Reconciliation => "reconciliation",
            Self::Element => "element",
            Self::Photos => "photos",
        }
    }

    /// Reads its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == text)
    }

    /// The collection of its files.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Artifacts => "artifacts",
            Self::Attachments => "attachments",
            Self::Reconciliation => "reconciliation",
            Self::Element => "documents",
            Self::Photos => "photos",
        }
    }

    /// Its routes, from the root. `debug` adds what is for development alone.
    fn routes(self, debug: bool) -> OpenApiRouter<HttpState> {
        match self {
            Self::Artifacts => artifacts::routes(debug),
            Self::Attachments => attachments::routes(),
            Self::Reconciliation => reconciliation::routes(),
            Self::Element => element::routes(),
            Self::Photos => photos::routes(),
        }
    }
}

/// The routes of all dialects that are spoken.
pub(crate) fn routes(spoken: &[Dialect], debug: bool) -> OpenApiRouter<HttpState> {
    spoken.iter().fold(OpenApiRouter::new(), |router, dialect| {
        router.merge(dialect.routes(debug))
    })
}
