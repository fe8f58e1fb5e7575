//! Who says in Redis that this process is there.

use cloakroom_coordination::{Redis, RedisPresence};
use cloakroom_core::id::WorkerId;

use crate::commands::Failure;
use crate::config::settings::Settings;
use crate::presence::Announcer;

/// Who says it, where that is configured; `url` is where clients reach this process.
pub fn announcer(settings: &Settings, process: &WorkerId, url: &str) -> Result<Option<Announcer>, Failure> {
    let ttl = settings.redis_announce_ttl.std();
    let Some(address) = settings.redis_url.as_ref().filter(|_| !ttl.is_zero()) else {
        return Ok(None);
    };
    let redis = Redis::new(address.expose()).map_err(|error| Failure::new(format!("redis.url: {error}")))?;
    let prefix = settings.database_table_prefix.to_string();
    Ok(Some(Announcer {
        presence: RedisPresence::new(redis, &prefix),
        id: process.0.clone(),
        url: url.to_owned(),
        ttl,
    }))
}
