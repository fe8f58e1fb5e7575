//! The steps of each kind of work. One step is one call of a port: it happens whole, and a crash comes between two.

use crate::model::Rules;
use crate::state::{Kind, Row, Says, Stage, State, Task};

/// What becomes of a task after a step.
enum Then {
    Go(u8),
    End,
}

use Then::{End, Go};

/// Makes the next step of the task in this slot.
pub fn step(rules: &Rules, state: &mut State, slot: usize) {
    let Some(mut task) = state.tasks[slot] else { return };
    let then = match task.kind {
        Kind::Confirm => confirm(rules, state, &mut task),
        Kind::Patch | Kind::Delete | Kind::Restore | Kind::Supersede => change(rules, state, &mut task),
        Kind::Process => process(rules, state, &mut task),
        Kind::Reap => reap(rules, state, &mut task),
        Kind::Purge => purge(rules, state, &mut task),
        Kind::Recover => recover(rules, state, &mut task),
        Kind::Sweep => sweep(rules, state, &mut task),
        Kind::Rebuild => rebuild(rules, state, &mut task),
    };
    state.tasks[slot] = match then {
        Go(at) => Some(Task { at, ..task }),
        End => None,
    };
}

/// Commits if nobody changed the row since it was read.
fn apply(state: &mut State, before: Row, after: Row) -> bool {
    match &mut state.database.row {
        Some(row) if row.version == before.version => {
            *row = Row {
                version: before.version + 1,
                ..after
            };
            true
        }
        _ => false,
    }
}

fn next(row: Row) -> Row {
    Row {
        version: row.version + 1,
        ..row
    }
}

/// Note, row, answer; who lost sets the note right.
fn confirm(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    match task.at {
        0 => {
            if rules.note {
                state.store.note = Some(next(task.after).says());
            }
            Go(1)
        }
        1 if apply(state, task.row, task.after) => {
            state.promised.confirmed = true;
            End
        }
        _ => settle(rules, state, task, 2),
    }
}

/// The loser of a race makes the note say what the row says: a read, then a write.
fn settle(rules: &Rules, state: &mut State, task: &mut Task, first: u8) -> Then {
    if !rules.note {
        return End;
    }
    if task.at <= first {
        let Some(row) = state.database.row else { return End };
        task.row = row;
        return if row.stage == Stage::Pending {
            End
        } else {
            Go(first + 1)
        };
    }
    state.store.note = task.row.is_noted().then(|| task.row.says());
    End
}

/// A change of a file that was confirmed: intent, sidecar, row; or note, row.
fn change(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    let noted = !task.row.has_sidecar();
    let intent = (task.after.epoch, task.row.version, task.intent.2);
    match task.at {
        0 if noted => {
            if rules.note {
                state.store.note = Some(next(task.after).says());
            }
            Go(3)
        }
        0 => {
            state.database.intents.insert(intent);
            Go(1)
        }
        1 => {
            let key = rules.sidecar_key(task.after.epoch);
            if rules.epoch_keys && state.store.sidecars.contains_key(&key) {
                // Somebody else's revision: nothing of ours to take back.
                state.database.intents.remove(&intent);
                return End;
            }
            state.store.sidecars.insert(key, next(task.after).says());
            Go(3)
        }
        3 if apply(state, task.row, task.after) => {
            state.database.intents.remove(&intent);
            answer(state, task.kind);
            if noted { End } else { Go(7) }
        }
        3 if noted => settle(rules, state, &mut Task { at: 4, ..*task }, 4).then_keep(task, state),
        3 => Go(5),
        4 => settle(rules, state, task, 3),
        // The row is another one. Is the sidecar of that epoch its own by now? If not, recovery moves the row on; to delete
        // the sidecar would be to decide on what may have changed meanwhile.
        5 => {
            let current = state
                .database
                .row
                .is_some_and(|row| row.epoch >= task.after.epoch);
            if current {
                state.database.intents.remove(&intent);
                return End;
            }
            if rules.loser_deletes { Go(6) } else { End }
        }
        6 => {
            state.store.sidecars.remove(&rules.sidecar_key(task.after.epoch));
            state.database.intents.remove(&intent);
            End
        }
        _ => {
            let epoch = task.after.epoch;
            state
                .store
                .sidecars
                .retain(|key, _| *key >= epoch || !rules.epoch_keys);
            End
        }
    }
}

