//! What is damaged is reported and not believed; what is not ours is not touched; what was purged stays gone.

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::file::File;
use cloakroom_core::id::FileId;
use cloakroom_core::key::{sidecar_key, tombstone_key};
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath, ObjectRead,
    ObjectStore, Part, PutBody, PutOptions, WriteConditions,
};
use jiff::SignedDuration;

use super::scene::{count, ready, rebuild, start};
use crate::app::{Process, Stores, ann};

/// A store in which keys can be listed, and nothing can be read.
pub struct ListingAlone(pub Arc<dyn ObjectStore>);

fn refused<T>() -> Result<T, ObjectError> {
    Err(ObjectError::Internal("nothing is to be read here".to_owned()))
}

#[async_trait]
impl ObjectStore for ListingAlone {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    async fn buckets(&self) -> Result<Vec<Bucket>, ObjectError> {
        self.0.buckets().await
    }
    async fn bucket(&self, name: &str) -> Result<Bucket, ObjectError> {
        self.0.bucket(name).await
    }
    async fn create_bucket(&self, _: &str) -> Result<(), ObjectError> {
        refused()
    }
    async fn delete_bucket(&self, _: &str) -> Result<(), ObjectError> {
        refused()
    }
    async fn head(&self, _: &ObjectPath, _: &GetOptions) -> Result<ObjectInfo, ObjectError> {
        refused()
    }
    async fn get(&self, _: &ObjectPath, _: &GetOptions) -> Result<ObjectRead, ObjectError> {
        refused()
    }
    async fn put(&self, _: &ObjectPath, _: PutOptions, _: PutBody) -> Result<ObjectInfo, ObjectError> {
        refused()
    }
    async fn copy(&self, _: &ObjectPath, _: &ObjectPath, _: CopyOptions) -> Result<ObjectInfo, ObjectError> {
        refused()
    }
    async fn promote(
        &self,
        _: &ObjectPath,
        _: &str,
        _: &ObjectPath,
        _: ObjectAttributes,
    ) -> Result<ObjectInfo, ObjectError> {
        refused()
    }
    async fn delete(&self, _: &ObjectPath) -> Result<(), ObjectError> {
        refused()
    }
    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList, ObjectError> {
        self.0.list(bucket, options).await
    }
    async fn begin_multipart(&self, _: &ObjectPath, _: MultipartOptions) -> Result<String, ObjectError> {
        refused()
    }
    async fn put_part(&self, _: &ObjectPath, _: &str, _: u32, _: PutBody) -> Result<Part, ObjectError> {
        refused()
    }
    async fn multipart(&self, _: &ObjectPath, _: &str) -> Result<(MultipartUpload, Vec<Part>), ObjectError> {
        refused()
    }
    async fn multiparts(&self, _: &str, _: &str) -> Result<Vec<MultipartUpload>, ObjectError> {
        refused()
    }
    async fn complete_multipart(
        &self,
        _: &ObjectPath,
        _: &str,
        _: &[CompletedPart],
        _: WriteConditions,
    ) -> Result<ObjectInfo, ObjectError> {
        refused()
    }
    async fn abort_multipart(&self, _: &ObjectPath, _: &str) -> Result<(), ObjectError> {
        refused()
    }
    async fn ping(&self) -> Result<(), ObjectError> {
        self.0.ping().await
    }
}

async fn files(stores: &Stores, process: &Process, names: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    for name in names {
        let id = ready(process, name, None).await;
        files.push(stores.file(id).await);
    }
    files
}

