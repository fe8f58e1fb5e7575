//! An S3 service as the store: who calls it, what signs for it, what it can really do.

pub(super) mod doctor;

use std::sync::Arc;

use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::{Capabilities, ListOptions, ObjectError, ObjectStore as _};
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::credentials::{ChainOptions, CredentialsChain, CredentialsSource, StaticCredentials};
use cloakroom_objects::s3::bootstrap::BucketPlan;
use cloakroom_objects::s3::probe::{Answer, Fact, Findings, Target, essential};
use cloakroom_objects::s3::{Encryption, S3Options, S3Store, USUAL_CAPABILITIES};
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
use crate::runtime::secret_text;

/// What waits in staging may wait so much longer than any upload is good for before the bucket itself removes it: workers
/// that were away are back by then. The sweeper is the one that should.
const LIFECYCLE_SLACK_DAYS: u64 = 7;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// An S3 service in use.
pub(super) struct OpenS3 {
    pub(super) store: S3Store,
    pub(super) access: S3Access,
}

/// How to speak to it beside the store.
#[derive(Clone)]
pub(super) struct S3Access {
    /// Who speaks.
    pub(super) credentials: Arc<dyn CredentialsSource>,
    /// Upload methods whose limits it enforces, if that was found out.
    pub(super) methods: Option<Vec<UploadMethod>>,
}

/// Opens the store. Unless it is not used: waits until it answers, makes and sets up its buckets, and finds out what it can
/// do.
pub(super) async fn open(config: &Config, url: &str, preparation: Preparation) -> Result<OpenS3, Failure> {
    let settings = &config.settings;
    let credentials = credentials(config).await?;
    let mut found = None;
    if preparation == Preparation::Buckets {
        let store = store(settings, url, &credentials, USUAL_CAPABILITIES)?;
        set_up(config, url, &store).await?;
        found = find_out(config, url, &credentials).await?;
    }
    let (capabilities, methods) = match found.map(|findings| decide(settings, &findings)) {
        Some((capabilities, methods)) => (capabilities, Some(methods)),
        None => (settings.s3_capabilities.apply(USUAL_CAPABILITIES), None),
    };
    Ok(OpenS3 {
        store: store(settings, url, &credentials, capabilities)?,
        access: S3Access { credentials, methods },
    })
}

/// What the service is taken for, and the upload methods whose limits it enforces. What is said counts more than what was
/// found.
fn decide(settings: &Settings, findings: &Findings) -> (Capabilities, Vec<UploadMethod>) {
    let mut methods = findings.methods();
    let found = Capabilities {
        // What could not be found out is not enforced.
        post_policy: methods.contains(&UploadMethod::Post),
        ..findings.capabilities(USUAL_CAPABILITIES)
    };
    let capabilities = settings.s3_capabilities.apply(found);
    if capabilities.post_policy && !found.post_policy {
        methods.push(UploadMethod::Post);
    }
    (capabilities, methods)
}

async fn set_up(config: &Config, url: &str, store: &S3Store) -> Result<(), Failure> {
    let settings = &config.settings;
    let buckets = buckets(config);
    let glance = ListOptions {
        prefix: STAGING_PREFIX.to_owned(),
        limit: 1,
        ..ListOptions::default()
    };
    if let Some(first) = buckets.first() {
        let attempt = async || match store.list(first, &glance).await {
            Err(error) => answers(error, first, url),
            Ok(_) => Ok(()),
        };
        Patience::new(settings.server_startup_timeout.std())
            .wait_for(&settings.store_description().to_string(), attempt)
            .await?;
    }
    for name in buckets {
        if settings.s3_bootstrap {
            let done = store.set_up(&plan(config, name)).await;
            done.map_err(|error| {
                Failure::new(format!(
                    "cannot make or reach the bucket {name} of {url}: {error}; let these credentials do it, or make it and set s3.bootstrap = false"
                ))
            })?;
        } else {
            let there = store.list(name, &glance).await;
            there.map_err(|error| Failure::new(format!("cannot use the bucket {name} of {url}: {error}")))?;
        }
    }
    Ok(())
}