impl Then {
    /// After a conflict of a change of a noted file: the read of [`settle`] is made at once, its write is step 4.
    fn then_keep(self, task: &mut Task, state: &State) -> Self {
        match (self, state.database.row) {
            (Go(_), Some(row)) => {
                task.row = row;
                Go(4)
            }
            _ => End,
        }
    }
}

fn answer(state: &mut State, kind: Kind) {
    match kind {
        Kind::Patch => state.promised.patched = true,
        Kind::Delete => state.promised.deleted = true,
        Kind::Restore => {
            state.promised.deleted = false;
            state.promised.restored = true;
        }
        _ => {}
    }
}

fn fenced(state: &State, task: &Task) -> bool {
    state.database.lease == task.lease && state.used.losses == task.generation
}

/// Claim, take up, promote, derivative, sidecar, row; then what is left over.
#[expect(clippy::too_many_lines, reason = "one arm for each step, in their order")]
fn process(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    match task.at {
        0 => match state.database.row {
            Some(row) if matches!(row.stage, Stage::Confirmed | Stage::Processing) => {
                task.row = row;
                Go(1)
            }
            _ => End,
        },
        1 => {
            let taken = Row {
                stage: Stage::Processing,
                epoch: task.row.epoch + 1,
                ..task.row
            };
            if !fenced(state, task) || !apply(state, task.row, taken) {
                return End;
            }
            task.row = next(taken);
            Go(2)
        }
        2 if state.store.staging == task.row.body => Go(3),
        2 if state.store.object != 0 => Go(4),
        2 => Go(20),
        3 if state.store.staging == task.row.body => {
            state.store.object = task.row.body;
            if rules.rename {
                state.store.staging = 0;
            }
            Go(4)
        }
        3 => End,
        4 => {
            let key = if rules.derivative_epochs {
                task.row.epoch
            } else {
                1
            };
            state.store.derived.insert(key, task.row.epoch);
            task.after = Row {
                stage: Stage::Ready,
                verified: true,
                derived: key,
                ..task.row
            };
            Go(if rules.sidecar_first { 5 } else { 6 })
        }
        5 => {
            let key = rules.sidecar_key(task.row.epoch);
            let standing = state.store.sidecars.get(&key).copied();
            // Only what it wrote itself is written over, after a patch came in between.
            if standing.is_some() && standing != task.found && rules.epoch_keys && rules.never_overwrite {
                return End;
            }
            let says = next(task.after).says();
            state.store.sidecars.insert(key, says);
            task.found = Some(says);
            Go(if rules.sidecar_first { 6 } else { 8 })
        }
        6 => commit_ready(rules, state, task),
        7 => match state.database.row {
            Some(row) if row.stage == Stage::Processing && row.epoch == task.row.epoch => {
                task.row = row;
                task.after = Row {
                    name: row.name,
                    version: row.version,
                    ..task.after
                };
                Go(if rules.sidecar_first { 5 } else { 6 })
            }
            _ => End,
        },
        8 => {
            let epoch = task.row.epoch;
            state
                .store
                .sidecars
                .retain(|key, _| *key >= epoch || !rules.epoch_keys);
            Go(9)
        }
        9 => {
            state.store.staging = 0;
            Go(10)
        }
        10 => {
            state.store.note = None;
            End
        }
        _ => {
            let failed = Row {
                stage: Stage::Failed,
                ..task.row
            };
            if fenced(state, task) {
                apply(state, task.row, failed);
            }
            End
        }
    }
}

