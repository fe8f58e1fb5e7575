//! What every [`Leases`] must do.
//!
//! An adapter's tests name an async function that makes leases which nobody else uses, and what must live as long
//! (a temporary directory, a schema, a key prefix):
//!
//! ```ignore
//! async fn fresh() -> (Arc<dyn Leases>, TempDir) { .. }
//! cloakroom_testkit::leases_suite!(fresh);
//! ```
//!
//! Each case becomes one `#[tokio::test]`. An adapter may count by the `now` that it is given or by its server's own
//! clock: the cases hand over the real time, and wait for a lease to end by asking for it until they get it.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::{Lease, Leases};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

/// The leases under test.
pub type SharedLeases = Arc<dyn Leases>;

/// Longer than any case.
const LONG: SignedDuration = SignedDuration::from_mins(5);
/// A lease whose end a case waits for.
const SHORT: SignedDuration = SignedDuration::from_millis(250);
/// A lease that is to be renewed before its end; a case tries again if the machine was too busy for that.
const MEDIUM: SignedDuration = SignedDuration::from_secs(2);
/// By how much a server may round times, and its clock differ from ours within so short a time.
const TOLERANCE: SignedDuration = SignedDuration::from_millis(20);
/// A lease that has not ended by then does not end.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// Makes a test of each case of the suite; see [the module](mod@crate::leases_suite).
#[macro_export]
macro_rules! leases_suite {
    ($fresh:path) => {
        $crate::leases_suite!(@cases $fresh;
            a_lease_is_held_by_one,
            epochs_grow_with_every_change_of_hands,
            only_the_current_epoch_renews,
            renewing_holds_on_to_a_lease,
            a_lease_is_taken_over_only_after_its_end,
            a_lost_lease_is_not_given_back,
            racing_acquirers_have_one_winner,
            an_ended_lease_has_one_successor,
            leases_of_different_names_are_independent,
        );
    };
    (@cases $fresh:path; $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (leases, _guard) = $fresh().await;
                $crate::leases_suite::$case(leases).await;
            }
        )+
    };
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server counts by the real time, so the suite does"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn worker(name: &str) -> WorkerId {
    WorkerId(name.to_owned())
}

async fn acquire(leases: &dyn Leases, name: &str, holder: &str, duration: SignedDuration) -> Option<Lease> {
    let lease = leases
        .acquire(name, &worker(holder), now(), duration)
        .await
        .expect("acquire");
    if let Some(lease) = &lease {
        assert_eq!((lease.name.as_str(), &lease.holder), (name, &worker(holder)));
    }
    lease
}

async fn held(leases: &dyn Leases, name: &str, holder: &str, duration: SignedDuration) -> Lease {
    let lease = acquire(leases, name, holder, duration).await;
    lease.unwrap_or_else(|| panic!("{name} is free for {holder}"))
}

async fn renew(leases: &dyn Leases, lease: &Lease) -> bool {
    leases.renew(lease, now(), LONG).await.expect("renew")
}

