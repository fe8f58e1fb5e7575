//! Leases in the database: for one node there is little to share, but what runs under a lease is written once.

use async_trait::async_trait;
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::{Lease, LeaseError, Leases};
use cloakroom_core::ports::metadata::MetadataError;
use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

use super::SqliteStore;
use super::failure::Outcome;
use super::row::{integer, micros};
use super::session::Session;
use crate::row::Columns as _;

fn acquire(
    session: &Session,
    name: &str,
    holder: &str,
    now: Timestamp,
    end: Timestamp,
) -> Outcome<Option<u64>> {
    session.first(
        &session.sql.acquire_lease,
        params![name, holder, micros(now), micros(end)],
        |row| row.size(0),
    )
}

fn renew(session: &Session, lease: &Lease, now: Timestamp, end: Timestamp) -> Outcome<bool> {
    let renewed = session.execute(
        &session.sql.renew_lease,
        params![
            lease.name,
            lease.holder.0,
            integer(lease.epoch)?,
            micros(now),
            micros(end)
        ],
    )?;
    Ok(renewed > 0)
}

fn release(session: &Session, lease: &Lease) -> Outcome<()> {
    session.execute(
        &session.sql.release_lease,
        params![lease.name, lease.holder.0, integer(lease.epoch)?],
    )?;
    Ok(())
}

fn end(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

fn unavailable(error: MetadataError) -> LeaseError {
    LeaseError(error.to_string())
}

#[async_trait]
impl Leases for SqliteStore {
    async fn acquire(
        &self,
        name: &str,
        holder: &WorkerId,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Option<Lease>, LeaseError> {
        let (key, owner) = (name.to_owned(), holder.0.clone());
        let epoch = self
            .write("acquire_lease", move |session| {
                acquire(session, &key, &owner, now, end(now, duration))
            })
            .await
            .map_err(unavailable)?;
        Ok(epoch.map(|epoch| Lease {
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
        let lease = lease.clone();
        self.write("renew_lease", move |session| {
            renew(session, &lease, now, end(now, duration))
        })
        .await
        .map_err(unavailable)
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let lease = lease.clone();
        self.write("release_lease", move |session| release(session, &lease))
            .await
            .map_err(unavailable)
    }
}
