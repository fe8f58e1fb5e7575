//! The whole database, read and written in portions.
//!
//! A portion begins after a key, never at an offset, so it costs the same wherever it begins. The rows of a portion are
//! written without waiting for each other's answers, in one transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::id::FileId;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::ports::archive::{ArchivedFile, ArchivedRow, MetadataArchive, Portion, Section};
use cloakroom_core::ports::metadata::{MetadataError, Result};
use cloakroom_core::ports::signals::Topic;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::PostgresStore;
use super::administration::{garbage, stores};
use super::connection::{Connection, Write};
use super::failure::Outcome;
use super::pool::Unknown;
use super::row::{self, Value};
use super::statements::{
    Prepared, audit_columns, event_columns, file_columns, garbage_columns, intent_columns, job_columns,
    later_file_columns, record_columns, store_columns, token_columns, upload_columns,
};
use super::values::{Json, Text, TextBuf, Time, integer, json_text};
use super::{files, tokens};
use crate::place::{garbage_of_place, place_of_garbage};
use crate::row::Columns as _;

/// The table of a section.
const fn table(section: Section) -> &'static str {
    match section {
        Section::Records => "records",
        Section::Files => "files",
        Section::Events => "events",
        Section::Usage => "usage",
        Section::Intents => "wal",
        Section::Jobs => "jobs",
        Section::ServiceTokens => "service_tokens",
        Section::Settings => "settings",
        Section::KeptGarbage => "garbage",
        Section::Stores => "stores",
        Section::Audit => "audit",
    }
}

/// A section's columns and the columns of its key. The table goes by the name that its columns carry.
const fn shape(section: Section) -> (&'static str, &'static str, &'static str) {
    match section {
        Section::Records => (record_columns!(), "kind, id", "r"),
        Section::Files => (
            concat!(
                file_columns!(),
                ", ",
                upload_columns!(),
                ", ",
                later_file_columns!()
            ),
            "f.id",
            "f",
        ),
        Section::Events => (event_columns!(), "e.file_id, e.version", "e"),
        Section::Usage => ("owner, reserved_bytes, stored_bytes, files", "owner", "u"),
        Section::Intents => (intent_columns!(), "id", "w"),
        Section::Jobs => (job_columns!(), "j.id", "j"),
        Section::ServiceTokens => (token_columns!(), "id", "t"),
        Section::Settings => ("name, value", "name", "s"),
        Section::KeptGarbage => (garbage_columns!(), "bucket, key, upload_id", "g"),
        Section::Stores => (store_columns!(), "name", "s"),
        Section::Audit => (audit_columns!(), "id", "a"),
    }
}

/// Which of the table's rows are in a section.
const fn condition(section: Section) -> &'static str {
    match section {
        Section::KeptGarbage => "state = 'kept'",
        _ => "TRUE",
    }
}

/// The statement that reads a section.
pub(super) fn export_sql(section: Section, from_the_start: bool, rows: u64) -> String {
    let (columns, key, name) = shape(section);
    let marks = ["$1", "$1, $2", "$1, $2, $3"][key.matches(',').count()];
    let after = if from_the_start {
        String::new()
    } else {
        format!("AND ({key}) > ({marks})")
    };
    let (table, condition) = (table(section), condition(section));
    format!(
        "SELECT {columns} FROM {{p}}_{table} AS {name} WHERE {condition} {after} ORDER BY {key} LIMIT {rows}"
    )
}

