//! A store in the real Ceph, with a bucket that is removed afterwards.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::job::RetryPolicy;
use cloakroom_core::ports::objects::{Capabilities, ListOptions, ObjectPath, ObjectStore};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::s3::{S3Options, S3Store, USUAL_CAPABILITIES};
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::object_store_suite::Subject;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;
use jiff::SignedDuration;
use uuid::Uuid;

/// What Ceph RGW 16.2 can do. It takes a condition on the source of a copy under a name of its own, which we send too;
/// it checks no checksums, knows no parts of finished objects, and forgets uploads.
pub const CEPH: Capabilities = USUAL_CAPABILITIES;

/// How Ceph is reached at `endpoint`, which may be a proxy in front of it.
pub fn options_for(endpoint: &str) -> S3Options {
    let server = servers::s3();
    let credentials = Credentials::new(server.access_key, server.secret_key);
    S3Options {
        capabilities: CEPH,
        ..S3Options::new(
            Endpoint::parse(endpoint, Addressing::Path).unwrap(),
            server.region.parse::<Region>().unwrap(),
            Arc::new(StaticCredentials(credentials)),
            Arc::new(WallClock),
            Arc::new(SeededRandom::new(1)),
        )
    }
}

/// How Ceph is reached without detours.
pub fn options() -> S3Options {
    options_for(&servers::s3().endpoint)
}

/// Tries again at once, and has the patience that a slow machine takes.
pub fn eager(options: S3Options) -> S3Options {
    S3Options {
        connect_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_mins(3),
        retry: RetryPolicy {
            initial_delay: SignedDuration::from_millis(20),
            delay_max: SignedDuration::from_millis(50),
            ..RetryPolicy::default()
        },
        ..options
    }
}

/// Gives up so soon that a test sees it: for what never answers.
pub fn impatient(options: S3Options) -> S3Options {
    S3Options {
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(6),
        ..eager(options)
    }
}

/// A bucket in Ceph, and a store that reaches it directly.
pub struct Stand {
    pub store: Arc<S3Store>,
    pub bucket: String,
    cleaner: Cleaner,
}

impl Stand {
    pub async fn new() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: S3Options) -> Self {
        let store = Arc::new(S3Store::new(options).unwrap());
        let id = Uuid::now_v7().to_string();
        let bucket = format!("suite-{id}");
        store.create_bucket(&bucket).await.unwrap();
        let cleaner = Cleaner(id);
        Self {
            store,
            bucket,
            cleaner,
        }
    }

    pub fn path(&self, key: &str) -> ObjectPath {
        ObjectPath::new(&self.bucket, key)
    }

    pub fn into_subject(self) -> Subject {
        Subject::in_bucket(self.store, self.bucket, self.cleaner)
    }
}

/// Removes every bucket with this id in its name: cases make neighbours of their own.
struct Cleaner(String);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let id = self.0.clone();
        // A runtime of its own: that of the test is about to end, and must not be waited for from within.
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(remove_buckets(&id));
        })
        .join();
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

async fn remove_buckets(id: &str) {
    let store = S3Store::new(options()).unwrap();
    for bucket in store.buckets().await.unwrap() {
        if !bucket.name.contains(id) {
            continue;
        }
        loop {
            let options = ListOptions {
                limit: 1_000,
                ..ListOptions::default()
            };
            let page = store.list(&bucket.name, &options).await.unwrap();
            let deletes = page.objects.iter().map(|object| {
                let path = ObjectPath::new(&bucket.name, &object.key);
                let store = store.clone();
                async move { store.delete(&path).await }
            });
            futures_util::future::try_join_all(deletes).await.unwrap();
            if page.next.is_none() {
                break;
            }
        }
        store.delete_bucket(&bucket.name).await.unwrap();
    }
}
