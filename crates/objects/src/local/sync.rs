//! Directory fsyncs: a name is durable when the directory that holds it has been synced after the name was made.
//!
//! Writers of one directory share the work: one fsync serves everybody who made a name before it began. While it
//! runs, the next ones gather for the one after it; nobody waits for a timer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::AsFd;
use rustix::io::Errno;

/// So many directories are remembered as durable; beyond that, all are forgotten, which costs syncs but no safety.
const KNOWN_MAX: usize = 65_536;

/// Syncs directories below a root, each path relative to it.
pub(super) struct DirectorySync {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    known: Mutex<Known>,
}

/// Directories whose own names are durable.
#[derive(Default)]
struct Known {
    directories: HashSet<String>,
    /// Counts removals. What was learnt about a directory before one of them may be about another directory.
    epoch: u64,
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    begun: u64,
    done: u64,
    running: bool,
    #[cfg(test)]
    waiting: usize,
}

/// When a write began, as far as removals of directories are concerned.
#[derive(Clone, Copy)]
pub(super) struct Epoch(u64);

impl DirectorySync {
    pub(super) fn new() -> Self {
        Self {
            slots: Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// Taken before a name is made.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(lock(&self.known).epoch)
    }

    /// Makes names in `directory` durable, and the directories that lead to it, down from `top` (which itself is
    /// taken to be durable).
    pub(super) fn settle(
        &self,
        root: impl AsFd,
        top: &str,
        directory: &str,
        epoch: Epoch,
    ) -> rustix::io::Result<()> {
        self.sync(&root, directory)?;
        let mut below = directory;
        let mut learnt = Vec::new();
        while below.len() > top.len() && !lock(&self.known).directories.contains(below) {
            let parent = parent_of(below);
            self.sync(&root, parent)?;
            learnt.push(below.to_owned());
            below = parent;
        }
        let mut known = lock(&self.known);
        if known.epoch == epoch.0 {
            if known.directories.len() + learnt.len() > KNOWN_MAX {
                known.directories.clear();
            }
            known.directories.extend(learnt);
        }
        Ok(())
    }

    /// Removes a directory if it is empty, and what is known about it in the same step.
    pub(super) fn remove_if_empty(&self, root: impl AsFd, directory: &str) -> rustix::io::Result<()> {
        let mut known = lock(&self.known);
        rustix::fs::unlinkat(root, directory, rustix::fs::AtFlags::REMOVEDIR)?;
        known.directories.remove(directory);
        known.epoch += 1;
        Ok(())
    }

    /// Makes the names in one directory durable. One that is gone has nothing left to lose.
    pub(super) fn sync(&self, root: impl AsFd, directory: &str) -> rustix::io::Result<()> {
        self.grouped(directory, || match super::open_directory(&root, directory) {
            Ok(directory) => rustix::fs::fsync(directory),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        })
    }

    fn grouped(
        &self,
        directory: &str,
        fsync: impl FnOnce() -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        let slot = {
            let mut slots = lock(&self.slots);
            match slots.get(directory) {
                Some(slot) => Arc::clone(slot),
                None => Arc::clone(slots.entry(directory.to_owned()).or_default()),
            }
        };
        let result = slot.run(fsync);
        let mut slots = lock(&self.slots);
        // Ours and the map's: nobody else is here, and nobody can come while the map is locked.
        if Arc::strong_count(&slot) == 2 {
            slots.remove(directory);
        }
        result
    }
}

impl Slot {
    fn run(&self, fsync: impl FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        let mut state = lock(&self.state);
        let wanted = state.begun + 1;
        while state.done < wanted {
            if state.running {
                #[cfg(test)]
                {
                    state.waiting += 1;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.begun += 1;
            let batch = state.begun;
            drop(state);
            let result = fsync();
            state = lock(&self.state);
            state.running = false;
            // After a failure the others try for themselves, and so learn of their own failure.
            if result.is_ok() {
                state.done = batch;
            }
            self.changed.notify_all();
            return result;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The directory that holds this one; the root is `.`.
pub(super) fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn everybody_who_came_during_a_sync_shares_the_next_one() {
        let syncs = Arc::new(DirectorySync::new());
        let count = Arc::new(AtomicUsize::new(0));
        let (entered, has_entered) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = {
            let (syncs, count) = (Arc::clone(&syncs), Arc::clone(&count));
            std::thread::spawn(move || {
                syncs.grouped("d", || {
                    count.fetch_add(1, Ordering::SeqCst);
                    entered.send(()).unwrap();
                    released.recv().unwrap();
                    Ok(())
                })
            })
        };
        has_entered.recv().unwrap();
        let others: Vec<_> = (0..8)
            .map(|_| {
                let (syncs, count) = (Arc::clone(&syncs), Arc::clone(&count));
                std::thread::spawn(move || {
                    syncs.grouped("d", || {
                        count.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    })
                })
            })
            .collect();
        while syncs.slots.lock().unwrap()["d"].state.lock().unwrap().waiting < 8 {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        for thread in others {
            thread.join().unwrap().unwrap();
        }
        first.join().unwrap().unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(syncs.slots.lock().unwrap().is_empty(), "nothing is kept");
    }

    #[test]
    fn a_failed_sync_serves_nobody_else() {
        let slot = Slot::default();
        assert_eq!(slot.run(|| Err(Errno::IO)), Err(Errno::IO));
        assert_eq!(slot.run(|| Ok(())), Ok(()));
        let state = slot.state.lock().unwrap();
        assert_eq!((state.begun, state.done), (2, 2));
    }

    #[test]
    fn what_was_removed_meanwhile_is_not_remembered() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("b/d/e")).unwrap();
        let fd = std::fs::File::open(root.path()).unwrap();
        let syncs = DirectorySync::new();
        let epoch = syncs.epoch();
        syncs.settle(&fd, "b", "b/d/e", epoch).unwrap();
        assert!(syncs.known.lock().unwrap().directories.contains("b/d"));
        syncs.remove_if_empty(&fd, "b/d/e").unwrap();
        assert!(!syncs.known.lock().unwrap().directories.contains("b/d/e"));
        std::fs::create_dir(root.path().join("b/d/e")).unwrap();
        syncs.settle(&fd, "b", "b/d/e", epoch).unwrap();
        assert!(
            !syncs.known.lock().unwrap().directories.contains("b/d/e"),
            "learnt before a removal"
        );
        syncs.settle(&fd, "b", "b/d/e", syncs.epoch()).unwrap();
        assert!(syncs.known.lock().unwrap().directories.contains("b/d/e"));
    }
}
