//! The whole database, read and written in portions.
//!
//! A portion begins after a key, never at an offset, so it costs the same wherever it begins. The keys are those of
//! the tables; where the rows of a section have a number (`seq`), it is the number.

use async_trait::async_trait;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::ports::archive::{ArchivedFile, ArchivedRow, MetadataArchive, Portion, Section};
use cloakroom_core::ports::metadata::{MetadataError, Result, Usage};
use cloakroom_core::ports::signals::Topic;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};
use uuid::Uuid;

use super::SqliteStore;
use super::administration::{garbage, stores};
use super::failure::Outcome;
use super::row::{self, integer, json_text, micros};
use super::session::Session;
use super::statements::{
    audit_columns, file_columns, garbage_columns, intent_columns, job_columns, record_columns, store_columns,
    token_columns,
};
use super::{files, intents, records, search, tokens};
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

/// Which of the table's rows are in a section.
const fn condition(section: Section) -> &'static str {
    match section {
        Section::KeptGarbage => "state = 'kept' AND ",
        _ => "",
    }
}

/// The statement that reads a section; the last parameter is how many rows.
fn export_sql(session: &Session, section: Section, from_the_start: bool) -> String {
    let (columns, key, marks) = match section {
        Section::Records => (concat!(record_columns!(), ", seq"), "seq", "?1"),
        Section::Files => (concat!(file_columns!(), ", f.seq"), "seq", "?1"),
        Section::Events => (
            "file_id, version, id, kind, state, actor, data, at",
            "(file_id, version)",
            "(?1, ?2)",
        ),
        Section::Usage => ("owner, reserved_bytes, stored_bytes, files", "owner", "?1"),
        Section::Intents => (intent_columns!(), "id", "?1"),
        Section::Jobs => (job_columns!(), "id", "?1"),
        Section::ServiceTokens => (token_columns!(), "id", "?1"),
        Section::Settings => ("name, value", "name", "?1"),
        Section::KeptGarbage => (garbage_columns!(), "(bucket, key, upload_id)", "(?1, ?2, ?3)"),
        Section::Stores => (store_columns!(), "name", "?1"),
        Section::Audit => (audit_columns!(), "id", "?1"),
    };
    let after = if from_the_start { ">=" } else { ">" };
    let order = key.trim_matches(['(', ')']);
    let (table, limit) = (table(section), marks.matches('?').count() + 1);
    let condition = condition(section);
    session.sql.prefix.render(&format!(
        "SELECT {columns} FROM {{p}}_{table} AS f WHERE {condition}{key} {after} {marks} ORDER BY {order} LIMIT ?{limit}"
    ))
}

/// The key that a place stands for; without a place the lowest one that there can be.
fn key(section: Section, place: Option<&str>) -> Outcome<Vec<Value>> {
    let unknown = || MetadataError::Internal(format!("not a place in {}: {place:?}", section.as_str()));
    let uuid = |text: &str| Uuid::try_parse(text).map_err(|_| unknown());
    let blob = |id: Uuid| Value::Blob(id.as_bytes().to_vec());
    Ok(match section {
        Section::Records | Section::Files => {
            let number = place.map(str::parse).transpose().map_err(|_| unknown())?;
            vec![Value::Integer(number.unwrap_or(i64::MIN))]
        }
        Section::Events => {
            let (id, version) = match place {
                None => (Uuid::nil(), i64::MIN),
                Some(place) => {
                    let (id, version) = place.split_once('/').ok_or_else(unknown)?;
                    (uuid(id)?, version.parse().map_err(|_| unknown())?)
                }
            };
            vec![blob(id), Value::Integer(version)]
        }
        Section::Intents | Section::Jobs | Section::ServiceTokens | Section::Audit => {
            vec![blob(place.map(uuid).transpose()?.unwrap_or(Uuid::nil()))]
        }
        Section::Usage | Section::Settings | Section::Stores => {
            vec![Value::Text(place.unwrap_or_default().to_owned())]
        }
        Section::KeptGarbage => {
            let parts = place.map_or_else(|| Some(Default::default()), garbage_of_place);
            let parts: [String; 3] = parts.ok_or_else(unknown)?;
            parts.map(Value::Text).into()
        }
    })
}

