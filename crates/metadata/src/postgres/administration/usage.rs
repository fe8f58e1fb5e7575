//! Usage, counted anew.

use std::time::Duration;

use cloakroom_core::ports::administration::{Totals, UsageCheck};
use cloakroom_core::ports::metadata::Result;

use super::super::connection::Connection;
use super::super::failure::Outcome;
use super::super::pool::{Attempt, GRACE, Pool, Unknown, Verdict};
use super::super::row;
use super::super::values::{Text, integer};
use crate::row::Columns as _;

/// Owners that are looked at in one go.
const OWNERS_AT_ONCE: usize = 100;
/// What the sums of so many owners may take. It is the one statement that may be slow: it locks nothing.
const PORTION_TIMEOUT: Duration = Duration::from_mins(10);

pub(super) async fn totals(connection: Connection) -> Outcome<Totals> {
    let found = connection.first(&connection.sql().totals, &[]).await?;
    let Some(row) = found else {
        return Ok(Totals::default());
    };
    Ok(Totals {
        files: row.size(0)?,
        stored_bytes: row.size(1)?,
    })
}

/// The next owners, each with both sums of one instant.
async fn portion(connection: Connection, after: Option<&str>) -> Outcome<Vec<UsageCheck>> {
    let milliseconds = PORTION_TIMEOUT.as_millis();
    // A connection whose transaction did not come to its end is not used again.
    connection.set_unfinished(true);
    connection
        .command(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {milliseconds}"
        ))
        .await?;
    let rows = i64::try_from(OWNERS_AT_ONCE).unwrap_or(i64::MAX);
    let sql = connection.sql();
    let found = match after {
        // Nothing sorts before the empty name.
        None => connection.query(&sql.check_usage_of, &[&Text("")]).await?,
        Some(after) => connection.query(&sql.check_usage, &[&Text(after), &rows]).await?,
    };
    connection.command("COMMIT").await?;
    connection.set_unfinished(false);
    row::all(&found, row::usage_check)
}

/// Sets the counters of one owner right, if they are still wrong. Its row is locked first, and whoever changes a file of
/// this owner waits for it, so the sums are those of what is committed.
async fn repair(connection: Connection, owner: &str) -> Outcome<Verdict<Option<UsageCheck>>> {
    let sql = connection.sql();
    connection.execute(&sql.lock_usage, &[&Text(owner)]).await?;
    let check = connection.first(&sql.check_usage_of, &[&Text(owner)]).await?;
    let check = check.as_ref().map(row::usage_check).transpose()?;
    let Some(check) = check.filter(|check| check.counted != check.found) else {
        return Ok(Verdict::Rollback(None));
    };
    let (reserved, stored, files) = (
        integer(check.found.reserved_bytes)?,
        integer(check.found.stored_bytes)?,
        integer(check.found.files)?,
    );
    connection
        .execute(&sql.set_usage, &[&Text(owner), &reserved, &stored, &files])
        .await?;
    Ok(Verdict::Commit(Some(check)))
}

/// Looks for wrong counters without holding up anybody, and sets right each of those that were found.
pub(super) async fn check(pool: &Pool, repairing: bool) -> Result<Vec<UsageCheck>> {
    let (mut wrong, mut after) = (Vec::new(), None::<String>);
    loop {
        let place = after.as_deref();
        let checks = pool
            .read_within(PORTION_TIMEOUT + GRACE, "check_usage", |c| portion(c, place))
            .await?;
        let more = after.is_none() || checks.len() == OWNERS_AT_ONCE;
        after = checks.last().map(|last| last.owner.clone());
        for check in checks {
            if check.counted == check.found {
                continue;
            }
            if !repairing {
                wrong.push(check);
                continue;
            }
            let owner = check.owner.as_str();
            let repaired = pool
                .decide("repair_usage", Unknown::Tell, Attempt::default(), |c, _| {
                    repair(c, owner)
                })
                .await?;
            wrong.extend(repaired);
        }
        if !more {
            return Ok(wrong);
        }
    }
}
