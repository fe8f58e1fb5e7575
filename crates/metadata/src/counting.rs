//! What a row adds to its owner's usage (I11), in words that do not depend on how the row came to be: for rows that come
//! back, and for counting anew. The statements of both engines say the same with [`counted_file`] and [`counted_bytes`].

use cloakroom_core::file::{File, FileState};
use cloakroom_core::transition::UsageDelta;
use cloakroom_core::upload::Upload;

/// Condition: a row (`f`) counts as a confirmed file.
macro_rules! counted_file {
    () => {
        "f.state NOT IN ('reaping', 'expired', 'purging')"
    };
}
pub(crate) use counted_file;

/// Expression: what a confirmed file (`f`) adds to the stored bytes. The bytes of a failed one are discarded.
macro_rules! counted_bytes {
    () => {
        "CASE WHEN f.state = 'failed' OR (f.state = 'trashed' AND f.trash_from = 'failed') THEN 0 \
         ELSE coalesce(f.verified_size_bytes, f.staged_size_bytes, 0) END"
    };
}
pub(crate) use counted_bytes;

/// What a file and its upload add.
pub(crate) fn counted(file: &File, upload: Option<&Upload>) -> UsageDelta {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match file.trash.map_or(file.state, |trash| trash.from) {
        _ if matches!(
            file.state,
            FileState::Reaping | FileState::Expired | FileState::Purging
        ) =>
        {
            UsageDelta::default()
        }
        state if state.is_open() => UsageDelta {
            reserved_bytes: upload.map_or(0, |upload| number(upload.reserved_bytes)),
            ..UsageDelta::default()
        },
        FileState::Failed => UsageDelta {
            files: 1,
            ..UsageDelta::default()
        },
        _ => {
            let measured = file.verified.as_ref().map(|verified| verified.size_bytes);
            let seen = file.staged.as_ref().map(|staged| staged.size_bytes);
            UsageDelta {
                reserved_bytes: 0,
                stored_bytes: number(measured.or(seen).unwrap_or(0)),
                files: 1,
            }
        }
    }
}

/// What is added by one row in the place of another.
pub(crate) fn difference(new: UsageDelta, old: UsageDelta) -> UsageDelta {
    UsageDelta {
        reserved_bytes: new.reserved_bytes.saturating_sub(old.reserved_bytes),
        stored_bytes: new.stored_bytes.saturating_sub(old.stored_bytes),
        files: new.files.saturating_sub(old.files),
    }
}

/// What must be added where a row goes from one owner to another, or stays with one: by owner.
pub(crate) fn changes<'a>(
    (owner, new): (&'a str, UsageDelta),
    old: Option<(&'a str, UsageDelta)>,
) -> Vec<(&'a str, UsageDelta)> {
    let mut changes = match old {
        None => vec![(owner, new)],
        Some((before, old)) if before == owner => vec![(owner, difference(new, old))],
        Some((before, old)) => vec![(owner, new), (before, difference(UsageDelta::default(), old))],
    };
    changes.retain(|(_, delta)| *delta != UsageDelta::default());
    // Rows of owners are locked in one order everywhere.
    changes.sort_by_key(|(owner, _)| *owner);
    changes
}
