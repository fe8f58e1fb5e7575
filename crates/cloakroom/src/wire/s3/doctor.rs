//! What `cloakroom doctor` needs of an S3 service: the same credentials, signer, plan and decisions as a server that starts.

use std::sync::Arc;

use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::ports::signer::Signer;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::credentials::CredentialsSource;
use cloakroom_objects::s3::bootstrap::{BucketPlan, Outcome, Step};
use cloakroom_objects::s3::probe::{Findings, Target};
use cloakroom_objects::s3::{S3Store, USUAL_CAPABILITIES};

use super::super::{clock, policy};
use super::{credentials, encryption, plan, signer_for, store};
use crate::commands::Failure;
use crate::config::Config;
use crate::runtime::secret_text;

/// The configured S3 service, to be looked at.
pub struct Examination<'a> {
    config: &'a Config,
    url: &'a str,
    credentials: Arc<dyn CredentialsSource>,
}

impl<'a> Examination<'a> {
    /// Of the service at this address. Nothing is sent to it; whoever gives out credentials may be asked.
    pub async fn begin(config: &'a Config, url: &'a str) -> Result<Self, Failure> {
        Ok(Self {
            config,
            url,
            credentials: credentials(config).await?,
        })
    }

    /// A bucket, to be asked about.
    pub fn target(&self, bucket: &str, origins: Vec<String>) -> Result<Target, Failure> {
        let settings = &self.config.settings;
        let public = settings
            .s3_public_address()
            .unwrap_or_else(|| self.url.to_owned());
        let signer = |url: &str| signer_for(settings, url, &self.credentials).map(Arc::new);
        let detour = if public == self.url {
            None
        } else {
            Some(signer(self.url)? as Arc<dyn Signer>)
        };
        let clients = settings.endpoint(&public).map_err(Failure::new)?;
        Ok(Target {
            endpoint: settings.endpoint(self.url).map_err(Failure::new)?,
            public: clients.clone(),
            announced: clients,
            region: settings.s3_region.clone(),
            credentials: Arc::clone(&self.credentials),
            signer: signer(&public)?,
            detour,
            bucket: bucket.to_owned(),
            // Whoever may only upload may write there, and the lifecycle removes what a crash leaves.
            prefix: format!("{STAGING_PREFIX}probe-{}/", secret_text::<12>()),
            origins,
            encryption: encryption(settings),
            storage_class: settings.s3_storage_class.clone(),
            connect_timeout: settings.s3_connect_timeout.std(),
            timeout: settings.s3_request_timeout.std(),
            clock: clock(),
        })
    }

    /// How a server sets a bucket up.
    pub fn plan(&self, bucket: &str) -> BucketPlan {
        plan(self.config, bucket)
    }

    /// Sets a bucket up.
    pub async fn set_up(&self, plan: &BucketPlan) -> Result<Vec<(Step, Outcome)>, Failure> {
        let store: S3Store = store(
            &self.config.settings,
            self.url,
            &self.credentials,
            USUAL_CAPABILITIES,
        )?;
        store.set_up(plan).await.map_err(Failure::new)
    }
}

/// The upload methods that a server offers over a store with these findings, and what it takes the store for.
pub fn offer(config: &Config, findings: &Findings) -> (Vec<UploadMethod>, Capabilities) {
    let settings = &config.settings;
    let (capabilities, methods) = super::decide(settings, findings);
    (
        policy(settings, capabilities, Some(&methods)).methods,
        capabilities,
    )
}
