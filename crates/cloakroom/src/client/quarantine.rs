//! Calls about what the scanner holds back.

use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Call, native};
use super::error::Result;

impl Api {
    /// Has a quarantined file let go.
    pub async fn release_quarantined(&self, id: &str, reason: &str) -> Result<()> {
        let path = native(&["admin", "files", id, "release"]);
        self.call(&Call::post(&path, json!({ "reason": reason })))
            .await
            .map(drop)
    }

    /// Has a file scanned again.
    pub async fn rescan_file(&self, id: &str) -> Result<()> {
        let path = native(&["admin", "files", id, "rescan"]);
        self.call(&Call::new(Method::POST, &path)).await.map(drop)
    }

    /// Deletes a quarantined file for good.
    pub async fn delete_quarantined(&self, id: &str) -> Result<()> {
        let path = native(&["admin", "files", id]);
        self.call(&Call::new(Method::DELETE, &path)).await.map(drop)
    }

    /// Has all files of a collection scanned again; the operation.
    pub async fn rescan_collection(&self, collection: &str) -> Result<Value> {
        let path = native(&["admin", "operations"]);
        let options = json!({ "kind": "rescan", "options": { "collection": collection } });
        self.json(&Call::post(&path, options)).await
    }
}
