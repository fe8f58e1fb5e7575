//! From one store into the other, bucket by bucket in the order of their keys.

use std::cmp::Ordering;

use cloakroom_core::key::{RECORDS_PREFIX, STAGING_PREFIX, SYSTEM_PREFIX};
use cloakroom_core::ports::objects::{GetOptions, ListedObject, ObjectError, ObjectPath, ObjectStore};
use futures_util::{StreamExt as _, stream};

use super::report::Report;
use crate::commands::transfer::display::Display;
use crate::commands::transfer::listing::Keys;
use crate::commands::transfer::{Transfer, TransferError, Transferred};

/// Objects that are looked at in one go.
const PORTION: usize = 500;

/// Why a mirror does not go on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub(super) struct CopyError {
    what: String,
    source: ObjectError,
}

fn failed(what: impl Into<String>) -> impl FnOnce(ObjectError) -> CopyError {
    let what = what.into();
    move |source| CopyError { what, source }
}

/// A copy with everything that it needs.
pub(super) struct Copying<'a> {
    pub(super) source: &'a dyn ObjectStore,
    pub(super) target: &'a dyn ObjectStore,
    pub(super) jobs: usize,
    /// Every byte of what is there is compared.
    pub(super) deep: bool,
    pub(super) display: &'a Display,
}

/// Whether what stands under a key may become something else. Files, sidecars and documents of records never do: another
/// version has another key.
fn may_change(key: &str) -> bool {
    key.starts_with(SYSTEM_PREFIX) && !key.starts_with(RECORDS_PREFIX)
}

/// An object to be looked at, and the size of what is at its place.
struct Pending {
    object: ListedObject,
    there_bytes: Option<u64>,
}

