//! One signed request to an S3 service: timeouts, retries, circuit breaker, and what it said.
//!
//! hyper and not a client above it: those normalise paths, and `a/../b` is a key of its own.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cloakroom_core::job::RetryPolicy;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{BodyError, Circuit};
use cloakroom_core::ports::random::Random;
use cloakroom_signing::{
    Credentials, Endpoint, OutgoingRequest, PayloadHash, Region, Signer, encode_component,
};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};

use super::answer::{Answer, ErrorAnswer};
use super::circuit::{CircuitBreaker, CircuitPolicy};
pub(crate) use super::request::{Body, CallError, Request};
use super::upload::{Progress, Tracked};
use crate::credentials::CredentialsSource;

/// Connections that are kept although idle, per host.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Idle connections are closed before the load balancers in between do it without a word.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a request is asked whether the store still takes its pieces, or answers.
const STALL_CHECK_MIN: Duration = Duration::from_millis(10);
const STALL_CHECK_MAX: Duration = Duration::from_millis(250);
/// A silent refusal from a store whose clock is further away than this is taken for one that came of the clocks.
const SKEW_SECONDS_SUSPICIOUS: i64 = 300;
/// What Ceph answers, with status 500, to a conditional write that another one overtook.
const LOST_RACE_ON_CEPH: &str = "UnknownError";

pub(super) type RequestBody = UnsyncBoxBody<Bytes, BodyError>;

/// How a store is reached.
#[derive(Clone)]
pub struct ClientOptions {
    /// The address of the service that we call.
    pub endpoint: Endpoint,
    /// The region that requests are signed for.
    pub region: Region,
    /// Who signs.
    pub credentials: Arc<dyn CredentialsSource>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, all attempts together; a third of it for each one, and for each piece of a body.
    pub request_timeout: Duration,
    /// How what failed is repeated.
    pub retry: RetryPolicy,
    /// When calls are refused without a try.
    pub circuit: CircuitPolicy,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Spreads the waits between attempts.
    pub random: Arc<dyn Random>,
}

/// Sends signed requests to one S3 service over pooled connections.
pub struct S3Client {
    http: Client<HttpsConnector<HttpConnector>, RequestBody>,
    options: ClientOptions,
    signer: Mutex<Option<(Credentials, Arc<Signer>)>>,
    circuit: CircuitBreaker,
    /// Seconds that the store's clock is ahead of ours, as it last said.
    skew_seconds: AtomicI64,
}

impl std::fmt::Debug for S3Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Client")
            .field("endpoint", &self.options.endpoint.host())
            .finish_non_exhaustive()
    }
}

