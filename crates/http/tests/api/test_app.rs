//! The whole HTTP front over a real SQLite file and a real local store in a temporary directory, with a clock that
//! stands still and ids that repeat.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cloakroom_coordination::LocalRateLimiter;
use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::image::ImagePolicy;
use cloakroom_core::ports::alerts::{Alerts, NoAlerts};
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::objects::{ObjectAttributes, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_core::ports::scanner::Holdup;
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use cloakroom_http::api::bucket_events::BucketEventsToken;
use cloakroom_http::auth::{Algorithm, Expectations};
use cloakroom_http::{AuthSettings, Authenticator, HttpSettings, HttpState, KeySource};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_service::variants::Variants;
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::outages::OutageObjects;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_worker::signals::LocalSignals;
use cloakroom_worker::{WorkerOptions, runner};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{EncodingKey, Header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Signs the access tokens of these tests, and nothing else anywhere.
pub const RSA_PRIVATE: &str = include_str!("keys/rsa.pem");
/// What verifies them.
pub const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");

/// What senders of bucket events show.
pub const BUCKET_EVENTS_TOKEN: &str = "events-token";

/// The bucket of every collection.
pub const BUCKET: &str = "bucket";

/// See the module.
pub struct TestApp {
    pub app: Arc<App>,
    pub state: HttpState,
    /// Who sweeps.
    #[cfg_attr(
        test,
        expect(
            dead_code,
            reason = "the example has a worker; the tests run its rounds themselves"
        )
    )]
    pub leases: Arc<dyn Leases>,
    /// The store, which can be taken away.
    pub objects: Arc<OutageObjects>,
    pub router: Router,
    pub clock: Arc<MockClock>,
    pub draining: CancellationToken,
    pub directory: TempDir,
}

/// What can be chosen.
pub struct Options {
    pub auth: AuthSettings,
    pub http: HttpSettings,
    pub policy: Policy,
    /// Which stores there are; they all stand in one directory.
    pub stores: StoreRegistry,
    /// What makes pictures while somebody waits.
    pub variants: Variants,
    /// Collections beside the usual ones.
    pub collections: Vec<Collection>,
    /// Where alerts go.
    pub alerts: Arc<dyn Alerts>,
}

