//! The outermost layer: names the request, spans and times it, logs and counts it once, turns panics into answers
//! and renders problems.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloakroom_core::error::ErrorCode;
use futures_util::FutureExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use metrics::Gauge;
use tracing::Instrument;

use crate::cross_origin::CrossOrigin;
use crate::linger::lingering;
use crate::problem::Problem;
use crate::request_id::{REQUEST_ID_HEADER, RequestId, TraceIds};
use crate::state::HttpState;

/// The `path` of requests that no route matched: whatever strangers ask for must not become label values.
const UNMATCHED: &str = "unmatched";

/// The layer.
pub async fn observe(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    answer(state, request, |request| next.run(request)).await
}

/// The layer with the rules for scripts of other origins inside of it: one layer costs less than two.
pub async fn observe_and_admit_scripts(
    State((state, cross_origin)): State<(HttpState, CrossOrigin)>,
    request: Request,
    next: Next,
) -> Response {
    answer(state, request, |request| cross_origin.run(request, next)).await
}

async fn answer<F>(state: HttpState, mut request: Request, run: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let started = Instant::now();
    let fresh = state.app.random.uuid_v7(state.app.now());
    let request_id = RequestId::of(request.headers(), fresh);
    let trace = TraceIds::of(request.headers(), fresh);
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        request_id = request_id.as_str(),
        user_id = tracing::field::Empty,
        trace_id = trace.trace_id,
        span_id = trace.span_id,
        method,
        path,
    );
    request.extensions_mut().insert(request_id.clone());
    let expects_continue = request.headers().contains_key(header::EXPECT);

    let in_flight = InFlight::enter(&state);
    let outcome = AssertUnwindSafe(run(lingering(request)))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    drop(in_flight);

    let _inside = span.entered();
    let response = outcome.unwrap_or_else(|panic| Problem::internal(panic_text(&*panic)).into_response());
    let mut response = as_problem(&request_id, response);
    dress(response.headers_mut(), &request_id);
    if expects_continue && (response.status().is_client_error() || response.status().is_server_error()) {
        // A client that is refused before it was told to go on keeps its body: its next request on the same
        // connection must not be taken for it.
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record(&state, (method, path, response.status()), started);
    response
}

/// Renders the problem that a handler answered with, and what the router refuses by itself.
fn as_problem(request_id: &RequestId, mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return problem.render(request_id, response);
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        // The router adds `Allow` on the way out, behind this layer.
        let message = "This path does not take that method; the header `Allow` names those that it takes.";
        let problem = Problem::new(ErrorCode::MethodNotAllowed, message);
        return problem.render(request_id, response);
    }
    response
}

/// Headers of every answer.
fn dress(headers: &mut HeaderMap, request_id: &RequestId) {
    headers.insert(REQUEST_ID_HEADER, request_id.to_header());
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::SERVER, HeaderValue::from_static("cloakroom"));
    or_insert(headers, header::CACHE_CONTROL, "no-store");
    or_insert(
        headers,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    );
}

fn or_insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}

fn record(state: &HttpState, answer: (&'static str, &str, StatusCode), started: Instant) {
    let elapsed = started.elapsed();
    state.meters.count(answer, elapsed);
    let status = answer.2;
    let percent = state.settings.alert_error_percent;
    state.error_rate.observe(&state.app, status, percent);
    let duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3;
    tracing::info!(
        event = "http_request",
        status = status.as_u16(),
        duration_ms,
        "request answered"
    );
}

/// A method as a label: any token may stand in a request line, not in a metric.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("panic: {text}")
}

/// Counts a request while it is being answered, also when its client goes away.
struct InFlight(Gauge);

impl InFlight {
    fn enter(state: &HttpState) -> Self {
        let gauge = state.meters.in_flight().clone();
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        assert_eq!(method_label(&Method::PATCH), "PATCH");
        assert_eq!(
            method_label(&Method::from_bytes(b"BREW").expect("a token")),
            "other"
        );
    }

    #[test]
    fn both_kinds_of_panic_text_are_read() {
        let text = |panic: Box<dyn Any + Send>| panic_text(&*panic);
        assert_eq!(text(Box::new("a")), "panic: a");
        assert_eq!(text(Box::new("b".to_owned())), "panic: b");
        assert_eq!(text(Box::new(3_u8)), "panic: ");
    }
}