/// Whether a service is there that answers a look into a bucket with an error. One that knows our credentials and refuses
/// them does not change its mind while we wait.
fn answers(error: ObjectError, bucket: &str, url: &str) -> Result<(), NotReady> {
    match error {
        ObjectError::Unavailable(reason) => Err(NotReady::Yet(reason)),
        ObjectError::Denied(reason) => Err(NotReady::Ever(Failure::new(format!(
            "the S3 service at {url} denies a look into the bucket {bucket}: {reason}; check s3.access_key and s3.secret_key (S3_ACCESS_KEY and S3_SECRET_KEY), and that they may list it (s3:ListBucket)"
        )))),
        // Whatever else it says, it is there.
        _ => Ok(()),
    }
}

/// What the service can do, found out by trying it: what we sign must be what it enforces. `None` where it is not to be
/// tried, or gives no answer.
async fn find_out(
    config: &Config,
    url: &str,
    credentials: &Arc<dyn CredentialsSource>,
) -> Result<Option<Findings>, Failure> {
    let settings = &config.settings;
    let (Some(bucket), true) = (buckets(config).first().copied(), settings.s3_probe) else {
        return Ok(None);
    };
    let public = settings.s3_public_address().unwrap_or_else(|| url.to_owned());
    let clients = settings.endpoint(&public).map_err(Failure::new)?;
    let target = Target {
        endpoint: settings.endpoint(url).map_err(Failure::new)?,
        public: clients.clone(),
        announced: clients,
        region: settings.s3_region.clone(),
        credentials: Arc::clone(credentials),
        signer: Arc::new(signer_for(settings, &public, credentials)?),
        detour: Some(Arc::new(signer_for(settings, url, credentials)?)),
        bucket: bucket.to_owned(),
        prefix: format!("{STAGING_PREFIX}probe-{}/", secret_text::<12>()),
        origins: settings.s3_cors_origins.clone(),
        encryption: encryption(settings),
        storage_class: settings.s3_storage_class.clone(),
        connect_timeout: settings.s3_connect_timeout.std(),
        timeout: settings.s3_request_timeout.std(),
        clock: clock(),
    };
    let findings = essential(&target).await;
    if matches!(
        findings.answer(Fact::PutAsSigned),
        None | Some(Answer::Unknown(_))
    ) {
        tracing::warn!(
            event = "store_not_probed",
            store = url,
            "what the S3 service can do could not be found out; taking it for a usual one"
        );
        return Ok(None);
    }
    let offered: Vec<&str> = findings.methods().iter().map(|method| method.as_str()).collect();
    tracing::info!(
        event = "store_probed",
        store = url,
        methods = offered.join(","),
        "found out what the S3 service enforces; `cloakroom doctor` says more"
    );
    Ok(Some(findings))
}

/// What signs URLs for clients, for the address that they use.
pub(super) fn signer(settings: &Settings, access: &S3Access) -> Result<UrlSigner, Failure> {
    let public = settings
        .s3_public_address()
        .ok_or_else(|| Failure::new("there is no address that S3 signatures could be made for"))?;
    signer_for(settings, &public, &access.credentials)
}

fn signer_for(
    settings: &Settings,
    url: &str,
    credentials: &Arc<dyn CredentialsSource>,
) -> Result<UrlSigner, Failure> {
    let endpoint = settings.endpoint(url).map_err(Failure::new)?;
    let mut signer =
        UrlSigner::from_credentials(Arc::clone(credentials), settings.s3_region.clone(), endpoint);
    if let Some(encryption) = encryption(settings) {
        signer = signer.with_encryption(&encryption);
    }
    if let (Some(access), Some(secret)) = (&settings.s3_upload_access_key, &settings.s3_upload_secret_key) {
        signer = signer.with_upload_credentials(fixed(access, secret));
    }
    Ok(signer)
}

/// The credentials that are configured, or those that the platform gives out.
async fn credentials(config: &Config) -> Result<Arc<dyn CredentialsSource>, Failure> {
    let settings = &config.settings;
    if let (Some(access), Some(secret)) = (&settings.s3_access_key, &settings.s3_secret_key) {
        return Ok(fixed(access, secret));
    }
    if let Some(problem) = missing_for_the_store(config) {
        return Err(Failure::configuration(vec![problem]));
    }
    let options = ChainOptions::from_variables(|name| config.aws.get(name), &settings.s3_region);
    let options = options.map_err(Failure::new)?;
    let name = format!("credentials from {}", options.source.as_str());
    let attempt = async || match CredentialsChain::connect(options.clone(), clock()).await {
        Ok(chain) => Ok(Arc::new(chain) as Arc<dyn CredentialsSource>),
        Err(error) if error.is_temporary() => Err(NotReady::Yet(error.to_string())),
        Err(error) => Err(NotReady::Ever(Failure::new(error))),
    };
    Patience::new(settings.server_startup_timeout.std())
        .wait_for(&name, attempt)
        .await
}