impl Copying<'_> {
    /// Copies everything, and then what came meanwhile: whoever wrote a sidecar had written its object before.
    pub(super) async fn run(&self, buckets: &[String], report: &mut Report) -> Result<(), CopyError> {
        self.display.phase("objects", None);
        for late in [false, true] {
            for bucket in buckets {
                self.bucket(bucket, late, report).await?;
            }
        }
        Ok(())
    }

    async fn bucket(&self, bucket: &str, late: bool, report: &mut Report) -> Result<(), CopyError> {
        match self.source.bucket(bucket).await {
            // It was never used.
            Err(ObjectError::NoSuchBucket(_)) => return Ok(()),
            other => drop(other.map_err(failed(format!("use the bucket {bucket}")))?),
        }
        let made = match self.target.bucket(bucket).await {
            Err(ObjectError::NoSuchBucket(_)) => self.target.create_bucket(bucket).await,
            there => there.map(drop),
        };
        match made {
            Ok(()) | Err(ObjectError::BucketExists) => {}
            Err(error) => return Err(failed(format!("make or use the bucket {bucket}"))(error)),
        }
        let listed = || failed(format!("list the bucket {bucket}"));
        let (mut source, mut target) = (Keys::new(self.source, bucket), Keys::new(self.target, bucket));
        let mut there = target.next().await.map_err(listed())?;
        let mut pending = Vec::with_capacity(PORTION);
        while let Some(object) = source.next().await.map_err(listed())? {
            if object.key.starts_with(STAGING_PREFIX) {
                continue;
            }
            while there.as_ref().is_some_and(|one| one.key < object.key) {
                there = target.next().await.map_err(listed())?;
            }
            let there_bytes = there
                .as_ref()
                .filter(|one| one.key == object.key)
                .map(|one| one.size_bytes);
            // What was damaged is not tried twice.
            if late && (there_bytes.is_some() || report.is_damaged(bucket, &object.key)) {
                continue;
            }
            pending.push(Pending { object, there_bytes });
            if pending.len() == PORTION {
                self.portion(bucket, std::mem::take(&mut pending), report).await?;
            }
        }
        self.portion(bucket, pending, report).await
    }

    async fn portion(
        &self,
        bucket: &str,
        pending: Vec<Pending>,
        report: &mut Report,
    ) -> Result<(), CopyError> {
        let transfers = pending.into_iter().map(|pending| async move {
            let outcome = self.one(bucket, &pending).await;
            (pending.object, outcome)
        });
        let mut transfers = stream::iter(transfers).buffer_unordered(self.jobs);
        while let Some((object, outcome)) = transfers.next().await {
            match outcome {
                Ok(Some(transferred)) => report.count(&object, transferred == Transferred::Sent),
                Ok(None) => {}
                Err(TransferError::Damaged(reason)) => {
                    self.display.note(&format!("{bucket}/{}: {reason}", object.key));
                    report.damaged(bucket, &object.key, reason);
                }
                Err(TransferError::Store(error)) => {
                    return Err(failed(format!("copy {bucket}/{}", object.key))(error));
                }
            }
        }
        Ok(())
    }

    /// `None` for what went in the meantime.
    async fn one(&self, bucket: &str, pending: &Pending) -> Result<Option<Transferred>, TransferError> {
        let Pending { object, there_bytes } = pending;
        if !self.deep && !may_change(&object.key) && *there_bytes == Some(object.size_bytes) {
            return Ok(Some(Transferred::WasThere));
        }
        let path = ObjectPath::new(bucket, &object.key);
        let transfer = Transfer {
            source: self.source,
            target: self.target,
            from: path.clone(),
            to: path.clone(),
            expected: None,
            there_bytes: *there_bytes,
            display: self.display,
        };
        match transfer.run().await {
            Ok(transferred) => Ok(Some(transferred)),
            Err(TransferError::Damaged(reason)) => {
                match self.source.head(&path, &GetOptions::default()).await {
                    Err(ObjectError::NotFound) => Ok(None),
                    // It is the store that is away.
                    Err(error @ (ObjectError::Unavailable(_) | ObjectError::Denied(_))) => {
                        Err(TransferError::Store(error))
                    }
                    _ => Err(TransferError::Damaged(reason)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes from the target what the source has no more.
    pub(super) async fn prune(&self, buckets: &[String], report: &mut Report) -> Result<(), CopyError> {
        self.display.phase("pruning", None);
        for bucket in buckets {
            let listed = || failed(format!("list the bucket {bucket}"));
            let (mut source, mut target) = (Keys::new(self.source, bucket), Keys::new(self.target, bucket));
            let is_gone = |bucket| matches!(bucket, Err(ObjectError::NoSuchBucket(_)));
            if is_gone(self.source.bucket(bucket).await) || is_gone(self.target.bucket(bucket).await) {
                continue;
            }
            let mut kept = source.next().await.map_err(listed())?;
            while let Some(object) = target.next().await.map_err(listed())? {
                while kept.as_ref().is_some_and(|one| one.key < object.key) {
                    kept = source.next().await.map_err(listed())?;
                }
                let order = kept
                    .as_ref()
                    .map_or(Ordering::Greater, |one| one.key.cmp(&object.key));
                if order == Ordering::Equal {
                    continue;
                }
                let path = ObjectPath::new(bucket.as_str(), &object.key);
                self.target
                    .delete(&path)
                    .await
                    .map_err(failed(format!("remove {bucket}/{}", object.key)))?;
                report.pruned += 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cloakroom_core::ports::objects::{PutBody, PutOptions};
    use serde_json::Value;

    use super::*;
    use crate::commands::transfer::tests::Saboteur;

    async fn put(store: &dyn ObjectStore, key: &str, content: &[u8]) {
        let path = ObjectPath::new("files", key);
        let body = PutBody::from_bytes(content.to_vec());
        store
            .put(&path, PutOptions::default(), body)
            .await
            .expect("stored");
    }

    async fn keys(store: &dyn ObjectStore) -> Vec<String> {
        let mut keys = Keys::new(store, "files");
        let mut found = Vec::new();
        while let Some(object) = keys.next().await.expect("a list") {
            found.push(object.key);
        }
        found
    }

    fn copying<'a>(source: &'a Saboteur, target: &'a Saboteur, display: &'a Display) -> Copying<'a> {
        Copying {
            source,
            target: &target.inner,
            jobs: 2,
            deep: false,
            display,
        }
    }

    fn told(report: &Report) -> Value {
        serde_json::from_str(&report.json()).expect("JSON")
    }

    #[tokio::test]
    async fn what_comes_meanwhile_comes_along_and_what_waits_in_staging_does_not() {
        let (source, target, display) = (Saboteur::new().await, Saboteur::new().await, Display::new(true));
        let (copying, mut report) = (
            copying(&source, &target, &display),
            Report::new(Path::new("/b"), false),
        );
        let mode = format!("{SYSTEM_PREFIX}mode.json");
        put(&source, &mode, b"old").await;
        put(&source, &format!("{STAGING_PREFIX}x"), b"unverified").await;
        copying.bucket("files", false, &mut report).await.expect("copied");
        // Of the same size under the same key.
        put(&source, &mode, b"new").await;
        put(&source, "b", b"late").await;
        copying.bucket("files", true, &mut report).await.expect("copied");
        assert_eq!(keys(&target).await, [mode.as_str(), "b"]);
        let mut again = Report::new(Path::new("/b"), false);
        copying
            .run(&["files".to_owned(), "never-used".to_owned()], &mut again)
            .await
            .expect("copied");
        assert_eq!(
            (told(&again)["objects"].as_u64(), told(&again)["copied"].as_u64()),
            (Some(2), Some(1))
        );
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_and_the_others_come() {
        let (mut source, target, display) =
            (Saboteur::new().await, Saboteur::new().await, Display::new(true));
        put(&source, "a", b"bytes").await;
        source.breaks_off = true;
        let mut report = Report::new(Path::new("/b"), false);
        copying(&source, &target, &display)
            .run(&["files".to_owned()], &mut report)
            .await
            .expect("it goes on");
        assert!(!report.is_clean() && keys(&target).await.is_empty());
        let damaged = told(&report)["damaged"].clone();
        assert_eq!(
            (&damaged[0]["key"], damaged.as_array().map(Vec::len)),
            (&"a".into(), Some(1))
        );
        assert!(report.text().contains("damaged: files/a: ") && report.text().contains("a bad sector"));
    }
}