fn commit_ready(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    let committed = if rules.fence {
        fenced(state, task) && apply(state, task.row, task.after)
    } else {
        match &mut state.database.row {
            Some(row) if row.stage == Stage::Processing => {
                *row = next(task.after);
                true
            }
            _ => false,
        }
    };
    if committed {
        return Go(if rules.sidecar_first { 8 } else { 5 });
    }
    if rules.fence && !fenced(state, task) {
        End
    } else {
        Go(7)
    }
}

/// An upload that nobody confirmed: claim, bytes, note, row.
fn reap(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    match task.at {
        0 if task.row.stage == Stage::Reaping || !rules.claim => Go(2),
        0 => {
            let claimed = Row {
                stage: Stage::Reaping,
                ..task.row
            };
            if !apply(state, task.row, claimed) {
                return End;
            }
            task.row = next(claimed);
            Go(2)
        }
        2 => {
            state.store.staging = 0;
            Go(3)
        }
        3 => {
            state.store.note = None;
            Go(4)
        }
        _ => {
            let over = Row {
                stage: Stage::Expired,
                ..task.row
            };
            apply(state, task.row, over);
            End
        }
    }
}

/// A file whose time in the trash is over: claim, tombstone, staging, note, object, what stands beside it, row.
fn purge(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    match task.at {
        0 if task.row.stage == Stage::Purging => Go(2),
        0 => {
            let claimed = Row {
                stage: Stage::Purging,
                ..task.row
            };
            if !apply(state, task.row, claimed) {
                return End;
            }
            state.promised.claimed = true;
            task.row = next(claimed);
            Go(2)
        }
        2 => {
            // From here on it is gone for good, whatever becomes of the database.
            state.store.tombstone = rules.tombstone;
            state.promised.purged = true;
            Go(3)
        }
        3 => {
            state.store.staging = 0;
            Go(4)
        }
        4 => {
            state.store.note = None;
            Go(5)
        }
        5 => {
            state.store.object = 0;
            Go(6)
        }
        6 => {
            state.store.sidecars.clear();
            Go(7)
        }
        7 => {
            state.store.derived.clear();
            Go(8)
        }
        _ => {
            if state
                .database
                .row
                .is_some_and(|row| row.version == task.row.version)
            {
                state.database.row = None;
                state.database.purged = true;
            }
            End
        }
    }
}

/// An intent whose author is taken for dead: forward if its sidecar stands, else the row moves on.
fn recover(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    let (epoch, from, _) = task.intent;
    match task.at {
        0 => {
            let Some(row) = state.database.row.filter(|_| rules.resume_intents) else {
                state.database.intents.remove(&task.intent);
                return End;
            };
            task.row = row;
            task.found = state.store.sidecars.get(&rules.sidecar_key(epoch)).copied();
            let over = row.epoch >= epoch || !row.has_sidecar();
            match (over, task.found) {
                (true, _) => {
                    state.database.intents.remove(&task.intent);
                    End
                }
                (false, Some(_)) if !rules.supersede => Go(3),
                (false, Some(says)) if row.version == from => {
                    task.after = Row {
                        epoch,
                        name: says.name,
                        stage: if says.trashed {
                            Stage::Trashed
                        } else {
                            Stage::Ready
                        },
                        ..row
                    };
                    Go(1)
                }
                (false, None) if !rules.supersede_unwritten => {
                    state.database.intents.remove(&task.intent);
                    End
                }
                (false, found) => {
                    // The abandoned revision itself is filled where it was not written: one writer for each epoch, and the
                    // next epoch only from a row that stands at this one.
                    let filled = found.is_none() && !rules.supersede_beyond;
                    task.after = Row {
                        epoch: row.epoch.max(epoch) + u8::from(!filled),
                        ..row
                    };
                    Go(2)
                }
            }
        }
        1 => {
            // Who loses the race looks again in the next round.
            if apply(state, task.row, task.after) {
                state.database.intents.remove(&task.intent);
            }
            End
        }
        2 => {
            // A change of its own, with an intent of its own; the old one is found to be over in the next round.
            task.intent.2 += 10;
            state
                .database
                .intents
                .insert((task.after.epoch, task.row.version, task.intent.2));
            task.kind = Kind::Supersede;
            Go(1)
        }
        _ => {
            state.store.sidecars.remove(&rules.sidecar_key(epoch));
            state.database.intents.remove(&task.intent);
            End
        }
    }
}

