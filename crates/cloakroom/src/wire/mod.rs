//! The composition root: makes the adapters that configuration asks for and plugs them into the ports. The only place
//! where concrete types meet; there are no globals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::collection::Collection;
use cloakroom_core::id::WorkerId;
use cloakroom_core::job::RetryPolicy;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{ObjectError, ObjectStore};
use cloakroom_core::ports::random::Random;
use cloakroom_core::ports::signals::Signals;
use cloakroom_http::auth::Expectations;
use cloakroom_http::{AuthSettings, KeySource};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_worker::WorkerOptions;
use cloakroom_worker::signals::LocalSignals;
use jsonwebtoken::Algorithm;

use crate::commands::Failure;
use crate::config::Config;
use crate::config::settings::Settings;
use crate::data_dir::DataDir;
use crate::dev::{DevKeys, KEY_ID};
use crate::runtime::{SystemClock, SystemRandom, secret_text};

/// A running service without its protocols.
pub struct Instance {
    /// The use cases.
    pub app: Arc<App>,
    metadata: Arc<SqliteStore>,
}

impl Instance {
    /// Closes the database, if nobody holds on to the use cases any more; else what was accepted is committed when the
    /// last one lets go.
    pub fn close(self) -> Result<(), cloakroom_core::ports::metadata::MetadataError> {
        drop(self.app);
        Arc::into_inner(self.metadata).map_or(Ok(()), SqliteStore::close)
    }
}

/// Opens the database, and brings it to the newest schema.
pub fn open_metadata(
    settings: &Settings,
    data_dir: &DataDir,
    signals: Option<Arc<dyn Signals>>,
) -> Result<SqliteStore, Failure> {
    let mut options = SqliteOptions::new(data_dir.database());
    options.table_prefix = settings.database_table_prefix.clone();
    options.signals = signals;
    SqliteStore::open(options).map_err(Failure::new)
}

/// Opens stores and puts the use cases together. `s3_url` is the address that signatures are made for.
pub async fn open_app(
    config: &Config,
    data_dir: &DataDir,
    s3_url: &str,
    credentials: Credentials,
) -> Result<Instance, Failure> {
    let settings = &config.settings;
    let signals: Arc<dyn Signals> = Arc::new(LocalSignals::new());
    let metadata = Arc::new(open_metadata(settings, data_dir, Some(Arc::clone(&signals)))?);
    let objects = LocalStore::open(&LocalOptions::new(data_dir.objects())).map_err(Failure::new)?;
    ensure_buckets(&objects, config.collections.values()).await?;
    // Configuration has checked the address.
    let endpoint = Endpoint::parse(s3_url, Addressing::Path).map_err(Failure::new)?;
    let signer = UrlSigner::new(
        cloakroom_signing::Signer::new(credentials, settings.s3_region.clone()),
        endpoint,
    );
    let app = App {
        metadata: Arc::clone(&metadata) as Arc<dyn MetadataStore>,
        objects: Arc::new(objects),
        signer: Arc::new(signer),
        clock: Arc::new(SystemClock::default()) as Arc<dyn Clock>,
        random: Arc::new(SystemRandom {
            jitter: settings.retry_jitter,
        }) as Arc<dyn Random>,
        signals,
        collections: config
            .collections
            .iter()
            .map(|(name, policy)| (name.clone(), Arc::new(policy.clone())))
            .collect(),
        processors: cloakroom_worker::processors::registry(),
        policy: policy(settings),
    };
    Ok(Instance {
        app: Arc::new(app),
        metadata,
    })
}

/// What the use cases are told by configuration.
fn policy(settings: &Settings) -> Policy {
    Policy {
        quota_bytes: settings.uploads_quota.map(|size| size.0),
        upload_grace: settings.uploads_grace.0,
        retry: RetryPolicy {
            attempts_max: settings.retry_max_attempts,
            initial_delay: settings.retry_initial_delay.0,
            delay_max: settings.retry_max_delay.0,
            exponential_base: settings.retry_exponential_base,
        },
        ..Policy::default()
    }
}

/// Makes the buckets that are missing. Done again, it changes nothing.
async fn ensure_buckets(
    objects: &dyn ObjectStore,
    collections: impl Iterator<Item = &Collection>,
) -> Result<(), Failure> {
    let names: BTreeSet<&str> = collections.map(|collection| collection.bucket.as_str()).collect();
    for name in names {
        match objects.create_bucket(name).await {
            Ok(()) => tracing::info!(event = "bucket_created", bucket = name, "bucket created"),
            Err(ObjectError::BucketExists) => {}
            Err(error) => return Err(Failure::new(format!("cannot make the bucket {name}: {error}"))),
        }
    }
    Ok(())
}

/// How access tokens are verified; under `--dev` also with the development key.
pub fn auth_settings(settings: &Settings, dev: Option<&DevKeys>) -> AuthSettings {
    let files = settings.auth_public_key_files.iter();
    let mut keys: Vec<KeySource> = files
        .map(|path| KeySource::PemFile {
            path: path.into(),
            kid: None,
        })
        .collect();
    keys.extend(settings.auth_public_key.iter().map(|pem| KeySource::Pem {
        pem: pem.clone(),
        kid: None,
    }));
    keys.extend(
        settings
            .auth_jwks_file
            .iter()
            .map(|path| KeySource::JwksFile { path: path.clone() }),
    );
    let mut algorithms = settings.auth_algorithms.0.clone();
    if let Some(dev) = dev {
        keys.push(KeySource::PemFile {
            path: dev.public_key(),
            kid: Some(KEY_ID.to_owned()),
        });
        if !algorithms.contains(&Algorithm::RS256) {
            algorithms.push(Algorithm::RS256);
        }
    }
    let expected = Expectations {
        issuer: settings.auth_issuer.clone(),
        audiences: settings.auth_audience.iter().cloned().collect(),
    };
    AuthSettings {
        keys,
        algorithms,
        expected,
    }
}

/// How the worker of this process works.
pub fn worker_options(settings: &Settings) -> WorkerOptions {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let id = format!("{}-{}-{}", host.trim(), std::process::id(), secret_text::<6>());
    WorkerOptions {
        concurrency: settings.worker_concurrency as usize,
        lease: settings.worker_lease.std(),
        sweep_every: settings.worker_sweep_every.std(),
        // Shorter than the server waits, so that jobs are given back and not cut off.
        grace: settings
            .server_shutdown_grace
            .std()
            .saturating_sub(Duration::from_secs(1)),
        ..WorkerOptions::new(WorkerId(id))
    }
}
