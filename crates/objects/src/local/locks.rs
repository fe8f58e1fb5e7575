//! Locks by name, so that a condition on an object and the write that depends on it are one step.
//!
//! They are held for a few system calls and only on blocking threads, never across an `await`.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names that share a stripe wait for each other; with so many stripes that is rare, and memory stays bounded.
const STRIPES: usize = 1024;

/// A fixed set of locks that names are spread over.
pub(super) struct KeyLocks {
    stripes: Box<[Mutex<()>]>,
    hasher: RandomState,
}

/// Holds one or two stripes.
pub(super) struct KeyGuard<'a> {
    _first: MutexGuard<'a, ()>,
    _second: Option<MutexGuard<'a, ()>>,
}

impl KeyLocks {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Locks one name.
    pub(super) fn lock(&self, name: &str) -> KeyGuard<'_> {
        KeyGuard {
            _first: self.take(self.stripe(name)),
            _second: None,
        }
    }

    /// Locks two names, in an order that cannot deadlock.
    pub(super) fn lock_both(&self, one: &str, other: &str) -> KeyGuard<'_> {
        let (one, other) = (self.stripe(one), self.stripe(other));
        KeyGuard {
            _first: self.take(one.min(other)),
            _second: (one != other).then(|| self.take(one.max(other))),
        }
    }

    fn stripe(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % STRIPES
    }

    fn take(&self, stripe: usize) -> MutexGuard<'_, ()> {
        // There is nothing behind the lock that a panic could leave half done.
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn crossed_pairs_do_not_deadlock() {
        let locks = Arc::new(KeyLocks::new());
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let locks = Arc::clone(&locks);
                std::thread::spawn(move || {
                    for round in 0..2_000 {
                        let (one, other) = if (worker + round) % 2 == 0 {
                            ("a", "b")
                        } else {
                            ("b", "a")
                        };
                        drop(locks.lock_both(one, other));
                        drop(locks.lock_both(one, one));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    }

    #[test]
    fn a_locked_name_waits() {
        let locks = Arc::new(KeyLocks::new());
        let held = locks.lock("a");
        assert!(locks.stripes[locks.stripe("a")].try_lock().is_err());
        drop(held);
        assert!(locks.stripes[locks.stripe("a")].try_lock().is_ok());
    }
}
