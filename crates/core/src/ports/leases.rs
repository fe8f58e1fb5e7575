//! Leases: which of several nodes does what only one should do (sweeping, recovery, changes of a store's mode).
//!
//! A lease is a hint with an end: its holder may be paused past it without knowing. So whatever is done under a lease
//! must be safe to do twice, and what changes a row is decided by that row's version. The epoch tells an old holder
//! from a new one where a system beside ours has to know.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::id::WorkerId;

/// Why a lease could not be asked for.
#[derive(Debug, thiserror::Error)]
#[error("leases are unavailable: {0}")]
pub struct LeaseError(pub String);

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who holds it.
    pub holder: WorkerId,
    /// The fencing token: grows each time that the lease goes to another holder, or to the same one anew.
    pub epoch: u64,
}

/// Gives out leases. What every adapter must do is in the testkit's `leases_suite`.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease that is free or over. `None` when somebody else holds it. Whoever holds it already gets a new
    /// epoch: a process that starts anew must not trust what it did before.
    async fn acquire(
        &self,
        name: &str,
        holder: &WorkerId,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Option<Lease>, LeaseError>;

    /// Holds on to a lease for `duration` from now. `false` when it is no longer held under this epoch.
    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<bool, LeaseError>;

    /// Gives a lease back; one that is no longer held stays as it is.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;
}
