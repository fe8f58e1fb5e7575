//! What counting costs a request: the local limiter, one key or many.

use std::time::Instant;

use cloakroom_coordination::LocalRateLimiter;
use cloakroom_core::ports::limits::Rate;
use jiff::{SignedDuration, Timestamp};

const ROUNDS: u32 = 2_000_000;

fn main() {
    let rate = Rate {
        count: 10,
        period: SignedDuration::from_mins(1),
    };
    for keys in [1, 10_000] {
        let names: Vec<String> = (0..keys).map(|key| format!("user:{key}")).collect();
        let limiter = LocalRateLimiter::default();
        let begun = Instant::now();
        for round in 0..ROUNDS {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_micros(i64::from(round));
            std::hint::black_box(limiter.admit_now(&names[round as usize % names.len()], 1, rate, now));
        }
        let each = begun.elapsed().as_nanos() / u128::from(ROUNDS);
        println!("{keys} keys: {each} ns per request");
    }
}
