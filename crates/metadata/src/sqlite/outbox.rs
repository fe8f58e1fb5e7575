//! The outbox: events that wait for their delivery, claimed row by row like jobs.

use cloakroom_core::event::Event;
use cloakroom_core::id::EventId;
use cloakroom_core::ports::metadata::{ClaimedEvent, Delivery, EventLease, MetadataError};
use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::failure::Outcome;
use super::row::{self, integer, micros};
use super::session::Session;
use crate::row::Columns as _;

/// Lets an event wait, if anybody is going to ask for it.
pub(super) fn enter(session: &Session, event: &Event) -> Outcome<()> {
    if session.outbox {
        session.execute(
            &session.sql.insert_outbox,
            params![
                event.id.0.as_bytes(),
                event.file_id.0.as_bytes(),
                integer(event.version)?,
                micros(event.at),
            ],
        )?;
    }
    Ok(())
}

/// A row of the outbox that was just claimed.
struct Claimed {
    event_id: Uuid,
    file_id: Uuid,
    version: i64,
    run_at: i64,
    attempt: u32,
    epoch: u32,
}

pub(super) fn claim(
    session: &Session,
    worker: &str,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Outcome<Vec<ClaimedEvent>> {
    if !session.outbox {
        return Ok(Vec::new());
    }
    let mut claimed = session.all(
        &session.sql.claim_outbox,
        params![micros(now), worker, micros(until), limit],
        |row| {
            Ok(Claimed {
                event_id: row.id(0)?,
                file_id: row.id(1)?,
                version: row.get(2)?,
                run_at: row.get(3)?,
                attempt: row.get(4)?,
                epoch: row.get(5)?,
            })
        },
    )?;
    // RETURNING has no order.
    claimed.sort_by_key(|row| (row.run_at, row.event_id));
    claimed
        .into_iter()
        .map(|row| {
            let parameters = params![row.file_id.as_bytes(), row.version];
            let event = session
                .first(&session.sql.event, parameters, row::event)?
                .ok_or_else(|| {
                    MetadataError::Inconsistent(format!("event {} is in no timeline", row.event_id))
                })?;
            Ok(ClaimedEvent {
                event,
                attempt: row.attempt,
                lease: EventLease {
                    event_id: EventId(row.event_id),
                    epoch: row.epoch,
                },
            })
        })
        .collect()
}

pub(super) fn settle(session: &Session, lease: EventLease, delivery: &Delivery) -> Outcome<()> {
    let id = lease.event_id.0.as_bytes();
    let changed = match delivery {
        Delivery::Delivered | Delivery::GivenUp => {
            session.execute(&session.sql.delete_outbox, params![id, lease.epoch])?
        }
        Delivery::Retry { run_at, error } => session.execute(
            &session.sql.release_outbox,
            params![id, lease.epoch, micros(*run_at), error],
        )?,
    };
    if changed == 0 {
        return Err(MetadataError::Fenced.into());
    }
    Ok(())
}