#[tokio::test]
async fn damaged_files_are_reported_and_not_adopted() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let names = ["cut", "mixed", "renamed", "lost", "longer", "good", "newer"];
    let all = files(&stores, &process, &names).await;
    let sidecar = |file: &File| sidecar_key(&file.key, file.epoch);
    // Cut off.
    let bytes = stores.bytes(&sidecar(&all[0])).await;
    stores.send_to(&sidecar(&all[0]), &bytes[..bytes.len() / 2]).await;
    // Of another file.
    let other = stores.bytes(&sidecar(&all[5])).await;
    stores.send_to(&sidecar(&all[1]), &other).await;
    // Under the name of another revision; the older one below it is not believed instead.
    let bytes = stores.bytes(&sidecar(&all[2])).await;
    stores
        .send_to(&sidecar_key(&all[2].key, all[2].epoch + 1), &bytes)
        .await;
    // Without its object, and with another one.
    let delete = async |key: &str| {
        let path = ObjectPath::new(&stores.bucket, key);
        stores.objects.delete(&path).await.expect("deleted");
    };
    delete(&all[3].key).await;
    stores
        .send_to(&all[4].key, b"longer than what was verified, by far")
        .await;
    // Whole, with a damaged revision above it.
    stores.send_to(&sidecar_key(&all[6].key, 9), b"{}").await;

    let fresh = stores.with_fresh_database().await;
    let report = rebuild(&start(&fresh)).await;
    let mut expected = vec![
        ("invalid_attribute_file", sidecar(&all[0]), "reported"),
        ("invalid_attribute_file", sidecar(&all[1]), "reported"),
        (
            "invalid_attribute_file",
            sidecar_key(&all[2].key, all[2].epoch + 1),
            "reported",
        ),
        ("object_missing", sidecar(&all[3]), "reported"),
        ("size_differs", all[4].key.clone(), "reported"),
        ("invalid_attribute_file", sidecar_key(&all[6].key, 9), "reported"),
    ];
    expected.sort();
    let lines: Vec<_> = report
        .lines()
        .into_iter()
        .map(|(kind, key, action)| (kind, key.to_owned(), action))
        .collect();
    assert_eq!(lines, expected);
    let rows = fresh
        .administration
        .all_files(None, 100)
        .await
        .expect("files")
        .items;
    let rows: Vec<&str> = rows.iter().map(|row| row.filename.as_str()).collect();
    assert_eq!(rows, ["good"], "nothing that is not whole is handed out (I1)");
}

#[tokio::test]
async fn what_was_purged_stays_gone() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let all = files(&stores, &process, &["one", "two"]).await;
    let ids: Vec<FileId> = all.iter().map(|file| file.id).collect();
    let saved: Vec<_> = [
        stores.bytes(&all[0].key).await,
        stores.bytes(&sidecar_key(&all[0].key, 1)).await,
    ]
    .into();
    for id in &ids {
        process.app.delete_file(&ann(), *id).await.expect("deleted");
    }
    stores.clock.advance(SignedDuration::from_hours(24 * 8));
    process.recover().await;
    assert!(
        stores
            .keys()
            .await
            .iter()
            .all(|key| key.ends_with(".tomb.attr.json"))
    );

    // A late writer that was paused since before the purge: with the tombstone, with the database alone, and with neither.
    stores.send_to(&all[0].key, &saved[0]).await;
    stores.send_to(&sidecar_key(&all[0].key, 1), &saved[1]).await;
    let fresh = stores.with_fresh_database().await;
    let report = rebuild(&start(&fresh)).await;
    assert_eq!(fresh.metadata.file(ids[0]).await.expect("an answer"), None);
    assert_eq!(
        report.lines(),
        [("purge_unfinished", all[0].key.as_str(), "reported")]
    );
    assert_eq!(count(&report, "purged"), 1);

    stores.clock.advance(SignedDuration::from_hours(25));
    process.recover().await;
    let path = ObjectPath::new(&stores.bucket, tombstone_key(&all[0].key));
    stores.objects.delete(&path).await.expect("deleted");
    stores.send_to(&all[0].key, &saved[0]).await;
    stores.send_to(&sidecar_key(&all[0].key, 1), &saved[1]).await;
    let report = rebuild(&process).await;
    assert_eq!(stores.metadata.file(ids[0]).await.expect("an answer"), None);
    assert_eq!(count(&report, "purged"), 1, "{:?}", report.operation.counts);
}
