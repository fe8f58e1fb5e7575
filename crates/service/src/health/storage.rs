//! Whether the stores really take and give bytes: a small object is written, seen, read, listed and removed in every
//! bucket, and each of these is a permission of its own that may be missing (S2 task 12, S4 storage health).

use bytes::Bytes;
use cloakroom_core::key::SYSTEM_PREFIX;
use cloakroom_core::ports::objects::{
    Circuit, GetOptions, ListOptions, ObjectError, ObjectPath, PutBody, PutOptions,
};
use cloakroom_core::storage::{StorageAction, StorageMode};
use futures_util::StreamExt as _;
use futures_util::future::{Either, join_all, select};
use futures_util::pin_mut;
use jiff::{SignedDuration, Timestamp};

use super::ANSWER_WITHIN;
use crate::app::{App, Pause};
use crate::stores::{StoreDefinition, StoreKind};

/// Probes stand under this. Each has a name of its own, so that nodes do not remove each other's.
const PROBES: &str = "health/";
/// Probes of processes that died in between are removed after this time.
const LEFT_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// What is asked of a bucket, each a permission of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageOperation {
    /// Write an object.
    Put,
    /// See one.
    Head,
    /// Read one.
    Get,
    /// List keys.
    List,
    /// Remove an object.
    Delete,
}

impl StorageOperation {
    /// In the order in which they are asked.
    pub const ALL: [Self; 5] = [Self::Put, Self::Head, Self::Get, Self::List, Self::Delete];

    /// The name on the wire: `put`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Head => "head",
            Self::Get => "get",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// Why a store did not do what was asked, without its own words: these may name hosts and paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFault {
    /// It does not answer, or not as a store does.
    Unavailable,
    /// It does not answer in time.
    Timeout,
    /// It denies this to our credentials.
    AccessDenied,
    /// There is no such bucket.
    NoSuchBucket,
    /// It has no space left.
    NoSpace,
    /// It gives other bytes than it took.
    WrongBytes,
    /// Anything else.
    Other,
}

impl StorageFault {
    /// The name on the wire: `access_denied`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::AccessDenied => "access_denied",
            Self::NoSuchBucket => "no_such_bucket",
            Self::NoSpace => "no_space",
            Self::WrongBytes => "wrong_bytes",
            Self::Other => "error",
        }
    }

    fn of(error: &ObjectError) -> Self {
        match error {
            ObjectError::Unavailable(_) => Self::Unavailable,
            ObjectError::Denied(_) => Self::AccessDenied,
            ObjectError::NoSuchBucket(_) => Self::NoSuchBucket,
            ObjectError::NoSpace => Self::NoSpace,
            ObjectError::NotFound | ObjectError::Body(_) => Self::WrongBytes,
            _ => Self::Other,
        }
    }
}

/// What one operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageAnswer {
    /// What was asked.
    pub operation: StorageOperation,
    /// What is wrong, if anything.
    pub fault: Option<StorageFault>,
}

/// One bucket. Of a store whose mode takes no writes it is only asked whether it lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketHealth {
    /// Its name.
    pub name: String,
    /// What was asked, in order. What could not be tried, because what comes before it failed, is left out.
    pub answers: Vec<StorageAnswer>,
    /// How long all of it took.
    pub took: SignedDuration,
}

impl BucketHealth {
    /// Whether everything that was asked was done.
    pub fn is_healthy(&self) -> bool {
        self.answers.iter().all(|answer| answer.fault.is_none())
    }
}

/// One store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreHealth {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: StoreKind,
    /// Where clients reach it, without a secret.
    pub address: Option<String>,
    /// How far it is open, when that is known.
    pub mode: Option<StorageMode>,
    /// Its buckets, by name.
    pub buckets: Vec<BucketHealth>,
}

/// All stores, as they were a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageHealth {
    /// The stores, by name.
    pub stores: Vec<StoreHealth>,
    /// Why the buckets cannot be listed. With credentials for certain buckets alone this is denied, and nothing needs it.
    pub listing: Option<StorageFault>,
    /// Whether calls are let through to the stores.
    pub circuit: Circuit,
    /// When it was looked.
    pub checked_at: Timestamp,
    /// The time of the slowest bucket, everything that was asked of it together.
    pub response_time: SignedDuration,
}

impl StorageHealth {
    /// Every bucket with its store.
    pub fn buckets(&self) -> impl Iterator<Item = (&StoreHealth, &BucketHealth)> {
        self.stores
            .iter()
            .flat_map(|store| store.buckets.iter().map(move |bucket| (store, bucket)))
    }

    /// Whether every bucket does what is asked of it.
    pub fn is_healthy(&self) -> bool {
        let listed = matches!(self.listing, None | Some(StorageFault::AccessDenied));
        listed && self.buckets().all(|(_, bucket)| bucket.is_healthy())
    }

    /// What is wrong, as `<bucket>: <operation>: <fault>`.
    pub fn errors(&self) -> Vec<String> {
        let of_bucket = |bucket: &BucketHealth| -> Vec<String> {
            let faults = bucket.answers.iter().filter_map(|answer| {
                let fault = answer.fault?.as_str();
                Some(format!("{}: {}: {fault}", bucket.name, answer.operation.as_str()))
            });
            faults.collect()
        };
        let listing = self
            .listing
            .map(|fault| format!("list_buckets: {}", fault.as_str()));
        let buckets = self.buckets().flat_map(|(_, bucket)| of_bucket(bucket));
        listing.into_iter().chain(buckets).collect()
    }
}

