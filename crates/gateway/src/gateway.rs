//! One request from its head to its answer: routed, authorised, done, and dressed in the headers that every answer has.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{ObjectInfo, ObjectPath, ObjectStore};
use cloakroom_signing::{ChunkChain, Credentials, PayloadHash, Region, Verifier};
use http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HOST, ORIGIN, RETRY_AFTER, SERVER,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use tokio::net::TcpListener;

use crate::auth;
use crate::body::{BoxError, RequestBody};
use crate::cors::CorsPolicy;
use crate::error::S3Error;
use crate::metrics::{Metrics, RequestRecord};
use crate::operations;
use crate::request::{self, Query, Target};
use crate::response::{self, ResponseBody, S3Response};
use crate::routing::{self, Operation};
use crate::server;

/// Finds the credentials behind an access key id.
pub type CredentialSource = dyn Fn(&str) -> Option<Credentials> + Send + Sync;

/// Is told of objects that arrive. It is called while a request is being answered, so it must return at once.
pub trait ObjectObserver: Send + Sync {
    /// Somebody who may has begun to write this object, in one request or in parts.
    fn put_begun(&self, bucket: &str, key: &str);

    /// The object is written: durable and visible.
    fn put_done(&self, bucket: &str, key: &str, info: &ObjectInfo);
}

/// How long the endpoint waits for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole head of the next request, counted from the end of the one before; 30 seconds.
    pub header: Duration,
    /// For the next bytes of a body, and for the peer to take the next bytes of an answer; 60 seconds.
    pub idle: Duration,
    /// For requests in flight once the endpoint shuts down; 30 seconds.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(30),
            idle: Duration::from_mins(1),
            drain: Duration::from_secs(30),
        }
    }
}

/// How the endpoint behaves.
#[derive(Clone)]
pub struct GatewayOptions {
    /// The region that clients must sign for.
    pub region: Region,
    /// Who may sign.
    pub credentials: Arc<CredentialSource>,
    /// Which web pages may use the endpoint.
    pub cors: CorsPolicy,
    /// Tells the time that signatures are held against.
    pub clock: Arc<dyn Clock>,
    /// Is told of objects that arrive.
    pub observer: Option<Arc<dyn ObjectObserver>>,
    /// `s3.example.com`: then `bucket.s3.example.com` is that bucket. Path style works in any case.
    pub virtual_host_domain: Option<String>,
    /// How long to wait for peers.
    pub timeouts: Timeouts,
    /// How many connections are served at once; others wait to be accepted. 4,096.
    pub connections_max: usize,
}

impl GatewayOptions {
    /// The defaults: no web pages, no observer, path style.
    pub fn new(region: Region, credentials: Arc<CredentialSource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            region,
            credentials,
            cors: CorsPolicy::default(),
            clock,
            observer: None,
            virtual_host_domain: None,
            timeouts: Timeouts::default(),
            connections_max: 4096,
        }
    }
}

/// The embedded S3 endpoint. Clones share everything.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) options: GatewayOptions,
    pub(crate) verifier: Verifier,
    pub(crate) metrics: Arc<Metrics>,
    request_ids: AtomicU64,
}

/// Where containers of MinIO are asked whether they live (its "Healthcheck API"): so that such a container can be replaced
/// by this endpoint without another health check. Objects of a bucket `minio` with these keys are read with a signature.
const LIVE_PROBES: [&str; 2] = ["/minio/health/live", "/minio/health/ready"];

fn is_live_probe(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
        && LIVE_PROBES.contains(&parts.uri.path())
        && parts.uri.query().is_none()
        && !parts.headers.contains_key(AUTHORIZATION)
}

/// A request that may be answered: its signature is verified.
pub(crate) struct Exchange<'r> {
    pub(crate) gateway: &'r Inner,
    pub(crate) target: &'r Target,
    pub(crate) query: &'r Query<'r>,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) payload: PayloadHash,
    pub(crate) chain: Option<ChunkChain>,
}

impl Exchange<'_> {
    /// The store.
    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.gateway.store
    }

    /// The bucket; routing made sure that there is one.
    pub(crate) fn bucket(&self) -> &str {
        self.target.bucket.as_deref().unwrap_or_default()
    }

    /// The object; routing made sure that there is one.
    pub(crate) fn path(&self) -> ObjectPath {
        ObjectPath::new(self.bucket(), self.target.key.as_deref().unwrap_or_default())
    }

    /// The URL under which the client reaches an object, as it reached this endpoint.
    pub(crate) fn location(&self, path: &ObjectPath) -> String {
        self.gateway.location(self.headers, path)
    }
}

impl Inner {
    pub(crate) fn put_begun(&self, path: &ObjectPath) {
        if let Some(observer) = &self.options.observer {
            observer.put_begun(&path.bucket, &path.key);
        }
    }

    pub(crate) fn put_done(&self, path: &ObjectPath, info: &ObjectInfo) {
        if let Some(observer) = &self.options.observer {
            observer.put_done(&path.bucket, &path.key, info);
        }
    }

