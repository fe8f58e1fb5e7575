//! Carries what the S3 endpoint sees to the use cases, without holding up the requests that it sees.

use std::sync::Arc;

use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::ObjectInfo;
use cloakroom_gateway::ObjectObserver;
use cloakroom_service::App;
use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;

/// Observations that wait. More than this is a burst in which some uploads show their state later; none is lost.
const WAITING_MAX: usize = 4096;
/// Observations that are worked on at the same time: their commits are grouped.
const CONCURRENCY: usize = 16;

enum Observation {
    Begun(String),
    Done(String),
}

/// The endpoint's end.
pub struct Observer {
    queue: mpsc::Sender<Observation>,
}

impl Observer {
    fn tell(&self, key: &str, observation: fn(String) -> Observation) {
        // Only uploads that we signed are of interest; the client's own objects are its own.
        if key.starts_with(STAGING_PREFIX) && self.queue.try_send(observation(key.to_owned())).is_err() {
            metrics::counter!("cloakroom_observations_dropped_total").increment(1);
        }
    }
}

impl ObjectObserver for Observer {
    fn put_begun(&self, _bucket: &str, key: &str) {
        self.tell(key, Observation::Begun);
    }

    fn put_done(&self, _bucket: &str, key: &str, _info: &ObjectInfo) {
        self.tell(key, Observation::Done);
    }
}

/// The endpoint's end, and the work at the other end, which is done when the endpoint is gone.
pub fn observer(app: Arc<App>) -> (Observer, impl Future<Output = ()> + Send) {
    let (queue, mut waiting) = mpsc::channel(WAITING_MAX);
    let work = poll_fn(move |context| waiting.poll_recv(context)).for_each_concurrent(CONCURRENCY, move |observation| {
        let app = Arc::clone(&app);
        async move {
            let outcome = match observation {
                Observation::Begun(key) => app.observe_upload_begun(&key).await,
                Observation::Done(key) => app.observe_upload_done(&key).await,
            };
            if let Err(error) = outcome {
                tracing::warn!(event = "observation_failed", %error, "what the S3 endpoint saw was not recorded");
            }
        }
    });
    (Observer { queue }, work)
}
