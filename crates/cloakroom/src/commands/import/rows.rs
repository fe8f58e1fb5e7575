//! The rows, section by section in portions, after every object is there.
//!
//! Two things about a file are true only of the store that its bytes are in: which very object was confirmed, and the
//! id of a multipart upload. Both are brought up to the target here, so that a file that was confirmed and not yet
//! processed still becomes `ready`.

use cloakroom_core::file::{FileState, Staged};
use cloakroom_core::ports::archive::{ArchivedFile, ArchivedRow, Section};
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectInfo, ObjectPath, ObjectStore};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Import;
use super::error::ImportError;
use super::index::PORTION_ROWS;
use super::place::{Place, SETTING};

/// Moves every section that is not there yet.
pub(super) async fn run(import: &Import<'_>, place: &mut Place) -> Result<(), ImportError> {
    for (n, section) in Section::ALL.iter().enumerate().skip(place.section) {
        import
            .display
            .rows(section.as_str(), import.source.archive().count(*section).await?);
        place.section = n;
        loop {
            let portion = import
                .source
                .archive()
                .export(*section, place.row.as_deref(), PORTION_ROWS)
                .await?;
            let read = portion.rows.len() as u64;
            let rows: Vec<ArchivedRow> = stream::iter(portion.rows)
                .map(|row| adapted(import, row))
                .buffered(import.args.jobs.into())
                .try_filter_map(|row| async move { Ok(row) })
                .try_collect()
                .await?;
            import
                .target
                .archive()
                .restore(&rows, import.target.now())
                .await?;
            import.display.advance(read);
            let done = portion.next.is_none();
            place.row = portion.next;
            if done {
                place.section = n + 1;
            }
            place.save(import.target.metadata()).await?;
            if done {
                break;
            }
        }
    }
    Ok(())
}

/// A row as the target is to hold it; `None` for what is the source's alone.
async fn adapted(import: &Import<'_>, row: ArchivedRow) -> Result<Option<ArchivedRow>, ImportError> {
    match row {
        ArchivedRow::Setting { name, .. } if name == SETTING => Ok(None),
        ArchivedRow::File(mut row) => {
            if !import.same_objects() {
                adapt_file(import, &mut row).await?;
            }
            Ok(Some(ArchivedRow::File(row)))
        }
        ArchivedRow::KeptGarbage(mut garbage) => {
            if !import.same_objects() {
                import
                    .names
                    .new_name(&garbage.path.bucket.clone())
                    .clone_into(&mut garbage.path.bucket);
            }
            Ok(Some(ArchivedRow::KeptGarbage(garbage)))
        }
        other => Ok(Some(other)),
    }
}

async fn adapt_file(import: &Import<'_>, row: &mut ArchivedFile) -> Result<(), ImportError> {
    let old_bucket = row.file.bucket.clone();
    import
        .names
        .new_name(&old_bucket)
        .clone_into(&mut row.file.bucket);
    let Some(upload) = &mut row.upload else {
        return Ok(());
    };
    let from = ObjectPath::new(&old_bucket, &upload.staging_key);
    if may_be_processed(row.file.trash.map_or(row.file.state, |trash| trash.from))
        && let Some(staged) = &mut row.file.staged
        // Written again after the confirm: the pin must go on pointing at nothing.
        && let Some(confirmed) = head(import.source.objects(), &from).await?
        && confirmed.generation == staged.generation
    {
        let to = ObjectPath::new(&row.file.bucket, &upload.staging_key);
        if let Some(copied) = head(import.target.objects(), &to).await? {
            *staged = Staged {
                size_bytes: copied.size_bytes,
                etag: copied.etag,
                generation: copied.generation,
            };
        }
    }
    if row.file.state.is_open()
        && upload.multipart_id.is_some()
        && head(import.source.objects(), &from).await?.is_none()
    {
        // Its parts stay behind. Signed again under the same idempotency key, it begins anew.
        upload.multipart_id = None;
    }
    Ok(())
}

/// Whether processing may still look for the staged bytes.
const fn may_be_processed(state: FileState) -> bool {
    matches!(
        state,
        FileState::Confirmed | FileState::Processing | FileState::Failed
    )
}

async fn head(store: &dyn ObjectStore, path: &ObjectPath) -> Result<Option<ObjectInfo>, ImportError> {
    match store.head(path, &GetOptions::default()).await {
        Ok(info) => Ok(Some(info)),
        Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(None),
        Err(error) => Err(ImportError::objects(format!(
            "look at {}/{}",
            path.bucket, path.key
        ))(error)),
    }
}
