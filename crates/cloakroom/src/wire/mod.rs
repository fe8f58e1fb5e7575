//! The composition root: makes the adapters that configuration asks for and plugs them into the ports. The only place
//! where concrete types meet; there are no globals.

mod alerts;
mod api;
mod bucket_events;
mod database;
mod downloads;
mod local_store;
mod modes;
mod objects;
mod patience;
mod presence;
mod processors;
mod s3;
pub mod scanner;
mod stores;
mod variants;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_coordination::{LocalRateLimiter, Redis, RedisLeases, RedisRateLimiter};
use cloakroom_core::collection::Collection;
use cloakroom_core::id::WorkerId;
use cloakroom_core::job::{JobKind, RetryPolicy};
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::limits::RateLimiter;
use cloakroom_core::ports::objects::{Capabilities, ObjectStore};
use cloakroom_core::ports::random::Random;
use cloakroom_core::ports::signals::Signals;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::probe::offered_instead;
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_signing::Credentials;
use cloakroom_worker::WorkerOptions;
use cloakroom_worker::alerts::AlertCourier;
use cloakroom_worker::signals::LocalSignals;

pub use self::api::{auth_settings, http_settings, storage_facts};
pub use self::bucket_events::bucket_event_sources;
pub use self::database::{diagnose_database, open_database, pending_migrations};
pub use self::objects::open_objects;
pub use self::presence::announcer;
pub use self::processors::sandbox;
pub use self::s3::doctor::{Examination, offer};
pub use self::stores::{Preparation, Stores, open_stores};
pub use self::webhooks::webhook_options;

use self::stores::OpenStore;
use crate::commands::Failure;
use crate::config::Config;
use crate::config::settings::Settings;
use crate::data_dir::DataDir;
use crate::runtime::{SystemClock, SystemRandom, secret_text};

/// The S3 endpoint of our own in front of the local store.
#[derive(Clone, Debug)]
pub struct EmbeddedEndpoint {
    /// The address that signatures are made for.
    pub url: String,
    /// What they are made with.
    pub credentials: Credentials,
}

/// A running service without its protocols.
pub struct Instance {
    /// This process, by the one name that it has in leases, in the database and in Redis.
    pub id: WorkerId,
    /// The use cases.
    pub app: Arc<App>,
    /// Who of several processes sweeps.
    pub leases: Arc<dyn Leases>,
    /// Counts what is limited.
    pub limiter: Arc<dyn RateLimiter>,
    /// Who tells alerts, until a process has taken them.
    pub alerts: Option<AlertCourier>,
    /// What the embedded S3 endpoint serves.
    pub local_objects: Option<Arc<dyn ObjectStore>>,
    stores: Stores,
}

impl Instance {
    /// Closes the database, if nobody holds on to the use cases any more; else what was accepted is committed when the
    /// last one lets go.
    pub async fn close(self) -> Result<(), Failure> {
        drop((self.app, self.leases, self.local_objects));
        self.stores.close().await
    }
}

/// Opens database and stores, and puts the use cases together. `embedded` is there for local stores alone; without it nothing is
/// signed for them.
pub async fn open_app(
    config: &Config,
    data_dir: Option<&DataDir>,
    embedded: Option<EmbeddedEndpoint>,
    preparation: Preparation,
) -> Result<Instance, Failure> {
    let instance = Box::pin(open_unreconciled(config, data_dir, embedded, preparation)).await?;
    modes::reconcile(&instance.app, &config.settings).await?;
    Ok(instance)
}

