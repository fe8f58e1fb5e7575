//! What several nodes share beside the database: counters of rate limits, leases, and which of them there are.
//!
//! A node alone counts by itself ([`LocalRateLimiter`]) and takes its leases from the database. Where Redis is configured,
//! [`RedisRateLimiter`] counts for all nodes together and [`RedisLeases`] elects. Nothing is lost with Redis: a limiter
//! that cannot reach it counts by itself meanwhile and says so, and a lease that cannot be had is not held.

mod connection;
mod local;
mod redis_leases;
mod redis_limits;
mod redis_presence;

pub use self::connection::{Redis, RedisError};
pub use self::local::LocalRateLimiter;
pub use self::redis_leases::RedisLeases;
pub use self::redis_limits::RedisRateLimiter;
pub use self::redis_presence::RedisPresence;
