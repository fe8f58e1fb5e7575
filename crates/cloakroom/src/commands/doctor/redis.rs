//! Redis.

use std::time::Instant;

use cloakroom_coordination::Redis;
use cloakroom_objects::s3::probe::Verdict;

use super::report::{Line, Report};
use crate::config::values::{RedisUrl, Value as _};

/// Looks at it.
pub(super) async fn look(url: &RedisUrl, report: &mut Report) {
    report.subject("redis", url.show(), false);
    let began = Instant::now();
    let answered = match Redis::new(url.expose()) {
        Ok(redis) => redis.ping().await,
        Err(error) => Err(error),
    };
    let found = match &answered {
        Ok(()) => format!(
            "{:.1} ms with the connection",
            began.elapsed().as_secs_f64() * 1000.0
        ),
        Err(error) => error.to_string(),
    };
    report.add(
        Line::ok("reach", "reached", "it answers and lets us in", found).unless(
            answered.is_ok(),
            Verdict::Fail,
            "every node counts rate limits by itself, and nothing is swept until it answers",
            "check redis.url, the network and the password",
        ),
    );
}
