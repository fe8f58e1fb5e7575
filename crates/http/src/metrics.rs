//! `/metrics` in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::ports::administration::Totals;
use cloakroom_core::ports::metadata::{QueueDepth, Statistics};
use cloakroom_service::ServiceError;
use http::header;
use jiff::Timestamp;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::problem::Result;
use crate::state::HttpState;

/// Upper bounds of the duration histogram, in seconds: from a signed upload to a large streamed one.
const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// Upper bounds of the histograms of sizes, in bytes: from an icon to the largest single PUT.
const SIZE_BUCKETS_BYTES: &[f64] = &[
    1e3, 1e4, 1e5, 5e5, 1e6, 5e6, 1e7, 2.5e7, 5e7, 1e8, 2.5e8, 5e8, 1e9, 5e9,
];

/// Installs the process-wide recorder and describes this crate's metrics. To be called once, by the binary.
pub fn install() -> std::result::Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_duration_seconds".to_owned()),
            DURATION_BUCKETS_SECONDS,
        )?
        .set_buckets_for_metric(Matcher::Suffix("_size_bytes".to_owned()), SIZE_BUCKETS_BYTES)?
        .install_recorder()?;
    metrics::describe_counter!(
        "http_requests_total",
        "Requests answered, by method, route and status."
    );
    metrics::describe_histogram!(
        "http_request_duration_seconds",
        metrics::Unit::Seconds,
        "Time until the head of the answer, by method and route."
    );
    metrics::describe_counter!("attachments_uploads_total", "Attachments that were uploaded.");
    metrics::describe_histogram!(
        "attachments_upload_size_bytes",
        metrics::Unit::Bytes,
        "Sizes of attachments that were uploaded."
    );
    // There from the start, as the document's own client library has them: a rate begins at zero.
    metrics::counter!("attachments_uploads_total").absolute(0);
    drop(metrics::histogram!("attachments_upload_size_bytes"));
    metrics::describe_gauge!("http_requests_in_flight", "Requests that are being answered.");
    metrics::describe_counter!(
        "cloakroom_storage_operations_total",
        "Uploads signed and taken in, downloads signed, files deleted, by operation, status (success, repeated, refused, error) and error code."
    );
    metrics::describe_histogram!(
        "cloakroom_storage_operation_duration_seconds",
        metrics::Unit::Seconds,
        "How long they took, by operation."
    );
    metrics::describe_gauge!(
        "cloakroom_storage_operations_in_flight",
        "How many are under way, by operation."
    );
    Ok(handle)
}