/// Reads a row and the place that it marks.
fn read(session: &Session, section: Section, row: &Row<'_>) -> Outcome<(String, ArchivedRow)> {
    Ok(match section {
        Section::Records => (
            row.get::<_, i64>(10)?.to_string(),
            ArchivedRow::Record(row::record(row)?),
        ),
        Section::Files => {
            let file = row::file(row)?;
            let archived = ArchivedFile {
                upload: files::upload(session, file.id)?,
                derivatives: files::derivatives(session, file.id)?,
                file,
            };
            (
                row.get::<_, i64>(37)?.to_string(),
                ArchivedRow::File(Box::new(archived)),
            )
        }
        Section::Events => {
            let event = row::event(row)?;
            (
                format!("{}/{}", event.file_id, event.version),
                ArchivedRow::Event(event),
            )
        }
        Section::Usage => {
            let owner = row.text(0)?;
            let usage = Usage {
                reserved_bytes: row.size(1)?,
                stored_bytes: row.size(2)?,
                files: row.size(3)?,
            };
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

fn export(session: &Session, section: Section, after: Option<&str>, limit: u32) -> Outcome<Portion> {
    let mut parameters = key(section, after)?;
    let limit = limit.max(1) as usize;
    // One more than is asked for says whether there is more.
    parameters.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1));
    let sql = export_sql(session, section, after.is_none());
    let mut found = session.all(&sql, params_from_iter(parameters), |row| {
        read(session, section, row)
    })?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = more
        .then(|| found.last().map(|(place, _)| place.clone()))
        .flatten();
    Ok(Portion {
        rows: found.into_iter().map(|(_, row)| row).collect(),
        next,
    })
}

/// Writes a row unless it is there; `true` when it was not.
fn restore(session: &Session, row: &ArchivedRow) -> Outcome<bool> {
    let written = match row {
        ArchivedRow::Record(record) => return records::insert(session, record),
        ArchivedRow::File(row) => return restore_file(session, row),
        ArchivedRow::Job(job) => return restore_job(session, job),
        ArchivedRow::Event(event) => session.execute(
            &session.sql.restore_event,
            params![
                event.file_id.0.as_bytes(),
                integer(event.version)?,
                event.id.0.as_bytes(),
                event.kind.as_str(),
                event.state.as_str(),
                event.actor,
                json_text(&event.data)?,
                micros(event.at),
            ],
        )?,
        ArchivedRow::Usage { owner, usage } => session.execute(
            &session.sql.restore_usage,
            params![
                owner,
                integer(usage.reserved_bytes)?,
                integer(usage.stored_bytes)?,
                integer(usage.files)?
            ],
        )?,
        ArchivedRow::Intent(intent) => intents::insert(session, &session.sql.restore_intent, intent)?,
        ArchivedRow::ServiceToken(token) => tokens::insert_token(session, token)?,
        ArchivedRow::Setting { name, value } => {
            session.execute(&session.sql.restore_setting, params![name, json_text(value)?])?
        }
        ArchivedRow::KeptGarbage(garbage) => garbage::insert(session, garbage)?,
        ArchivedRow::Store(store) => stores::insert_store(session, store)?,
        ArchivedRow::Audit(entry) => stores::put_audit(session, entry)?,
    };
    Ok(written > 0)
}

fn restore_file(session: &Session, row: &ArchivedFile) -> Outcome<bool> {
    let file = &row.file;
    if session.exists(&session.sql.file_exists, [file.id.0.as_bytes()])? {
        return Ok(false);
    }
    let open = file.state.is_open();
    let mut statement = session.statement(&session.sql.insert_file)?;
    row::bind_file(&mut statement, file, &json_text(&file.metadata)?)?;
    statement.raw_bind_parameter(38, open)?;
    statement.raw_execute()?;
    let seq = session.connection.last_insert_rowid();
    if let Some(upload) = &row.upload {
        let mut statement = session.statement(&session.sql.insert_upload)?;
        row::bind_upload(&mut statement, upload, open)?;
        statement.raw_execute()?;
    }
    for derivative in &row.derivatives {
        files::put_derivative(session, derivative)?;
    }
    if !open {
        search::enter_words(session, seq, file)?;
        search::enter_metadata(session, seq, file)?;
    }
    Ok(true)
}

fn restore_job(session: &Session, job: &Job) -> Outcome<bool> {
    let (state, turn_at) = match job.state {
        JobState::Running => (JobState::Ready, None),
        other => (other, job.turn_at),
    };
    let written = session.execute(
        &session.sql.restore_job,
        params![
            job.id.0.as_bytes(),
            job.kind.as_str(),
            job.file_id.0.as_bytes(),
            state.as_str(),
            job.kind.priority(),
            micros(job.run_at),
            job.attempt,
            job.lease_epoch,
            job.last_error,
            micros(job.created_at),
            job.failures,
            job.owner,
            turn_at.map(micros),
        ],
    )?;
    if written > 0 {
        session.hint(Topic::Jobs);
    }
    Ok(written > 0)
}

fn count(session: &Session, section: Section) -> Outcome<u64> {
    let (table, condition) = (table(section), condition(section));
    let sql = session.sql.prefix.render(&format!(
        "SELECT count(*) FROM {{p}}_{table} WHERE {condition} TRUE"
    ));
    Ok(session.first(&sql, [], |row| row.size(0))?.unwrap_or_default())
}

#[async_trait]
impl MetadataArchive for SqliteStore {
    async fn export(&self, section: Section, after: Option<&str>, limit: u32) -> Result<Portion> {
        let after = after.map(str::to_owned);
        self.read("export", move |session| {
            export(session, section, after.as_deref(), limit)
        })
        .await
    }

    async fn restore(&self, rows: &[ArchivedRow], _now: Timestamp) -> Result<u64> {
        let rows = rows.to_vec();
        self.write("restore", move |session| {
            let mut new = 0;
            for row in &rows {
                new += u64::from(restore(session, row)?);
            }
            Ok(new)
        })
        .await
    }

    async fn count(&self, section: Section) -> Result<u64> {
        self.read("count", move |session| count(session, section)).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{database, plan};
    use super::*;

    #[test]
    fn every_portion_begins_in_an_index_and_is_not_sorted() {
        let (_directory, session) = database();
        for section in Section::ALL {
            for from_the_start in [true, false] {
                let sql = export_sql(&session, *section, from_the_start);
                let plan = plan(&session, &sql);
                assert!(
                    plan.len() == 1 && plan[0].starts_with("SEARCH"),
                    "{section:?}: {plan:#?}"
                );
            }
        }
    }

    #[test]
    fn a_place_of_another_section_is_refused() {
        let (_directory, session) = database();
        for section in [
            Section::Records,
            Section::Files,
            Section::Events,
            Section::Intents,
            Section::Jobs,
            Section::ServiceTokens,
            Section::KeptGarbage,
            Section::Audit,
        ] {
            for place in ["", "x", "019b7e2e-0000-7000-8000-000000000000/x", "-"] {
                let answer = export(&session, section, Some(place), 10);
                assert!(answer.is_err(), "{section:?} {place:?}");
            }
        }
    }
}
