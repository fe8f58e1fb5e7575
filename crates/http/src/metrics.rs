//! `/metrics` in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::ports::administration::Totals;
use cloakroom_core::ports::metadata::Statistics;
use cloakroom_service::ServiceError;
use http::header;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::problem::Result;
use crate::state::HttpState;

/// Upper bounds of the duration histogram, in seconds: from a signed upload to a large streamed one.
const DURATION_BUCKETS_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// Installs the process-wide recorder and describes this crate's metrics. To be called once, by the binary.
pub fn install() -> std::result::Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_duration_seconds".to_owned()),
            DURATION_BUCKETS_SECONDS,
        )?
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
    metrics::describe_gauge!("http_requests_in_flight", "Requests that are being answered.");
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
    write_statistics(&mut text, &statistics);
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

fn write_statistics(text: &mut String, statistics: &Statistics) {
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
    let stored = [(String::new(), statistics.stored_bytes)];
    write_gauge(
        text,
        "cloakroom_stored_bytes",
        "Bytes of confirmed files.",
        &stored,
    );
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
                stored_bytes: 7,
            },
        );
        assert_eq!(
            text,
            "# HELP cloakroom_files Files by state.\n# TYPE cloakroom_files gauge\n\
             cloakroom_files{state=\"ready\"} 3\n\
             # HELP cloakroom_jobs Jobs by state.\n# TYPE cloakroom_jobs gauge\n\
             # HELP cloakroom_stored_bytes Bytes of confirmed files.\n# TYPE cloakroom_stored_bytes gauge\n\
             cloakroom_stored_bytes 7\n"
        );
    }
}
