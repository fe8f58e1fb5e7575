//! Whether the database and the store answer.

use std::time::Duration;

use futures_util::future::{Either, join, select};

use crate::app::{App, Pause};

/// One dependency's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `database` or `store`.
    pub name: &'static str,
    /// What is wrong, if anything.
    pub error: Option<String>,
}

impl App {
    /// Asks the database and the store, at the same time. Gives up on those that do not answer within 5 s.
    pub async fn probe(&self, pause: &Pause) -> Vec<Probe> {
        let limit = Duration::from_secs(5);
        let late = || Some(format!("no answer within {} s", limit.as_secs()));
        let database = async {
            let answer = self.metadata.ping();
            let over = pause(limit);
            match select(answer, over).await {
                Either::Left((answer, _)) => answer.err().map(|error| error.to_string()),
                Either::Right(_) => late(),
            }
        };
        let store = async {
            let answer = self.objects.ping();
            let over = pause(limit);
            match select(answer, over).await {
                Either::Left((answer, _)) => answer.err().map(|error| error.to_string()),
                Either::Right(_) => late(),
            }
        };
        let (database, store) = join(database, store).await;
        vec![
            Probe {
                name: "database",
                error: database,
            },
            Probe {
                name: "store",
                error: store,
            },
        ]
    }
}
