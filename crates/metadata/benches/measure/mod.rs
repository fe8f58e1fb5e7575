//! What the benchmarks of inserts share: callers that insert as fast as they are answered, and how it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloakroom_core::ports::metadata::{Inserted, MetadataStore, NewFile};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::sample_new_file;
use cloakroom_testkit::random::SeededRandom;
use jiff::SignedDuration;

/// Not counted, at the beginning of each run.
pub const WARM_UP: Duration = Duration::from_secs(1);
const OWNERS: u64 = 1000;

/// What a run came to.
pub struct Measured {
    /// Time of each answer.
    pub latencies: Vec<Duration>,
    /// Time of all.
    pub seconds: f64,
    /// Time that this process computed.
    pub cpu_seconds: f64,
}

impl Measured {
    /// Prints a line; returns answers per second.
    pub fn report(mut self, what: &str) -> f64 {
        self.latencies.sort_unstable();
        let rate = self.latencies.len() as f64 / self.seconds;
        let at = |per_mille: usize| {
            let index = (self.latencies.len() * per_mille / 1000).min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let cpu_micros = self.cpu_seconds * 1e6 / self.latencies.len() as f64;
        println!(
            "{what:<44} {rate:>8.0}/s   p50 {:>6.2} ms   p99 {:>6.2} ms   max {:>7.2} ms   {cpu_micros:>5.0} us CPU",
            at(500),
            at(990),
            at(1000),
        );
        rate
    }
}

/// User and system time of this process so far: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// A fresh upload of one of a thousand owners, under a quota.
pub fn new_file(clock: &MockClock, random: &SeededRandom) -> NewFile {
    let mut new = sample_new_file(random, clock.advance(SignedDuration::from_micros(1)));
    new.file.owner = format!("user-{}", random.next_u64() % OWNERS);
    new.quota_bytes = Some(1 << 50);
    new
}

/// So many callers, each of which inserts when the one before was answered.
pub async fn callers(store: Arc<dyn MetadataStore>, callers: usize, duration: Duration) -> Measured {
    let (clock, random) = (Arc::new(MockClock::new()), Arc::new(SeededRandom::default()));
    let (counting, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, clock, random) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&random));
            let (counting, stop) = (Arc::clone(&counting), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let new = new_file(&clock, &random);
                    let begun = Instant::now();
                    assert_eq!(store.insert(new).await.expect("insert"), Inserted::New);
                    if counting.load(Ordering::Relaxed) {
                        latencies.push(begun.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    Measured {
        latencies,
        seconds,
        cpu_seconds,
    }
}
