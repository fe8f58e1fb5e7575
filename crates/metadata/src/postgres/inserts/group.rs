//! The group: plain inserts, and the statements that write all of them.

use std::collections::{HashMap, HashSet};

use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::NewFile;
use cloakroom_core::record::{Record, RecordKey};
use futures_util::future::{join, join5};
use tokio_postgres::Row;

use super::super::connection::{Connection, together};
use super::super::failure::Outcome;
use super::super::outbox;
use super::super::pool::{Attempt, Verdict};
use super::super::row::{self, Columns, references};
use super::super::values::{Text, Time, integer, json_text};

/// An insert in the form that the group writes.
pub(super) struct Plain {
    pub(super) new: Box<NewFile>,
    metadata: String,
    facts: String,
    data: String,
    version: i64,
    declared_size: Option<i64>,
    part_size: Option<i64>,
    reserved: i64,
    event_version: i64,
}

impl Plain {
    /// Gives back what only the careful way can answer: settled files, and numbers that no column holds.
    pub(super) fn of(new: NewFile) -> std::result::Result<Self, Box<NewFile>> {
        let new = Box::new(new);
        let (file, upload) = (&new.file, &new.upload);
        let settled = !file.state.is_open()
            || file.staged.is_some()
            || file.verified.is_some()
            || file.error.is_some()
            || file.trash.is_some()
            || file.uploaded_at.is_some()
            || file.confirmed_at.is_some()
            || file.processed_at.is_some();
        let values = (
            [&file.metadata, &file.facts, &new.event.data].map(json_text),
            [file.version, new.event.version, upload.reserved_bytes].map(integer),
            [file.declared.size_bytes, upload.part_size_bytes].map(|size| size.map(integer).transpose()),
        );
        match values {
            (
                [Ok(metadata), Ok(facts), Ok(data)],
                [Ok(version), Ok(event_version), Ok(reserved)],
                [Ok(declared_size), Ok(part_size)],
            ) if !settled => Ok(Self {
                new,
                metadata,
                facts,
                data,
                version,
                declared_size,
                part_size,
                reserved,
                event_version,
            }),
            _ => Err(new),
        }
    }
}
/// What became of a group.
pub(super) enum Grouped {
    Committed,
    /// Rolled back because of these, by their place in the group.
    Hindered(HashSet<usize>),
    /// Nobody knows whether it was committed.
    Unknown,
}
/// One array for each column.
macro_rules! columns {
    ($plains:expr, |$plain:ident| $($value:expr),+ $(,)?) => {
        [$(Box::new($plains.iter().map(|$plain| $value).collect::<Vec<_>>()) as row::Value<'_>,)+]
    };
}

/// Writes a group, or finds out who hinders it.
pub(super) async fn write(
    connection: Connection,
    plains: &[&Plain],
    attempt: Attempt,
) -> Outcome<Verdict<Grouped>> {
    if attempt.may_stand {
        return Ok(Verdict::Rollback(Grouped::Unknown));
    }
    let sql = connection.sql();
    let news: Vec<&NewFile> = plains.iter().map(|plain| &*plain.new).collect();
    let (files, events) = (file_columns(plains), event_columns(plains));
    let mut reserved: HashMap<&str, i64> = HashMap::new();
    for plain in plains {
        let sum = reserved.entry(&plain.new.file.owner).or_default();
        *sum = sum.saturating_add(plain.reserved);
    }
    let owners: Vec<Text<'_>> = reserved.keys().map(|owner| Text(owner)).collect();
    let bytes: Vec<i64> = reserved.values().copied().collect();
    let mut needed = vec![&sql.insert_files, &sql.insert_events, &sql.reserve];
    if connection.has_outbox() {
        needed.push(&sql.insert_outbox);
    }
    let linking = news.iter().any(|new| new.record.is_some());
    if linking {
        needed.extend([&sql.insert_records, &sql.record_owners]);
    }
    connection.prepare(&needed).await?;
    let (files, events) = (references(&files), references(&events));
    let noted: Vec<_> = news.iter().map(|new| &new.event).collect();
    // Usage comes last, so that rows of owners are locked as shortly as may be.
    let (made, noted, waiting, owned, reserved) = join5(
        connection.query(&sql.insert_files, &files),
        connection.query(&sql.insert_events, &events),
        outbox::put(&connection, &noted),
        record_owners(&connection, &news),
        connection.query(&sql.reserve, &[&owners, &bytes]),
    )
    .await;
    let rows = together([made, noted, waiting.map(|()| Vec::new()), owned, reserved])?;

    let mut hindered = HashSet::new();
    for rows in &rows[..2] {
        if rows.len() < news.len() {
            let ids: HashSet<FileId> = row::all(rows, |row| Ok(FileId(Columns(row).id(0)?)))?
                .into_iter()
                .collect();
            hindered.extend((0..news.len()).filter(|place| !ids.contains(&news[*place].file.id)));
        }
    }
    let mut total = HashMap::new();
    for row in &rows[4] {
        let usage = row::usage(row, 1)?;
        let sum = usage.reserved_bytes.saturating_add(usage.stored_bytes);
        total.insert(Columns(row).text(0)?, sum);
    }
    let mut owned = HashMap::new();
    for row in &rows[3] {
        let c = Columns(row);
        owned.insert((c.text(0)?, c.text(1)?), c.text(2)?);
    }
    for (place, new) in news.iter().enumerate() {
        let too_much = new
            .quota_bytes
            .is_some_and(|quota| total.get(&new.file.owner).is_none_or(|total| *total > quota));
        let strange = new.record.as_ref().is_some_and(|record| {
            let key = (record.key.kind().to_owned(), record.key.id().to_owned());
            owned.get(&key) != Some(&record.owner)
        });
        if too_much || strange {
            hindered.insert(place);
        }
    }
    Ok(if hindered.is_empty() {
        Verdict::Commit(Grouped::Committed)
    } else {
        Verdict::Rollback(Grouped::Hindered(hindered))
    })
}

fn file_columns<'a>(plains: &'a [&'a Plain]) -> [row::Value<'a>; 28] {
    columns!(
        plains,
        |p| p.new.file.id.0,
        Text(&p.new.file.owner),
        Text(&p.new.file.created_by_username),
        p.new.file.created_by_full_name.as_deref().map(Text),
        Text(&p.new.file.collection),
        Text(&p.new.file.bucket),
        p.new.file.state.as_str(),
        p.version,
        i64::from(p.new.file.epoch),
        p.new.file.record.as_ref().map(RecordKey::kind),
        p.new.file.record.as_ref().map(|key| Text(key.id())),
        Text(&p.new.file.filename),
        p.new.file.description.as_deref().map(Text),
        p.metadata.as_str(),
        p.new.file.declared.content_type.as_str(),
        p.declared_size,
        p.new.file.declared.sha256.as_ref().map(|digest| &digest.0[..]),
        Text(&p.new.file.key),
        p.facts.as_str(),
        Time(p.new.file.created_at),
        Time(p.new.file.updated_at),
        p.new.upload.method.as_str(),
        Text(&p.new.upload.staging_key),
        Time(p.new.upload.expires_at),
        p.new.upload.multipart_id.as_deref().map(Text),
        p.part_size,
        p.new.upload.request_digest.as_ref().map(|digest| &digest.0[..]),
        p.reserved,
    )
}

fn event_columns<'a>(plains: &'a [&'a Plain]) -> [row::Value<'a>; 8] {
    columns!(
        plains,
        |p| p.new.event.file_id.0,
        p.event_version,
        p.new.event.id.0,
        p.new.event.kind.as_str(),
        p.new.event.state.as_str(),
        Text(&p.new.event.actor),
        p.data.as_str(),
        Time(p.new.event.at),
    )
}

/// Makes the records that are not there; returns kind, id and owner of each.
async fn record_owners(connection: &Connection, news: &[&NewFile]) -> Outcome<Vec<Row>> {
    struct Linked<'a> {
        record: &'a Record,
        payload: String,
        meta: String,
        version: i64,
    }
    let linked = news
        .iter()
        .filter_map(|new| new.record.as_ref())
        .map(|record| {
            Ok(Linked {
                record,
                payload: json_text(&record.payload)?,
                meta: json_text(&record.meta)?,
                version: integer(record.version)?,
            })
        })
        .collect::<Outcome<Vec<_>>>()?;
    if linked.is_empty() {
        return Ok(Vec::new());
    }
    let columns = columns!(
        linked,
        |l| l.record.key.kind(),
        Text(l.record.key.id()),
        Text(&l.record.owner),
        l.record.parent.as_ref().map(RecordKey::kind),
        l.record.parent.as_ref().map(|key| Text(key.id())),
        l.payload.as_str(),
        l.meta.as_str(),
        l.version,
        Time(l.record.created_at),
        Time(l.record.updated_at),
    );
    let sql = connection.sql();
    let all = references(&columns);
    let (made, owners) = join(
        connection.query(&sql.insert_records, &all),
        connection.query(&sql.record_owners, &all[..2]),
    )
    .await;
    Ok(together([made, owners])?.pop().unwrap_or_default())
}
