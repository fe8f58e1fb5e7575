//! An S3 service as the store: what calls it, and what signs for it.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::{ListOptions, ObjectError, ObjectStore as _};
use cloakroom_objects::credentials::{CredentialsSource, StaticCredentials};
use cloakroom_objects::s3::bootstrap::BucketPlan;
use cloakroom_objects::s3::{Encryption, S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Credentials, Secret};

use super::patience::{NotReady, Patience};
use super::stores::{Preparation, buckets};
use super::{clock, random, retry_policy};
use crate::commands::Failure;
use crate::config::Config;
use crate::config::checks::missing_for_the_store;
use crate::config::settings::Settings;
use crate::config::values::ServerSideEncryption;

/// What waits in staging may wait so much longer than any upload is good for before the bucket itself removes it: workers
/// that were away are back by then. The sweeper is the one that should.
const LIFECYCLE_SLACK_DAYS: u64 = 7;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Opens the store; waits until it answers, and makes and sets up its buckets, if that is asked for.
pub(super) async fn open(config: &Config, url: &str, preparation: Preparation) -> Result<S3Store, Failure> {
    let settings = &config.settings;
    let store = S3Store::new(options(settings, url)?).map_err(Failure::new)?;
    if preparation == Preparation::None {
        return Ok(store);
    }
    let buckets = buckets(config);
    if let Some(first) = buckets.first() {
        let glance = ListOptions {
            prefix: STAGING_PREFIX.to_owned(),
            limit: 1,
            ..ListOptions::default()
        };
        let attempt = async || match store.list(first, &glance).await {
            Err(ObjectError::Unavailable(reason)) => Err(NotReady::Yet(reason)),
            // Whatever else it says, it is there.
            _ => Ok(()),
        };
        Patience::new(settings.server_startup_timeout.std())
            .wait_for(&settings.store_description().to_string(), attempt)
            .await?;
    }
    for name in buckets {
        if settings.s3_bootstrap {
            let plan = plan(config, name);
            let done = store.set_up(&plan).await;
            done.map_err(|error| {
                Failure::new(format!(
                    "cannot make or reach the bucket {name} of {url}: {error}; let these credentials do it, or make it and set s3.bootstrap = false"
                ))
            })?;
        } else {
            let glance = ListOptions {
                limit: 1,
                ..ListOptions::default()
            };
            match store.list(name, &glance).await {
                Ok(_) => {}
                Err(error) => {
                    return Err(Failure::new(format!(
                        "cannot use the bucket {name} of {url}: {error}"
                    )));
                }
            }
        }
    }
    Ok(store)
}

/// What signs URLs for clients, for the address that they use.
pub(super) fn signer(settings: &Settings) -> Result<UrlSigner, Failure> {
    let public = settings
        .s3_public_address()
        .ok_or_else(|| Failure::new("there is no address that S3 signatures could be made for"))?;
    let endpoint = settings.endpoint(&public).map_err(Failure::new)?;
    let mut signer =
        UrlSigner::from_credentials(credentials(settings)?, settings.s3_region.clone(), endpoint);
    if let Some(encryption) = encryption(settings) {
        signer = signer.with_encryption(&encryption);
    }
    if let (Some(access), Some(secret)) = (&settings.s3_upload_access_key, &settings.s3_upload_secret_key) {
        signer = signer.with_upload_credentials(fixed(access, secret));
    }
    Ok(signer)
}

/// The credentials that are configured.
pub(super) fn credentials(settings: &Settings) -> Result<Arc<dyn CredentialsSource>, Failure> {
    match (&settings.s3_access_key, &settings.s3_secret_key) {
        (Some(access), Some(secret)) => Ok(fixed(access, secret)),
        _ => Err(Failure::configuration(
            missing_for_the_store(settings).into_iter().collect(),
        )),
    }
}

fn fixed(access: &Secret, secret: &Secret) -> Arc<dyn CredentialsSource> {
    Arc::new(StaticCredentials(Credentials::new(
        access.expose(),
        secret.clone(),
    )))
}

fn options(settings: &Settings, url: &str) -> Result<S3Options, Failure> {
    let endpoint = settings.endpoint(url).map_err(Failure::new)?;
    let defaults = S3Options::new(
        endpoint,
        settings.s3_region.clone(),
        credentials(settings)?,
        clock(),
        random(settings),
    );
    Ok(S3Options {
        connect_timeout: settings.s3_connect_timeout.std(),
        request_timeout: settings.s3_request_timeout.std(),
        retry: retry_policy(settings),
        encryption: encryption(settings),
        storage_class: settings.s3_storage_class.clone(),
        capabilities: settings.s3_capabilities.apply(defaults.capabilities),
        ..defaults
    })
}

fn encryption(settings: &Settings) -> Option<Encryption> {
    settings.s3_encryption.map(|encryption| match encryption {
        ServerSideEncryption::Aes256 => Encryption::Aes256,
        ServerSideEncryption::Kms => Encryption::Kms {
            key_id: settings.s3_kms_key_id.clone(),
        },
    })
}

fn plan(config: &Config, bucket: &str) -> BucketPlan {
    let settings = &config.settings;
    let longest = config.collections.values().filter(|c| c.bucket == bucket);
    let longest = longest
        .map(|c| u64::from(c.upload_expires_seconds))
        .max()
        .unwrap_or(0);
    let kept = Duration::from_secs(longest) + settings.uploads_grace.std();
    let days = kept.as_secs().div_ceil(DAY_SECONDS) + LIFECYCLE_SLACK_DAYS;
    BucketPlan {
        name: bucket.to_owned(),
        cors_origins: settings.s3_cors_origins.clone(),
        staging_days: u32::try_from(days).unwrap_or(u32::MAX),
        encryption: encryption(settings),
        notify: settings.s3_notify.clone(),
    }
}