impl Default for Options {
    fn default() -> Self {
        let auth = AuthSettings {
            keys: vec![KeySource::Pem {
                pem: RSA_PUBLIC.to_owned(),
                kid: None,
            }],
            algorithms: vec![Algorithm::RS256],
            expected: Expectations::default(),
            ..AuthSettings::default()
        };
        let http = HttpSettings {
            version: "1.2.3".to_owned(),
            bucket_events_token: Some(BucketEventsToken::new(BUCKET_EVENTS_TOKEN)),
            ..HttpSettings::default()
        };
        Self {
            auth,
            http,
            policy: Policy::default(),
            stores: StoreRegistry::single([BUCKET]),
            variants: Variants::default(),
            collections: Vec::new(),
            alerts: Arc::new(NoAlerts),
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The body of a problem, after checking that it is one in every respect.
    pub fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"), "{body}");
        assert_eq!(body["message"], body["detail"], "{body}");
        body
    }

    /// `(status, error_code)` of a problem.
    pub fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.problem()["error_code"].as_str().expect("a code").to_owned(),
        )
    }
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let clock = Arc::new(MockClock::new());
        Self::assemble(options, clock.clone(), clock, Arc::new(SeededRandom::new(1))).await
    }

    /// With a clock of the caller's own.
    pub async fn assemble(
        options: Options,
        clock: Arc<MockClock>,
        time: Arc<dyn Clock>,
        random: Arc<dyn cloakroom_core::ports::random::Random>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let signals = Arc::new(LocalSignals::new());
        let metadata = Arc::new(
            SqliteStore::open(SqliteOptions {
                synchronous_full: false,
                signals: Some(signals.clone()),
                ..SqliteOptions::new(directory.path().join("metadata.db"))
            })
            .expect("a database"),
        );
        let objects =
            LocalStore::open(&LocalOptions::new(directory.path().join("objects"))).expect("a store");
        for bucket in [BUCKET, "cold"] {
            objects.create_bucket(bucket).await.expect("a bucket");
        }
        let objects = OutageObjects::new(Arc::new(objects));
        let app = Arc::new(App {
            metadata: Arc::clone(&metadata) as _,
            administration: Arc::clone(&metadata) as _,
            objects: Arc::clone(&objects) as _,
            stores: Arc::new(options.stores),
            signer: Arc::new(PlainSigner),
            clock: time.clone(),
            random,
            signals,
            collections: collections(options.collections),
            scanner: None,
            alerts: options.alerts,
            processors: BTreeMap::new(),
            variants: options.variants,
            policy: Policy {
                home_bucket: BUCKET.to_owned(),
                ..options.policy
            },
        });
        let authenticator = Authenticator::new(options.auth, time).expect("keys");
        let draining = CancellationToken::new();
        let state = HttpState::new(
            app.clone(),
            authenticator,
            options.http,
            Arc::new(LocalRateLimiter::default()),
            None,
            draining.clone(),
        );
        Self {
            app,
            router: cloakroom_http::router(state.clone()),
            state,
            leases: metadata,
            objects,
            clock,
            draining,
            directory,
        }
    }

    /// An access token.
    pub fn token(&self, subject: &str, role: &str) -> String {
        let now = self.app.now().as_second();
        sign(&json!({"sub": subject, "role": role, "iat": now, "exp": now + 3600}))
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        }
    }

    /// A request of `ann` (`user`), `olga` (`operator`), `ada` (`admin`) or any other user.
    pub async fn call(&self, user: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let role = match user {
            "olga" => "operator",
            "ada" => "admin",
            _ => "user",
        };
        self.call_with(&self.token(user, role), method, path, body, &[])
            .await
    }

    pub async fn call_with(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-request-id", "r-1");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = match body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.send(request.expect("a request")).await
    }

    pub async fn get(&self, user: &str, path: &str) -> Answer {
        self.call(user, Method::GET, path, None).await
    }

    pub async fn post(&self, user: &str, path: &str, body: Value) -> Answer {
        self.call(user, Method::POST, path, Some(body)).await
    }

    /// Signs an upload and puts its bytes where the client would; returns the file's id.
    pub async fn upload(&self, user: &str, filename: &str, bytes: &[u8], more: Value) -> String {
        let mut request = json!({"filename": filename, "size_bytes": bytes.len()});
        request
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        let signed = self.post(user, "/api/v1/uploads", request).await;
        assert_eq!(signed.status, 201, "{signed:?}");
        let id = signed.json()["file_id"].as_str().expect("an id").to_owned();
        self.put_staged(&id, bytes).await;
        id
    }

    /// The client's PUT.
    pub async fn put_staged(&self, id: &str, bytes: &[u8]) {
        let file_id: FileId = id.parse().expect("an id");
        let file = self
            .app
            .metadata
            .file(file_id)
            .await
            .expect("a database")
            .expect("a file");
        let upload = self
            .app
            .metadata
            .upload(file_id)
            .await
            .expect("a database")
            .expect("an upload");
        let attributes = ObjectAttributes {
            content_type: Some(file.declared.content_type.to_string()),
            ..ObjectAttributes::default()
        };
        let options = PutOptions {
            attributes,
            ..PutOptions::default()
        };
        let path = ObjectPath::new(file.bucket, upload.staging_key);
        self.app
            .objects
            .put(&path, options, PutBody::from_bytes(bytes.to_vec()))
            .await
            .expect("stored");
    }

    /// Has a ready file held back, as a scanner does that looks again.
    pub async fn quarantine(&self, id: &str) {
        let id = id.parse().expect("an id");
        let file = self
            .app
            .metadata
            .file(id)
            .await
            .expect("an answer")
            .expect("a file");
        let verified = file.verified.clone().expect("a verified file");
        let held = Holdup::Infected {
            signature: "Eicar-Signature".to_owned(),
        };
        let held = file
            .quarantine(verified, &held, &self.app.occasion("worker"))
            .expect("legal");
        self.app.metadata.apply(held).await.expect("quarantined");
    }

    /// A file that is `ready`.
    pub async fn ready(&self, user: &str, filename: &str, bytes: &[u8], more: Value) -> String {
        let id = self.upload(user, filename, bytes, more).await;
        let confirmed = self
            .call(user, Method::POST, &format!("/api/v1/uploads/{id}/confirm"), None)
            .await;
        assert_eq!(confirmed.status, 200, "{confirmed:?}");
        self.work().await;
        let file = self.get(user, &format!("/api/v1/files/{id}")).await.json();
        assert_eq!(file["state"], "ready", "{file}");
        id
    }

    /// Runs every job that is due.
    pub async fn work(&self) {
        let options = WorkerOptions::new(WorkerId("test".to_owned()));
        while runner::run_due(&self.app, &options).await > 0 {}
    }

    /// The secret of a new service token.
    pub async fn service_token(&self, request: Value) -> (String, String) {
        let created = self.post("ada", "/api/v1/admin/service-tokens", request).await;
        assert_eq!(created.status, 201, "{created:?}");
        let body = created.json();
        let text = |name: &str| body[name].as_str().expect("text").to_owned();
        (text("id"), text("secret"))
    }
}

