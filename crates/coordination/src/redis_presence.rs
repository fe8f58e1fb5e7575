//! What processes say of themselves in Redis, so that others find them (service discovery, S3-116): one key for each, gone
//! when its process has not said so for a while.

use jiff::SignedDuration;
use redis::Script;

use crate::connection::{Redis, RedisError};

const ANNOUNCE: &str = r"
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
";

const WITHDRAW: &str = r"
return redis.call('DEL', KEYS[1])
";

/// Where processes say that they are there.
#[derive(Debug)]
pub struct RedisPresence {
    redis: Redis,
    prefix: String,
    announce: Script,
    withdraw: Script,
}

impl RedisPresence {
    /// Keys `<prefix>:nodes:<id>`, so that services share one Redis.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
            announce: Script::new(ANNOUNCE),
            withdraw: Script::new(WITHDRAW),
        }
    }

    fn key(&self, id: &str) -> String {
        format!("{}:nodes:{id}", self.prefix)
    }

    /// Says what a process is, for this long.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn announce(&self, id: &str, facts: &str, ttl: SignedDuration) -> Result<(), RedisError> {
        let arguments = [facts.to_owned(), ttl.as_millis().max(1).to_string()];
        let said = self.redis.run(&self.announce, &[self.key(id)], &arguments).await;
        said.map(drop)
    }

    /// Says that a process is no longer there.
    ///
    /// # Errors
    /// Redis does not answer; the key goes by itself.
    pub async fn withdraw(&self, id: &str) -> Result<(), RedisError> {
        let gone = self.redis.run(&self.withdraw, &[self.key(id)], &[]).await;
        gone.map(drop)
    }
}