impl S3Client {
    /// A client for this service. Nothing is sent yet.
    ///
    /// # Errors
    /// The certificates of this machine cannot be read.
    pub fn new(options: ClientOptions) -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        tcp.set_keepalive(Some(Duration::from_mins(1)));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(https);
        Ok(Self {
            http,
            circuit: CircuitBreaker::new(options.circuit),
            options,
            signer: Mutex::new(None),
            skew_seconds: AtomicI64::new(0),
        })
    }

    /// The service that it speaks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.options.endpoint
    }

    /// Whether calls are let through.
    pub fn circuit(&self) -> Circuit {
        self.circuit.circuit(Instant::now())
    }

    /// The region that it signs for.
    pub fn region(&self) -> &str {
        self.options.region.as_str()
    }

    /// How long one attempt, or one piece of a body, may take.
    pub(super) fn attempt_timeout(&self) -> Duration {
        self.options.request_timeout / 3
    }

    /// How often, and after which waits, what broke off is tried again.
    pub(super) fn retry_delay(&self, attempt: u32) -> Option<Duration> {
        let policy = &self.options.retry;
        (attempt < policy.attempts_max).then(|| {
            let delay = policy.delay_after(attempt, self.options.random.unit());
            Duration::try_from(delay).unwrap_or_default()
        })
    }

    /// Sends a request, again where that is safe, and returns the first answer that is not a failure of the service.
    ///
    /// # Errors
    /// See [`CallError`]; an answer with a status of 400 and above is one.
    pub(crate) async fn send(&self, mut request: Request<'_>) -> Result<Answer, CallError> {
        let begun = Instant::now();
        let operation = request.operation;
        let result = self.attempts(&mut request, begun).await;
        let outcome = match &result {
            Ok(_) => "success",
            Err(CallError::Answer(_) | CallError::Body(_)) => "refused",
            Err(CallError::Unavailable(_)) => "unavailable",
            Err(CallError::Defect(_)) => "error",
        };
        metrics::counter!("cloakroom_store_requests_total", "operation" => operation, "outcome" => outcome)
            .increment(1);
        metrics::histogram!("cloakroom_store_request_seconds", "operation" => operation)
            .record(begun.elapsed().as_secs_f64());
        result
    }

    async fn attempts(&self, request: &mut Request<'_>, begun: Instant) -> Result<Answer, CallError> {
        let patience =
            request.patience.unwrap_or_else(|| self.attempt_timeout()) + request.body.buffered_time();
        let deadline = self.options.request_timeout.max(patience * 3);
        let mut skew_was_learned = false;
        let mut attempt = 1;
        loop {
            // The last attempt may not take longer than what is left.
            let left = deadline.saturating_sub(begun.elapsed());
            let failure = match self.attempt(request, patience.min(left)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let unspent = request.body.is_unspent();
            let delay = match failure.again {
                Again::Resigned if unspent && !skew_was_learned => {
                    skew_was_learned = true;
                    continue;
                }
                Again::Anyhow if unspent => self.retry_delay(attempt),
                Again::IfRepeatable if unspent && request.repeatable => self.retry_delay(attempt),
                Again::Never | Again::Resigned | Again::Anyhow | Again::IfRepeatable => None,
            };
            let Some(delay) = delay.map(|delay| delay.max(failure.retry_after)) else {
                return Err(failure.error);
            };
            if begun.elapsed() + delay >= deadline {
                return Err(failure.error);
            }
            metrics::counter!("cloakroom_store_retries_total", "operation" => request.operation).increment(1);
            tracing::debug!(
                event = "store_retry",
                operation = request.operation,
                attempt,
                error = %failure.error,
                "a request to the object store is repeated"
            );
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &mut Request<'_>, patience: Duration) -> Result<Answer, Failure> {
        let pass = self.circuit.enter(Instant::now()).map_err(|refused| {
            let until = SignedDuration::try_from(refused.0).unwrap_or_default();
            let until = self
                .options
                .clock
                .now()
                .checked_add(until)
                .unwrap_or(Timestamp::MAX);
            Failure::of(CallError::Unavailable(format!(
                "the object store does not answer; it is not asked before {until:.0}"
            )))
        })?;
        let (prepared, progress) = self.prepare(request).await?;
        let pass = pass.watching(progress.clone());
        let answer = match self.exchange(prepared, &progress, patience).await {
            Ok(answer) => answer,
            Err(unanswered) => {
                if let Some(broken) = progress.failure() {
                    // Ours, or our client's: the store has done nothing wrong.
                    return Err(Failure::of(CallError::Body(broken)));
                }
                pass.failed(Instant::now(), &unanswered.reason);
                let again = if unanswered.connected {
                    Again::IfRepeatable
                } else {
                    Again::Anyhow
                };
                return Err(Failure::again(again, CallError::Unavailable(unanswered.reason)));
            }
        };
        let retry_after = answer.retry_after();
        let skew = answer
            .date()
            .map(|theirs| theirs.as_second() - self.options.clock.now().as_second());
        let answer = if answer.status().as_u16() < 400 && request.is_short {
            answer.whole().await
        } else {
            Ok(answer)
        };
        let mut error = match answer {
            Err(reason) => {
                pass.failed(Instant::now(), &reason);
                return Err(Failure::again(
                    Again::IfRepeatable,
                    CallError::Unavailable(reason),
                ));
            }
            Ok(answer) if answer.status().as_u16() >= 400 => answer.into_error(self.attempt_timeout()).await,
            Ok(answer) => {
                let Some(error) = answer.late_error() else {
                    pass.succeeded(Instant::now());
                    return Ok(answer);
                };
                error
            }
        };
        if !request.repeatable && error.code == LOST_RACE_ON_CEPH {
            error = ErrorAnswer {
                status: StatusCode::CONFLICT.as_u16(),
                code: "ConditionalRequestConflict".to_owned(),
                ..error
            };
        }
        if request.blames_nobody && error.status == 500 {
            pass.succeeded(Instant::now());
            return Err(Failure::of(CallError::Unavailable(error.to_string())));
        }
        if error.is_overload() {
            pass.failed(Instant::now(), &error.code);
            // What is refused because there is too much to do was not begun.
            let again = if matches!(error.status, 429 | 503) {
                Again::Anyhow
            } else {
                Again::IfRepeatable
            };
            return Err(Failure {
                retry_after,
                ..Failure::again(again, CallError::Unavailable(error.to_string()))
            });
        }
        pass.succeeded(Instant::now());
        let again = if skew.is_some_and(|skew| self.learn_skew(skew, &error)) {
            Again::Resigned
        } else {
            Again::Never
        };
        Err(Failure::again(again, CallError::Answer(error)))
    }

    /// Whether this refusal came of the clocks, and signing by the store's clock helps. An answer to `HEAD` says nothing
    /// but its status and date.
    fn learn_skew(&self, skew: i64, error: &ErrorAnswer) -> bool {
        let known = self.skew_seconds.load(Ordering::Relaxed);
        let silent =
            error.code.is_empty() && error.status == 403 && (skew - known).abs() > SKEW_SECONDS_SUSPICIOUS;
        if error.code != "RequestTimeTooSkewed" && !silent {
            return false;
        }
        let learned = self.skew_seconds.swap(skew, Ordering::Relaxed) != skew;
        if learned {
            tracing::warn!(
                event = "clock_skew",
                skew_seconds = skew,
                "the clocks of this machine and of the object store differ"
            );
        }
        learned
    }

    /// Sends one request and waits for the head of its answer.
    async fn exchange(
        &self,
        request: http::Request<RequestBody>,
        progress: &Progress,
        patience: Duration,
    ) -> Result<Answer, Unanswered> {
        let mut answer = std::pin::pin!(self.http.request(request));
        let mut checks = tokio::time::interval((patience / 4).clamp(STALL_CHECK_MIN, STALL_CHECK_MAX));
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_late = false;
        loop {
            tokio::select! {
                biased;
                answered = &mut answer => {
                    progress.moved(false);
                    return answered.map(|head| Answer::new(head, patience)).map_err(|error| Unanswered {
                        connected: !error.is_connect(),
                        reason: describe(&error),
                    });
                }
                _ = checks.tick() => {
                    // A process that stood still hears of the time before it hears of what came meanwhile.
                    let was_late = std::mem::replace(&mut is_late, progress.idle() > patience);
                    if is_late && was_late {
                        return Err(Unanswered {
                            connected: true,
                            reason: format!("no answer within {} s", patience.as_secs_f64()),
                        });
                    }
                }
            }
        }
    }

    async fn prepare(
        &self,
        request: &mut Request<'_>,
    ) -> Result<(http::Request<RequestBody>, Progress), Failure> {
        let unusable = |reason: String| Failure::of(CallError::Defect(reason));
        let credentials = self.options.credentials.credentials().await;
        let credentials =
            credentials.map_err(|error| Failure::of(CallError::Unavailable(error.to_string())))?;
        let signer = self.signer(&credentials);
        let mut url = self.options.endpoint.url_for(request.bucket, request.key);
        for (index, (name, value)) in request.query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&encode_component(name));
            url.push('=');
            url.push_str(&encode_component(value));
        }
        let progress = Progress::new();
        let (payload, length, body): (_, _, RequestBody) = match &mut request.body {
            Body::Empty => (
                PayloadHash::of(b""),
                // Ceph wants to be told even of nothing.
                (request.method == Method::PUT || request.method == Method::POST).then_some(0),
                Empty::new().map_err(never).boxed_unsync(),
            ),
            Body::Bytes(bytes) => (
                PayloadHash::of(bytes),
                Some(bytes.len() as u64),
                Full::new(bytes.clone()).map_err(never).boxed_unsync(),
            ),
            Body::Stream { stream, size_bytes } => {
                let tracked = Tracked::new(stream.clone(), progress.clone());
                (PayloadHash::Unsigned, Some(*size_bytes), tracked.boxed_unsync())
            }
        };
        let signed = signer
            .sign_headers(&OutgoingRequest {
                method: &request.method,
                url: &url,
                headers: &request.headers,
                payload,
                now: self.now(),
            })
            .map_err(|error| unusable(error.to_string()))?;
        let mut head = http::Request::builder().method(&request.method).uri(&url);
        for (name, value) in &request.headers {
            head = head.header(name, value);
        }
        for (name, value) in &signed.headers {
            head = head.header(*name, value);
        }
        if let Some(length) = length {
            head = head.header(http::header::CONTENT_LENGTH, length);
        }
        let prepared = head
            .header(
                http::header::USER_AGENT,
                concat!("cloakroom/", env!("CARGO_PKG_VERSION")),
            )
            .body(body)
            .map_err(|_| unusable("a header or key that HTTP cannot carry".to_owned()))?;
        Ok((prepared, progress))
    }

    /// The time as the store sees it.
    fn now(&self) -> Timestamp {
        let now = self.options.clock.now();
        let skew = SignedDuration::from_secs(self.skew_seconds.load(Ordering::Relaxed));
        now.checked_add(skew).unwrap_or(now)
    }

    /// The signer of these credentials: kept, because it keeps the day's key.
    fn signer(&self, credentials: &Credentials) -> Arc<Signer> {
        let mut kept = self.signer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((known, signer)) if known == credentials => Arc::clone(signer),
            _ => {
                let signer = Arc::new(Signer::new(credentials.clone(), self.options.region.clone()));
                *kept = Some((credentials.clone(), Arc::clone(&signer)));
                signer
            }
        }
    }
}

struct Unanswered {
    /// The request may have reached the store.
    connected: bool,
    reason: String,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy)]
enum Again {
    Never,
    /// Once, with the time as the store sees it.
    Resigned,
    /// Only if doing it twice is doing it once: it may have been done.
    IfRepeatable,
    /// It was not done.
    Anyhow,
}

struct Failure {
    error: CallError,
    again: Again,
    /// The store asks for so much time.
    retry_after: Duration,
}

impl Failure {
    fn of(error: CallError) -> Self {
        Self::again(Again::Never, error)
    }

    fn again(again: Again, error: CallError) -> Self {
        Self {
            error,
            again,
            retry_after: Duration::ZERO,
        }
    }
}

fn never(impossible: Infallible) -> BodyError {
    match impossible {}
}

/// The reason at the end of the chain: `connection refused`, not `client error`.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Whether a status says that the service, not the request, is at fault.
pub(super) fn is_overload(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// A header as text, if it is there and is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
