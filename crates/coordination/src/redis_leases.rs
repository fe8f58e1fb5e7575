//! Leases in Redis.
//!
//! When Redis fails over to a replica that has not heard of a lease, two holders may believe in it for its duration and an
//! epoch may be given twice. That is why nothing rests on a lease alone: see `core::ports::leases`.

use async_trait::async_trait;
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::{Lease, LeaseError, Leases};
use jiff::{SignedDuration, Timestamp};
use redis::Script;

use crate::connection::{Redis, RedisError};

/// Takes the lease unless somebody else holds it; returns the new epoch, or 0. The counter outlives the lease.
const ACQUIRE: &str = r"
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+ (.*)$') ~= ARGV[1] then return 0 end
local epoch = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], epoch .. ' ' .. ARGV[1], 'PX', ARGV[2])
return epoch
";

const RENEW: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
";

/// Leases by name, counted by Redis' own clock.
#[derive(Debug)]
pub struct RedisLeases {
    redis: Redis,
    prefix: String,
    acquire: Script,
    renew: Script,
    release: Script,
}

impl RedisLeases {
    /// Leases under keys that begin with `prefix`, so that services share one Redis.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
            acquire: Script::new(ACQUIRE),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
        }
    }

    /// The braces keep both keys on one node of a cluster.
    fn key(&self, name: &str) -> String {
        format!("{}:lease:{{{name}}}", self.prefix)
    }
}

/// What stands at the key while the lease is held.
fn held(lease: &Lease) -> String {
    format!("{} {}", lease.epoch, lease.holder.0)
}

fn millis(duration: SignedDuration) -> String {
    duration.as_millis().max(1).to_string()
}

fn unavailable(error: RedisError) -> LeaseError {
    LeaseError(error.to_string())
}

#[async_trait]
impl Leases for RedisLeases {
    async fn acquire(
        &self,
        name: &str,
        holder: &WorkerId,
        _now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Option<Lease>, LeaseError> {
        let key = self.key(name);
        let counter = format!("{key}:epoch");
        let arguments = [holder.0.clone(), millis(duration)];
        let epoch = self
            .redis
            .run(&self.acquire, &[key, counter], &arguments)
            .await
            .map_err(unavailable)?;
        Ok(u64::try_from(epoch)
            .ok()
            .filter(|epoch| *epoch > 0)
            .map(|epoch| Lease {
                name: name.to_owned(),
                holder: holder.clone(),
                epoch,
            }))
    }

    async fn renew(
        &self,
        lease: &Lease,
        _now: Timestamp,
        duration: SignedDuration,
    ) -> Result<bool, LeaseError> {
        let arguments = [held(lease), millis(duration)];
        let kept = self
            .redis
            .run(&self.renew, &[self.key(&lease.name)], &arguments)
            .await;
        kept.map(|kept| kept == 1).map_err(unavailable)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let released = self
            .redis
            .run(&self.release, &[self.key(&lease.name)], &[held(lease)])
            .await;
        released.map(drop).map_err(unavailable)
    }
}