/// How often measured times are summed up when nobody asks for `/metrics`: until then each one takes memory.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Sums up what was measured, again and again.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Counters, histograms and gauges for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "operations",
    security(()),
    responses((status = OK, description = "Metrics in the Prometheus text format.", body = String, content_type = "text/plain")),
)]
pub async fn get_metrics(State(state): State<HttpState>) -> Result<Response> {
    let now = state.app.now();
    let fetch = async || {
        state
            .app
            .metadata
            .statistics()
            .await
            .map(Arc::new)
            .map_err(ServiceError::from)
    };
    let statistics = state.statistics.get(now, fetch).await?;
    let fetch = async || {
        let totals = state.app.administration.totals().await;
        totals.map(Arc::new).map_err(ServiceError::from)
    };
    let totals = state.totals.get(now, fetch).await?;
    let mut text = state
        .prometheus
        .as_ref()
        .map(PrometheusHandle::render)
        .unwrap_or_default();
    write_statistics(&mut text, &statistics, now);
    write_totals(&mut text, *totals);
    write_gauge(
        &mut text,
        "cloakroom_status_streams",
        "Open status streams.",
        &[(String::new(), u64::from(state.streams.open()))],
    );
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

fn write_statistics(text: &mut String, statistics: &Statistics, now: Timestamp) {
    let labelled = |state: &str| format!("{{state=\"{state}\"}}");
    let files: Vec<_> = statistics
        .files
        .iter()
        .map(|(state, count)| (labelled(state.as_str()), *count))
        .collect();
    write_gauge(text, "cloakroom_files", "Files by state.", &files);
    let jobs: Vec<_> = statistics
        .jobs
        .iter()
        .map(|(state, count)| (labelled(state.as_str()), *count))
        .collect();
    write_gauge(text, "cloakroom_jobs", "Jobs by state.", &jobs);
    write_queue(text, &statistics.queue, now);
    let stored = [(String::new(), statistics.stored_bytes)];
    write_gauge(
        text,
        "cloakroom_stored_bytes",
        "Bytes of confirmed files.",
        &stored,
    );
}

/// The queue by kind. What waits for its time has no age yet.
fn write_queue(text: &mut String, queue: &[QueueDepth], now: Timestamp) {
    let labelled = |value: fn(&QueueDepth, Timestamp) -> u64| -> Vec<_> {
        let samples = queue.iter().map(|depth| {
            let labels = format!("{{kind=\"{}\"}}", depth.kind.as_str());
            (labels, value(depth, now))
        });
        samples.collect()
    };
    let gauges = [
        (
            "cloakroom_queue_depth",
            "Jobs that wait, for their turn or their time, by kind.",
            labelled(|depth, _| depth.ready),
        ),
        (
            "cloakroom_queue_running",
            "Jobs that run, by kind.",
            labelled(|depth, _| depth.running),
        ),
        (
            "cloakroom_queue_dead_letters",
            "Jobs in the dead-letter list, by kind.",
            labelled(|depth, _| depth.dead),
        ),
        (
            "cloakroom_queue_oldest_seconds",
            "How long the oldest job waits that could run, by kind.",
            labelled(|depth, now| {
                let waited = depth.oldest_run_at.map(|at| now.duration_since(at).as_secs());
                waited
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .unwrap_or(0)
            }),
        ),
    ];
    for (name, help, samples) in gauges {
        write_gauge(text, name, help, &samples);
    }
}

fn write_totals(text: &mut String, totals: Totals) {
    let gauges = [
        (
            "cloakroom_total_files",
            "Confirmed files, the trash included; exact.",
            totals.files,
        ),
        (
            "cloakroom_total_size_bytes",
            "Bytes of confirmed files, the trash included; exact.",
            totals.stored_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        write_gauge(text, name, help, &[(String::new(), value)]);
    }
}

fn write_gauge(text: &mut String, name: &str, help: &str, samples: &[(String, u64)]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use cloakroom_core::file::FileState;
    use cloakroom_core::job::JobKind;

    use super::*;

    #[test]
    fn gauges_are_in_the_text_format() {
        let mut text = String::new();
        let files = vec![(FileState::Ready, 3)];
        write_statistics(
            &mut text,
            &Statistics {
                files,
                jobs: Vec::new(),
                queue: vec![QueueDepth {
                    ready: 5,
                    running: 1,
                    dead: 2,
                    oldest_run_at: Some(Timestamp::from_second(940).unwrap()),
                    ..QueueDepth::none(JobKind::ProcessFile)
                }],
                stored_bytes: 7,
            },
            Timestamp::from_second(1_000).unwrap(),
        );
        assert_eq!(
            text,
            "# HELP cloakroom_files Files by state.\n# TYPE cloakroom_files gauge\n\
             cloakroom_files{state=\"ready\"} 3\n\
             # HELP cloakroom_jobs Jobs by state.\n# TYPE cloakroom_jobs gauge\n\
             # HELP cloakroom_queue_depth Jobs that wait, for their turn or their time, by kind.\n\
             # TYPE cloakroom_queue_depth gauge\ncloakroom_queue_depth{kind=\"process_file\"} 5\n\
             # HELP cloakroom_queue_running Jobs that run, by kind.\n# TYPE cloakroom_queue_running gauge\n\
             cloakroom_queue_running{kind=\"process_file\"} 1\n\
             # HELP cloakroom_queue_dead_letters Jobs in the dead-letter list, by kind.\n\
             # TYPE cloakroom_queue_dead_letters gauge\ncloakroom_queue_dead_letters{kind=\"process_file\"} 2\n\
             # HELP cloakroom_queue_oldest_seconds How long the oldest job waits that could run, by kind.\n\
             # TYPE cloakroom_queue_oldest_seconds gauge\n\
             cloakroom_queue_oldest_seconds{kind=\"process_file\"} 60\n\
             # HELP cloakroom_stored_bytes Bytes of confirmed files.\n# TYPE cloakroom_stored_bytes gauge\n\
             cloakroom_stored_bytes 7\n"
        );
    }
}
