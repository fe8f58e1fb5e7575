//! Service discovery: while it serves, a process says in Redis who and where it is, how far its stores are open and how full
//! they are, and whether it is the one that decides on modes.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_coordination::RedisPresence;
use cloakroom_service::{App, ServiceError};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// It is said so often within the time that it holds.
const TIMES_PER_TTL: u32 = 3;
/// Withdrawing may take so long; after that the key goes by itself.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);

/// Who says it.
pub struct Announcer {
    /// Where.
    pub presence: RedisPresence,
    /// The name of the process, also in leases and as `master`.
    pub id: String,
    /// Where clients reach it.
    pub url: String,
    /// How long it holds.
    pub ttl: Duration,
}

impl Announcer {
    /// Says it until told to stop, then takes it back.
    pub async fn run(self, app: Arc<App>, stop: CancellationToken) {
        let ttl = SignedDuration::try_from(self.ttl).unwrap_or(SignedDuration::MAX);
        let mut reachable = true;
        while !stop.is_cancelled() {
            let said = match self.facts(&app).await {
                Ok(facts) => self
                    .presence
                    .announce(&self.id, &facts.to_string(), ttl)
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let (Err(error), true) = (&said, reachable) {
                tracing::warn!(
                    event = "presence_delayed",
                    error,
                    "others cannot find this process until it can say that it is there"
                );
            }
            reachable = said.is_ok();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.ttl / TIMES_PER_TTL) => {}
            }
        }
        // The key goes by itself, too.
        let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, self.presence.withdraw(&self.id)).await;
    }

    async fn facts(&self, app: &App) -> Result<Value, ServiceError> {
        let leader = app.stores_leader().await?;
        let totals = app.administration.totals().await?;
        let stores: Vec<Value> = app
            .stores
            .definitions()
            .map(|store| {
                let state = app.stores.state(&store.name);
                json!({
                    "name": store.name,
                    "kind": store.kind.as_str(),
                    "mode": state.as_ref().map(|state| state.mode.as_str()),
                    "draining": state.is_some_and(|state| state.draining_until.is_some()),
                    "capacity_bytes": store.capacity_bytes,
                })
            })
            .collect();
        let main = app.stores.state(cloakroom_core::storage::MAIN_STORE);
        Ok(json!({
            "id": self.id,
            "url": self.url,
            "version": env!("CARGO_PKG_VERSION"),
            "mode": main.map(|state| state.mode.as_str()),
            "is_master": leader.is_leader,
            "stores": stores,
            "total_files": totals.files,
            "total_size_bytes": totals.stored_bytes,
            "updated_at": app.now().to_string(),
        }))
    }
}