impl App {
    /// Tries every bucket of every store with a small object, all buckets at the same time, and gives up on those that do
    /// not answer within 5 s. It costs the stores five calls per bucket, so whoever offers it to strangers keeps the answer
    /// for some seconds.
    pub async fn storage_health(&self, pause: &Pause) -> StorageHealth {
        let begun = self.now();
        let definitions: Vec<&StoreDefinition> = self.stores.definitions().collect();
        let stores = definitions.iter().map(|store| self.store_health(store, pause));
        let listing = async {
            let asked = self.objects.buckets();
            pin_mut!(asked);
            match select(asked, pause(ANSWER_WITHIN)).await {
                Either::Left((answer, _)) => {
                    answer.err().map(|error| fault_of("all", "list_buckets", &error))
                }
                Either::Right(_) => Some(StorageFault::Timeout),
            }
        };
        let (stores, listing) = futures_util::future::join(join_all(stores), listing).await;
        let slowest = stores.iter().flat_map(|store| &store.buckets).map(|one| one.took);
        let health = StorageHealth {
            response_time: slowest.max().unwrap_or_default(),
            stores,
            listing,
            circuit: self.objects.circuit(),
            checked_at: begun,
        };
        if !health.is_healthy() {
            self.alert_unavailable("storage", &health.errors().join("; "));
        }
        health
    }

    async fn store_health(&self, store: &StoreDefinition, pause: &Pause) -> StoreHealth {
        let mode = self.stores.state(&store.name).map(|state| state.mode);
        let buckets = store.buckets.iter().map(|name| self.bucket_health(name, pause));
        StoreHealth {
            name: store.name.clone(),
            kind: store.kind,
            address: store.address.clone(),
            mode,
            buckets: join_all(buckets).await,
        }
    }

    async fn bucket_health(&self, name: &str, pause: &Pause) -> BucketHealth {
        let begun = self.now();
        let mut answers = Vec::new();
        let in_time = {
            let trial = self.try_bucket(name, &mut answers);
            pin_mut!(trial);
            matches!(select(trial, pause(ANSWER_WITHIN)).await, Either::Left(_))
        };
        if !in_time {
            // The first that has no answer is the one that is waited for.
            let unanswered = StorageOperation::ALL
                .into_iter()
                .find(|operation| !answers.iter().any(|answer| answer.operation == *operation));
            let fault = Some(StorageFault::Timeout);
            answers.extend(unanswered.map(|operation| StorageAnswer { operation, fault }));
        }
        BucketHealth {
            name: name.to_owned(),
            answers,
            took: self.now().duration_since(begun),
        }
    }

    /// Writes, sees, reads, lists and removes. What was written is removed whatever else failed.
    async fn try_bucket(&self, bucket: &str, answers: &mut Vec<StorageAnswer>) {
        let prefix = format!("{SYSTEM_PREFIX}{PROBES}");
        let now = self.now();
        let id = self.random.uuid_v7(now);
        let path = ObjectPath::new(bucket, format!("{prefix}{id}"));
        let bytes = Bytes::from(id.as_hyphenated().to_string());
        let writes = self.admit(StorageAction::Create, bucket).is_ok();
        let mut written = false;
        if writes {
            let put = self
                .objects
                .put(&path, PutOptions::default(), PutBody::from_bytes(bytes.clone()))
                .await;
            written = answered(answers, bucket, StorageOperation::Put, put.map(drop));
        }
        if written {
            let head = self.objects.head(&path, &GetOptions::default()).await;
            let head = head.and_then(|info| {
                if info.size_bytes == bytes.len() as u64 {
                    Ok(())
                } else {
                    Err(ObjectError::NotFound)
                }
            });
            answered(answers, bucket, StorageOperation::Head, head);
            let get = self.read_probe(&path, &bytes).await;
            answered(answers, bucket, StorageOperation::Get, get);
        }
        let options = ListOptions {
            prefix,
            limit: 100,
            ..ListOptions::default()
        };
        let list = self.objects.list(bucket, &options).await;
        let left: Vec<String> = list.as_ref().map_or_else(
            |_| Vec::new(),
            |page| {
                let is_left = |at: Timestamp| now.duration_since(at) > LEFT_AFTER;
                let left = page.objects.iter().filter(|one| is_left(one.modified_at));
                left.map(|one| one.key.clone()).collect()
            },
        );
        answered(answers, bucket, StorageOperation::List, list.map(drop));
        if written {
            let delete = self.objects.delete(&path).await;
            if answered(answers, bucket, StorageOperation::Delete, delete) {
                for key in left {
                    // Tried again the next time.
                    let _ = self.objects.delete(&ObjectPath::new(bucket, key)).await;
                }
            }
        }
    }

    async fn read_probe(&self, path: &ObjectPath, bytes: &Bytes) -> Result<(), ObjectError> {
        let mut read = self.objects.get(path, &GetOptions::default()).await?;
        let mut seen = Vec::with_capacity(bytes.len());
        while let Some(piece) = read.body.next().await {
            seen.extend_from_slice(&piece?);
            if seen.len() > bytes.len() {
                break;
            }
        }
        if seen == *bytes {
            Ok(())
        } else {
            Err(ObjectError::NotFound)
        }
    }
}

/// Notes an answer; whether it was done.
fn answered(
    answers: &mut Vec<StorageAnswer>,
    bucket: &str,
    operation: StorageOperation,
    result: Result<(), ObjectError>,
) -> bool {
    let fault = result
        .err()
        .map(|error| fault_of(bucket, operation.as_str(), &error));
    answers.push(StorageAnswer { operation, fault });
    fault.is_none()
}

/// The store's own words are for the log.
fn fault_of(bucket: &str, operation: &str, error: &ObjectError) -> StorageFault {
    let fault = StorageFault::of(error);
    tracing::warn!(
        event = "storage_unhealthy",
        bucket,
        operation,
        fault = fault.as_str(),
        %error,
        "a bucket does not do what is asked of it"
    );
    fault
}
