//! What is left when the process is killed at any moment.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use cloakroom_core::ports::objects::{
    GetOptions, ListOptions, ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutBody, PutOptions,
};
use cloakroom_objects::local::{LocalOptions, LocalStore, layout};
use cloakroom_testkit::object_store_suite::{Sequence, collect, pattern};

use super::child;

const BUCKET: &str = "crash";

/// A version of an object: its bytes follow from its number.
fn bytes_of(version: u64) -> Vec<u8> {
    let size = [10, 3_000, 70_000, 600_000][version as usize % 4];
    pattern(size, version)
}

fn attributes_of(version: u64) -> ObjectAttributes {
    ObjectAttributes {
        user_metadata: BTreeMap::from([("version".to_owned(), version.to_string())]),
        ..ObjectAttributes::default()
    }
}

async fn write(store: &LocalStore, key: &str, version: u64) -> String {
    let options = PutOptions {
        attributes: attributes_of(version),
        ..PutOptions::default()
    };
    let body = PutBody::from_bytes(bytes_of(version));
    store
        .put(&ObjectPath::new(BUCKET, key), options, body)
        .await
        .unwrap()
        .generation
}

fn open(root: &Path, unnamed_files: bool) -> LocalStore {
    LocalStore::open(&LocalOptions {
        unnamed_files,
        ..LocalOptions::new(root)
    })
    .unwrap()
}

/// The killed process: overwrites and deletes a few keys without end, and says what was acknowledged.
pub async fn write_for_ever(root: &Path, unnamed_files: bool) {
    let store = Arc::new(open(root, unnamed_files));
    let _ = store.create_bucket(BUCKET).await;
    let writers = (0..6_u64).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let key = format!("w{}/d.{writer}/k", writer % 2);
            for version in 1.. {
                write(&store, &key, version).await;
                println!("put {key} {version}");
                if version % 5 == 0 {
                    store.delete(&ObjectPath::new(BUCKET, &key)).await.unwrap();
                    println!("deleted {key} {version}");
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// The killed process: promotes without end.
pub async fn promote_for_ever(root: &Path) {
    let store = Arc::new(open(root, true));
    let _ = store.create_bucket(BUCKET).await;
    let movers = (0..4_u64).map(|mover| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0.. {
                let name = format!("{mover}/{round}");
                let generation = write(&store, &format!("staging/{name}"), round).await;
                println!("put {name} {round}");
                let from = ObjectPath::new(BUCKET, format!("staging/{name}"));
                let to = ObjectPath::new(BUCKET, format!("final/{name}"));
                store
                    .promote(&from, &generation, &to, attributes_of(round))
                    .await
                    .unwrap();
                println!("promoted {name} {round}");
            }
        })
    });
    for mover in movers.collect::<Vec<_>>() {
        mover.await.unwrap();
    }
}

/// Runs a role until it has acknowledged so much, and kills it; what it had said until then.
fn run_and_kill(role: &str, root: &Path, acknowledgements: usize) -> Vec<(String, String, u64)> {
    let mut process = child::command(role, root).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines {
        let line = line.unwrap();
        if let [word @ ("put" | "deleted" | "promoted"), key, version] =
            line.split(' ').collect::<Vec<_>>()[..]
        {
            said.push((word.to_owned(), key.to_owned(), version.parse().unwrap()));
        }
        if said.len() == acknowledgements {
            // SIGKILL; what is still in the pipe was acknowledged, too.
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(said.len() >= acknowledgements);
    said
}

/// The version at a key, which must be whole.
async fn version_at(store: &LocalStore, key: &str) -> Option<u64> {
    let read = match store
        .get(&ObjectPath::new(BUCKET, key), &GetOptions::default())
        .await
    {
        Ok(read) => read,
        Err(ObjectError::NotFound) => return None,
        Err(error) => panic!("{key}: {error}"),
    };
    let version = read.info.attributes.user_metadata["version"].parse().unwrap();
    assert!(
        collect(read.body).await.unwrap() == bytes_of(version),
        "{key} is whole"
    );
    Some(version)
}

/// Nothing lies around that is not an object.
async fn assert_tidy(root: &Path, store: &LocalStore) {
    assert_eq!(
        std::fs::read_dir(root.join(".tmp")).unwrap().count(),
        0,
        "no leftovers"
    );
    let mut files = Vec::new();
    let mut directories = vec![root.join(BUCKET)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let below = path
                    .strip_prefix(root.join(BUCKET))
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push(layout::path_to_key(&below).unwrap());
            }
        }
    }
    files.sort();
    let page = store
        .list(
            BUCKET,
            &ListOptions {
                limit: 1_000,
                ..ListOptions::default()
            },
        )
        .await
        .unwrap();
    let keys: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, files[..files.len().min(1_000)]);
}

async fn kill_writers(role: &str, unnamed_files: bool) {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Sequence(11);
    for _ in 0..4 {
        let said = run_and_kill(role, directory.path(), 40 + random.below(60));
        let store = open(directory.path(), unnamed_files);
        assert_tidy(directory.path(), &store).await;
        let last: BTreeMap<_, _> = said
            .into_iter()
            .map(|(word, key, version)| (key, (word, version)))
            .collect();
        for (key, (word, version)) in last {
            let found = version_at(&store, &key).await;
            // What was under way may have happened, too: the next version, or the delete after every fifth.
            let expected = match word.as_str() {
                "deleted" => [None, Some(version + 1)],
                _ if version % 5 == 0 => [Some(version), None],
                _ => [Some(version), Some(version + 1)],
            };
            assert!(
                expected.contains(&found),
                "{key}: {word} {version} acknowledged, {found:?} found"
            );
        }
    }
}

#[tokio::test]
async fn acknowledged_objects_survive_a_kill() {
    kill_writers("writer", true).await;
}

#[tokio::test]
async fn acknowledged_objects_survive_a_kill_with_named_files() {
    kill_writers("writer-named", false).await;
}

#[tokio::test]
async fn a_killed_promotion_leaves_the_object_here_or_there() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let said = run_and_kill("mover", directory.path(), 60 + 17 * round);
        let store = open(directory.path(), true);
        assert_tidy(directory.path(), &store).await;
        for (word, name, version) in said {
            let staging = version_at(&store, &format!("staging/{name}")).await;
            let last = version_at(&store, &format!("final/{name}")).await;
            if word == "promoted" {
                assert_eq!((staging, last), (None, Some(version)), "{name}");
            } else {
                assert!(
                    staging.xor(last) == Some(version),
                    "{name}: {staging:?}, {last:?}"
                );
            }
        }
        drop(store);
        std::fs::remove_dir_all(directory.path().join(BUCKET)).unwrap();
    }
}
