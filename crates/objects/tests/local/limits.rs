//! Little memory, a full disk, file systems that will not do.

use std::path::Path;

use bytes::Bytes;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_objects::local::{LocalOptions, LocalStore, OpenError};
use cloakroom_testkit::object_store_suite::{collect, pattern};
use futures_util::StreamExt as _;

use super::child;

/// How much memory a stream of any length may take.
const GROWTH_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The largest resident set that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

pub async fn stream_a_gibibyte(root: &Path) {
    let store = LocalStore::open(&LocalOptions::new(root)).unwrap();
    store.create_bucket("large").await.unwrap();
    let path = ObjectPath::new("large", "k");
    let piece = Bytes::from(pattern(64 * 1024, 1));
    store
        .put(&path, PutOptions::default(), PutBody::from_bytes(piece.clone()))
        .await
        .unwrap();
    let before = peak_bytes();
    let count = 16 * 1024;
    let pieces = futures_util::stream::repeat(piece).take(count).map(Ok);
    let body = PutBody::from_stream(Box::pin(pieces), None);
    let info = store.put(&path, PutOptions::default(), body).await.unwrap();
    assert_eq!(info.size_bytes, 1 << 30);
    let written = peak_bytes() - before;
    let mut read = store.get(&path, &GetOptions::default()).await.unwrap();
    let mut size = 0;
    while let Some(piece) = read.body.next().await {
        size += piece.unwrap().len();
    }
    assert_eq!(size, 1 << 30);
    println!(
        "growth: {written} bytes writing, {} in all",
        peak_bytes() - before
    );
    assert!(peak_bytes() - before < GROWTH_BYTES_MAX);
}

#[test]
fn memory_does_not_grow_with_the_object() {
    let directory = tempfile::tempdir().unwrap();
    println!("{}", child::succeed(child::command("large", directory.path())));
}

pub async fn fill_the_disk(root: &Path) {
    let root = root.join("full");
    let store = match LocalStore::open(&LocalOptions::new(&root)) {
        // Kernels before 6.6 have no user attributes on tmpfs; then this is what there is to see.
        Err(error @ OpenError::NoExtendedAttributes(_)) => return println!("{error}"),
        store => store.unwrap(),
    };
    store.create_bucket("full").await.unwrap();
    let path = |key: &str| ObjectPath::new("full", key);
    let put = async |key: &str, size: usize, seed| {
        let body = PutBody::from_bytes(pattern(size, seed));
        store.put(&path(key), PutOptions::default(), body).await
    };
    put("old", 100_000, 1).await.unwrap();
    let old = store.head(&path("old"), &GetOptions::default()).await.unwrap();
    let mut kept = 0;
    loop {
        match put(&format!("new/{kept}"), 1_000_000, 2).await {
            Ok(_) => kept += 1,
            Err(ObjectError::NoSpace) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((3..=8).contains(&kept), "{kept} objects of 1 MB in 8 MiB");
    for _ in 0..3 {
        let overwrite = put("old", 2_000_000, 3).await;
        assert!(matches!(overwrite, Err(ObjectError::NoSpace)), "{overwrite:?}");
    }
    let missing = store
        .head(&path(&format!("new/{kept}")), &GetOptions::default())
        .await;
    assert!(matches!(missing, Err(ObjectError::NotFound)));
    let read = store.get(&path("old"), &GetOptions::default()).await.unwrap();
    assert_eq!(read.info, old);
    assert!(collect(read.body).await.unwrap() == pattern(100_000, 1));
    assert_eq!(std::fs::read_dir(root.join(".tmp")).unwrap().count(), 0);
    store.delete(&path("new/0")).await.unwrap();
    store.delete(&path("new/1")).await.unwrap();
    put("old", 1_500_000, 4).await.unwrap();
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mounts = "mkdir $1/full; mount -t tmpfs -o size=8m none $1/full";
    child::succeed(child::command_with_mounts("full", directory.path(), mounts));
}

pub fn open_unfit_directories(root: &Path) {
    let said = |name: &str| {
        LocalStore::open(&LocalOptions::new(root.join(name)))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        said("no-attributes"),
        format!(
            "the file system of {} has no extended attributes (user.*)",
            root.join("no-attributes").display()
        )
    );
    let read_only = said("read-only");
    assert!(
        read_only.starts_with("cannot write to ") && read_only.contains("Read-only"),
        "{read_only}"
    );
    let two = root.join("two");
    assert_eq!(
        said("two"),
        format!(
            "{} is on another file system than the store that it is part of",
            two.join("bucket").display()
        )
    );
}

#[test]
fn unfit_directories_are_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let mounts = "mkdir $1/no-attributes $1/read-only $1/two $1/two/bucket
        mount -t ramfs none $1/no-attributes
        mount -t tmpfs -o ro none $1/read-only
        mount -t tmpfs none $1/two/bucket";
    child::succeed(child::command_with_mounts("unfit", directory.path(), mounts));
}
