//! The meters of answers. Looking one up by its labels costs more than counting, so each is looked up once.

use std::collections::HashMap;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram};

/// Method, route and status of an answer. There are as many as routes and what they answer, whoever asks for what.
type Answer<'a> = (&'static str, &'a str, StatusCode);

/// What is counted for one kind of answer.
#[derive(Clone)]
struct Meter {
    answers: Counter,
    seconds: Histogram,
}

/// Of one route: method, status and what is counted.
type OfRoute = Vec<(&'static str, StatusCode, Meter)>;

/// The meters that are known already.
#[derive(Default)]
pub(crate) struct Meters {
    /// By route; of one route there are few.
    answers: RwLock<HashMap<String, OfRoute>>,
    in_flight: OnceLock<Gauge>,
}

impl Meters {
    /// Requests that are being answered.
    pub(crate) fn in_flight(&self) -> &Gauge {
        self.in_flight
            .get_or_init(|| metrics::gauge!("http_requests_in_flight"))
    }

    /// Counts an answer.
    pub(crate) fn count(&self, answer: Answer<'_>, elapsed: Duration) {
        let meter = self.known(answer).unwrap_or_else(|| self.learn(answer));
        meter.answers.increment(1);
        meter.seconds.record(elapsed.as_secs_f64());
    }

    fn known(&self, (method, path, status): Answer<'_>) -> Option<Meter> {
        // Nothing panics while it holds the lock.
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        let mut of_path = answers.get(path)?.iter();
        let found = of_path.find(|(of, with, _)| *of == method && *with == status)?;
        Some(found.2.clone())
    }

    fn learn(&self, (method, path, status): Answer<'_>) -> Meter {
        let meter = Meter {
            answers: metrics::counter!(
                "http_requests_total",
                "method" => method,
                "path" => path.to_owned(),
                "status" => status.as_str().to_owned(),
            ),
            seconds: metrics::histogram!(
                "http_request_duration_seconds",
                "method" => method,
                "path" => path.to_owned(),
            ),
        };
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        let of_path = answers.entry(path.to_owned()).or_default();
        // Two who learn the same at once have the same meter behind it.
        of_path.push((method, status, meter.clone()));
        meter
    }
}
