//! Who goes on next: a seed decides.
//!
//! Every actor is a future that stops at a gate before each call of a port, and after each call that changes something.
//! One actor moves at a time, from one gate to the next, so a seed and a program make exactly one schedule, whatever
//! threads the stores use inside.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use cloakroom_testkit::random::SeededRandom;

/// What a gate lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Go on.
    Go,
    /// The call fails: before it was made at a gate before, after it was made at a gate after.
    Fail,
}

/// Where an actor waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a call.
    Before(String),
    /// After a call that may have changed something.
    After(String),
    /// Between two pieces of work.
    Idle,
}

impl Point {
    /// Whether a fault may be put here.
    pub fn may_fail(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}

#[derive(Default)]
struct State {
    waiting: Option<Point>,
    granted: Option<Grant>,
    crash: bool,
    working: bool,
}

/// The gate of one actor.
#[derive(Default)]
pub struct Gate(Mutex<State>);

impl Gate {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the scheduler lets this actor go on.
    pub async fn pass(&self, point: Point) -> Grant {
        let mut point = Some(point);
        poll_fn(move |_| {
            let mut state = self.state();
            if let Some(point) = point.take() {
                state.waiting = Some(point);
            }
            match state.granted.take() {
                Some(grant) => {
                    state.waiting = None;
                    Poll::Ready(grant)
                }
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Runs what a process does, until it ends (`Some`) or the process is killed (`None`).
    pub async fn process<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = Some(Box::pin(work));
        self.state().working = true;
        let outcome = poll_fn(|context| {
            let killed = std::mem::take(&mut self.state().crash);
            if killed {
                work = None;
                let mut state = self.state();
                state.waiting = None;
                state.granted = None;
                return Poll::Ready(None);
            }
            match &mut work {
                Some(running) => running.as_mut().poll(context).map(Some),
                None => Poll::Ready(None),
            }
        })
        .await;
        self.state().working = false;
        outcome
    }
}

/// A future with its gate.
pub struct Actor {
    /// Its name in the trace.
    pub name: String,
    gate: Arc<Gate>,
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// Steps for which it stands still.
    asleep: u32,
    done: bool,
    /// Whether the schedule waits for its end.
    pub awaited: bool,
}

impl Actor {
    /// An actor whose ports pass this gate.
    pub fn new(
        name: impl Into<String>,
        awaited: bool,
        gate: Arc<Gate>,
        future: impl Future<Output = ()> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            gate,
            future: Box::pin(future),
            asleep: 0,
            done: false,
            awaited,
        }
    }

    /// Whether it is in the middle of something.
    pub fn is_working(&self) -> bool {
        self.gate.state().working
    }

    /// Goes on to its next gate, or to its end.
    async fn advance(&mut self) {
        let gate = Arc::clone(&self.gate);
        let future = &mut self.future;
        let ended = poll_fn(|context: &mut Context<'_>| match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if gate.state().waiting.is_some() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.done = ended;
    }
}

/// How often what happens, drawn anew for each schedule.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// In a thousand: the actor that moved last moves again.
    pub sticky: u64,
    /// In a thousand: the process is killed.
    pub crash: u64,
    /// In a thousand: the call fails, or its answer is lost.
    pub fault: u64,
    /// In a thousand: the actor stands still for a while.
    pub sleep: u64,
    /// In a thousand: time passes.
    pub time: u64,
}

impl Temper {
    /// Draws one.
    pub fn draw(random: &SeededRandom) -> Self {
        let pick = |choices: &[u64]| choices[below(random, choices.len() as u64) as usize];
        Self {
            sticky: pick(&[0, 0, 500, 850]),
            crash: pick(&[0, 5, 20, 60]),
            fault: pick(&[0, 0, 10, 30]),
            sleep: pick(&[0, 10, 30, 60]),
            time: pick(&[5, 20, 60, 120]),
        }
    }
}

/// A number from 0 to `end`, `end` excluded.
pub fn below(random: &SeededRandom, end: u64) -> u64 {
    random.next_u64() % end
}

/// Whether something happens that happens so often in a thousand.
pub fn happens(random: &SeededRandom, thousandths: u64) -> bool {
    thousandths > 0 && below(random, 1_000) < thousandths
}

/// Time that passed.
pub struct Passed {
    /// For the trace.
    pub told: String,
    /// Whether it was so much that nobody of before can be alive.
    pub kills: bool,
}

/// Runs actors by a seed.
pub struct Scheduler {
    /// The actors.
    pub actors: Vec<Actor>,
    random: SeededRandom,
    temper: Temper,
    last: usize,
    /// What happened, line by line.
    pub trace: Vec<String>,
}

impl Scheduler {
    /// A scheduler without actors.
    pub fn new(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        let temper = Temper::draw(&random);
        Self {
            actors: Vec::new(),
            trace: vec![format!("{temper:?}")],
            random,
            temper,
            last: 0,
        }
    }

    /// Moves actors until everybody awaited is done or `steps_max` steps were made. `pass_time` lets time pass.
    pub async fn run(&mut self, steps_max: usize, mut pass_time: impl FnMut(&SeededRandom) -> Passed) {
        for _ in 0..steps_max {
            if self.actors.iter().all(|actor| actor.done || !actor.awaited) {
                return;
            }
            if happens(&self.random, self.temper.time) {
                let passed = pass_time(&self.random);
                self.trace.push(passed.told);
                if passed.kills {
                    self.kill_working().await;
                }
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        for actor in &mut self.actors {
            actor.asleep = actor.asleep.saturating_sub(1);
        }
        let mut awake: Vec<usize> = Vec::with_capacity(self.actors.len());
        let movable = |actor: &Actor| !actor.done;
        awake.extend(
            (0..self.actors.len()).filter(|i| movable(&self.actors[*i]) && self.actors[*i].asleep == 0),
        );
        if awake.is_empty() {
            awake.extend((0..self.actors.len()).filter(|i| movable(&self.actors[*i])));
        }
        if awake.is_empty() {
            return;
        }
        let stays = awake.contains(&self.last) && happens(&self.random, self.temper.sticky);
        let index = if stays {
            self.last
        } else {
            awake[below(&self.random, awake.len() as u64) as usize]
        };
        self.last = index;
        let temper = self.temper;
        if happens(&self.random, temper.sleep) {
            self.actors[index].asleep = 5 + below(&self.random, 150) as u32;
            let name = self.actors[index].name.clone();
            self.trace.push(format!("{name} stands still"));
            return;
        }
        let kill = happens(&self.random, temper.crash);
        let fail = happens(&self.random, temper.fault);
        self.let_go(index, kill, fail).await;
    }

    /// Lets one actor go on to its next gate.
    async fn let_go(&mut self, index: usize, kill: bool, fail: bool) {
        let actor = &mut self.actors[index];
        let mut told = String::new();
        {
            let mut state = actor.gate.state();
            if let Some(point) = state.waiting.clone() {
                if kill && state.working && point != Point::Idle {
                    state.crash = true;
                    told = format!("{} is killed at {point:?}", actor.name);
                } else {
                    let grant = if fail && point.may_fail() {
                        Grant::Fail
                    } else {
                        Grant::Go
                    };
                    state.granted = Some(grant);
                    told = format!("{} {grant:?} {point:?}", actor.name);
                }
            }
        }
        if !told.is_empty() {
            self.trace.push(told);
        }
        actor.advance().await;
    }

    /// Kills whoever is in the middle of something: so much time has passed that nobody of then can be alive.
    pub async fn kill_working(&mut self) {
        for index in 0..self.actors.len() {
            if !self.actors[index].done && self.actors[index].is_working() {
                self.let_go(index, true, false).await;
            }
        }
    }

    /// Lets everybody who is in the middle of something go on, one after the other, each up to so many steps.
    pub async fn finish_working(&mut self, steps_max: usize) {
        for index in 0..self.actors.len() {
            for _ in 0..steps_max {
                if self.actors[index].done || !self.actors[index].is_working() {
                    break;
                }
                self.let_go(index, false, false).await;
            }
        }
    }
}