/// The key that a place stands for.
fn key(section: Section, place: &str) -> Outcome<Vec<(Value<'_>, Type)>> {
    let unknown = || MetadataError::Internal(format!("not a place in {}: {place:?}", section.as_str()));
    let uuid = |text: &str| Uuid::try_parse(text).map_err(|_| unknown());
    Ok(match section {
        Section::Records => {
            let (kind, id) = place.split_once('/').ok_or_else(unknown)?;
            vec![
                (Box::new(Text(kind)), Type::TEXT),
                (Box::new(Text(id)), Type::TEXT),
            ]
        }
        Section::Events => {
            let (id, version) = place.split_once('/').ok_or_else(unknown)?;
            let version: i64 = version.parse().map_err(|_| unknown())?;
            vec![(Box::new(uuid(id)?), Type::UUID), (Box::new(version), Type::INT8)]
        }
        Section::Files | Section::Intents | Section::Jobs | Section::ServiceTokens | Section::Audit => {
            vec![(Box::new(uuid(place)?), Type::UUID)]
        }
        Section::Usage | Section::Settings | Section::Stores => vec![(Box::new(Text(place)), Type::TEXT)],
        Section::KeptGarbage => {
            let parts = garbage_of_place(place).ok_or_else(unknown)?;
            parts
                .map(|part| (Box::new(TextBuf(part)) as Value<'_>, Type::TEXT))
                .into()
        }
    })
}

/// Reads a row and the place that it marks.
fn read(
    section: Section,
    row: &Row,
    derivatives: &mut HashMap<FileId, Vec<Derivative>>,
) -> Outcome<(String, ArchivedRow)> {
    Ok(match section {
        Section::Records => {
            let record = row::record(row)?;
            (record.key.to_string(), ArchivedRow::Record(record))
        }
        Section::Files => {
            let file = row::file(row)?;
            let has_upload = row.try_get::<_, Option<&str>>(36)?.is_some();
            let archived = ArchivedFile {
                upload: has_upload.then(|| row::upload(row, 35)).transpose()?,
                derivatives: derivatives.remove(&file.id).unwrap_or_default(),
                file,
            };
            (
                archived.file.id.to_string(),
                ArchivedRow::File(Box::new(archived)),
            )
        }
        Section::Events => {
            let event = row::event(row)?;
            let place = format!("{}/{}", event.file_id, event.version);
            (place, ArchivedRow::Event(event))
        }
        Section::Usage => {
            let (owner, usage) = (row.text(0)?, row::usage(row, 1)?);
            (owner.clone(), ArchivedRow::Usage { owner, usage })
        }
        Section::Intents => {
            let intent = row::intent(row)?;
            (intent.id.to_string(), ArchivedRow::Intent(intent))
        }
        Section::Jobs => {
            let job = row::job(row)?;
            (job.id.to_string(), ArchivedRow::Job(job))
        }
        Section::ServiceTokens => {
            let token = tokens::read_token(row)?;
            (token.id.to_string(), ArchivedRow::ServiceToken(token))
        }
        Section::Settings => {
            let (name, value) = (row.text(0)?, row.object(1)?);
            (name.clone(), ArchivedRow::Setting { name, value })
        }
        Section::KeptGarbage => {
            let garbage = row::garbage(row)?;
            (place_of_garbage(&garbage), ArchivedRow::KeptGarbage(garbage))
        }
        Section::Stores => {
            let store = row::store_state(row)?;
            (store.name.clone(), ArchivedRow::Store(store))
        }
        Section::Audit => {
            let entry = row::audit_entry(row)?;
            (entry.id.to_string(), ArchivedRow::Audit(entry))
        }
    })
}

async fn export(
    connection: Connection,
    section: Section,
    after: Option<&str>,
    limit: u32,
) -> Outcome<Portion> {
    let limit = limit.max(1);
    let key = after
        .map(|place| key(section, place))
        .transpose()?
        .unwrap_or_default();
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = key
        .iter()
        .map(|(value, ty)| -> (&(dyn ToSql + Sync), Type) { (&**value, ty.clone()) })
        .collect();
    // One more than is asked for says whether there is more.
    let sql = export_sql(section, after.is_none(), u64::from(limit) + 1);
    let sql = connection.sql().prefix.render(&sql);
    let mut found = connection.query_unprepared(&sql, &parameters).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let mut derivatives: HashMap<FileId, Vec<Derivative>> = HashMap::new();
    if section == Section::Files {
        let ids = row::all(&found, |row| row.id(0))?;
        let rows = connection
            .query(&connection.sql().derivatives_of, &[&ids])
            .await?;
        for derivative in row::all(&rows, row::derivative)? {
            derivatives
                .entry(derivative.file_id)
                .or_default()
                .push(derivative);
        }
    }
    let mut next = None;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        let (place, archived) = read(section, row, &mut derivatives)?;
        next = Some(place);
        rows.push(archived);
    }
    Ok(Portion {
        rows,
        next: next.filter(|_| more),
    })
}

/// The statement that writes a row, and its values.
fn writing<'a>(connection: &'a Connection, archived: &'a ArchivedRow) -> Outcome<Write<'a>> {
    let sql = connection.sql();
    let (statement, values): (&Prepared, Vec<Value<'_>>) = match archived {
        ArchivedRow::Record(record) => (&sql.insert_record, row::record_values(record)?),
        ArchivedRow::File(row) => (
            &sql.restore_file,
            row::restored_file_values(&row.file, row.upload.as_ref())?,
        ),
        ArchivedRow::Event(event) => (&sql.restore_event, row::event_values(event)?),
        ArchivedRow::Usage { owner, usage } => (
            &sql.restore_usage,
            vec![
                Box::new(Text(owner)),
                Box::new(integer(usage.reserved_bytes)?),
                Box::new(integer(usage.stored_bytes)?),
                Box::new(integer(usage.files)?),
            ],
        ),
        ArchivedRow::Intent(intent) => (&sql.restore_intent, row::intent_values(intent)?),
        ArchivedRow::Job(job) => (&sql.restore_job, job_values(job)),
        ArchivedRow::ServiceToken(token) => (&sql.insert_token, tokens::token_values(token)),
        ArchivedRow::KeptGarbage(garbage) => {
            return garbage::write(connection, std::slice::from_ref(garbage));
        }
        ArchivedRow::Store(store) => (&sql.insert_store, stores::store_values(store)?),
        ArchivedRow::Audit(entry) => (&sql.insert_audit, stores::audit_values(entry)?),
        ArchivedRow::Setting { name, value } => (
            &sql.restore_setting,
            vec![Box::new(Text(name)), Box::new(Json(json_text(value)?))],
        ),
    };
    Ok(Write { statement, values })
}

fn job_values(job: &Job) -> Vec<Value<'_>> {
    let (state, turn_at) = match job.state {
        // Its worker does not exist any more.
        JobState::Running => (JobState::Ready, None),
        other => (other, job.turn_at),
    };
    vec![
        Box::new(job.id.0),
        Box::new(job.kind.as_str()),
        Box::new(job.file_id.0),
        Box::new(state.as_str()),
        Box::new(job.kind.priority()),
        Box::new(Time(job.run_at)),
        Box::new(i64::from(job.attempt)),
        Box::new(i64::from(job.lease_epoch)),
        Box::new(job.last_error.as_deref().map(Text)),
        Box::new(Time(job.created_at)),
        Box::new(i64::from(job.failures)),
        Box::new(job.owner.as_deref().map(Text)),
        Box::new(turn_at.map(Time)),
    ]
}

