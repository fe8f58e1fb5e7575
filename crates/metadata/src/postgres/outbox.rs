//! The outbox: events that wait for their delivery. Rows are claimed, never read "after the last one seen": a
//! transaction that took its place early and commits late is claimed like any other, when it can be seen.

use cloakroom_core::event::Event;
use cloakroom_core::ports::metadata::{Claim, ClaimedEvent, Delivery, EventLease, MetadataError};
use uuid::Uuid;

use super::connection::{Connection, Write};
use super::failure::Outcome;
use super::jobs::lease_end;
use super::row;
use super::values::{Text, Time, integer};
use crate::row::Columns as _;

/// What puts events into the outbox, in the transaction that writes them; nothing without an outbox.
pub(super) fn write<'a>(connection: &'a Connection, events: &[&Event]) -> Outcome<Option<Write<'a>>> {
    if !connection.has_outbox() {
        return Ok(None);
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.id.0).collect();
    let files: Vec<Uuid> = events.iter().map(|event| event.file_id.0).collect();
    let versions = events
        .iter()
        .map(|event| integer(event.version))
        .collect::<Outcome<Vec<i64>>>()?;
    let times: Vec<Time> = events.iter().map(|event| Time(event.at)).collect();
    Ok(Some(Write {
        statement: &connection.sql().insert_outbox,
        values: vec![
            Box::new(ids),
            Box::new(files),
            Box::new(versions),
            Box::new(times),
        ],
    }))
}

/// Puts events into the outbox.
pub(super) async fn put(connection: &Connection, events: &[&Event]) -> Outcome<()> {
    let writes: Vec<Write<'_>> = write(connection, events)?.into_iter().collect();
    connection.execute_all(&writes).await?;
    Ok(())
}

pub(super) async fn claim(connection: Connection, claim: &Claim<'_>) -> Outcome<Vec<ClaimedEvent>> {
    if !connection.has_outbox() {
        return Ok(Vec::new());
    }
    let claimed = connection
        .query(
            &connection.sql().claim_events,
            &[
                &Time(claim.now),
                &Text(&claim.worker.0),
                &Time(lease_end(claim)),
                &i64::from(claim.limit),
            ],
        )
        .await?;
    let mut claimed = row::all(&claimed, |row| {
        let event = row::event(row)?;
        let lease = EventLease {
            event_id: event.id,
            epoch: row.count(9)?,
        };
        let claimed = ClaimedEvent {
            event,
            attempt: row.count(8)?,
            lease,
        };
        Ok((row.time(10)?, claimed))
    })?;
    // RETURNING has no order.
    claimed.sort_by_key(|(run_at, claimed)| (*run_at, claimed.event.id));
    Ok(claimed.into_iter().map(|(_, claimed)| claimed).collect())
}

pub(super) async fn settle(connection: Connection, lease: EventLease, delivery: &Delivery) -> Outcome<()> {
    let sql = connection.sql();
    let (id, epoch) = (lease.event_id.0, i64::from(lease.epoch));
    let settled = match delivery {
        Delivery::Delivered | Delivery::GivenUp => {
            connection
                .execute(&sql.remove_from_outbox, &[&id, &epoch])
                .await?
        }
        Delivery::Retry { run_at, error } => {
            connection
                .execute(&sql.release_event, &[&id, &epoch, &Time(*run_at), &Text(error)])
                .await?
        }
    };
    if settled == 0 {
        Err(MetadataError::Fenced.into())
    } else {
        Ok(())
    }
}
