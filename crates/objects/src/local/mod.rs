//! Objects as plain files: one per object, at a path that a person can read ([`layout`]), durable when acknowledged.
//!
//! ```text
//! <root>/<bucket>/photos/2026/a.jpg       an object; its attributes are in the file's extended attributes
//! <root>/.multipart/<bucket>/<upload>/    a multipart upload: manifest and parts
//! <root>/.tmp/                            names that are never shown; emptied at start
//! <root>/.lock                            held by the process that has the store open
//! ```
//!
//! A write goes through a file without a name: bytes, attributes, fsync, name, fsync of the directory. So a crash
//! leaves either the old object or the new one, and nothing to clear up. Nothing here keeps state that the files do
//! not have: copying the tree (with extended attributes) is a backup, and a file copied in by hand is an object.

mod attributes;
mod buckets;
mod buffers;
mod complete;
mod digests;
mod failure;
pub mod layout;
mod list;
mod locks;
mod manifest;
mod multipart;
mod names;
mod open;
mod read;
mod sync;
mod temp;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectInfo, ObjectList, ObjectPath, ObjectRead, ObjectStore, Part,
    PutBody, PutOptions, Result, WriteConditions,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

pub use self::open::{LocalOptions, OpenError};

use self::buffers::BufferPool;
use self::locks::KeyLocks;
use self::names::Place;
use self::sync::DirectorySync;
use self::temp::{Root, TempKind};

/// An object store in a directory. Needs a Tokio runtime; blocking calls run on its blocking threads.
///
/// Beyond what the port promises: a promotion is a rename and keeps generation and `ETag`, so doing it again is
/// recognised even after the staging key has been written anew.
pub struct LocalStore {
    shared: Arc<Shared>,
}

/// What all operations share.
struct Shared {
    root: Arc<Root>,
    temp_kind: TempKind,
    /// By object path. Innermost: nothing else is locked while one is held.
    locks: KeyLocks,
    /// By upload directory. Taken before a lock of an object, never after.
    upload_locks: KeyLocks,
    directories: DirectorySync,
    buffers: Arc<BufferPool>,
    _lock: std::fs::File,
}

impl LocalStore {
    /// Opens the store, making its directory if need be. Blocks for a few file operations.
    ///
    /// # Errors
    /// [`OpenError`], one line each, for a directory that could not keep the store's promises.
    pub fn open(options: &LocalOptions) -> std::result::Result<Self, OpenError> {
        let shared = Arc::new(open::open(options)?);
        // Files need no circuit; whoever watches every instance by one rule finds it closed. Added to, so that it does not
        // close that of an S3 service beside it.
        metrics::gauge!(crate::CIRCUIT_STATE).increment(0.0);
        Ok(Self { shared })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        on_blocking_thread(move || work(&shared)).await
    }
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore")
            .field("root", &self.shared.root.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            conditional_put: true,
            post_policy: true,
            checksums: true,
            computed_checksums: true,
            generations: true,
            uneven_parts: true,
            conditional_copy: true,
            conditional_copy_target: true,
            conditional_completion: true,
            part_reads: true,
            unlisted_parts: true,
            several_checksums: true,
            ordered_deletes: true,
            upload_memory: true,
            closed_uploads: true,
            long_user_metadata: true,
            small_parts_refused: true,
            empty_parts: true,
            leading_slashes: true,
        }
    }

    async fn buckets(&self) -> Result<Vec<Bucket>> {
        self.blocking(buckets::all).await
    }

    async fn bucket(&self, name: &str) -> Result<Bucket> {
        let name = name.to_owned();
        self.blocking(move |shared| buckets::one(shared, &name)).await
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |shared| buckets::create(shared, &name)).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |shared| buckets::delete(shared, &name)).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        read::head(&self.shared, path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        read::get(&self.shared, path, options).await
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo> {
        write::put(&self.shared, path, options, body).await
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo> {
        let (from, to) = (Place::new(from)?, Place::new(to)?);
        self.blocking(move |shared| write::copy(shared, &from, &to, options))
            .await
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        let (from, to, generation) = (Place::new(from)?, Place::new(to)?, generation.to_owned());
        attributes::check_attributes(&attributes)?;
        self.blocking(move |shared| shared.promote(&from, &generation, &to, &attributes))
            .await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        let place = Place::new(path)?;
        self.blocking(move |shared| shared.remove(&place)).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        let (bucket, options) = (bucket.to_owned(), options.clone());
        self.blocking(move |shared| list::list(shared, &bucket, &options))
            .await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
        let path = path.clone();
        self.blocking(move |shared| multipart::begin(shared, &path, options))
            .await
    }

    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part> {
        multipart::put_part(&self.shared, path, upload_id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)> {
        let (path, id) = (path.clone(), upload_id.to_owned());
        self.blocking(move |shared| multipart::describe(shared, &path, &id))
            .await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        self.blocking(move |shared| multipart::under_way(shared, &bucket, &prefix))
            .await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        let (path, id, parts) = (path.clone(), upload_id.to_owned(), parts.to_vec());
        self.blocking(move |shared| complete::complete(shared, &path, &id, &parts, &conditions))
            .await
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        let (path, id) = (path.clone(), upload_id.to_owned());
        self.blocking(move |shared| multipart::abort(shared, &path, &id))
            .await
    }

    async fn ping(&self) -> Result<()> {
        self.blocking(|shared| {
            let fail = |error| failure::object(error, "write a probe");
            let mut probe = shared.create_temp()?;
            probe.write_all(b"probe", 0).map_err(fail)?;
            rustix::fs::fsync(&probe).map_err(fail)
        })
        .await
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| failure::task(&error))?
}

/// Opens a directory below the root for reading its entries, or for syncing it.
fn open_directory(root: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens a file below the root for reading.
fn open_file(root: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    // Not blocking, for what may have been put there by hand: a pipe, a device.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::openat(root, path, flags, Mode::empty())
}