    /// See [`Exchange::location`].
    pub(crate) fn location(&self, headers: &HeaderMap, path: &ObjectPath) -> String {
        let host = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let key = cloakroom_signing::encode_path(&path.key);
        let domain = self.options.virtual_host_domain.as_deref();
        match Target::parse("/", Some(host), domain) {
            Ok(Target { bucket: Some(_), .. }) => format!("http://{host}/{key}"),
            _ => format!("http://{host}/{}/{key}", path.bucket),
        }
    }

    /// Sixteen digits that no other request of this process has, and that do not show how many there were.
    fn next_request_id(&self) -> String {
        let sequence = self
            .request_ids
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (sequence ^ (sequence >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        format!("{:016X}", mixed ^ (mixed >> 31))
    }

    async fn dispatch(
        &self,
        parts: &mut Parts,
        body: RequestBody,
        record: &mut RequestRecord,
    ) -> Result<S3Response, S3Error> {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let domain = self.options.virtual_host_domain.as_deref();
        record.target = Target::parse(parts.uri.path(), host, domain)?;
        let query = Query::parse(parts.uri.query())?;
        if parts.method == Method::OPTIONS {
            return self.options.cors.preflight(&parts.headers);
        }
        let routed = routing::route(&parts.method, &record.target, &query, &parts.headers);
        record.operation = routed.as_ref().ok().copied();
        let now = self.options.clock.now();
        if record.operation == Some(Operation::PostObject) && !parts.headers.contains_key(AUTHORIZATION) {
            let post = operations::post::post_object(self, &record.target, &parts.headers, body, now);
            return Box::pin(post).await;
        }
        // What a request is for is not told to strangers: the signature comes before the verdict of routing.
        let authorized = auth::authorize(&self.verifier, &*self.options.credentials, now, &query, parts)?;
        let operation = routed?;
        request::apply_hoisted_headers(&query, &mut parts.headers)?;
        let exchange = Exchange {
            gateway: self,
            target: &record.target,
            query: &query,
            headers: &parts.headers,
            payload: authorized.payload,
            chain: authorized.chain,
        };
        operations::perform(operation, exchange, body).await
    }

    fn refusal(error: &S3Error, head: bool, resource: &str, request_id: &str) -> S3Response {
        let mut response = response::empty(error.status);
        if let Some(info) = &error.not_modified {
            crate::attributes::write_info(response.headers_mut(), info, false);
            response.headers_mut().remove(CONTENT_TYPE);
            return response;
        }
        let headers = response.headers_mut();
        if let Some(bytes) = error.object_size_bytes {
            response::set(headers, CONTENT_RANGE, &format!("bytes */{bytes}"));
        }
        if error.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE"));
        }
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        if !head {
            *response.body_mut() = ResponseBody::whole(error.document(resource, request_id));
        }
        response
    }
}

impl Gateway {
    /// An endpoint over a store.
    pub fn new(store: Arc<dyn ObjectStore>, options: GatewayOptions) -> Self {
        let (seed, _) = uuid::Uuid::now_v7().as_u64_pair();
        Self {
            inner: Arc::new(Inner {
                store,
                verifier: Verifier::new(options.region.clone()),
                options,
                metrics: Arc::new(Metrics::new()),
                request_ids: AtomicU64::new(seed),
            }),
        }
    }

    /// Serves connections until `shutdown` is done, then lets requests in flight end, for [`Timeouts::drain`] at most.
    ///
    /// # Errors
    /// None: a connection's failure is its own, and a failure to accept is waited out.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        server::serve(self, listener, shutdown).await;
    }

    /// Answers one request. It never fails: what goes wrong is in the answer.
    pub async fn handle<B>(&self, request: Request<B>) -> S3Response
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let inner = &*self.inner;
        let (mut parts, body) = request.into_parts();
        let mut record = RequestRecord::new(Arc::clone(&inner.metrics));
        let body = RequestBody::new(body, inner.options.timeouts.idle, inner.metrics.received.clone());
        let request_id = inner.next_request_id();
        let expects_continue = parts.headers.contains_key(EXPECT);

        let answered = if is_live_probe(&parts) {
            Ok(response::empty(StatusCode::OK))
        } else {
            inner.dispatch(&mut parts, body, &mut record).await
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                let head = parts.method == Method::HEAD;
                Inner::refusal(&error, head, &record.target.resource(), &request_id)
            }
        };
        let status = response.status();
        record.status = Some(status);
        response.body_mut().record(record);
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("cloakroom"));
        // A client that was told no before it was told to go on does not send the body, but its next request. On the
        // same connection that would be taken for the body (of one byte, say, which makes `ET /` out of `GET /`).
        if expects_continue && (status.is_client_error() || status.is_server_error()) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response::set(headers, HeaderName::from_static("x-amz-request-id"), &request_id);
        inner.options.cors.expose(parts.headers.get(ORIGIN), headers);
        response
    }

    pub(crate) fn options(&self) -> &GatewayOptions {
        &self.inner.options
    }
}
