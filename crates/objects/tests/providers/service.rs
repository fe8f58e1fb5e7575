//! A service that `scripts/test-providers` started.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::credentials::{CredentialsSource, StaticCredentials};
use cloakroom_objects::s3::bootstrap::BucketPlan;
use cloakroom_objects::s3::probe::{self, Fact, Target};
use cloakroom_objects::s3::providers::Provider;
use cloakroom_objects::s3::{Encryption, S3Options, S3Store, USUAL_CAPABILITIES};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::object_store_suite::Subject;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;

/// The origin that may use the buckets.
const ORIGIN: &str = "https://app.example";

pub struct Service {
    endpoint: Endpoint,
    region: Region,
    credentials: Arc<dyn CredentialsSource>,
}

impl Service {
    /// By the name in its variables: `GARAGE`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where these tests learn of their servers"
    )]
    pub fn named(name: &str) -> Self {
        let said = |what: &str| {
            std::env::var(format!("CLOAKROOM_TEST_{name}_{what}"))
                .expect("run these tests as `make test-providers`")
        };
        let credentials = Credentials::new(said("ACCESS_KEY"), said("SECRET_KEY"));
        Self {
            endpoint: Endpoint::parse(&said("ENDPOINT"), Addressing::Path).unwrap(),
            region: Region::new(said("REGION")).unwrap(),
            credentials: Arc::new(StaticCredentials(credentials)),
        }
    }

    pub fn store(&self, capabilities: Capabilities) -> S3Store {
        let options = S3Options::new(
            self.endpoint.clone(),
            self.region.clone(),
            Arc::clone(&self.credentials),
            Arc::new(WallClock),
            Arc::new(SeededRandom::new(1)),
        );
        S3Store::new(S3Options {
            capabilities,
            ..options
        })
        .unwrap()
    }

    /// A fresh bucket for one case of the suite.
    pub async fn subject(&self, capabilities: Capabilities) -> Subject {
        Subject::new(Arc::new(self.store(capabilities)), ()).await
    }

    /// Sets a bucket up and asks everything; what is found must be what is declared.
    pub async fn probe(&self, provider: &Provider, capabilities: Capabilities, methods: &[UploadMethod]) {
        let bucket = servers::unique_bucket();
        let plan = BucketPlan {
            name: bucket.clone(),
            cors_origins: vec![ORIGIN.to_owned()],
            staging_days: 9,
            block_public: true,
            encryption: None,
            notify: None,
        };
        self.store(capabilities).set_up(&plan).await.unwrap();
        let signer = UrlSigner::from_credentials(
            Arc::clone(&self.credentials),
            self.region.clone(),
            self.endpoint.clone(),
        );
        let target = Target {
            endpoint: self.endpoint.clone(),
            public: self.endpoint.clone(),
            announced: self.endpoint.clone(),
            region: self.region.clone(),
            credentials: Arc::clone(&self.credentials),
            signer: Arc::new(signer),
            detour: None,
            bucket,
            prefix: "staging/probe-1/".to_owned(),
            origins: vec![ORIGIN.to_owned()],
            encryption: None,
            storage_class: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            clock: Arc::new(WallClock),
        };
        let findings = probe::thorough(&target).await;
        assert_eq!(provider.differences(&findings).join("\n"), "");
        assert_eq!(findings.methods(), methods);
        assert_eq!(findings.capabilities(USUAL_CAPABILITIES), capabilities);
        let with_kms = Target {
            encryption: Some(Encryption::Kms { key_id: None }),
            ..target
        };
        let findings = probe::bucket(&with_kms).await;
        let declared = provider.declares(Fact::EncryptionKms);
        assert_eq!(findings.holds(Fact::EncryptionKms), declared, "{findings:?}");
    }
}
