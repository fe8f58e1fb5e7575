//! What people and other programs do to the files, and what only this store promises.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use cloakroom_core::ports::objects::{
    CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions, ObjectAttributes, ObjectError,
    ObjectPath, ObjectStore, PutBody, PutOptions, WriteConditions,
};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_testkit::object_store_suite::{collect, pattern};

struct Bench {
    store: LocalStore,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&LocalOptions::new(directory.path())).unwrap();
        store.create_bucket("bucket").await.unwrap();
        Self { store, directory }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join("bucket").join(path)
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> cloakroom_core::ports::objects::ObjectInfo {
        let body = PutBody::from_bytes(bytes.to_vec());
        self.store
            .put(&path(key), PutOptions::default(), body)
            .await
            .unwrap()
    }

    async fn head(&self, key: &str) -> cloakroom_core::ports::objects::ObjectInfo {
        self.store.head(&path(key), &GetOptions::default()).await.unwrap()
    }

    async fn read(&self, key: &str) -> Vec<u8> {
        collect(
            self.store
                .get(&path(key), &GetOptions::default())
                .await
                .unwrap()
                .body,
        )
        .await
        .unwrap()
    }

    async fn keys(&self, limit: u32) -> Vec<String> {
        let mut keys = Vec::new();
        let mut options = ListOptions {
            limit,
            ..ListOptions::default()
        };
        loop {
            let page = self.store.list("bucket", &options).await.unwrap();
            keys.extend(page.objects.into_iter().map(|object| object.key));
            match page.next {
                Some(next) => options.after = Some(next),
                None => return keys,
            }
        }
    }
}

fn path(key: &str) -> ObjectPath {
    ObjectPath::new("bucket", key)
}

#[tokio::test]
async fn objects_lie_where_a_person_looks() {
    let bench = Bench::new().await;
    bench.put("photos/2026/a.jpg", b"bytes").await;
    assert_eq!(std::fs::read(bench.file("photos/2026/a.jpg")).unwrap(), b"bytes");
}

#[tokio::test]
async fn a_file_copied_in_by_hand_is_an_object() {
    let bench = Bench::new().await;
    std::fs::create_dir_all(bench.file("by/hand")).unwrap();
    std::fs::write(bench.file("by/hand/a.png"), "not really").unwrap();
    let info = bench.head("by/hand/a.png").await;
    assert_eq!(
        (info.size_bytes, info.attributes.content_type.as_deref()),
        (10, Some("image/png"))
    );
    assert_eq!(
        bench.head("by/hand/a.png").await,
        info,
        "the same as long as the file is"
    );
    assert_eq!(bench.read("by/hand/a.png").await, b"not really");
    assert_eq!(bench.keys(10).await, ["by/hand/a.png"]);
    let copied = bench
        .store
        .copy(&path("by/hand/a.png"), &path("c"), CopyOptions::default())
        .await
        .unwrap();
    assert_ne!(copied.generation, info.generation);
    let to = path("promoted");
    let attributes = ObjectAttributes::default();
    let promoted = bench
        .store
        .promote(&path("by/hand/a.png"), &info.generation, &to, attributes)
        .await
        .unwrap();
    assert_eq!(bench.head("promoted").await, promoted);
}

#[tokio::test]
async fn a_file_edited_in_place_is_another_object() {
    let bench = Bench::new().await;
    let written = bench.put("a.txt", b"one").await;
    std::fs::write(bench.file("a.txt"), "two").unwrap();
    let edited = bench.head("a.txt").await;
    assert_ne!(edited.etag, written.etag);
    assert_ne!(edited.generation, written.generation);
    assert!(edited.checksums.0.is_empty(), "nobody has computed any");
    let conditions = WriteConditions {
        if_generation: Some(written.generation),
        ..WriteConditions::default()
    };
    let options = PutOptions {
        conditions,
        ..PutOptions::default()
    };
    let refused = bench
        .store
        .put(&path("a.txt"), options, PutBody::from_bytes("x"))
        .await;
    assert!(matches!(refused, Err(ObjectError::PreconditionFailed(_))));
}

#[tokio::test]
async fn a_file_moved_by_hand_keeps_its_attributes() {
    let bench = Bench::new().await;
    let written = bench.put("a.txt", b"one").await;
    std::fs::rename(bench.file("a.txt"), bench.file("b.txt")).unwrap();
    assert_eq!(bench.head("b.txt").await, written);
}

#[tokio::test]
async fn what_is_not_an_object_is_not_served() {
    let bench = Bench::new().await;
    bench.put("real.txt", b"x").await;
    std::os::unix::fs::symlink("/etc/hostname", bench.file("link.txt")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, bench.file("pipe.txt"), rustix::fs::Mode::RUSR).unwrap();
    std::fs::write(bench.file("a%41.txt"), "an escape that need not be").unwrap();
    std::fs::write(bench.file("nodot"), "directories have no dot, files do").unwrap();
    std::fs::write(bench.file(".hidden"), "x").unwrap();
    std::fs::create_dir_all(bench.file("dir.with.dots/below")).unwrap();
    std::fs::write(bench.file("dir.with.dots/below/x.txt"), "x").unwrap();
    std::fs::write(
        bench
            .file("")
            .join(std::ffi::OsStr::from_bytes(b"latin-\xe9.txt")),
        "x",
    )
    .unwrap();
    std::fs::create_dir_all(bench.file("empty/dirs")).unwrap();
    for limit in [1, 10] {
        assert_eq!(bench.keys(limit).await, ["real.txt"]);
    }
    let folded = ListOptions {
        delimiter: "/".into(),
        limit: 10,
        ..ListOptions::default()
    };
    assert_eq!(
        bench.store.list("bucket", &folded).await.unwrap().common_prefixes,
        [""; 0]
    );
    for key in [
        "link.txt",
        "pipe.txt",
        "aA.txt",
        "nodot",
        ".hidden",
        "dir.with.dots/below/x.txt",
        "empty/dirs",
    ] {
        let missing = bench.store.get(&path(key), &GetOptions::default()).await.err();
        assert!(matches!(missing, Some(ObjectError::NotFound)), "{key}");
    }
}

