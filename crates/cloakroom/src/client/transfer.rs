//! Sending bytes of a file to a presigned URL: streamed, counted, and given up when nothing moves any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, RequestBuilder, Response, Url};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::api::{Api, success};
use super::error::{ClientError, Result};
use super::progress::Task;
use super::source::Source;

/// A transfer in which no byte moves for so long is dead. Includes the server's own work after the last byte.
const STALL_MAX: Duration = Duration::from_mins(2);

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Sends a span of the file with one PUT.
pub async fn put(
    api: &Api,
    url: &Url,
    headers: &BTreeMap<String, String>,
    source: &Source,
    span: Span,
    task: &Task,
) -> Result<Response> {
    let sent = Counter::new(task);
    let body = body(source, span, &sent).await?;
    let mut request = api.http().put(url.clone()).header(CONTENT_LENGTH, span.length);
    for (name, value) in headers {
        // Ours are the same by signature; twice they would be an error.
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("host") {
            request = request.header(name, value);
        }
    }
    deliver(request.body(body), &sent).await
}

/// Sends the whole file as the last part of a form.
pub async fn post(
    api: &Api,
    url: &Url,
    fields: &Map<String, Value>,
    source: &Source,
    task: &Task,
) -> Result<Response> {
    let sent = Counter::new(task);
    let span = Span {
        offset: 0,
        length: source.size(),
    };
    let body = body(source, span, &sent).await?;
    let mut form = reqwest::multipart::Form::new();
    for (name, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form = form.text(name.clone(), value);
    }
    let part = reqwest::multipart::Part::stream_with_length(body, span.length).file_name(source.name());
    deliver(
        api.http().post(url.clone()).multipart(form.part("file", part)),
        &sent,
    )
    .await
}

/// Bytes of one attempt; what an attempt that failed had counted is taken back.
struct Counter {
    moved: Arc<AtomicU64>,
    task: Task,
}

impl Counter {
    fn new(task: &Task) -> Self {
        Self {
            moved: Arc::default(),
            task: task.clone(),
        }
    }
}

async fn body(source: &Source, span: Span, sent: &Counter) -> Result<Body> {
    let (moved, task) = (Arc::clone(&sent.moved), sent.task.clone());
    let stream = source
        .stream(span.offset, span.length)
        .await?
        .inspect_ok(move |chunk| {
            moved.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            task.add(chunk.len() as u64);
        });
    Ok(Body::wrap_stream(stream))
}

async fn deliver(request: RequestBuilder, sent: &Counter) -> Result<Response> {
    let delivered = match watched(&sent.moved, STALL_MAX, request.send()).await {
        Some(Ok(response)) => success(response).await,
        Some(Err(error)) => Err(ClientError::transport(error)),
        None => Err(ClientError::Transport {
            host: "the object store".to_owned(),
            reason: format!("nothing moved for {} s", STALL_MAX.as_secs()),
        }),
    };
    if delivered.is_err() {
        sent.task.take_back(sent.moved.load(Ordering::Relaxed));
    }
    delivered
}

/// Runs a transfer for as long as its counter moves.
async fn watched<T>(moved: &AtomicU64, stall_max: Duration, transfer: impl Future<Output = T>) -> Option<T> {
    let mut transfer = std::pin::pin!(transfer);
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        if let Ok(done) = timeout(stall_max, &mut transfer).await {
            return Some(done);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_transfer_lives_and_a_dead_one_ends() {
        let moved = AtomicU64::new(0);
        let dead = watched(&moved, Duration::from_millis(5), std::future::pending::<()>());
        assert_eq!(dead.await, None);
        let slow = watched(&moved, Duration::from_millis(50), async {
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
            7
        });
        assert_eq!(slow.await, Some(7));
    }
}
