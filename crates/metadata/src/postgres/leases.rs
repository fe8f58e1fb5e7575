//! Leases: which of several nodes does what only one should do.

use async_trait::async_trait;
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::{Lease, LeaseError, Leases};
use cloakroom_core::ports::metadata::MetadataError;
use jiff::{SignedDuration, Timestamp};

use super::PostgresStore;
use super::pool::Unknown;
use super::values::{Text, Time, integer};
use crate::row::Columns as _;

fn end(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn failed(error: MetadataError) -> LeaseError {
    LeaseError(match error {
        MetadataError::Unavailable(text) => text,
        other => other.to_string(),
    })
}

#[async_trait]
impl Leases for PostgresStore {
    async fn acquire(
        &self,
        name: &str,
        holder: &WorkerId,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Option<Lease>, LeaseError> {
        // Taken anew if nobody knows whether it was taken: that is a new epoch, and harms nobody.
        let taken = self
            .pool
            .write("acquire_lease", Unknown::RunAgain, |c, _| async move {
                let until = Time(end(now, duration));
                let found = c
                    .first(
                        &c.sql().acquire_lease,
                        &[&Text(name), &Text(&holder.0), &Time(now), &until],
                    )
                    .await?;
                let read = |row: tokio_postgres::Row| {
                    u64::try_from(row.try_get::<_, i64>(0)?).map_err(|_| row.inconsistent(0, "negative"))
                };
                found.map(read).transpose()
            })
            .await
            .map_err(failed)?;
        Ok(taken.map(|epoch| Lease {
            name: name.to_owned(),
            holder: holder.clone(),
            epoch,
        }))
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<bool, LeaseError> {
        let renewed = self
            .pool
            .write("renew_lease", Unknown::RunAgain, |c, _| async move {
                let (epoch, until) = (integer(lease.epoch)?, Time(end(now, duration)));
                let (name, holder) = (Text(&lease.name), Text(&lease.holder.0));
                c.execute(
                    &c.sql().renew_lease,
                    &[&name, &holder, &epoch, &Time(now), &until],
                )
                .await
            })
            .await
            .map_err(failed)?;
        Ok(renewed > 0)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.pool
            .write("release_lease", Unknown::RunAgain, |c, _| async move {
                let epoch = integer(lease.epoch)?;
                c.execute(
                    &c.sql().release_lease,
                    &[&Text(&lease.name), &Text(&lease.holder.0), &epoch],
                )
                .await
                .map(|_| ())
            })
            .await
            .map_err(failed)
    }
}
