//! The real service over a real SQLite database and a real local store, under thousands of generated schedules: clients,
//! workers and janitors move from one call of a port to the next in an order that a seed decides, processes are killed,
//! calls fail, answers are lost, actors stand still, time passes. Then I1 to I6 and I11 are asked of the stores,
//! in a part of the schedules after the database was lost and rebuilt.
//!
//! | variable | meaning |
//! |---|---|
//! | `CLOAKROOM_SCHEDULES` | how many schedules to run (default 2,000) |
//! | `CLOAKROOM_SCHEDULES_FROM` | the first seed (default 1) |
//! | `CLOAKROOM_SCHEDULE` | run this seed alone, and print what happened |

mod actors;
mod checks;
mod ports;
mod reference;
mod scheduler;
mod world;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cloakroom_testkit::random::SeededRandom;
use futures_util::FutureExt;
use jiff::SignedDuration;

use crate::scheduler::{Passed, Scheduler, below, happens};
use crate::world::{Template, World};

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 3_000;
/// Steps of one schedule.
const STEPS_MAX: usize = 1_500;
/// Lines of the trace of a failed schedule.
const TRACE_LINES: usize = 120;

#[expect(
    clippy::disallowed_methods,
    reason = "how long tests may take is said in the environment"
)]
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Lets time pass; the bool says whether nobody of before can be alive.
fn pass_time(world: &World, random: &SeededRandom) -> Passed {
    let (by, kills) = match below(random, 100) {
        0..40 => (
            SignedDuration::from_secs(1 + below(random, 5).cast_signed()),
            false,
        ),
        40..70 => (SignedDuration::from_secs(16), false),
        70..92 => (
            SignedDuration::from_secs(61 + below(random, 60).cast_signed()),
            false,
        ),
        92..96 => (SignedDuration::from_mins(16), false),
        96..98 => (SignedDuration::from_hours(25), true),
        _ => {
            world.trash_was_due.set(true);
            (SignedDuration::from_hours(24 * 8), true)
        }
    };
    world.clock.advance(by);
    Passed {
        told: format!("{by:#} pass"),
        kills,
    }
}

/// What one schedule did.
struct Ran {
    violations: Vec<String>,
    trace: Vec<String>,
    steps: usize,
    acknowledged: usize,
}

async fn schedule(seed: u64, template: &Template) -> Ran {
    let world = Rc::new(World::new(seed, template).await);
    let random = SeededRandom::new(seed ^ 0xac7);
    let mut scheduler = Scheduler::new(seed);
    let clients = 2 + below(&random, 2);
    for number in 0..clients {
        let requests = 4 + below(&random, 7) as u32;
        let actor = actors::asking(&world, &format!("client{number}"), random.next_u64(), requests);
        scheduler.actors.push(actor);
    }
    for number in 0..=below(&random, 2) {
        scheduler
            .actors
            .push(actors::working(&world, &format!("worker{number}")));
    }
    for number in 0..=below(&random, 2) {
        let actor = actors::sweeping(&world, &format!("janitor{number}"), random.next_u64());
        scheduler.actors.push(actor);
    }
    scheduler.run(STEPS_MAX, |random| pass_time(&world, random)).await;
    checks::at_any_moment(&world).await;

    // Whoever is in the middle of something is dead, or only slow.
    let slow = happens(&random, 500);
    if !slow {
        scheduler.trace.push("everybody is killed".to_owned());
        scheduler.kill_working().await;
    }
    let lost = happens(&random, 350);
    if lost {
        scheduler
            .trace
            .push("the database is lost, and rebuilt".to_owned());
        world.lose_database(template);
        world.rebuild().await;
    }
    scheduler.trace.push("recovery".to_owned());
    world.recover().await;
    if slow {
        checks::at_any_moment(&world).await;
        scheduler.trace.push("the slow ones go on".to_owned());
        scheduler.finish_working(400).await;
        scheduler.kill_working().await;
        if lost {
            // Once more, when nobody of before is alive.
            world.recover().await;
            world.rebuild().await;
        }
        scheduler.trace.push("recovery again".to_owned());
        world.recover().await;
    }
    checks::at_rest(&world).await;
    if happens(&random, 400) && world.violations.borrow().is_empty() {
        scheduler.trace.push("every deadline passes".to_owned());
        for hours in [25, 24 * 8, 25] {
            world.clock.advance(SignedDuration::from_hours(hours));
            world.trash_was_due.set(true);
            world.recover().await;
        }
        checks::at_rest(&world).await;
    }
    let acknowledged = world
        .known
        .borrow()
        .iter()
        .filter(|known| known.is_acknowledged())
        .count();
    let violations = std::mem::take(&mut *world.violations.borrow_mut());
    Ran {
        violations,
        steps: scheduler.trace.len(),
        trace: std::mem::take(&mut scheduler.trace),
        acknowledged,
    }
}

/// Runs one seed; the complaint, if there is one.
fn run_seed(seed: u64, template: &Template, totals: &Totals) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .expect("a runtime");
    let ran = runtime.block_on(AssertUnwindSafe(schedule(seed, template)).catch_unwind());
    let ran = ran.map_err(|_| format!("seed {seed}: it panicked"))?;
    totals.steps.fetch_add(ran.steps as u64, Ordering::Relaxed);
    totals
        .acknowledged
        .fetch_add(ran.acknowledged as u64, Ordering::Relaxed);
    let shown = variable("CLOAKROOM_SCHEDULE").map_or(TRACE_LINES, |_| usize::MAX);
    let tail = &ran.trace[ran.trace.len().saturating_sub(shown)..];
    if shown == usize::MAX {
        println!("{}", tail.join("\n"));
    }
    if ran.violations.is_empty() {
        return Ok(());
    }
    Err(format!(
        "seed {seed}:\n  {}\n--- the end of what happened:\n{}\n--- replay: CLOAKROOM_SCHEDULE={seed} cargo test -p cloakroom-proof --test schedules -- --nocapture\n--- seed {seed}: {}",
        ran.violations.join("\n  "),
        tail.join("\n"),
        ran.violations[0],
    ))
}

#[derive(Default)]
struct Totals {
    steps: AtomicU64,
    acknowledged: AtomicU64,
    ran: AtomicU64,
}

#[test]
fn no_schedule_breaks_an_invariant() {
    let template = Template::new();
    let totals = Totals::default();
    if let Some(seed) = variable("CLOAKROOM_SCHEDULE") {
        run_seed(seed, &template, &totals).unwrap_or_else(|complaint| panic!("{complaint}"));
        return;
    }
    let first = variable("CLOAKROOM_SCHEDULES_FROM").unwrap_or(1);
    let count = variable("CLOAKROOM_SCHEDULES").unwrap_or(SCHEDULES);
    let failures_max = variable("CLOAKROOM_SCHEDULES_FAILURES").unwrap_or(1) as usize;
    let next = AtomicU64::new(first);
    let complaints: Mutex<Vec<String>> = Mutex::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let enough = complaints.lock().expect("nobody panics").len() >= failures_max;
                    if seed >= first + count || enough {
                        return;
                    }
                    totals.ran.fetch_add(1, Ordering::Relaxed);
                    if let Err(complaint) = run_seed(seed, &template, &totals) {
                        complaints.lock().expect("nobody panics").push(complaint);
                    }
                }
            });
        }
    });
    println!(
        "{} schedules, {} steps, {} acknowledged files, {:.1} s",
        totals.ran.into_inner(),
        totals.steps.into_inner(),
        totals.acknowledged.into_inner(),
        begun.elapsed().as_secs_f64()
    );
    let complaints = complaints.into_inner().expect("nobody panics");
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}
