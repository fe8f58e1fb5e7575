//! A connection that is lost while a commit is under way: what stands is found out, and never told wrongly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, MetadataStore};
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, object, sample_collection, sample_new_file, sample_observed, sample_record,
};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::postgres_url;
use jiff::SignedDuration;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::database::{Prefix, client, options};

/// The message by which a transaction is committed.
const COMMIT: &[u8] = b"COMMIT\0";
/// How the statement begins that writes a group and is a transaction by itself, after its name.
const GROUP: &[u8] = b"\0WITH made AS (INSERT";

fn find(sent: &[u8], part: &[u8]) -> Option<usize> {
    sent.windows(part.len()).position(|window| window == part)
}

/// Whether what is sent commits something. Remembers how the statements of groups are called: `s` and a number.
fn commits(sent: &[u8], groups: &mut Vec<Vec<u8>>) -> bool {
    if let Some(end) = find(sent, GROUP) {
        let start = sent[..end].iter().rposition(|byte| *byte == b's').unwrap();
        // As it stands when it is run: after the empty name of a portal.
        groups.push([b"\0", &sent[start..end], b"\0"].concat());
    }
    find(sent, COMMIT).is_some() || groups.iter().any(|name| find(sent, name).is_some())
}

/// What stands between a node and its database.
#[derive(Clone, Default)]
struct Cuts {
    /// The next commit reaches the server, and its answer does not come back.
    after_commit: Arc<AtomicBool>,
    /// The next commit does not reach the server.
    before_commit: Arc<AtomicBool>,
}

async fn carry(node: TcpStream, server: SocketAddr, cuts: Cuts) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let ((mut from_node, mut to_node), (mut from_server, mut to_server)) =
        (node.into_split(), server.into_split());
    let deaf = Arc::new(AtomicBool::new(false));
    let silenced = Arc::clone(&deaf);
    let mut back = tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            // The answer to the commit: it was made, and nobody hears of it.
            if silenced.load(Ordering::SeqCst) || to_node.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    let (mut bytes, mut groups) = (vec![0; 64 * 1024], Vec::new());
    while let Ok(count @ 1..) = from_node.read(&mut bytes).await {
        let sent = &bytes[..count];
        if commits(sent, &mut groups) {
            if cuts.before_commit.swap(false, Ordering::SeqCst) {
                break;
            }
            if cuts.after_commit.swap(false, Ordering::SeqCst) {
                deaf.store(true, Ordering::SeqCst);
                let _ = to_server.write_all(sent).await;
                // What follows belongs to it: a large statement comes in pieces.
                let rest = tokio::io::copy(&mut from_node, &mut to_server);
                // Ends when the answer was read; then both directions are closed.
                tokio::select! {
                    _ = &mut back => {}
                    _ = rest => drop(back.await),
                }
                return;
            }
        }
        if to_server.write_all(sent).await.is_err() {
            break;
        }
    }
    back.abort();
}

/// A store behind the cuts.
async fn cut_off() -> (PostgresStore, Cuts, Prefix) {
    let prefix = Prefix::new();
    let url = postgres_url();
    let (credentials, place) = url.split_once('@').unwrap();
    let (host, database) = place.split_once('/').unwrap();
    let server: SocketAddr = tokio::net::lookup_host(host).await.unwrap().next().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Cuts::default();
    let between = cuts.clone();
    tokio::spawn(async move {
        while let Ok((node, _)) = listener.accept().await {
            tokio::spawn(carry(node, server, between.clone()));
        }
    });
    let store = PostgresStore::connect(PostgresOptions {
        url: format!("{credentials}@{address}/{database}?sslmode=disable"),
        ..options(&prefix)
    })
    .await
    .unwrap();
    (store, cuts, prefix)
}

