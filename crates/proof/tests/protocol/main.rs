//! A bounded model of the protocol (design §3): one file, two nodes of the API, two workers, one that sweeps, recovers and
//! rebuilds; crashes between any two steps, the loss of the whole database, processes that stand still and go on. Every
//! state within the bounds is visited. And the protocol with one rule broken at a time: the model must notice each.
//!
//! `CLOAKROOM_PROTOCOL_BOUNDS=large cargo test --release -p cloakroom-proof --test protocol` visits more, and
//! `CLOAKROOM_PROTOCOL_TRACE=1` with `-- --nocapture` prints the shortest way to each violation.

mod model;
mod properties;
mod state;
mod steps;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{Protocol, Rules};
use crate::state::Used;

#[expect(
    clippy::disallowed_methods,
    reason = "how long tests may take is said in the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn large() -> bool {
    variable("CLOAKROOM_PROTOCOL_BOUNDS").is_some_and(|bounds| bounds == "large")
}

/// What may happen to an upload, and how often.
fn upload(large: bool) -> Used {
    Used {
        bodies: 1,
        confirms: 1,
        patches: 1,
        claims: 2,
        rebuilds: 1 + u8::from(large),
        sweeps: 1,
        purges: 1,
        crashes: 1,
        losses: 1,
        ..Used::default()
    }
}

/// What may happen to an upload that is deleted while it is processed.
fn withdrawn(large: bool) -> Used {
    Used {
        patches: 0,
        deletes: 1,
        restores: u8::from(large),
        sweeps: 0,
        claims: 1 + u8::from(large),
        ..upload(large)
    }
}

/// What may happen to a file, and how often.
fn life(large: bool) -> Used {
    Used {
        patches: 1,
        deletes: 1,
        restores: u8::from(large),
        recoveries: 2 + u8::from(large),
        rebuilds: 1 + u8::from(large),
        sweeps: u8::from(large),
        purges: 1,
        crashes: 1,
        losses: 1,
        ..Used::default()
    }
}

fn check(protocol: Protocol) -> (usize, Vec<&'static str>) {
    let checker = protocol
        .checker()
        .threads(std::thread::available_parallelism().map_or(2, usize::from))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let failed = checker.discoveries();
    let broken = failed
        .iter()
        .filter(|(name, _)| **name != "a file is ready")
        .map(|(name, path)| {
            if variable("CLOAKROOM_PROTOCOL_TRACE").is_some() {
                println!("{name}:\n{path}");
            }
            *name
        })
        .collect();
    (checker.unique_state_count(), broken)
}

fn scenarios(rules: &Rules, large: bool) -> [Protocol; 3] {
    let of = |bounds, ready| Protocol {
        rules: rules.clone(),
        bounds,
        ready,
    };
    [
        of(withdrawn(large), false),
        of(upload(large), false),
        of(life(large), true),
    ]
}

#[test]
fn the_protocol_holds_in_every_state() {
    for rename in [false, true] {
        for protocol in scenarios(
            &Rules {
                rename,
                ..Rules::PROTOCOL
            },
            large(),
        ) {
            let (bounds, begun) = (protocol.bounds, Instant::now());
            let (states, broken) = check(protocol);
            println!(
                "{states} states in {:.1} s: {bounds:?}",
                begun.elapsed().as_secs_f64()
            );
            assert!(broken.is_empty(), "{broken:?} broken within {bounds:?}");
        }
    }
}

/// A rule broken: something must break with it, within the small bounds or the large ones.
fn caught(name: &str, rules: Rules) {
    let begun = Instant::now();
    let bounded = [false, true].map(|large| scenarios(&rules, large));
    for protocol in bounded.into_iter().flatten() {
        let (states, broken) = check(protocol);
        if !broken.is_empty() {
            println!(
                "{name}: {broken:?} after {states} states, {:.2} s",
                begun.elapsed().as_secs_f64()
            );
            return;
        }
    }
    panic!("nothing breaks when the rule is broken: {name}");
}

macro_rules! wrong_variants {
    ($($test:ident: $($rule:ident: $broken:expr),+;)*) => {
        $(#[test]
        fn $test() {
            caught(stringify!($test), Rules { $($rule: $broken,)+ ..Rules::PROTOCOL });
        })*
    };
}

wrong_variants! {
    check_then_delete: claim: false;
    sidecar_after_row: sidecar_first: false;
    delete_without_tombstone: tombstone: false;
    mutable_sidecar_key: epoch_keys: false;
    late_worker_that_writes_over_a_revision: never_overwrite: false;
    derivatives_at_fixed_keys: derivative_epochs: false;
    commit_without_fence: fence: false;
    sweeping_what_has_a_sidecar: adopt_sidecars: false;
    intents_only_expired: resume_intents: false;
    confirm_without_note: note: false;
    recovery_that_deletes: supersede: false;
    late_sidecar_of_a_closed_intent: supersede_unwritten: false;
    recovery_beyond_the_abandoned_epoch: supersede_beyond: true;
    tombstone_that_leaves_late_writes: tombstone_sweeps: false;
    late_sidecar_believed_over_the_note: note_on_tie: false;
    loser_that_deletes_its_revision: loser_deletes: true;
    rebuilt_row_under_an_old_epoch: gap: 0;
}
