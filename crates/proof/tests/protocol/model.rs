//! The model: which states there are to begin with, what may happen, what must hold.

use stateright::{Model, Property};

use crate::state::{Database, Kind, Promised, Row, SLOTS, Stage, State, Store, Task, Used};
use crate::steps;

/// The protocol, rule by rule. Each may be broken, to see that the model notices.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Claim by compare-and-set before anything is deleted.
    pub claim: bool,
    /// The sidecar stands before the row says so.
    pub sidecar_first: bool,
    /// A tombstone before anything of a file is removed.
    pub tombstone: bool,
    /// Sidecars at keys of their epoch, never written twice.
    pub epoch_keys: bool,
    /// A worker writes over no revision but its own.
    pub never_overwrite: bool,
    /// Derivatives at keys of their epoch.
    pub derivative_epochs: bool,
    /// A commit needs the claim, and the row as it was read.
    pub fence: bool,
    /// An object with a sidecar or a note is adopted, never swept.
    pub adopt_sidecars: bool,
    /// Intents of the dead are resumed, not only expired.
    pub resume_intents: bool,
    /// A confirm writes its note before its row.
    pub note: bool,
    /// An abandoned revision is superseded, not deleted.
    pub supersede: bool,
    /// An intent without a sidecar moves the row on too, so that a late sidecar is an old one.
    pub supersede_unwritten: bool,
    /// It moves on beyond the abandoned epoch, instead of to it.
    pub supersede_beyond: bool,
    /// Before a tombstone goes, what late writers left beside it goes.
    pub tombstone_sweeps: bool,
    /// How far beyond the note's epoch and version a rebuilt row begins.
    pub gap: u8,
    /// Of a sidecar and a note of one version the note counts.
    pub note_on_tie: bool,
    /// Who lost a race deletes the revision that it had written.
    pub loser_deletes: bool,
    /// Promotion is a rename; else a copy that leaves the source behind.
    pub rename: bool,
}

impl Rules {
    /// The protocol as it is.
    pub const PROTOCOL: Self = Self {
        claim: true,
        sidecar_first: true,
        tombstone: true,
        epoch_keys: true,
        never_overwrite: true,
        derivative_epochs: true,
        fence: true,
        adopt_sidecars: true,
        resume_intents: true,
        note: true,
        supersede: true,
        supersede_unwritten: true,
        supersede_beyond: false,
        tombstone_sweeps: true,
        gap: 4,
        note_on_tie: true,
        loser_deletes: false,
        rename: false,
    };

    /// The key of the sidecar of an epoch.
    pub fn sidecar_key(&self, epoch: u8) -> u8 {
        if self.epoch_keys { epoch } else { 0 }
    }
}

/// Rules, and how often what may happen.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub rules: Rules,
    pub bounds: Used,
    /// Begin with a verified file; else with a signed upload.
    pub ready: bool,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client sends bytes.
    Send,
    /// A process begins something.
    Begin(usize, Kind),
    /// A process makes its next step.
    Step(usize),
    /// A process is killed.
    Crash(usize),
    /// The database is lost whole.
    LoseDatabase,
    /// Nobody of then can be alive: the tombstone goes.
    ForgetTombstone,
    /// Leftovers in staging of a file that needs them no more.
    SweepStaging,
}

