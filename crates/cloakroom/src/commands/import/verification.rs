//! The count at the end: both sides, section by section and key by key.

use std::cmp::Ordering;

use cloakroom_core::ports::archive::Section;
use cloakroom_core::ports::objects::{ListedObject, ObjectStore};

use super::Import;
use super::error::ImportError;
use super::objects::page;
use super::report::Report;

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
        let (mut old, mut new) = (source.next().await?, target.next().await?);
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
                old = source.next().await?;
            }
            if order.is_ge() {
                new = target.next().await?;
            }
        }
    }
    report.objects.target = Some(target_objects);
    Ok(())
}

/// The keys of a bucket, one after the other.
struct Keys<'a> {
    store: &'a dyn ObjectStore,
    bucket: &'a str,
    waiting: std::vec::IntoIter<ListedObject>,
    after: Option<String>,
    ended: bool,
}

impl<'a> Keys<'a> {
    fn new(store: &'a dyn ObjectStore, bucket: &'a str) -> Self {
        Self {
            store,
            bucket,
            waiting: Vec::new().into_iter(),
            after: None,
            ended: false,
        }
    }

    async fn next(&mut self) -> Result<Option<ListedObject>, ImportError> {
        loop {
            if let Some(object) = self.waiting.next() {
                return Ok(Some(object));
            }
            if self.ended {
                return Ok(None);
            }
            let (objects, next) = page(self.store, self.bucket, self.after.take()).await?;
            self.waiting = objects.into_iter();
            self.ended = next.is_none();
            self.after = next;
        }
    }
}