#[tokio::test]
async fn a_directory_of_any_size_is_listed_in_pages() {
    let bench = Bench::new().await;
    let mut expected: Vec<String> = (0..3_000)
        .map(|number| format!("d/{}.x", number * 7_919 % 3_000))
        .collect();
    std::fs::create_dir_all(bench.file("d")).unwrap();
    for key in &expected {
        std::fs::write(bench.file(key), "").unwrap();
    }
    expected.sort();
    for limit in [7, 1_000] {
        assert_eq!(bench.keys(limit).await, expected);
    }
}

#[tokio::test]
async fn a_promotion_is_recognised_after_the_staging_key_was_written_anew() {
    let bench = Bench::new().await;
    let staged = bench.put("staging/k", b"verified").await;
    let (from, to) = (path("staging/k"), path("final/k"));
    let promote = || {
        bench
            .store
            .promote(&from, &staged.generation, &to, ObjectAttributes::default())
    };
    let first = promote().await.unwrap();
    assert_eq!(
        (&first.generation, &first.etag),
        (&staged.generation, &staged.etag)
    );
    bench.put("staging/k", b"again").await;
    assert_eq!(promote().await.unwrap(), first);
    assert_eq!(bench.read("final/k").await, b"verified");
    assert_eq!(bench.read("staging/k").await, b"again");
}

/// A crash between the object's name and the note that the upload is complete.
#[tokio::test]
async fn a_completion_is_recognised_by_what_it_made() {
    for parts in [1, 2] {
        let bench = Bench::new().await;
        let id = bench
            .store
            .begin_multipart(&path("k"), MultipartOptions::default())
            .await
            .unwrap();
        let mut list = Vec::new();
        for number in 1..=parts {
            let body = PutBody::from_bytes(pattern(5 * 1024 * 1024, 1));
            let part = bench.store.put_part(&path("k"), &id, number, body).await.unwrap();
            list.push(CompletedPart {
                number,
                etag: part.etag,
                ..CompletedPart::default()
            });
        }
        let upload = bench.directory.path().join(".multipart/bucket").join(&id);
        let saved = bench.directory.path().join("saved");
        std::fs::create_dir(&saved).unwrap();
        for number in 1..=parts {
            let name = format!("{number:05}");
            std::fs::hard_link(upload.join(&name), saved.join(&name)).unwrap();
        }
        let if_absent = WriteConditions {
            if_absent: true,
            ..WriteConditions::default()
        };
        let k = path("k");
        let complete = || bench.store.complete_multipart(&k, &id, &list, if_absent.clone());
        let first = complete().await.unwrap();
        std::fs::remove_file(upload.join("completed")).unwrap();
        for number in 1..=parts {
            let name = format!("{number:05}");
            std::fs::rename(saved.join(&name), upload.join(&name)).unwrap();
        }
        assert_eq!(complete().await.unwrap(), first, "{parts} parts");
        assert_eq!(bench.head("k").await, first);
        let left: Vec<_> = std::fs::read_dir(&upload)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.iter().all(|name| !name.as_bytes().starts_with(b"0")),
            "{left:?}"
        );
    }
}

#[tokio::test]
async fn a_file_cut_short_while_it_is_read_is_an_error() {
    let bench = Bench::new().await;
    bench.put("k", &pattern(3_000_000, 1)).await;
    let read = bench.store.get(&path("k"), &GetOptions::default()).await.unwrap();
    std::fs::File::options()
        .write(true)
        .open(bench.file("k.%"))
        .unwrap()
        .set_len(1_000_000)
        .unwrap();
    let error = collect(read.body).await.unwrap_err();
    assert_eq!(error.code, "InternalError");
}

#[tokio::test]
async fn debug_output_names_the_root_only() {
    let bench = Bench::new().await;
    let printed = format!("{:?}", bench.store);
    assert_eq!(
        printed,
        format!("LocalStore {{ root: {:?}, .. }}", bench.directory.path())
    );
}

#[tokio::test]
async fn small_bodies_have_their_md5_as_etag_and_large_ones_cannot_be_mistaken_for_it() {
    let bench = Bench::new().await;
    assert_eq!(bench.put("k", b"").await.etag, "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(bench.put("k", &vec![b'a'; 16_384]).await.etag.len(), 32);
    let large = bench.put("k", &vec![b'a'; 16_385]).await.etag;
    assert_eq!((large.len(), &large[32..]), (34, "-1"));
    assert_ne!(bench.put("k", &vec![b'a'; 16_385]).await.etag, large);
}

#[tokio::test]
async fn directories_go_with_their_last_object() {
    let bench = Bench::new().await;
    for key in ["a/b/c", "a/d", &format!("long/{}", "x".repeat(900))] {
        bench.put(key, b"x").await;
    }
    bench.store.delete(&path("a/b/c")).await.unwrap();
    assert!(!bench.file("a/b").exists() && bench.file("a").exists());
    bench
        .store
        .delete(&path(&format!("long/{}", "x".repeat(900))))
        .await
        .unwrap();
    let info = bench.head("a/d").await;
    bench
        .store
        .promote(
            &path("a/d"),
            &info.generation,
            &path("final"),
            ObjectAttributes::default(),
        )
        .await
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(bench.file(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["final.%"]);
}