/// A token with these claims, signed by the tests' own key.
pub fn sign(claims: &Value) -> String {
    sign_with(Header::new(Algorithm::RS256), claims, RSA_PRIVATE)
}

pub fn sign_with(header: Header, claims: &Value, private: &str) -> String {
    let key = match header.alg {
        Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
        _ => EncodingKey::from_rsa_pem(private.as_bytes()),
    };
    jsonwebtoken::encode(&header, claims, &key.expect("a private key")).expect("a token")
}

fn collections(more: Vec<Collection>) -> BTreeMap<String, Arc<Collection>> {
    let files = Collection {
        description: "Anything.".to_owned(),
        ..Collection::new("files", BUCKET)
    };
    let photos = Collection {
        description: "Photos of complaints.".to_owned(),
        content_types: vec!["image/jpeg".to_owned(), "image/png".to_owned()],
        extensions: ["jpg", "jpeg", "png"].map(str::to_owned).to_vec(),
        size_bytes_max: 1_000_000,
        size_bytes_min: 1,
        images: ImagePolicy {
            thumbnails: vec!["256".parse().expect("a size")],
            variants: true,
            variants_max: 3,
            ..ImagePolicy::default()
        },
        ..Collection::new("photos", BUCKET)
    };
    let scans = Collection {
        description: "What a scanner sends by itself.".to_owned(),
        auto_confirm: true,
        retention: Retention {
            archive_bucket: Some("cold".to_owned()),
            ..Retention::default()
        },
        ..Collection::new("scans", BUCKET)
    };
    [files, photos, scans]
        .into_iter()
        .chain(more)
        .map(|one| (one.name.clone(), Arc::new(one)))
        .collect()
}

/// Signs nothing, and says what it would have signed: signatures are tested where they are made.
struct PlainSigner;

impl PlainSigner {
    fn url(path: &ObjectPath, more: &str) -> String {
        let key = utf8_percent_encode(&path.key, NON_ALPHANUMERIC);
        format!("https://store.test/{}/{key}?signed{more}", path.bucket)
    }
}

fn expiry(now: Timestamp, seconds: u32) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .expect("a time")
}

impl Signer for PlainSigner {
    fn put(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        Ok(SignedRequest {
            url: Self::url(path, ""),
            headers: vec![("content-type".to_owned(), constraints.content_type.clone())],
            expires_at: expiry(now, seconds),
        })
    }

    fn post(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        seconds: u32,
        now: Timestamp,
    ) -> Result<SignedForm, CannotSign> {
        let fields = [
            ("key", path.key.as_str()),
            ("Content-Type", &constraints.content_type),
            ("a", "1"),
        ];
        Ok(SignedForm {
            url: format!("https://store.test/{}", path.bucket),
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            expires_at: expiry(now, seconds),
        })
    }

    fn part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        part_number: u32,
        seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        let _ = multipart_id;
        let url = Self::url(path, &format!("&partNumber={part_number}"));
        Ok(SignedRequest {
            url,
            headers: Vec::new(),
            expires_at: expiry(now, seconds),
        })
    }

    fn get(
        &self,
        path: &ObjectPath,
        presentation: &DownloadPresentation,
        seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        let disposition = presentation
            .content_disposition
            .split(';')
            .next()
            .unwrap_or_default();
        let url = Self::url(path, &format!("&disposition={disposition}"));
        Ok(SignedRequest {
            url,
            headers: Vec::new(),
            expires_at: expiry(now, seconds),
        })
    }
}
