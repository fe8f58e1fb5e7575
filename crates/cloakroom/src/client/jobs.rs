//! Calls about the queue.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Call, native};
use super::error::Result;

impl Api {
    /// A page of jobs in a state and of a kind, or any.
    pub async fn jobs(
        &self,
        state: Option<&str>,
        kind: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Value> {
        let mut query = vec![("limit", limit.to_string())];
        for (name, value) in [("state", state), ("kind", kind), ("cursor", cursor)] {
            query.extend(value.map(|value| (name, value.to_owned())));
        }
        self.json(&Call::get_with(&native(&["admin", "jobs"]), &query))
            .await
    }

    /// Has a dead job tried again.
    pub async fn retry_job(&self, id: &str) -> Result<()> {
        let path = native(&["admin", "jobs", id, "retry"]);
        self.call(&Call::new(Method::POST, &path)).await.map(drop)
    }

    /// Throws a dead job away.
    pub async fn discard_job(&self, id: &str) -> Result<()> {
        let path = native(&["admin", "jobs", id]);
        self.call(&Call::new(Method::DELETE, &path)).await.map(drop)
    }

    /// Does one of the two (`retry`, `discard`) with dead jobs of a kind, or of every kind: some of them.
    pub async fn handle_dead_jobs(
        &self,
        deed: &str,
        kind: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<Value> {
        let body = json!({ "kind": kind, "cursor": cursor });
        self.json(&Call::post(&native(&["admin", "jobs", deed]), body))
            .await
    }
}
