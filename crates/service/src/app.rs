//! The bundle of ports and policies that every use case works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::collection::Collection;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::job::RetryPolicy;
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::alerts::Alerts;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_core::ports::processor::Processor;
use cloakroom_core::ports::random::Random;
use cloakroom_core::ports::scanner::Scanner;
use cloakroom_core::ports::signals::Signals;
use cloakroom_core::ports::signer::Signer;
use cloakroom_core::transition::Occasion;
use cloakroom_core::upload::UploadMethod;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use crate::stores::StoreRegistry;
use crate::variants::Variants;

/// Waits, by the runtime's clock: the use cases themselves know of no runtime.
pub type Pause = dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync;

/// What the use cases are told by configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Bytes that one owner may store and reserve in all.
    pub quota_bytes: Option<u64>,
    /// Upload methods that the store can enforce.
    pub methods: Vec<UploadMethod>,
    /// How long after its URL's expiry an unconfirmed upload may still be confirmed, before it is swept.
    pub upload_grace: SignedDuration,
    /// How a failed attempt of a job is repeated.
    pub retry: RetryPolicy,
    /// How long an intent's author is believed to be alive.
    pub intent_lease: SignedDuration,
    /// How long closed intents are kept for reading.
    pub intent_retention: SignedDuration,
    /// The bucket of the instance's own documents: those of records.
    pub home_bucket: String,
    /// How often garbage is looked for without anybody asking; zero never.
    pub garbage_scan_every: SignedDuration,
    /// How long garbage is kept after it was found.
    pub garbage_keep_for: SignedDuration,
    /// The version of the offer that users must have accepted before they upload.
    pub offer: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            quota_bytes: None,
            methods: vec![
                UploadMethod::Put,
                UploadMethod::Post,
                UploadMethod::Multipart,
                UploadMethod::Stream,
            ],
            upload_grace: SignedDuration::from_hours(24),
            retry: RetryPolicy::default(),
            intent_lease: SignedDuration::from_secs(60),
            intent_retention: SignedDuration::from_hours(24 * 7),
            home_bucket: String::new(),
            garbage_scan_every: SignedDuration::from_hours(24),
            garbage_keep_for: SignedDuration::from_hours(24 * 7),
            offer: None,
        }
    }
}

/// Everything a use case needs. Cheap to share; made once by the binary.
pub struct App {
    /// Rows, events, jobs, log.
    pub metadata: Arc<dyn MetadataStore>,
    /// Operations, garbage, modes, the audit log: the same database.
    pub administration: Arc<dyn AdministrationStore>,
    /// Bytes.
    pub objects: Arc<dyn ObjectStore>,
    /// Which store a bucket belongs to, and how far each is open.
    pub stores: Arc<StoreRegistry>,
    /// URLs and forms for clients.
    pub signer: Arc<dyn Signer>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub random: Arc<dyn Random>,
    /// Wake-ups.
    pub signals: Arc<dyn Signals>,
    /// Policies by name.
    pub collections: BTreeMap<String, Arc<Collection>>,
    /// The virus scanner, where there is one.
    pub scanner: Option<Arc<dyn Scanner>>,
    /// Processors by name.
    pub processors: BTreeMap<String, Arc<dyn Processor>>,
    /// Pictures that are made when somebody asks for them.
    pub variants: Variants,
    /// Where to tell what somebody should look at now.
    pub alerts: Arc<dyn Alerts>,
    /// What configuration says.
    pub policy: Policy,
}

impl App {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, done by this actor.
    pub fn occasion<'a>(&'a self, actor: &'a str) -> Occasion<'a> {
        Occasion {
            now: self.clock.now(),
            actor,
            random: &*self.random,
        }
    }

    /// The collection of this name, or a refusal that names those that exist.
    pub fn collection(&self, name: &str) -> Result<&Arc<Collection>, Refusal> {
        self.collections.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.collections.keys().map(String::as_str).collect();
            Refusal::new(
                ErrorCode::CollectionNotFound,
                format!("There is no collection {name:?}; there are {}.", known.join(", ")),
            )
            .with("collection", name)
            .with("known", known)
        })
    }
}
