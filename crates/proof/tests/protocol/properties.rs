//! What must hold in every state, and what must be reachable for the rest to mean anything.

use stateright::Property;

use crate::model::Protocol;
use crate::state::{Row, Stage, State};

/// Every property.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("an acknowledged confirm is kept", |_, state| kept(state)),
        Property::always("nothing is shown that is not whole", |_, state| whole(state)),
        Property::always("nothing dangles at rest", |_, state| tidy(state)),
        Property::always("what was purged never comes back", |_, state| gone(state)),
        Property::always("what was deleted stays deleted", |_, state| deleted(state)),
        Property::always("an acknowledged change is kept", |_, state| patched(state)),
        Property::sometimes("a file is ready", |_, state: &State| {
            state.is_quiet() && stage(state) == Some(Stage::Ready)
        }),
    ]
}

fn stage(state: &State) -> Option<Stage> {
    state.database.row.map(|row| row.stage)
}

/// I3.
fn kept(state: &State) -> bool {
    if !state.is_quiet() || !state.promised.confirmed {
        return true;
    }
    let asked_to_delete = state.used.deletes > 0;
    match state.database.row {
        Some(row) => match row.stage {
            Stage::Ready => row.body != 0,
            Stage::Trashed => asked_to_delete,
            _ => false,
        },
        None => asked_to_delete && state.promised.claimed,
    }
}

/// I1, I2: whoever is shown a ready file finds the bytes, the derivative and the sidecar of its epoch.
fn whole(state: &State) -> bool {
    let Some(row) = state.database.row.filter(|row| row.stage == Stage::Ready) else {
        return true;
    };
    // A sidecar key that is written again and again says what its newest writer said.
    let sidecar = state
        .store
        .sidecars
        .get(&row.epoch)
        .or_else(|| state.store.sidecars.get(&0));
    let maker = state.store.derived.get(&row.derived);
    let made_by_its_own = maker.is_some_and(|maker| *maker == row.derived);
    state.store.object == row.body
        && row.body != 0
        && made_by_its_own
        && sidecar.is_some_and(|says| says.body == row.body && says.name == row.name && !says.trashed)
}

/// I5.
fn tidy(state: &State) -> bool {
    if !state.is_quiet() {
        return true;
    }
    let store = &state.store;
    let beside = store.object != 0 || !store.sidecars.is_empty() || !store.derived.is_empty();
    let newest = store.sidecars.values().map(|says| says.epoch).max().unwrap_or(0);
    match state.database.row {
        // A tombstone's deadline takes along what late writers left.
        None => store.tombstone || !beside || state.used.sweeps > 0 || !state.promised.purged,
        Some(row) => match row.stage {
            Stage::Ready => newest == row.epoch,
            Stage::Trashed if row.verified => newest == row.epoch && store.object == row.body,
            Stage::Trashed => newest <= row.epoch,
            Stage::Pending | Stage::Expired => !beside,
            _ => true,
        },
    }
}

/// A purged file never comes back.
fn gone(state: &State) -> bool {
    let lives = |row: Row| !matches!(row.stage, Stage::Reaping | Stage::Expired | Stage::Purging);
    let restored_in_time = !state.promised.purged;
    restored_in_time || !state.database.row.is_some_and(lives)
}

/// A file in the trash stays there, also when the database is lost.
fn deleted(state: &State) -> bool {
    let promised = &state.promised;
    if !state.is_quiet() || !promised.deleted || promised.unsure || promised.window {
        return true;
    }
    let restoring = state.used.restores > u8::from(promised.restored);
    restoring
        || !matches!(
            stage(state),
            Some(Stage::Ready | Stage::Confirmed | Stage::Processing)
        )
}

/// A name that was acknowledged is kept.
fn patched(state: &State) -> bool {
    if !state.is_quiet() || !state.promised.patched || state.promised.window {
        return true;
    }
    state
        .database
        .row
        .is_none_or(|row| row.name == 1 || !matches!(row.stage, Stage::Ready | Stage::Trashed))
}
