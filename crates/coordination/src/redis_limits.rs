//! Rate limits that all nodes count together.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::ports::limits::{Admission, Rate, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use redis::Script;
use sha2::{Digest as _, Sha256};

use crate::connection::{Redis, RedisError};
use crate::local::LocalRateLimiter;

/// A request waits no longer than this for its turn to be counted.
const BUDGET: Duration = Duration::from_millis(150);
/// While Redis is away it is asked so often whether it is back; requests do not wait for that.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The algorithm of [`LocalRateLimiter`], by Redis' own clock: returns 0, or the microseconds to wait.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local each, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, at_once = tonumber(ARGV[3]), tonumber(ARGV[4])
local begin = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = begin + each * at_once - (now + period)
if wait > 0 then return wait end
local used_until = begin + each * cost
redis.call('SET', KEYS[1], string.format('%.0f', used_until), 'PX', math.ceil((used_until - now) / 1000) + 1)
return 0
";

/// Counts in Redis; by itself while Redis does not answer.
#[derive(Debug)]
pub struct RedisRateLimiter {
    redis: Redis,
    prefix: String,
    script: Script,
    budget: Duration,
    local: LocalRateLimiter,
    outage: Arc<Outage>,
}

/// Why Redis is not asked now, if so.
#[derive(Debug, Default)]
struct Outage(Mutex<Option<String>>);

impl RedisRateLimiter {
    /// Counts under keys that begin with `prefix`, so that services share one Redis.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Self {
            redis,
            prefix: prefix.to_owned(),
            script: Script::new(SCRIPT),
            budget: BUDGET,
            local: LocalRateLimiter::default(),
            outage: Arc::default(),
        }
    }

    /// Has requests wait so long for their turn to be counted: for tests on a busy machine.
    pub fn with_budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    async fn ask(&self, key: &str, cost: u32, rate: Rate) -> Result<Admission, RedisError> {
        let period = rate.period.as_micros().max(1);
        let each = period / i128::from(rate.count.max(1));
        let arguments = [
            each.to_string(),
            period.to_string(),
            cost.to_string(),
            cost.min(rate.count).to_string(),
        ];
        let keys = [self.key(key)];
        let asked = self.redis.run(&self.script, &keys, &arguments);
        let wait = tokio::time::timeout(self.budget, asked)
            .await
            .map_err(|_| RedisError("no answer in time".to_owned()))??;
        Ok(if wait > 0 {
            Admission::Refused {
                retry_after: SignedDuration::from_micros(wait),
            }
        } else {
            Admission::Admitted
        })
    }

    /// Nobody's name or address stands in Redis.
    fn key(&self, key: &str) -> String {
        let digest = Sha256::digest(key.as_bytes());
        let mut name = format!("{}:limit:", self.prefix);
        for byte in &digest[..16] {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// From now on this node counts by itself, until Redis answers again.
    fn failed(&self, error: &RedisError) {
        if !self.outage.begin(error) {
            return;
        }
        metrics::gauge!("cloakroom_rate_limiter_degraded").set(1.0);
        tracing::warn!(event = "rate_limiter_degraded", %error, "this node counts its rate limits by itself");
        let (outage, redis) = (Arc::downgrade(&self.outage), self.redis.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                let Some(outage) = outage.upgrade() else { return };
                if redis.ping().await.is_ok() {
                    metrics::gauge!("cloakroom_rate_limiter_degraded").set(0.0);
                    tracing::info!(
                        event = "rate_limiter_restored",
                        "Redis answers again; limits are counted together"
                    );
                    return outage.end();
                }
            }
        });
    }
}

impl Outage {
    /// Whether this is news.
    fn begin(&self, error: &RedisError) -> bool {
        let before = self.lock().replace(error.to_string());
        before.is_none()
    }

    fn end(&self) {
        *self.lock() = None;
    }

    fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        // Every change is one assignment: nothing is half done when a holder panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RateLimiter for RedisRateLimiter {
    async fn admit(&self, key: &str, cost: u32, rate: Rate, now: Timestamp) -> Admission {
        if self.outage.reason().is_none() {
            match self.ask(key, cost, rate).await {
                Ok(admission) => return admission,
                Err(error) => self.failed(&error),
            }
        }
        self.local.admit_now(key, cost, rate, now)
    }

    fn degraded(&self) -> Option<String> {
        self.outage.reason()
    }
}