/// Writes rows unless they are there; returns how many were not.
async fn restore(connection: Connection, rows: &[ArchivedRow]) -> Outcome<u64> {
    let writes = rows
        .iter()
        .map(|row| writing(&connection, row))
        .collect::<Outcome<Vec<_>>>()?;
    let written = connection.execute_all(&writes).await?;
    let derivatives = rows
        .iter()
        .zip(&written)
        .filter_map(|(row, written)| match row {
            ArchivedRow::File(row) if *written > 0 => Some(&row.derivatives),
            _ => None,
        })
        .flatten()
        .map(|derivative| files::derivative_write(&connection, derivative))
        .collect::<Outcome<Vec<_>>>()?;
    connection.execute_all(&derivatives).await?;
    if rows.iter().any(|row| matches!(row, ArchivedRow::Job(_))) {
        connection.hint(Topic::Jobs);
    }
    Ok(written.iter().sum())
}

async fn count(connection: Connection, section: Section) -> Outcome<u64> {
    let (table, condition) = (table(section), condition(section));
    let sql = connection
        .sql()
        .prefix
        .render(&format!("SELECT count(*) FROM {{p}}_{table} WHERE {condition}"));
    let found = connection.query_unprepared(&sql, &[]).await?;
    found.first().map_or(Ok(0), |row| row.size(0))
}

#[async_trait]
impl MetadataArchive for PostgresStore {
    async fn export(&self, section: Section, after: Option<&str>, limit: u32) -> Result<Portion> {
        self.pool
            .read("export", |c| export(c, section, after, limit))
            .await
    }

    async fn restore(&self, rows: &[ArchivedRow], _now: Timestamp) -> Result<u64> {
        // Whatever stands is left as it is, so that running it again does no harm; it would only count wrongly.
        self.pool
            .write("restore", Unknown::Tell, |c, _| restore(c, rows))
            .await
    }

    async fn count(&self, section: Section) -> Result<u64> {
        self.pool.read("count", |c| count(c, section)).await
    }
}