/// [`open_app`], whether or not it is agreed how far the stores are open: for whoever brings that about.
pub async fn open_unreconciled(
    config: &Config,
    data_dir: Option<&DataDir>,
    embedded: Option<EmbeddedEndpoint>,
    preparation: Preparation,
) -> Result<Instance, Failure> {
    let settings = &config.settings;
    let signals: Arc<dyn Signals> = Arc::new(LocalSignals::new());
    let stores = open_stores(config, data_dir, Some(Arc::clone(&signals)), preparation).await?;
    let (leases, limiter) = coordination(settings, &stores).await?;
    let definitions = modes::definitions(config, &stores, embedded.as_ref())?;
    let signer = downloads::signer(config, modes::signer(config, &stores, embedded.as_ref())?)?;
    let policy = Policy {
        home_bucket: home_bucket(config),
        ..policy_of(settings, &stores.opened[0])
    };
    // Who does not prepare the stores does not work in them either.
    let registry = match preparation {
        Preparation::Buckets => StoreRegistry::new(definitions),
        Preparation::None => StoreRegistry::single(stores::buckets(config)),
    };
    let processing = processors::options(config, data_dir)?;
    if preparation == Preparation::Buckets
        && let Err(failure) = processing.sandbox.examine().await
    {
        tracing::error!(event = "sandbox_unavailable", %failure, "no file can be processed");
    }
    let (alerts, courier) = alerts::alerts(settings)?;
    let app = App {
        metadata: Arc::clone(&stores.metadata),
        administration: Arc::clone(&stores.administration),
        objects: Arc::clone(&stores.objects),
        collections: collections(config, &registry, &policy.methods),
        stores: Arc::new(registry),
        signer,
        clock: clock(),
        random: random(settings),
        signals,
        scanner: scanner::scanner(settings),
        processors: cloakroom_worker::processors::registry(&processing),
        variants: variants::variants(
            settings,
            embedded.as_ref(),
            Some(cloakroom_worker::processors::renderer(&processing)),
        ),
        alerts,
        policy,
    };
    Ok(Instance {
        id: process_id(),
        alerts: courier,
        local_objects: stores.local_objects(config)?,
        app: Arc::new(app),
        leases,
        limiter,
        stores,
    })
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn random(settings: &Settings) -> Arc<dyn Random> {
    Arc::new(SystemRandom {
        jitter: settings.retry_jitter,
    })
}

/// What several nodes share beside the database: in Redis where there is one, else each counts alone.
async fn coordination(
    settings: &Settings,
    stores: &Stores,
) -> Result<(Arc<dyn Leases>, Arc<dyn RateLimiter>), Failure> {
    let Some(url) = &settings.redis_url else {
        return Ok((Arc::clone(&stores.leases), Arc::new(LocalRateLimiter::default())));
    };
    let redis = Redis::new(url.expose()).map_err(|error| Failure::new(format!("redis.url: {error}")))?;
    if let Err(error) = redis.ping().await {
        // Nothing that is kept is kept there, so it may come later.
        tracing::warn!(event = "redis_unavailable", %error, "Redis does not answer; this node counts by itself and sweeps nothing until it does");
    }
    let prefix = settings.database_table_prefix.to_string();
    Ok((
        Arc::new(RedisLeases::new(redis.clone(), &prefix)),
        Arc::new(RedisRateLimiter::new(redis, &prefix)),
    ))
}

/// The collections by name. One whose own upload method is not offered gets the next of its kind.
fn collections(
    config: &Config,
    registry: &StoreRegistry,
    offered: &[UploadMethod],
) -> BTreeMap<String, Arc<Collection>> {
    let adapted = |collection: &Collection| {
        let offered = registry.methods(&collection.bucket).unwrap_or(offered);
        let default_method = offered_instead(collection.default_method, offered);
        if default_method != collection.default_method {
            tracing::info!(
                event = "upload_method_replaced",
                collection = collection.name,
                method = default_method.as_str(),
                "the store does not enforce the limits of the collection's own upload method"
            );
        }
        Arc::new(Collection {
            default_method,
            ..collection.clone()
        })
    };
    let collections = config.collections.iter();
    collections
        .map(|(name, collection)| (name.clone(), adapted(collection)))
        .collect()
}

/// The bucket of the instance's own documents: that of the collection `files`, which there always is.
fn home_bucket(config: &Config) -> String {
    let files = config.collections.get("files");
    let any = config.collections.values().next();
    files
        .or(any)
        .map_or_else(String::new, |collection| collection.bucket.clone())
}

/// [`policy`] as one store lets it be.
fn policy_of(settings: &Settings, store: &OpenStore) -> Policy {
    let found = store.access.as_ref().and_then(|access| access.methods.as_deref());
    policy(settings, store.objects.capabilities(), found)
}

/// What the use cases are told by configuration. `found` are the methods whose limits the store was found to enforce.
fn policy(settings: &Settings, capabilities: Capabilities, found: Option<&[UploadMethod]>) -> Policy {
    let mut policy = Policy {
        quota_bytes: settings.uploads_quota.map(|size| size.0),
        upload_grace: settings.uploads_grace.0,
        garbage_scan_every: settings.garbage_scan_every.0,
        garbage_keep_for: settings.garbage_keep_for.0,
        retry: retry_policy(settings),
        offer: settings.uploads_offer.clone(),
        ..Policy::default()
    };
    // What the store does not enforce is not signed.
    policy.methods.retain(|method| {
        let enforced = *method != UploadMethod::Post || capabilities.post_policy;
        enforced && found.is_none_or(|found| found.contains(method))
    });
    policy
}

fn retry_policy(settings: &Settings) -> RetryPolicy {
    RetryPolicy {
        attempts_max: settings.retry_max_attempts,
        initial_delay: settings.retry_initial_delay.0,
        delay_max: settings.retry_max_delay.0,
        exponential_base: settings.retry_exponential_base,
    }
}

/// Jobs of a kind at the same time, where that is configured.
fn job_limits(settings: &Settings) -> BTreeMap<JobKind, u32> {
    let limit = |kind| match kind {
        JobKind::ProcessFile => settings.worker_limit_process_file,
        JobKind::ReapUpload => settings.worker_limit_reap_upload,
        JobKind::PurgeFile => settings.worker_limit_purge_file,
        JobKind::RemoveTombstone => settings.worker_limit_remove_tombstone,
        JobKind::DiscardStaging => settings.worker_limit_discard_staging,
        JobKind::ArchiveFile => settings.worker_limit_archive_file,
        JobKind::UnarchiveFile => settings.worker_limit_unarchive_file,
        JobKind::RemoveMoved => settings.worker_limit_remove_moved,
        JobKind::ReleaseFile => settings.worker_limit_release_file,
        JobKind::RescanFile => settings.worker_limit_rescan_file,
    };
    let limits = JobKind::ALL.iter().map(|kind| (*kind, limit(*kind)));
    limits.filter_map(|(kind, limit)| Some((kind, limit?))).collect()
}

/// A name that no other process has, nor this one when it is started anew.
fn process_id() -> WorkerId {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    WorkerId(format!(
        "{}-{}-{}",
        host.trim(),
        std::process::id(),
        secret_text::<6>()
    ))
}

/// How the worker of a process works.
pub fn worker_options(settings: &Settings, process: &WorkerId) -> WorkerOptions {
    WorkerOptions {
        concurrency: settings.worker_concurrency as usize,
        limits: job_limits(settings),
        lease: settings.worker_lease.std(),
        sweep_every: settings.worker_sweep_every.std(),
        leader_lease: settings.worker_leader_lease.std(),
        // Shorter than the server waits, so that jobs are given back and not cut off.
        grace: settings
            .server_shutdown_grace
            .std()
            .saturating_sub(Duration::from_secs(1)),
        ..WorkerOptions::new(process.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    #[test]
    fn only_what_the_store_enforces_is_signed() {
        let directory = tempfile::tempdir().expect("a directory");
        let inputs = Inputs {
            directory: directory.path().to_owned(),
            ..Inputs::default()
        };
        let settings = config::load(&inputs).expect("defaults").settings;
        let usual = cloakroom_objects::s3::USUAL_CAPABILITIES;
        let methods = |post_policy| policy(&settings, Capabilities { post_policy, ..usual }, None).methods;
        assert!(methods(true).contains(&UploadMethod::Post));
        assert!(!methods(false).contains(&UploadMethod::Post) && methods(false).contains(&UploadMethod::Put));
        let found = [UploadMethod::Multipart, UploadMethod::Stream];
        assert_eq!(policy(&settings, usual, Some(&found)).methods, found);
        let config = config::load(&inputs).expect("defaults");
        let registry = StoreRegistry::single(["cloakroom"]);
        let collections = collections(&config, &registry, &found);
        assert_eq!(collections["files"].default_method, UploadMethod::Multipart);
    }
}
