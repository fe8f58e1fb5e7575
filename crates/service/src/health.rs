//! Whether the database, the store and the scanner answer.

pub mod storage;

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use futures_util::future::{Either, join3, select};
use futures_util::pin_mut;

use crate::app::{App, Pause};

/// Longer than this is no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// One dependency's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `database`, `store` or `scanner`.
    pub name: &'static str,
    /// Whether nothing works without it. Without the scanner uploads come in and wait.
    pub is_vital: bool,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

impl App {
    /// Asks the database, the store and the scanner, at the same time. Gives up on those that do not answer within 5 s.
    pub async fn probe(&self, pause: &Pause) -> Vec<Probe> {
        let database = probe("database", self.metadata.ping(), pause);
        let store = probe("store", self.objects.ping(), pause);
        let scanner = async {
            let scanner = self.scanner.as_ref()?;
            let mut answer = probe("scanner", self.ping_scanner(&**scanner), pause).await;
            answer.is_vital = false;
            Some(answer)
        };
        let (database, store, scanner) = join3(database, store, scanner).await;
        [database, store].into_iter().chain(scanner).collect()
    }

    /// Whether a bucket is there: one light question (S0: `head_bucket`).
    pub async fn probe_bucket(&self, bucket: &str, pause: &Pause) -> Probe {
        let answer = async { self.objects.bucket(bucket).await.map(drop) };
        probe("bucket", answer, pause).await
    }
}

async fn probe<E: Display>(
    name: &'static str,
    answer: impl Future<Output = Result<(), E>>,
    pause: &Pause,
) -> Probe {
    pin_mut!(answer);
    let error = match select(answer, pause(ANSWER_WITHIN)).await {
        Either::Left((answer, _)) => answer.err().map(|error| error.to_string()),
        Either::Right(_) => Some(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    Probe {
        name,
        is_vital: true,
        error,
    }
}
