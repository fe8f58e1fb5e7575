//! Garbage both ways: objects that no row refers to, and rows whose objects or jobs are gone.
//!
//! A scan finds it and, if it is told to, marks it with a deadline; nothing refers to it, so it is invisible already. The
//! sweep removes what is marked when its deadline is over, and asks everything again at that moment: by the same rules
//! (`cloakroom_core::garbage`), of the same object (its `ETag`), under a claim wherever somebody could still come to refer
//! to it. Until then an administrator can have it kept.

pub(crate) mod evidence;
mod keeping;
mod marks;
mod purge;
mod rows;
mod scan;
mod sweep;

use cloakroom_core::id::FileId;
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::ObjectPath;

/// What was done about a finding: nothing.
const REPORTED: &str = "reported";
/// It was marked, and goes at its deadline.
const TRASHED: &str = "trashed";
/// What was missing is there again.
const REPAIRED: &str = "repaired";

/// A line of a report.
fn finding(kind: &str, path: Option<&ObjectPath>, file_id: Option<FileId>, detail: String) -> Finding {
    Finding {
        kind: kind.to_owned(),
        bucket: path.map(|path| path.bucket.clone()),
        key: path.map(|path| path.key.clone()),
        file_id,
        detail,
        action: REPORTED.to_owned(),
    }
}