async fn count(prefix: &Prefix, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {}_{table}", prefix.0);
    client().await.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_is_made_once_whatever_became_of_its_commit() {
    let (store, cuts, prefix) = cut_off().await;
    let random = SeededRandom::default();
    for (n, cut) in [&cuts.after_commit, &cuts.before_commit].into_iter().enumerate() {
        let new = sample_new_file(&random, MockClock::new().now());
        cut.store(true, Ordering::SeqCst);
        assert_eq!(store.insert(new.clone()).await.unwrap(), Inserted::New);
        assert!(!cut.load(Ordering::SeqCst), "the commit was cut");
        assert_eq!(store.file(new.file.id).await.unwrap().as_ref(), Some(&new.file));
        let made = i64::try_from(n + 1).unwrap();
        assert_eq!(
            (count(&prefix, "files").await, count(&prefix, "events").await),
            (made, made)
        );
        let usage = store.usage(SAMPLE_OWNER).await.unwrap();
        assert_eq!(
            usage.reserved_bytes,
            (n as u64 + 1) * SAMPLE_BYTES,
            "reserved once"
        );
        // Whoever asks again is told that it was there.
        assert!(matches!(store.insert(new).await.unwrap(), Inserted::Existing(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_group_is_made_once_whatever_became_of_its_commit() {
    let (store, cuts, prefix) = cut_off().await;
    let random = SeededRandom::default();
    for cut in [&cuts.after_commit, &cuts.before_commit] {
        cut.store(true, Ordering::SeqCst);
        let inserts = (0..40).map(|_| store.insert(sample_new_file(&random, MockClock::new().now())));
        for answer in futures_util::future::join_all(inserts).await {
            assert_eq!(answer.unwrap(), Inserted::New);
        }
    }
    assert_eq!(
        (count(&prefix, "files").await, count(&prefix, "events").await),
        (80, 80)
    );
    assert_eq!(
        store.usage(SAMPLE_OWNER).await.unwrap().reserved_bytes,
        80 * SAMPLE_BYTES
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transition_is_made_once_whatever_became_of_its_commit() {
    let (store, cuts, prefix) = cut_off().await;
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    let occasion = || Occasion {
        now: clock.now(),
        actor: "tester",
        random: &random,
    };
    for cut in [&cuts.after_commit, &cuts.before_commit] {
        let new = sample_new_file(&random, clock.now());
        let (file, upload) = (new.file.clone(), new.upload.clone());
        store.insert(new).await.unwrap();
        let confirm = file
            .confirm(
                &upload,
                &sample_observed(&file),
                &sample_collection(),
                &occasion(),
            )
            .unwrap();
        let confirmed = confirm.file.clone();
        cut.store(true, Ordering::SeqCst);
        store.apply(confirm.clone()).await.unwrap();
        assert!(!cut.load(Ordering::SeqCst), "the commit was cut");
        assert_eq!(store.file(file.id).await.unwrap(), Some(confirmed));
        assert_eq!(store.timeline(file.id, None, 10).await.unwrap().items.len(), 2);
        // Without a cut the same again is a conflict, as ever.
        assert!(matches!(store.apply(confirm).await, Err(MetadataError::Conflict)));
    }
    assert_eq!(count(&prefix, "jobs").await, 2);
    assert_eq!(store.usage(SAMPLE_OWNER).await.unwrap().files, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_forgotten_once_whatever_became_of_the_commit() {
    let (store, cuts, prefix) = cut_off().await;
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    let occasion = || Occasion {
        now: clock.now(),
        actor: "tester",
        random: &random,
    };
    for cut in [&cuts.after_commit, &cuts.before_commit] {
        let mut new = sample_new_file(&random, clock.now());
        new.file.state = FileState::Purging;
        store.insert(new.clone()).await.unwrap();
        let file: File = new.file;
        let mut event = occasion().event(&file, EventKind::Purged);
        event.version += 1;
        cut.store(true, Ordering::SeqCst);
        store.forget(&file, event, None, None).await.unwrap();
        assert_eq!(store.file(file.id).await.unwrap(), None);
    }
    assert_eq!(
        (count(&prefix, "files").await, count(&prefix, "events").await),
        (0, 4)
    );
}

/// What cannot find out by itself says that nobody knows, and not that it failed or succeeded.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_said_to_be_unknown() {
    let (store, cuts, _prefix) = cut_off().await;
    let clock = MockClock::new();
    let mut record = sample_record("message/1", SAMPLE_OWNER, clock.now());
    for (cut, stands) in [(&cuts.before_commit, false), (&cuts.after_commit, true)] {
        cut.store(true, Ordering::SeqCst);
        let answer = store.put_record(&record, None).await;
        let Err(MetadataError::Unavailable(text)) = answer else {
            panic!("{answer:?}")
        };
        assert!(text.contains("not known"), "{text}");
        assert_eq!(store.record(&record.key).await.unwrap().is_some(), stands);
    }
    // What is the same when done twice is simply done again.
    record.updated_at = clock.advance(SignedDuration::from_secs(1));
    let value = object(json!({ "n": 1 }));
    for cut in [&cuts.before_commit, &cuts.after_commit] {
        cut.store(true, Ordering::SeqCst);
        store.put_setting("x", &value).await.unwrap();
    }
    assert_eq!(store.setting("x").await.unwrap(), Some(value));
}
