//! The local store against the file system that it stands on, in one run: `cargo bench -p cloakroom-objects`.
//!
//! The limit of a PUT is write + fsync of a new file in a known directory, without attributes, names by rename and
//! directory syncs; that of a GET is open + read into one buffer. A ratio of 1.0 is the limit.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cloakroom_core::ports::objects::{GetOptions, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use futures_util::StreamExt as _;

/// How often each thing is measured; the median counts.
const ROUNDS: usize = 5;

/// What arrives from a socket at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Wall-clock and CPU seconds of a number of operations.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    count: usize,
}

impl Cost {
    fn per_second(self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    fn cpu_microseconds(self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }
}

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec.unsigned_abs(), u32::try_from(usage.tv_nsec).unwrap())
}

fn main() {
    let directory = tempfile::tempdir_in(target()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let store = runtime.block_on(async {
        let store = LocalStore::open(&LocalOptions::new(directory.path().join("store"))).unwrap();
        store.create_bucket("bench").await.unwrap();
        Arc::new(store)
    });
    let raw = directory.path().join("raw");
    std::fs::create_dir(&raw).unwrap();
    println!(
        "{:<24}{:>12}{:>12}{:>8}{:>14}{:>14}",
        "", "store /s", "limit /s", "ratio", "store CPU us", "limit CPU us"
    );
    let table = [
        ("4 KiB", 4 << 10, 1, 400),
        ("4 KiB", 4 << 10, 32, 1_600),
        ("1 MiB", 1 << 20, 1, 60),
        ("1 MiB", 1 << 20, 16, 160),
        ("256 MiB", 256 << 20, 1, 2),
    ];
    for (name, size, at_once, count) in table {
        let bytes = Bytes::from(
            (0..size)
                .map(|at: usize| ((at * 31) >> 3) as u8)
                .collect::<Vec<_>>(),
        );
        let reads = count * if size > 1 << 20 { 2 } else { 5 };
        let mut costs: [Vec<Cost>; 4] = Default::default();
        // Store and limit take turns, because other load on the machine comes and goes.
        for round in 0..ROUNDS {
            let key =
                move |number| ObjectPath::new("bench", format!("{size}/{at_once}/{round}/{number}.jpg"));
            let file = |number| raw.join(format!("{size}-{at_once}-{round}-{number}"));
            costs[0].push(runtime.block_on(measure(count, at_once, |number| {
                put(Arc::clone(&store), key(number), bytes.clone())
            })));
            costs[1].push(on_threads(at_once, count, |number| {
                write_file(&file(number), &bytes);
            }));
            costs[2].push(runtime.block_on(measure(reads, at_once, |number| {
                get(Arc::clone(&store), key(number % count))
            })));
            costs[3].push(on_threads(at_once.min(2), reads, |number| {
                read_file(&file(number % count), size);
            }));
        }
        let [put, put_limit, get, get_limit] = costs.map(median);
        show(&format!("PUT {name} x{at_once}"), put, put_limit);
        show(&format!("GET {name} x{at_once}"), get, get_limit);
    }
}

/// By time; an odd number of rounds has one in the middle.
fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.wall);
    costs[costs.len() / 2]
}

/// On the file system of the build, which is a real one where the system's temporary directory may not be.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn show(name: &str, store: Cost, limit: Cost) {
    println!(
        "{name:<24}{:>12.1}{:>12.1}{:>8.2}{:>14.0}{:>14.0}",
        store.per_second(),
        limit.per_second(),
        store.per_second() / limit.per_second(),
        store.cpu_microseconds(),
        limit.cpu_microseconds()
    );
}

async fn measure<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    at_once: usize,
    operation: impl Fn(usize) -> F,
) -> Cost {
    let (start, cpu_start) = (Instant::now(), cpu());
    let mut running = tokio::task::JoinSet::new();
    for number in 0..count {
        if running.len() == at_once {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(operation(number));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    Cost {
        wall: start.elapsed(),
        cpu: cpu().saturating_sub(cpu_start),
        count,
    }
}

async fn put(store: Arc<LocalStore>, path: ObjectPath, bytes: Bytes) {
    let size_bytes = Some(bytes.len() as u64);
    let pieces: Vec<_> = (0..bytes.len())
        .step_by(PIECE_BYTES)
        .map(|at| Ok(bytes.slice(at..bytes.len().min(at + PIECE_BYTES))))
        .collect();
    let body = PutBody::from_stream(Box::pin(futures_util::stream::iter(pieces)), size_bytes);
    store.put(&path, PutOptions::default(), body).await.unwrap();
}

async fn get(store: Arc<LocalStore>, path: ObjectPath) {
    let mut read = store.get(&path, &GetOptions::default()).await.unwrap();
    let mut size = 0;
    while let Some(piece) = read.body.next().await {
        size += piece.unwrap().len() as u64;
    }
    assert_eq!(size, read.info.size_bytes);
}

fn write_file(path: &Path, bytes: &Bytes) {
    let mut file = std::fs::File::create_new(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

fn read_file(path: &Path, size: usize) {
    let mut file = std::fs::File::open(path).unwrap();
    let mut buffer = vec![0; size.min(256 * 1024)];
    let mut read = 0;
    while read < size {
        read += file.read(&mut buffer).unwrap();
    }
}

fn on_threads(threads: usize, count: usize, operation: impl Fn(usize) + Sync) -> Cost {
    let (start, cpu_start) = (Instant::now(), cpu());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    operation(number);
                }
            });
        }
    });
    Cost {
        wall: start.elapsed(),
        cpu: cpu().saturating_sub(cpu_start),
        count,
    }
}
