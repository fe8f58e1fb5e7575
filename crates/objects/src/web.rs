//! One plain HTTP request, not signed: to the services that give out credentials, and as a client of ours sends what was
//! signed for it.
//!
//! Every request takes a connection of its own, because what refuses one often closes it. Redirects are not followed: they
//! could lead a token elsewhere.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An answer, read to its end.
#[derive(Clone)]
pub(crate) struct WebAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl WebAnswer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text, as far as it is any.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Answers may hold credentials.
impl fmt::Debug for WebAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebAnswer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebError {
    /// There is no connection: the name, the address or the TLS handshake.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It broke off.
    #[error("{0}")]
    Broken(String),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
}

/// Sends plain requests.
#[derive(Clone)]
pub(crate) struct WebClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

impl WebClient {
    /// A client with these limits for the connection and for everything.
    ///
    /// # Errors
    /// The certificates of this machine cannot be read.
    pub(crate) fn new(connect_timeout: Duration, timeout: Duration) -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(connect_timeout));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(https);
        Ok(Self { http, timeout })
    }

    /// Sends a request and reads its whole answer, whatever its status.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<WebAnswer, WebError> {
        let exchange = async {
            let answer = self.http.request(request.map(Full::new)).await.map_err(|error| {
                let reason = last_reason(&error);
                if error.is_connect() {
                    WebError::Connect(reason)
                } else {
                    WebError::Broken(reason)
                }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| WebError::Broken(last_reason(&*error)))?;
            Ok(WebAnswer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| WebError::TimedOut(self.timeout))?
    }
}

/// The reason at the end of the chain: `connection refused`, not `client error`. None of them quotes a URL.
fn last_reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
