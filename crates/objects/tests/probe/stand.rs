//! Real services to be probed: Ceph, moto, and our own endpoint over a local store.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions};
use cloakroom_objects::credentials::{CredentialsSource, StaticCredentials};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::probe::Target;
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The origin that may use the buckets.
pub const ORIGIN: &str = "https://app.example";

/// A bucket in a service, and how to ask about it.
pub struct Stand {
    pub target: Target,
    pub store: S3Store,
    _serving: JoinSet<()>,
    _directory: Option<tempfile::TempDir>,
}

impl Stand {
    pub async fn new(endpoint: &str, access_key: &str, secret_key: &str) -> Self {
        let endpoint = Endpoint::parse(endpoint, Addressing::Path).expect("an address");
        let credentials = Credentials::new(access_key, secret_key);
        let source: Arc<dyn CredentialsSource> = Arc::new(StaticCredentials(credentials));
        let region = Region::default();
        let clock = Arc::new(WallClock);
        let store = S3Store::new(S3Options::new(
            endpoint.clone(),
            region.clone(),
            Arc::clone(&source),
            clock.clone(),
            Arc::new(SeededRandom::new(1)),
        ))
        .expect("a client");
        let bucket = servers::unique_bucket();
        store.create_bucket(&bucket).await.expect("a bucket");
        let signer = UrlSigner::from_credentials(Arc::clone(&source), region.clone(), endpoint.clone());
        let target = Target {
            public: endpoint.clone(),
            endpoint,
            region,
            credentials: source,
            signer: Arc::new(signer),
            detour: None,
            bucket,
            prefix: "staging/_probe/1/".to_owned(),
            origins: vec![],
            encryption: None,
            storage_class: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            clock,
        };
        Self {
            target,
            store,
            _serving: JoinSet::new(),
            _directory: None,
        }
    }

    pub async fn ceph() -> Self {
        let server = servers::s3();
        Self::new(&server.endpoint, &server.access_key, &server.secret_key).await
    }

    pub async fn moto() -> Self {
        Self::new(&servers::moto_url(), "moto-key", "moto-secret").await
    }

    /// Our own endpoint, which lets pages of [`ORIGIN`] in.
    pub async fn own() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let local = LocalStore::open(&LocalOptions::new(directory.path().to_owned())).expect("a store");
        let credentials = Credentials::new("own-key", "own-secret");
        let known = credentials.clone();
        let lookup = move |key: &str| (key == known.access_key_id).then(|| known.clone());
        let options = GatewayOptions {
            cors: CorsPolicy {
                allowed_origins: vec![ORIGIN.to_owned()],
            },
            ..GatewayOptions::new(Region::default(), Arc::new(lookup), Arc::new(WallClock))
        };
        let gateway = Gateway::new(Arc::new(local), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut serving = JoinSet::new();
        serving.spawn(async move { gateway.serve(listener, std::future::pending()).await });
        let stand = Self::new(&url, "own-key", "own-secret").await;
        Self {
            _serving: serving,
            _directory: Some(directory),
            ..stand
        }
    }

    /// Every key in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let options = cloakroom_core::ports::objects::ListOptions {
            limit: 1000,
            ..Default::default()
        };
        let listed = self
            .store
            .list(&self.target.bucket, &options)
            .await
            .expect("a list");
        listed.objects.into_iter().map(|object| object.key).collect()
    }
}