impl Protocol {
    /// A task at its beginning.
    #[expect(clippy::too_many_lines, reason = "one arm for each kind of work")]
    fn begin(&self, state: &State, slot: usize, kind: Kind) -> Option<Task> {
        let (used, bounds) = (&state.used, &self.bounds);
        let row = state.database.row;
        let task = |row: Row, after: Row| Task {
            kind,
            at: 0,
            row,
            after,
            lease: 0,
            found: None,
            intent: (0, 0, used.patches + used.deletes + used.restores + 1),
            generation: used.losses,
        };
        let revised = |row: Row| Row {
            epoch: row.epoch + u8::from(row.has_sidecar()),
            ..row
        };
        match kind {
            Kind::Confirm if used.confirms < bounds.confirms => {
                let row = row.filter(|row| row.stage == Stage::Pending && state.store.staging != 0)?;
                let after = Row {
                    stage: Stage::Confirmed,
                    body: state.store.staging,
                    ..row
                };
                Some(task(row, after))
            }
            Kind::Patch if used.patches < bounds.patches => {
                let row = row.filter(|row| row.stage == Stage::Ready || row.is_noted())?;
                (row.stage != Stage::Trashed).then(|| {
                    task(
                        row,
                        Row {
                            name: 1,
                            ..revised(row)
                        },
                    )
                })
            }
            Kind::Delete if used.deletes < bounds.deletes => {
                let row = row.filter(|row| row.stage == Stage::Ready || row.is_noted())?;
                let after = Row {
                    stage: Stage::Trashed,
                    verified: row.stage == Stage::Ready,
                    ..revised(row)
                };
                (row.stage != Stage::Trashed).then(|| task(row, after))
            }
            Kind::Restore if used.restores < bounds.restores => {
                let row = row.filter(|row| row.stage == Stage::Trashed)?;
                let stage = if row.verified {
                    Stage::Ready
                } else {
                    Stage::Confirmed
                };
                Some(task(
                    row,
                    Row {
                        stage,
                        ..revised(row)
                    },
                ))
            }
            Kind::Process if used.claims < bounds.claims => {
                let row = row.filter(|row| matches!(row.stage, Stage::Confirmed | Stage::Processing))?;
                let mut task = task(row, row);
                task.lease = state.database.lease + 1;
                Some(task)
            }
            Kind::Reap => {
                let over = |row: &Row| row.stage == Stage::Reaping || row.stage == Stage::Pending;
                let row = row.filter(over)?;
                (used.purges < bounds.purges).then(|| task(row, row))
            }
            Kind::Purge => {
                let row = row.filter(|row| matches!(row.stage, Stage::Trashed | Stage::Purging))?;
                (used.purges < bounds.purges).then(|| task(row, row))
            }
            Kind::Recover if used.recoveries < bounds.recoveries => {
                let intent = *state.database.intents.iter().next()?;
                let mut task = task(Row::SIGNED, Row::SIGNED);
                task.intent = intent;
                Some(task)
            }
            Kind::Sweep if used.sweeps < bounds.sweeps => {
                let store = &state.store;
                // Garbage has a deadline of days, so nobody who was at work when it was found is alive.
                let alone = state.tasks.iter().all(Option::is_none);
                let something = alone && (store.staging != 0 || store.object != 0);
                // A program does not know that its database was lost.
                (row.is_none() && something && !store.tombstone).then(|| task(Row::SIGNED, Row::SIGNED))
            }
            Kind::Rebuild if used.rebuilds < bounds.rebuilds => {
                let idle = slot == 4 && (used.losses > 0 && !state.database.complete);
                idle.then(|| task(Row::SIGNED, Row::SIGNED))
            }
            _ => None,
        }
    }

    fn count(used: &mut Used, kind: Kind) {
        let counter = match kind {
            Kind::Confirm => &mut used.confirms,
            Kind::Patch => &mut used.patches,
            Kind::Delete => &mut used.deletes,
            Kind::Restore => &mut used.restores,
            Kind::Process => &mut used.claims,
            Kind::Recover => &mut used.recoveries,
            Kind::Rebuild => &mut used.rebuilds,
            Kind::Sweep => &mut used.sweeps,
            Kind::Reap | Kind::Purge => &mut used.purges,
            Kind::Supersede => return,
        };
        *counter += 1;
    }
}

