//! The queues in which an S3 service tells what was uploaded.

use std::sync::Arc;

use cloakroom_bucket_events::{NatsOptions, NatsSource, SqsOptions, SqsSource};
use cloakroom_objects::credentials::CredentialsSource;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Instance;
use crate::commands::Failure;
use crate::config::settings::Settings;

/// Readers of the queues that are configured, by name. Each runs until `stop` and never gives up before.
pub fn bucket_event_sources(
    settings: &Settings,
    instance: &Instance,
    stop: &CancellationToken,
) -> Result<Vec<(&'static str, BoxFuture<'static, ()>)>, Failure> {
    let mut sources: Vec<(&'static str, BoxFuture<'static, ()>)> = Vec::new();
    // Our own endpoint says itself what it saw.
    let Some(access) = instance.stores.main_access() else {
        return Ok(sources);
    };
    let app = &instance.app;
    if let Some(queue_url) = &settings.bucket_events_sqs_queue_url {
        let options = sqs_options(settings, queue_url, &access.credentials)?;
        sources.push((
            "SQS",
            SqsSource::run(Arc::clone(app), options, stop.clone()).boxed(),
        ));
    }
    if let Some(url) = &settings.bucket_events_nats_url {
        let options = NatsOptions::new(url.expose(), &settings.bucket_events_nats_subject)
            .with_consumer(settings.database_table_prefix.to_string());
        sources.push((
            "NATS",
            NatsSource::run(Arc::clone(app), options, stop.clone()).boxed(),
        ));
    }
    Ok(sources)
}

fn sqs_options(
    settings: &Settings,
    queue_url: &str,
    credentials: &Arc<dyn CredentialsSource>,
) -> Result<SqsOptions, Failure> {
    let refused = |error| Failure::new(format!("bucket_events: {error}"));
    let credentials = Arc::clone(credentials);
    let provider = Arc::new(move || {
        let credentials = Arc::clone(&credentials);
        async move { credentials.credentials().await.map_err(|error| error.to_string()) }.boxed()
    });
    let options = SqsOptions::new(queue_url, provider).map_err(refused)?;
    match &settings.bucket_events_sqs_endpoint {
        Some(endpoint) => options
            .with_endpoint(&endpoint.with_scheme(true))
            .map(|options| options.with_region(settings.s3_region.clone()))
            .map_err(refused),
        None => Ok(options),
    }
}
