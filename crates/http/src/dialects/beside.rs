//! Fields of a dialect beside the native ones, where both have the same path.

use cloakroom_core::JsonObject;
use cloakroom_core::file::File;

use super::{Dialect, element, reconciliation};

/// What the dialect of a file's collection adds to the native answer about it, where that dialect is spoken. A name that the
/// native answer has already is never given.
pub(crate) fn beside(spoken: &[Dialect], file: &File) -> JsonObject {
    if spoken.contains(&Dialect::Element) && file.collection == Dialect::Element.collection() {
        return element::beside(file);
    }
    JsonObject::new()
}

/// What the dialect of a file's collection adds to the native answer about how far the file is.
pub(crate) fn status_beside(spoken: &[Dialect], file: &File) -> JsonObject {
    if spoken.contains(&Dialect::Reconciliation) && file.collection == Dialect::Reconciliation.collection() {
        return reconciliation::status_beside(file);
    }
    JsonObject::new()
}