/// What stands in the store without a row: adopted if it says whose it is, else claimed, then removed.
fn sweep(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    let ours = !state.store.sidecars.is_empty() || state.store.note.is_some();
    match task.at {
        0 if state.database.row.is_some() || ours && rules.adopt_sidecars => End,
        0 if !rules.claim => Go(2),
        0 => {
            state.database.row = Some(Row {
                stage: Stage::Reaping,
                ..Row::SIGNED
            });
            Go(1)
        }
        1 if ours && rules.adopt_sidecars => {
            // Somebody has written it since: it is given back.
            state.database.row = None;
            state.database.complete = false;
            End
        }
        1 => Go(2),
        2 => {
            state.store.tombstone = rules.tombstone;
            Go(3)
        }
        3 => {
            state.store.staging = 0;
            state.store.object = 0;
            Go(4)
        }
        4 => {
            state.store.sidecars.clear();
            state.store.derived.clear();
            Go(5)
        }
        _ => {
            if state
                .database
                .row
                .is_some_and(|row| row.stage == Stage::Reaping && row.version == 1)
            {
                state.database.row = None;
                state.database.purged = true;
            }
            End
        }
    }
}

/// What the store says of the file: a look, then a row where there is none or an older one. While somebody of before the
/// loss may still be at work, a rebuild has to be made once more.
fn rebuild(rules: &Rules, state: &mut State, task: &mut Task) -> Then {
    if task.at == 0 {
        task.found = believed(rules, state);
        task.after = state.database.row.unwrap_or(Row::SIGNED);
        let of_before = |task: &Task| task.generation < state.used.losses;
        task.lease = u8::from(state.tasks.iter().flatten().any(of_before));
        return Go(1);
    }
    if let Some(says) = task.found {
        let verified = state.store.sidecars.values().any(|own| *own == says);
        let stage = match (says.trashed, verified) {
            (true, _) => Stage::Trashed,
            (false, true) => Stage::Ready,
            (false, false) => Stage::Confirmed,
        };
        let gap = if verified { 0 } else { rules.gap };
        let found = Row {
            stage,
            verified,
            // Whoever was at work when the database was lost may still write under the epochs of then, and compare with the
            // versions of then.
            version: says.version + gap,
            epoch: says.epoch + gap,
            body: says.body,
            name: says.name,
            derived: says.derived,
        };
        match state.database.row {
            None if !state.database.purged => state.database.row = Some(found),
            Some(row) if verified && row.has_sidecar() && row.epoch < found.epoch => {
                if state.database.intents.is_empty() {
                    apply(state, task.after, found);
                } else {
                    // Under way, as its report says.
                    return End;
                }
            }
            _ => {}
        }
    }
    state.database.complete |= task.lease == 0;
    End
}

/// The newest of what the store says; nothing if a tombstone stands, or if there are no bytes. Of a note and a sidecar the
/// higher version counts, on a tie the note: a worker of before may have written what it had read before the last change.
fn believed(rules: &Rules, state: &State) -> Option<Says> {
    let store = &state.store;
    if store.tombstone {
        return None;
    }
    let sidecar = store
        .sidecars
        .values()
        .max_by_key(|says| (says.epoch, says.version))
        .copied();
    let note = store.note.filter(|_| store.staging != 0 || store.object != 0);
    let verified = state.database.row.is_some_and(Row::has_sidecar);
    match (sidecar, note) {
        (Some(sidecar), _) if verified => Some(sidecar),
        (Some(sidecar), Some(note)) if note.version >= sidecar.version && rules.note_on_tie => Some(Says {
            epoch: note.epoch.max(sidecar.epoch),
            ..note
        }),
        (Some(sidecar), _) => Some(sidecar),
        (None, note) => note,
    }
}
