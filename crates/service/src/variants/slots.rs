//! How many pictures are made at once, and how many wait. Each costs a core and its memory: whoever comes when too many
//! wait is sent away at once, rather than kept waiting for what he will not stay for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

/// Slots, and the queue for them. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    waiting_max: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// Too many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A slot; dropping it hands it on.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Mutex<State>>>);

impl Slots {
    /// So many, and so many that may wait for one.
    pub(super) fn new(at_once: usize, waiting_max: usize) -> Self {
        let state = State {
            free: at_once.max(1),
            waiting: VecDeque::new(),
        };
        Self {
            waiting_max,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Waits for a slot, in the order of coming.
    pub(super) async fn take(&self) -> Result<Slot, Full> {
        let turn = {
            let mut state = lock(&self.state);
            if state.free > 0 {
                state.free -= 1;
                return Ok(Slot(Some(Arc::clone(&self.state))));
            }
            state.waiting.retain(|one| !one.is_canceled());
            if state.waiting.len() >= self.waiting_max {
                return Err(Full);
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(sender);
            turn
        };
        // The sender is dropped with a slot in it or not at all: slots outlive their queue.
        turn.await.map_err(|_| Full)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        loop {
            let mut held = lock(&state);
            let Some(next) = held.waiting.pop_front() else {
                held.free += 1;
                return;
            };
            drop(held);
            match next.send(Slot(Some(Arc::clone(&state)))) {
                Ok(()) => return,
                // Whoever waited went away: this is given to the next one.
                Err(mut unwanted) => unwanted.0 = None,
            }
        }
    }
}

/// Counts and a queue have no state that a panic could leave half made.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn slots_go_round_in_order() {
        let slots = Slots::new(2, 2);
        let first = slots.take().now_or_never().expect("free").expect("a slot");
        let second = slots.take().now_or_never().expect("free").expect("a slot");
        let mut third = Box::pin(slots.take());
        assert!(third.as_mut().now_or_never().is_none());
        let mut fourth = Box::pin(slots.take());
        assert!(fourth.as_mut().now_or_never().is_none());
        assert_eq!(slots.take().now_or_never().expect("at once").err(), Some(Full));

        // Whoever goes away makes room in the queue, and does not take his slot along.
        drop(third);
        let mut fifth = Box::pin(slots.take());
        assert!(fifth.as_mut().now_or_never().is_none());
        drop(first);
        let fourth = fourth.as_mut().now_or_never().expect("his turn").expect("a slot");
        assert!(fifth.as_mut().now_or_never().is_none());
        drop(second);
        // He was given his slot and never looked.
        drop(fifth);
        let again = slots.take().now_or_never().expect("free").expect("a slot");
        assert!(slots.take().now_or_never().is_none());
        drop((fourth, again));
        assert_eq!(lock(&slots.state).free, 2);
    }
}
