//! The count at the end: both sides, section by section and key by key.

use std::cmp::Ordering;

use cloakroom_core::ports::archive::Section;

use super::Import;
use super::error::ImportError;
use super::report::Report;
use crate::commands::transfer::listing::Keys;

/// Compares what there is.
pub(super) async fn run(import: &Import<'_>, report: &mut Report) -> Result<(), ImportError> {
    import.display.phase("counting both sides", None);
    for section in Section::ALL {
        let source = import.source.archive().count(*section).await?;
        let target = import.target.archive().count(*section).await?;
        report.rows.push((*section, source, Some(target)));
    }
    if import.same_objects() {
        report.objects.target = Some(report.objects.source);
        return Ok(());
    }
    let mut target_objects = 0;
    for bucket in import.source.buckets() {
        let mut source = Keys::new(import.source.objects(), bucket);
        let mut target = Keys::new(import.target.objects(), import.names.new_name(bucket));
        let failed = || ImportError::objects(format!("list the bucket {bucket}"));
        let mut old = source.next().await.map_err(failed())?;
        let mut new = target.next().await.map_err(failed())?;
        loop {
            let order = match (&old, &new) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key.cmp(&new.key),
            };
            if order == Ordering::Equal
                && let (Some(old), Some(new)) = (&old, &new)
            {
                target_objects += 1;
                if old.size_bytes != new.size_bytes && !report.is_damaged(bucket, &old.key) {
                    report.lost(bucket, &old.key, "has another size in the target");
                }
            }
            if order == Ordering::Less
                && let Some(old) = &old
                && !report.is_damaged(bucket, &old.key)
            {
                report.lost(bucket, &old.key, "is not in the target");
            }
            // What only the target has is somebody else's, or was made since.
            if order.is_le() {
                old = source.next().await.map_err(failed())?;
            }
            if order.is_ge() {
                new = target.next().await.map_err(failed())?;
            }
        }
    }
    report.objects.target = Some(target_objects);
    Ok(())
}
