//! The keys of a bucket, in their order.

use cloakroom_core::ports::objects::{ListOptions, ListedObject, ObjectError, ObjectStore};

/// Keys in a page, the most that a list gives.
const PAGE_KEYS: u32 = 1_000;

/// A page of a bucket, and what it goes on after.
pub(in crate::commands) async fn page(
    store: &dyn ObjectStore,
    bucket: &str,
    after: Option<String>,
) -> Result<(Vec<ListedObject>, Option<String>), ObjectError> {
    let options = ListOptions {
        after,
        limit: PAGE_KEYS,
        ..ListOptions::default()
    };
    let list = store.list(bucket, &options).await?;
    Ok((list.objects, list.next))
}

/// The keys of a bucket, one after the other.
pub(in crate::commands) struct Keys<'a> {
    store: &'a dyn ObjectStore,
    bucket: &'a str,
    waiting: std::vec::IntoIter<ListedObject>,
    after: Option<String>,
    ended: bool,
}

impl<'a> Keys<'a> {
    pub(in crate::commands) fn new(store: &'a dyn ObjectStore, bucket: &'a str) -> Self {
        Self {
            store,
            bucket,
            waiting: Vec::new().into_iter(),
            after: None,
            ended: false,
        }
    }

    pub(in crate::commands) async fn next(&mut self) -> Result<Option<ListedObject>, ObjectError> {
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