/// Asks until the lease is free.
async fn wait_for(leases: &dyn Leases, name: &str, holder: &str) -> Lease {
    let begun = now();
    loop {
        if let Some(lease) = acquire(leases, name, holder, LONG).await {
            return lease;
        }
        assert!(begun + PATIENCE > now(), "{name} never became free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// While one holds it no other gets it, and who asks in vain changes nothing.
pub async fn a_lease_is_held_by_one(leases: SharedLeases) {
    let leases = leases.as_ref();
    let first = held(leases, "sweeper", "a", LONG).await;
    for _ in 0..3 {
        assert_eq!(acquire(leases, "sweeper", "b", LONG).await, None);
    }
    assert!(renew(leases, &first).await);
    leases.release(&first).await.expect("release");
    held(leases, "sweeper", "b", LONG).await;
    assert_eq!(acquire(leases, "sweeper", "a", LONG).await, None);
}

/// To the same holder anew, after a release, and after an end: whoever sees two epochs knows which came later.
pub async fn epochs_grow_with_every_change_of_hands(leases: SharedLeases) {
    let leases = leases.as_ref();
    let mut epochs = vec![held(leases, "sweeper", "a", LONG).await.epoch];
    let again = held(leases, "sweeper", "a", LONG).await;
    epochs.push(again.epoch);
    leases.release(&again).await.expect("release");
    let after_release = held(leases, "sweeper", "a", LONG).await;
    epochs.push(after_release.epoch);
    leases.release(&after_release).await.expect("release");
    epochs.push(held(leases, "sweeper", "b", SHORT).await.epoch);
    epochs.push(wait_for(leases, "sweeper", "c").await.epoch);
    assert!(
        epochs.is_sorted_by(|earlier, later| earlier < later),
        "{epochs:?}"
    );
}

/// Neither an older epoch of the same holder, nor another holder, nor a lease that was given back.
pub async fn only_the_current_epoch_renews(leases: SharedLeases) {
    let leases = leases.as_ref();
    let old = held(leases, "sweeper", "a", LONG).await;
    let current = held(leases, "sweeper", "a", LONG).await;
    assert!(!renew(leases, &old).await);
    assert!(renew(leases, &current).await);
    let forged = Lease {
        epoch: current.epoch + 1,
        ..current.clone()
    };
    assert!(!renew(leases, &forged).await);
    let stranger = Lease {
        holder: worker("b"),
        ..current.clone()
    };
    assert!(!renew(leases, &stranger).await);
    let unknown = Lease {
        name: "never acquired".to_owned(),
        ..current.clone()
    };
    assert!(!renew(leases, &unknown).await);
    leases.release(&current).await.expect("release");
    assert!(!renew(leases, &current).await, "given back is given back");
    held(leases, "sweeper", "b", LONG).await;
}

/// Past the end that it had at first.
pub async fn renewing_holds_on_to_a_lease(leases: SharedLeases) {
    let leases = leases.as_ref();
    let (begun, lease) = loop {
        let begun = now();
        let lease = held(leases, "sweeper", "a", MEDIUM).await;
        if renew(leases, &lease).await {
            break (begun, lease);
        }
        assert!(now() + TOLERANCE >= begun + MEDIUM, "its time was not over");
    };
    while now() < begun + MEDIUM + SHORT {
        assert_eq!(acquire(leases, "sweeper", "b", LONG).await, None);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(renew(leases, &lease).await, "under the epoch that it always had");
}

/// Not a moment earlier; and the old holder is told.
pub async fn a_lease_is_taken_over_only_after_its_end(leases: SharedLeases) {
    let leases = leases.as_ref();
    let begun = now();
    let old = held(leases, "sweeper", "a", SHORT).await;
    let new = wait_for(leases, "sweeper", "b").await;
    let passed = now().duration_since(begun);
    assert!(
        passed + TOLERANCE >= SHORT,
        "taken over after {passed:?} of {SHORT:?}"
    );
    assert!(new.epoch > old.epoch);
    assert!(!renew(leases, &old).await);
    assert!(renew(leases, &new).await);
}

/// Whoever lost a lease cannot give away its successor's.
pub async fn a_lost_lease_is_not_given_back(leases: SharedLeases) {
    let leases = leases.as_ref();
    let old = held(leases, "sweeper", "a", LONG).await;
    let current = held(leases, "sweeper", "a", LONG).await;
    leases.release(&old).await.expect("release");
    let forged = Lease {
        holder: worker("b"),
        ..current.clone()
    };
    leases.release(&forged).await.expect("release");
    assert_eq!(acquire(leases, "sweeper", "b", LONG).await, None);
    assert!(renew(leases, &current).await);
    for _ in 0..2 {
        leases.release(&current).await.expect("release, and again");
    }
    held(leases, "sweeper", "b", LONG).await;
}

async fn race(leases: &SharedLeases, name: &'static str) -> Vec<Lease> {
    let racers: Vec<_> = (0..16)
        .map(|n| {
            let leases = Arc::clone(leases);
            tokio::spawn(async move { acquire(leases.as_ref(), name, &format!("node-{n}"), LONG).await })
        })
        .collect();
    let answers = join_all(racers).await;
    answers
        .into_iter()
        .filter_map(|answer| answer.expect("no panic"))
        .collect()
}

/// Ten nodes start at once: one of them sweeps.
pub async fn racing_acquirers_have_one_winner(leases: SharedLeases) {
    for name in ["sweeper", "recovery", "mode"] {
        let winners = race(&leases, name).await;
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert!(renew(leases.as_ref(), &winners[0]).await);
    }
}

/// When a holder is gone, one of those who wait takes over, in whatever order they ask.
pub async fn an_ended_lease_has_one_successor(leases: SharedLeases) {
    let old = held(leases.as_ref(), "sweeper", "gone", SHORT).await;
    let begun = now();
    let winners = loop {
        let winners = race(&leases, "sweeper").await;
        if !winners.is_empty() {
            break winners;
        }
        assert!(begun + PATIENCE > now(), "the lease never became free");
    };
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert!(winners[0].epoch > old.epoch);
    assert_eq!(race(&leases, "sweeper").await.len(), 1, "only its holder, anew");
}

/// Names may look alike, and may be any text.
pub async fn leases_of_different_names_are_independent(leases: SharedLeases) {
    let leases = leases.as_ref();
    let names = ["sweeper", "Sweeper", "sweeper ", "sweep*", "мусорщик:'1'"];
    let mut all = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        all.push(held(leases, name, &format!("node-{n}"), LONG).await);
    }
    leases.release(&all[0]).await.expect("release");
    for lease in &all[1..] {
        assert!(renew(leases, lease).await, "{:?}", lease.name);
        assert_eq!(acquire(leases, &lease.name, "another", LONG).await, None);
    }
    held(leases, names[0], "another", LONG).await;
}
