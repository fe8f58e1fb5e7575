//! What is counted and logged of each request: operation, status, time and bytes; never a query, never a signature.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::StatusCode;
use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};

use crate::request::Target;
use crate::routing::Operation;

/// Handles of the process-wide recorder. They are looked up once: a look-up costs more than verifying a signature.
pub(crate) struct Metrics {
    requests: OperationTable<[OnceLock<Counter>; STATUSES.len()]>,
    seconds: OperationTable<OnceLock<Histogram>>,
    pub(crate) received: Counter,
    sent: Counter,
}

/// One entry per operation, and one for requests that are none.
type OperationTable<T> = Box<[T; OPERATIONS]>;

/// As many as [`Operation`] has variants, and one.
const OPERATIONS: usize = Operation::AbortMultipartUpload as usize + 2;

/// The statuses that happen. Any other is looked up each time.
const STATUSES: [u16; 16] = [
    200, 204, 206, 303, 304, 400, 403, 404, 405, 409, 411, 412, 416, 500, 501, 503,
];

impl Metrics {
    /// Describes the metrics and takes the handles of the recorder that is installed now.
    pub(crate) fn new() -> Self {
        describe_counter!(
            "cloakroom_s3_requests_total",
            "Requests to the S3 endpoint by operation and status"
        );
        describe_histogram!(
            "cloakroom_s3_request_seconds",
            metrics::Unit::Seconds,
            "Time from the head of a request to the end of its answer, by operation"
        );
        describe_counter!(
            "cloakroom_s3_received_bytes_total",
            metrics::Unit::Bytes,
            "Bytes of request bodies"
        );
        describe_counter!(
            "cloakroom_s3_sent_bytes_total",
            metrics::Unit::Bytes,
            "Bytes of response bodies"
        );
        Self {
            requests: Box::new(std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new()))),
            seconds: Box::new(std::array::from_fn(|_| OnceLock::new())),
            received: counter!("cloakroom_s3_received_bytes_total"),
            sent: counter!("cloakroom_s3_sent_bytes_total"),
        }
    }

    fn count(&self, operation: Option<Operation>, status: StatusCode, seconds: f64) {
        let name = operation_name(operation);
        let row = operation.map_or(OPERATIONS - 1, |operation| operation as usize);
        let requests = || counter!("cloakroom_s3_requests_total", "operation" => name, "status" => status.as_str().to_owned());
        match STATUSES.iter().position(|known| *known == status.as_u16()) {
            Some(column) => self.requests[row][column].get_or_init(requests).increment(1),
            None => requests().increment(1),
        }
        self.seconds[row]
            .get_or_init(|| histogram!("cloakroom_s3_request_seconds", "operation" => name))
            .record(seconds);
    }
}

fn operation_name(operation: Option<Operation>) -> &'static str {
    operation.map_or("unknown", Operation::as_str)
}

/// One request. It is counted and logged when this is dropped: at the end of the answer's body, or with the request if the
/// client went away.
pub(crate) struct RequestRecord {
    metrics: Arc<Metrics>,
    started: Instant,
    pub(crate) operation: Option<Operation>,
    pub(crate) target: Target,
    pub(crate) status: Option<StatusCode>,
    sent_bytes: u64,
}

impl RequestRecord {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            started: Instant::now(),
            operation: None,
            target: Target::default(),
            status: None,
            sent_bytes: 0,
        }
    }

    /// Bytes of the answer's body went out.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        // Without an answer the client closed the connection: 499, as proxies count it.
        let status = self
            .status
            .or_else(|| StatusCode::from_u16(499).ok())
            .unwrap_or_default();
        self.metrics.count(self.operation, status, duration.as_secs_f64());
        self.metrics.sent.increment(self.sent_bytes);
        tracing::debug!(
            operation = operation_name(self.operation),
            bucket = self.target.bucket.as_deref(),
            key = self.target.key.as_deref(),
            status = status.as_u16(),
            duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            sent_bytes = self.sent_bytes,
            "s3_request"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Gauge, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;

    /// Keeps counters by name and labels.
    #[derive(Default)]
    struct Registry(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Registry {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            let mut counters = self.0.lock().expect("no panic while it was held");
            Counter::from_arc(Arc::clone(counters.entry(name).or_default()))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn requests_are_counted_when_their_answer_is_gone() {
        let registry = Registry::default();
        metrics::with_local_recorder(&registry, || {
            let metrics = Arc::new(Metrics::new());
            for (operation, status, sent) in [
                (Some(Operation::GetObject), Some(200), 5),
                (Some(Operation::GetObject), Some(200), 7),
                (Some(Operation::AbortMultipartUpload), Some(418), 0),
                (None, None, 0),
            ] {
                let mut record = RequestRecord::new(Arc::clone(&metrics));
                record.operation = operation;
                record.status = status.and_then(|status| StatusCode::from_u16(status).ok());
                record.sent(sent);
            }
        });
        let counters = registry.0.into_inner().expect("no panic while it was held");
        let counted: Vec<_> = counters
            .iter()
            .map(|(name, value)| (name.as_str(), value.load(Ordering::Relaxed)))
            .collect();
        assert_eq!(
            counted,
            [
                ("cloakroom_s3_received_bytes_total{}", 0),
                (
                    "cloakroom_s3_requests_total{operation=AbortMultipartUpload,status=418}",
                    1
                ),
                ("cloakroom_s3_requests_total{operation=GetObject,status=200}", 2),
                ("cloakroom_s3_requests_total{operation=unknown,status=499}", 1),
                ("cloakroom_s3_sent_bytes_total{}", 12),
            ]
        );
    }
}
