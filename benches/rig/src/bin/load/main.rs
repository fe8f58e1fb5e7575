//! Load generator: sends prepared HTTP/1.1 requests over keep-alive connections, one at a time on each, and counts.
//!
//! Everything that costs is done beforehand: requests come as finished text, so a presigned URL of its own for every
//! request costs no more here than the same one again. `load PLAN.json` prints one line of JSON ([`Report`]).

mod connection;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connection::{Connection, Outcome, Progress};
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};

/// More broken connections than this and the measurement is worth nothing.
const RECONNECTS_MAX: usize = 100;
/// A server that is silent for so long is given up.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// What to send.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    address: SocketAddr,
    connections: usize,
    threads: usize,
    /// New requests are begun for so long; without it until each request was sent once.
    seconds: Option<f64>,
    /// Begin again with the first request after the last. Else the end of the list ends the run.
    repeat: bool,
    /// Head and, where it is small, body.
    requests: Vec<String>,
    /// Filler sent after the text of each request, then `suffix`.
    fill_bytes: u64,
    suffix: String,
    /// The status that counts as success.
    expect: u16,
    /// Where the bodies of the answers go, a line for each request in order of the requests.
    save: Option<String>,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    requests: usize,
    /// Count by status; 0 is a broken connection.
    failures: BTreeMap<u16, usize>,
    /// From the first request to the last answer.
    seconds: f64,
    body_bytes_received: u64,
    p50_us: u32,
    p99_us: u32,
    max_us: u32,
    /// The body of the first failure, to say why.
    failure: Option<String>,
}

/// What the threads share.
struct Run<'a> {
    plan: &'a Plan,
    next: AtomicUsize,
    started: Instant,
    saved: Mutex<Vec<Option<Vec<u8>>>>,
}

impl Run<'_> {
    /// The index of the next request, if there is to be one.
    fn next_request(&self) -> Option<usize> {
        if let Some(seconds) = self.plan.seconds
            && self.started.elapsed().as_secs_f64() >= seconds
        {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.plan.requests.len();
        if self.plan.repeat {
            Some(index % count)
        } else {
            (index < count).then_some(index)
        }
    }
}

#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    failures: BTreeMap<u16, usize>,
    failure: Option<String>,
    body_bytes: u64,
    last: Duration,
}

impl Tally {
    fn add(&mut self, run: &Run, outcome: Outcome) {
        self.last = run.started.elapsed();
        self.body_bytes += outcome.body_bytes;
        if outcome.status == run.plan.expect {
            self.latencies_us
                .push(outcome.latency.as_micros().try_into().unwrap_or(u32::MAX));
        } else {
            *self.failures.entry(outcome.status).or_default() += 1;
            let body = outcome.body;
            self.failure
                .get_or_insert_with(|| String::from_utf8_lossy(&body).into_owned());
            return;
        }
        if run.plan.save.is_some() {
            let mut saved = run
                .saved
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            saved[outcome.request] = Some(outcome.body);
        }
    }
}

/// Drives its share of the connections until there is nothing more to send.
fn drive(
    run: &Run,
    mut poll: Poll,
    mut connections: Vec<Connection>,
) -> Result<Tally, Box<dyn Error + Send + Sync>> {
    let mut tally = Tally::default();
    let mut events = Events::with_capacity(1024);
    let mut reconnects = 0;
    // Connections with more to do than their share of one round: they are not starved, nor do they starve others.
    let mut pending: Vec<usize> = Vec::new();
    let mut open = 0;
    for connection in &mut connections {
        if let Some(request) = run.next_request() {
            connection.begin(request);
            open += 1;
        }
    }
    pending.extend(0..open);
    while open > 0 {
        let timeout = if pending.is_empty() {
            SILENCE_MAX
        } else {
            Duration::ZERO
        };
        if let Err(error) = poll.poll(&mut events, Some(timeout)) {
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        if events.is_empty() && pending.is_empty() {
            return Err("the server is silent".into());
        }
        let mut ready = std::mem::take(&mut pending);
        for event in &events {
            if !ready.contains(&event.token().0) {
                ready.push(event.token().0);
            }
        }
        for index in ready {
            let connection = &mut connections[index];
            match connection.advance(run.plan) {
                Progress::Waiting => {}
                Progress::More => pending.push(index),
                Progress::Done(outcome) => {
                    let broken = outcome.broken;
                    tally.add(run, outcome);
                    let Some(request) = run.next_request() else {
                        open -= 1;
                        continue;
                    };
                    if broken {
                        reconnects += 1;
                        if reconnects > RECONNECTS_MAX {
                            return Err(format!("too many broken connections: {:?}", tally.failure).into());
                        }
                        *connection = Connection::open(run.plan.address, run.plan.save.is_some())?;
                        register(&poll, connection, index)?;
                    }
                    connection.begin(request);
                    // Sent at once: waiting for an event would cost a system call more.
                    match connection.advance(run.plan) {
                        Progress::Waiting => {}
                        Progress::More => pending.push(index),
                        Progress::Done(outcome) => {
                            tally.add(run, outcome);
                            return Err(format!("answered before it was asked: {:?}", tally.failure).into());
                        }
                    }
                }
            }
        }
    }
    Ok(tally)
}

fn register(poll: &Poll, connection: &mut Connection, index: usize) -> std::io::Result<()> {
    poll.registry().register(
        connection.stream(),
        Token(index),
        Interest::READABLE | Interest::WRITABLE,
    )
}

fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(0)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let path = std::env::args().nth(1).ok_or("usage: load PLAN.json")?;
    let plan: Plan = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    if plan.requests.is_empty() || plan.threads == 0 || plan.connections < plan.threads {
        return Err("a plan needs requests, and as many connections as threads".into());
    }
    let mut shares = Vec::new();
    for thread in 0..plan.threads {
        let count = plan.connections / plan.threads + usize::from(thread < plan.connections % plan.threads);
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let mut connection = Connection::open(plan.address, plan.save.is_some())?;
            register(&poll, &mut connection, index)?;
            connections.push(connection);
        }
        shares.push((poll, connections));
    }
    let run = Run {
        plan: &plan,
        next: AtomicUsize::new(0),
        started: Instant::now(),
        saved: Mutex::new(vec![
            None;
            if plan.save.is_some() {
                plan.requests.len()
            } else {
                0
            }
        ]),
    };
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let run = &run;
        let workers: Vec<_> = shares
            .into_iter()
            .map(|(poll, connections)| scope.spawn(move || drive(run, poll, connections)))
            .collect();
        for worker in workers {
            let tally = worker.join().map_err(|_| "a thread panicked")??;
            total.latencies_us.extend(tally.latencies_us);
            total.body_bytes += tally.body_bytes;
            total.last = total.last.max(tally.last);
            total.failure = total.failure.take().or(tally.failure);
            for (status, count) in tally.failures {
                *total.failures.entry(status).or_default() += count;
            }
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    })?;
    if let Some(path) = &plan.save {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for body in run
            .saved
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            file.write_all(&body.unwrap_or_default())?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
    }
    total.latencies_us.sort_unstable();
    let report = Report {
        requests: total.latencies_us.len(),
        failures: total.failures,
        seconds: total.last.as_secs_f64(),
        body_bytes_received: total.body_bytes,
        p50_us: percentile(&total.latencies_us, 50),
        p99_us: percentile(&total.latencies_us, 99),
        max_us: percentile(&total.latencies_us, 100),
        failure: total.failure,
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