/// Who does what: nodes of the API, workers, the one that sweeps.
const DUTIES: [&[Kind]; SLOTS] = [
    &[Kind::Confirm, Kind::Patch, Kind::Delete, Kind::Restore],
    &[Kind::Confirm, Kind::Patch, Kind::Delete, Kind::Restore],
    &[Kind::Process],
    &[Kind::Process],
    &[Kind::Reap, Kind::Purge, Kind::Recover, Kind::Sweep, Kind::Rebuild],
];

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            database: Database {
                row: Some(Row::SIGNED),
                lease: 0,
                intents: std::collections::BTreeSet::new(),
                purged: false,
                complete: true,
            },
            store: Store::default(),
            tasks: [None; SLOTS],
            promised: Promised::default(),
            used: Used::default(),
        };
        if self.ready {
            let row = Row {
                stage: Stage::Ready,
                verified: true,
                version: 3,
                epoch: 1,
                body: 1,
                derived: 1,
                ..Row::SIGNED
            };
            state.database.row = Some(row);
            state.store.object = 1;
            state.store.sidecars.insert(self.rules.sidecar_key(1), row.says());
            state.store.derived.insert(1, 1);
            state.promised.confirmed = true;
            state.used.bodies = 1;
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let pending = state.database.row.is_some_and(|row| row.stage == Stage::Pending);
        if pending && state.used.bodies < self.bounds.bodies {
            actions.push(Action::Send);
        }
        for (slot, duties) in DUTIES.iter().enumerate() {
            if state.tasks[slot].is_some() {
                actions.push(Action::Step(slot));
                if state.used.crashes < self.bounds.crashes {
                    actions.push(Action::Crash(slot));
                }
                continue;
            }
            // Twins: the second of a kind moves only beside the first.
            if matches!(slot, 1 | 3) && state.tasks[slot - 1].is_none() {
                continue;
            }
            for kind in *duties {
                if self.begin(state, slot, *kind).is_some() {
                    actions.push(Action::Begin(slot, *kind));
                }
            }
        }
        // Whoever deletes is taken to be dead before an operator begins anew with an empty database.
        let deleting = matches!(
            state.tasks[4],
            Some(Task {
                kind: Kind::Purge | Kind::Reap | Kind::Sweep | Kind::Rebuild,
                ..
            })
        );
        if state.used.losses < self.bounds.losses && !deleting {
            actions.push(Action::LoseDatabase);
        }
        let idle = state.tasks.iter().all(Option::is_none);
        if idle && state.store.tombstone && state.database.row.is_none() {
            actions.push(Action::ForgetTombstone);
        }
        let over = |row: Row| matches!(row.stage, Stage::Ready | Stage::Expired | Stage::Failed);
        let leftovers = state.store.staging != 0 || state.store.note.is_some();
        if idle && leftovers && state.database.row.is_some_and(over) {
            actions.push(Action::SweepStaging);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send => {
                state.used.bodies += 1;
                state.store.staging = state.used.bodies;
            }
            Action::Begin(slot, kind) => {
                let task = self.begin(last, slot, kind)?;
                if kind == Kind::Process {
                    state.database.lease += 1;
                }
                Self::count(&mut state.used, kind);
                state.tasks[slot] = Some(task);
            }
            Action::Step(slot) => steps::step(&self.rules, &mut state, slot),
            Action::Crash(slot) => {
                state.used.crashes += 1;
                let task = state.tasks[slot].take()?;
                state.promised.unsure |= matches!(task.kind, Kind::Delete | Kind::Restore) && task.at > 0;
            }
            Action::LoseDatabase => {
                let noted =
                    |row: Row| row.is_noted() && state.store.note.is_some_and(|note| note != row.says());
                let tied = |row: Row| state.store.note.is_some_and(|note| note.version <= row.version);
                state.promised.window |= state.database.row.is_some_and(|row| noted(row) && tied(row));
                state.used.losses += 1;
                state.database = Database {
                    row: None,
                    lease: 0,
                    intents: std::collections::BTreeSet::new(),
                    purged: false,
                    complete: false,
                };
            }
            Action::ForgetTombstone => {
                if self.rules.tombstone_sweeps {
                    state.store = Store::default();
                }
                state.store.tombstone = false;
            }
            Action::SweepStaging => {
                state.store.staging = 0;
                state.store.note = None;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}