fn fixed(access: &Secret, secret: &Secret) -> Arc<dyn CredentialsSource> {
    Arc::new(StaticCredentials(Credentials::new(
        access.expose(),
        secret.clone(),
    )))
}

fn store(
    settings: &Settings,
    url: &str,
    credentials: &Arc<dyn CredentialsSource>,
    capabilities: Capabilities,
) -> Result<S3Store, Failure> {
    let endpoint = settings.endpoint(url).map_err(Failure::new)?;
    let options = S3Options {
        connect_timeout: settings.s3_connect_timeout.std(),
        request_timeout: settings.s3_request_timeout.std(),
        retry: retry_policy(settings),
        encryption: encryption(settings),
        storage_class: settings.s3_storage_class.clone(),
        capabilities,
        ..S3Options::new(
            endpoint,
            settings.s3_region.clone(),
            Arc::clone(credentials),
            clock(),
            random(settings),
        )
    };
    S3Store::new(options).map_err(Failure::new)
}

fn encryption(settings: &Settings) -> Option<Encryption> {
    settings.s3_encryption.map(|encryption| match encryption {
        ServerSideEncryption::Aes256 => Encryption::Aes256,
        ServerSideEncryption::Kms => Encryption::Kms {
            key_id: settings.s3_kms_key_id.clone(),
        },
    })
}

/// Whole days after which the bucket itself removes what is in staging: beyond the longest that any of its collections keeps
/// an upload, and that garbage is kept for.
fn staging_days(config: &Config, bucket: &str) -> u32 {
    let settings = &config.settings;
    let grace = settings.uploads_grace.std().as_secs();
    let collections = config.collections.values().filter(|c| c.bucket == bucket);
    let kept = collections
        .map(|c| u64::from(c.upload_expires_seconds).saturating_add(c.retention.unconfirmed(grace)))
        .max()
        .unwrap_or(grace)
        .saturating_add(settings.garbage_keep_for.std().as_secs());
    let days = kept.div_ceil(DAY_SECONDS).saturating_add(LIFECYCLE_SLACK_DAYS);
    u32::try_from(days).unwrap_or(u32::MAX)
}

fn plan(config: &Config, bucket: &str) -> BucketPlan {
    let settings = &config.settings;
    let days = staging_days(config, bucket);
    BucketPlan {
        name: bucket.to_owned(),
        cors_origins: settings.s3_cors_origins.clone(),
        staging_days: days,
        // No collection is public.
        block_public: true,
        encryption: encryption(settings),
        notify: settings.s3_notify.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    #[test]
    fn what_is_denied_is_not_waited_for() {
        let answered = |error| answers(error, "files", "https://s3.test");
        let denied = answered(ObjectError::Denied("403 InvalidAccessKeyId".to_owned()));
        let Err(NotReady::Ever(failure)) = denied else {
            panic!("it is waited for")
        };
        let said = failure.to_string();
        for part in ["https://s3.test", "files", "InvalidAccessKeyId", "s3.access_key"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let down = answered(ObjectError::Unavailable("refused".to_owned()));
        assert!(matches!(down, Err(NotReady::Yet(reason)) if reason == "refused"));
        assert!(answered(ObjectError::NoSuchBucket("files".to_owned())).is_ok());
    }

    #[test]
    fn the_net_hangs_below_the_longest_that_a_bucket_keeps() {
        let directory = tempfile::tempdir().expect("a directory");
        let inputs = Inputs {
            directory: directory.path().to_owned(),
            ..Inputs::default()
        };
        let mut config = config::load(&inputs).expect("defaults");
        let bucket = config.collections["files"].bucket.clone();
        // A quarter of an hour, a day, a week; then a week of slack.
        assert_eq!(staging_days(&config, &bucket), 9 + 7);
        assert_eq!(staging_days(&config, "of no collection"), 8 + 7);
        let files = config.collections.get_mut("files").expect("a preset");
        files.retention.unconfirmed_seconds = Some(30 * DAY_SECONDS);
        assert_eq!(staging_days(&config, &bucket), 38 + 7);
        let files = config.collections.get_mut("files").expect("a preset");
        files.retention.unconfirmed_seconds = Some(60);
        assert_eq!(staging_days(&config, &bucket), 8 + 7);
    }
}
