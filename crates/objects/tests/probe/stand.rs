//! Real services to be probed: Ceph, moto, and our own endpoint over a local store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions};
use cloakroom_objects::credentials::{CredentialsSource, StaticCredentials};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::probe::Target;
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint, OutgoingRequest, PayloadHash, Region, Signer};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
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
        Self::in_region(endpoint, access_key, secret_key, Region::default()).await
    }

    pub async fn in_region(endpoint: &str, access_key: &str, secret_key: &str, region: Region) -> Self {
        let endpoint = Endpoint::parse(endpoint, Addressing::Path).expect("an address");
        let credentials = Credentials::new(access_key, secret_key);
        let source: Arc<dyn CredentialsSource> = Arc::new(StaticCredentials(credentials));
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
            announced: endpoint.clone(),
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

    /// Every key in the bucket, a line each.
    pub async fn keys(&self) -> String {
        let options = cloakroom_core::ports::objects::ListOptions {
            limit: 1000,
            ..Default::default()
        };
        let listed = self
            .store
            .list(&self.target.bucket, &options)
            .await
            .expect("a list");
        let keys: Vec<_> = listed.objects.into_iter().map(|object| object.key).collect();
        keys.join("\n")
    }

    /// Sets a part of the bucket's configuration.
    pub async fn configure(&self, name: &str, body: String) {
        let (status, text) = self.ask(http::Method::PUT, name, body).await;
        assert!(status.is_success(), "{name}: {status} {text}");
    }

    /// A part of the bucket's configuration.
    pub async fn configuration(&self, name: &str) -> String {
        self.ask(http::Method::GET, name, String::new()).await.1
    }

    async fn ask(&self, method: http::Method, name: &str, body: String) -> (http::StatusCode, String) {
        let target = &self.target;
        let url = format!("{}?{name}=", target.endpoint.url_for(&target.bucket, ""));
        let signer = Signer::new(target.credentials.latest(), target.region.clone());
        let signed = signer
            .sign_headers(&OutgoingRequest {
                method: &method,
                url: &url,
                headers: &[],
                payload: PayloadHash::of(body.as_bytes()),
                now: WallClock.now(),
            })
            .expect("signed");
        send(method, &url, &signed.headers, body).await
    }

    /// Calls SQS.
    pub async fn call_sqs(&self, url: &str, form: String) -> (http::StatusCode, String) {
        let target = &self.target;
        let signer = Signer::for_service(target.credentials.latest(), target.region.clone(), "sqs");
        let kind = ("content-type", "application/x-www-form-urlencoded".to_owned());
        let signed = signer
            .sign_headers(&OutgoingRequest {
                method: &http::Method::POST,
                url,
                headers: &[(kind.0.to_owned(), kind.1.clone())],
                payload: PayloadHash::of(form.as_bytes()),
                now: WallClock.now(),
            })
            .expect("signed");
        let mut headers = vec![kind];
        headers.extend(signed.headers.iter().cloned());
        send(http::Method::POST, url, &headers, form).await
    }

    /// What somebody without a signature is answered.
    pub async fn anonymous(&self, key: &str) -> u16 {
        let url = self.target.endpoint.url_for(&self.target.bucket, key);
        let (status, _) = send(http::Method::GET, &url, &[], String::new()).await;
        status.as_u16()
    }
}

/// Sends a request as it is.
async fn send(
    method: http::Method,
    url: &str,
    headers: &[(&str, String)],
    body: String,
) -> (http::StatusCode, String) {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.expect("an answer");
    let status = answer.status();
    let text = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&text).into_owned())
}
